#include "resp.h"

#include <stdlib.h>
#include <string.h>

enum {
    DIGITS_MAX = 20, /* of a header; more than ever needed */
};

void resp_reset(struct resp_parser *parser) {
    free(parser->many);
    *parser = (struct resp_parser){.many = NULL};
}

/* Grows as arguments come, not as they are announced. */
static bool add_argument(struct resp_parser *parser, size_t at, size_t length) {
    uint32_t capacity = parser->many ? parser->capacity : RESP_FEW;
    if (parser->count == capacity) {
        struct resp_argument *many = realloc(parser->many, 2 * sizeof *many * capacity);
        if (!many)
            return false;
        if (!parser->many)
            memcpy(many, parser->few, sizeof parser->few);
        parser->many = many;
        parser->capacity = 2 * capacity;
    }
    struct resp_argument *arguments = parser->many ? parser->many : parser->few;
    arguments[parser->count++] = (struct resp_argument){(uint32_t)at, (uint32_t)length};
    return true;
}

/* The line that is the request: *ret_end is where its "\n" is. */
static enum resp_result find_line(struct resp_parser *parser, const uint8_t *bytes, size_t length,
                                  size_t *ret_end) {
    const uint8_t *end = memchr(bytes + parser->seen, '\n', length - parser->seen);
    *ret_end = end ? (size_t)(end - bytes) : length;
    if (*ret_end > RESP_LINE_MAX)
        return RESP_ERROR;
    parser->seen = (uint32_t)*ret_end;
    return end ? RESP_REQUEST : RESP_MORE;
}

/* The number behind the first byte of the header at parser->at, and its "\r\n". Those that are over
 * max are errors; negative ones are -1, whichever they are. */
static enum resp_result parse_number(struct resp_parser *parser, const uint8_t *bytes,
                                     size_t length, int64_t max, int64_t *ret_number) {
    size_t at = parser->at + 1, last = at + DIGITS_MAX;
    bool is_negative = at < length && bytes[at] == '-';
    int64_t number = 0;
    at += is_negative;
    size_t first = at;
    for (; at < length && bytes[at] >= '0' && bytes[at] <= '9'; at++) {
        number = 10 * number + (bytes[at] - '0');
        if (number > max || at == last)
            return RESP_ERROR;
    }
    if (at == length)
        return RESP_MORE;
    if (at == first || bytes[at] != '\r')
        return RESP_ERROR;
    if (at + 1 == length)
        return RESP_MORE;
    if (bytes[at + 1] != '\n')
        return RESP_ERROR;
    parser->at = (uint32_t)at + 2;
    *ret_number = is_negative ? -1 : number;
    return RESP_REQUEST;
}

/* "GET k": words between blanks. */
static enum resp_result parse_words(struct resp_parser *parser, const uint8_t *bytes, size_t length,
                                    const char **ret_error) {
    size_t end = 0;
    enum resp_result result = find_line(parser, bytes, length, &end);
    *ret_error = "ERR Protocol error: too big inline request";
    if (result != RESP_REQUEST)
        return result;
    parser->at = (uint32_t)end + 1;
    if (end > 0 && bytes[end - 1] == '\r')
        end--;
    for (size_t at = 0; at < end;) {
        size_t word = at;
        while (at < end && bytes[at] != ' ' && bytes[at] != '\t')
            at++;
        if (at > word && parser->count == RESP_ARGUMENTS_MAX)
            return RESP_ERROR;
        if (at > word && !add_argument(parser, word, at - word)) {
            *ret_error = "OOM out of memory";
            return RESP_ERROR;
        }
        while (at < end && (bytes[at] == ' ' || bytes[at] == '\t'))
            at++;
    }
    return RESP_REQUEST;
}

/* "*2\r\n". An array of nothing is a request without arguments. */
static enum resp_result parse_array_header(struct resp_parser *parser, const uint8_t *bytes,
                                           size_t length, const char **ret_error) {
    int64_t wanted = 0;
    *ret_error = "ERR Protocol error: invalid multibulk length";
    enum resp_result result = parse_number(parser, bytes, length, RESP_ARGUMENTS_MAX, &wanted);
    parser->wanted = wanted > 0 ? (uint32_t)wanted : 0;
    return result;
}

/* "$3\r\n" */
static enum resp_result parse_bulk_header(struct resp_parser *parser, const uint8_t *bytes,
                                          size_t length, const char **ret_error) {
    int64_t bulk = 0;
    if (parser->at == length)
        return RESP_MORE;
    *ret_error = "ERR Protocol error: expected '$'";
    if (bytes[parser->at] != '$')
        return RESP_ERROR;
    *ret_error = "ERR Protocol error: invalid bulk length";
    enum resp_result result = parse_number(parser, bytes, length, RESP_BULK_MAX, &bulk);
    if (result != RESP_REQUEST)
        return result;
    if (bulk < 0)
        return RESP_ERROR;
    parser->bulk = (uint32_t)bulk;
    parser->is_in_bulk = true;
    *ret_error = "ERR Protocol error: too big request";
    return parser->at + parser->bulk + 2 > RESP_REQUEST_MAX ? RESP_ERROR : RESP_REQUEST;
}

static enum resp_result parse_bulk(struct resp_parser *parser, const uint8_t *bytes, size_t length,
                                   const char **ret_error) {
    size_t end = (size_t)parser->at + parser->bulk;
    if (length < end + 2)
        return RESP_MORE;
    *ret_error = "ERR Protocol error: expected CRLF after a bulk string";
    if (bytes[end] != '\r' || bytes[end + 1] != '\n')
        return RESP_ERROR;
    *ret_error = "OOM out of memory";
    if (!add_argument(parser, parser->at, parser->bulk))
        return RESP_ERROR;
    parser->at = (uint32_t)end + 2;
    parser->is_in_bulk = false;
    return RESP_REQUEST;
}

enum resp_result resp_parse(struct resp_parser *parser, const uint8_t *bytes, size_t length,
                            const char **ret_error) {
    enum resp_result result = RESP_REQUEST;
    if (length == 0)
        return RESP_MORE;
    if (bytes[0] != '*')
        return parse_words(parser, bytes, length, ret_error);
    if (parser->at == 0)
        result = parse_array_header(parser, bytes, length, ret_error);
    while (result == RESP_REQUEST && parser->count < parser->wanted)
        result = parser->is_in_bulk ? parse_bulk(parser, bytes, length, ret_error)
                                    : parse_bulk_header(parser, bytes, length, ret_error);
    return result;
}
