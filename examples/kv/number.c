#include "number.h"

#include <string.h>
#include <weft.h>

bool number_parse(struct slice bytes, int64_t *ret_number) {
    const uint8_t *at = bytes.bytes, *end = at + bytes.length;
    bool is_negative = at < end && *at == '-';
    int64_t number = 0;
    at += is_negative;
    if (at == end || (*at == '0' && (is_negative || at + 1 < end)))
        return false;
    for (; at < end; at++) {
        int digit = *at - '0';
        if (digit < 0 || digit > 9)
            return false;
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number))
            return false;
    }
    /* It was counted downwards, as there is one negative number more. */
    if (!is_negative && __builtin_sub_overflow(0, number, &number))
        return false;
    *ret_number = number;
    return true;
}

struct slice number_format(char *text, int64_t number) {
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    char *at = text + NUMBER_MAX;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (number < 0)
        *--at = '-';
    return (struct slice){(const uint8_t *)at, (size_t)(text + NUMBER_MAX - at)};
}

bool number_to_ns(int64_t time, bool is_seconds, uint64_t *ret_ns) {
    const uint64_t max_ns = WEFT_SEC(UINT64_C(100) * 366 * 24 * 3600);
    uint64_t unit_ns = is_seconds ? WEFT_SEC(1) : WEFT_MSEC(1);
    if ((uint64_t)time > max_ns / unit_ns)
        return false;
    *ret_ns = (uint64_t)time * unit_ns;
    return true;
}
