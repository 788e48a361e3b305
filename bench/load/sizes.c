#include "load/sizes.h"

#include <errno.h>
#include <stdlib.h>

#define LARGEST_WEIGHT 1000000u

/* A number from 1 to `max` and the character behind it; 0 if there is none. */
static uint32_t take_number(const char **text, char behind, uint32_t max) {
    char *end = NULL;
    if (**text < '0' || **text > '9')
        return 0;
    unsigned long long number = strtoull(*text, &end, 10);
    if (*end != behind || number > max)
        return 0;
    *text = end;
    return (uint32_t)number;
}

int sizes_parse(const char *text, sizes *ret_sizes) {
    sizes s = {0};
    uint32_t sum = 0;
    for (const char *at = text;; at++) {
        if (s.count == SIZES_MAX)
            return -EINVAL;
        uint32_t bytes = take_number(&at, ':', SIZES_LARGEST);
        if (bytes == 0)
            return -EINVAL;
        at++;
        const char *next = at;
        uint32_t weight = take_number(&next, ',', LARGEST_WEIGHT);
        if (weight == 0)
            weight = take_number(&next, '\0', LARGEST_WEIGHT);
        if (weight == 0)
            return -EINVAL;
        at = next;
        s.bytes[s.count] = bytes;
        s.upto[s.count++] = sum += weight;
        if (*at == '\0')
            break;
    }
    *ret_sizes = s;
    return 0;
}

double sizes_mean(const sizes *s) {
    double sum = 0;
    for (unsigned i = 0; i < s->count; i++)
        sum += (double)s->bytes[i] * (s->upto[i] - (i > 0 ? s->upto[i - 1] : 0));
    return sum / s->upto[s->count - 1];
}

void sizes_rewind(sizes_cursor *cursor, unsigned index) {
    *cursor = (sizes_cursor){.random = index * UINT64_C(0xd1342543de82ef95)};
}

uint32_t sizes_draw(const sizes *s, sizes_cursor *cursor) {
    /* SplitMix64, G. L. Steele, D. Lea and C. H. Flood 2014 */
    uint64_t x = cursor->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    uint64_t drawn = ((x >> 32) * s->upto[s->count - 1]) >> 32;
    unsigned i = 0;
    while (drawn >= s->upto[i])
        i++;
    return s->bytes[i];
}
