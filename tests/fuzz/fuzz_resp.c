/* The parser of examples/kv. The first byte says how the bytes behind it are cut; however they
 * come, the requests are those that a parser finds which has the whole before it and does the
 * obvious. */
#include "../../examples/kv/resp.c"

#include "input.h"
#include "wtest.h"

#include <string.h>

enum { REQUESTS_MAX = 4096 };

/* What one request was, or its error: enough to compare. */
struct outcome {
    enum resp_result result;
    const char *error;
    size_t size;     /* in bytes */
    uint64_t digest; /* of the arguments, with their lengths */
    uint32_t count;
};

static uint64_t digest_add(uint64_t digest, const uint8_t *bytes, size_t length) {
    digest = (digest ^ length) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < length; i++)
        digest = (digest ^ bytes[i]) * UINT64_C(0x100000001b3);
    return digest;
}

static bool outcome_equal(const struct outcome *a, const struct outcome *b) {
    return a->result == b->result && a->size == b->size && a->digest == b->digest &&
           a->count == b->count;
}

/* --- the obvious parser ------------------------------------------------------------------------
 */

struct text {
    const uint8_t *bytes;
    size_t length, at;
};

/* A number and its line's end: 1 there is one, 0 not yet, -1 never. */
static int read_number(struct text *t, int64_t most, int64_t *ret_number) {
    size_t at = t->at, digits = 0;
    int64_t number = 0;
    bool is_negative = at < t->length && t->bytes[at] == '-';
    at += is_negative;
    for (; at < t->length && t->bytes[at] >= '0' && t->bytes[at] <= '9'; at++) {
        number = number * 10 + t->bytes[at] - '0';
        if (number > most || is_negative + ++digits > 20)
            return -1;
    }
    if (at == t->length)
        return 0;
    if (digits == 0 || t->bytes[at] != '\r')
        return -1;
    if (at + 1 == t->length)
        return 0;
    if (t->bytes[at + 1] != '\n')
        return -1;
    t->at = at + 2;
    *ret_number = is_negative ? -1 : number;
    return 1;
}

static struct outcome ended(int how) {
    return (struct outcome){.result = how < 0 ? RESP_ERROR : RESP_MORE};
}

static struct outcome read_words(const struct text *t) {
    struct outcome o = {.result = RESP_REQUEST};
    const uint8_t *end = memchr(t->bytes, '\n', t->length);
    if (!end)
        return ended(t->length > RESP_LINE_MAX ? -1 : 0);
    o.size = (size_t)(end - t->bytes) + 1;
    size_t length = o.size - 1;
    if (length > RESP_LINE_MAX)
        return ended(-1);
    if (length > 0 && t->bytes[length - 1] == '\r')
        length--;
    for (size_t at = 0, next; at < length; at = next + 1) {
        for (next = at; next < length && t->bytes[next] != ' ' && t->bytes[next] != '\t';)
            next++;
        if (next > at) {
            o.count++;
            o.digest = digest_add(o.digest, t->bytes + at, next - at);
        }
    }
    return o;
}

static struct outcome read_array(struct text *t) {
    struct outcome o = {.result = RESP_REQUEST};
    int64_t wanted = 0, length = 0;
    t->at = 1;
    int how = read_number(t, RESP_ARGUMENTS_MAX, &wanted);
    for (; how > 0 && o.count < wanted; o.count++) {
        if (t->at == t->length)
            return ended(0);
        if (t->bytes[t->at++] != '$')
            return ended(-1);
        how = read_number(t, RESP_BULK_MAX, &length);
        if (how <= 0 || length < 0)
            return ended(how > 0 ? -1 : how);
        if (t->length - t->at < (size_t)length + 2)
            return ended(0);
        o.digest = digest_add(o.digest, t->bytes + t->at, (size_t)length);
        t->at += (size_t)length;
        if (memcmp(t->bytes + t->at, "\r\n", 2) != 0)
            return ended(-1);
        t->at += 2;
    }
    o.size = t->at;
    return how > 0 ? o : ended(how);
}

static struct outcome read_request(const uint8_t *bytes, size_t length) {
    struct text t = {bytes, length, 0};
    if (length == 0)
        return ended(0);
    return bytes[0] == '*' ? read_array(&t) : read_words(&t);
}

/* --- the parser under test ---------------------------------------------------------------------
 */

static struct outcome parse(struct resp_parser *parser, const uint8_t *bytes, size_t length) {
    struct outcome o = {.error = NULL};
    o.result = resp_parse(parser, bytes, length, &o.error);
    CHECK(o.result != RESP_ERROR || (o.error && *o.error));
    if (o.result != RESP_REQUEST)
        return o;
    struct request request = resp_request(parser, bytes);
    o.size = parser->at;
    o.count = request.count;
    CHECK(o.size > 0 && o.size <= length);
    for (uint32_t i = 0; i < request.count; i++) {
        struct slice argument = request_argument(&request, i);
        CHECK(argument.bytes >= bytes && argument.bytes + argument.length <= bytes + o.size);
        o.digest = digest_add(o.digest, argument.bytes, argument.length);
    }
    return o;
}

/* As many bytes at a time as `cut` says, each time in memory of their own, as a stream would. */
static struct outcome parse_in_pieces(struct resp_parser *parser, const uint8_t *bytes,
                                      size_t length, unsigned cut) {
    struct outcome o = {.result = RESP_MORE};
    size_t step = 1 + cut % 16;
    for (size_t shown = step < length ? step : length; o.result == RESP_MORE;) {
        uint8_t *copy = malloc(shown ? shown : 1);
        CHECK(copy);
        memcpy(copy, bytes, shown);
        o = parse(parser, copy, shown);
        free(copy);
        if (shown == length)
            break;
        step = 1 + (step * 7 + cut) % 64;
        shown = length - shown < step ? length : shown + step;
    }
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct resp_parser whole = {.many = NULL}, pieces = {.many = NULL};
    struct input in = {data, data + size};
    unsigned cut = input_byte(&in);
    const uint8_t *bytes = in.at;
    size_t length = input_left(&in);
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        struct outcome expected = read_request(bytes, length);
        struct outcome at_once = parse(&whole, bytes, length);
        struct outcome in_pieces = parse_in_pieces(&pieces, bytes, length, cut);
        CHECK(outcome_equal(&at_once, &expected));
        CHECK(outcome_equal(&in_pieces, &expected));
        CHECK(at_once.result != RESP_ERROR || at_once.error == in_pieces.error);
        CHECK(whole.capacity <= 2 * size + 2 * RESP_FEW);
        if (expected.result != RESP_REQUEST)
            break;
        resp_next(&whole);
        resp_next(&pieces);
        bytes += expected.size;
        length -= expected.size;
    }
    resp_reset(&whole);
    resp_reset(&pieces);
    return 0;
}
