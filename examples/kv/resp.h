/* resp.h: requests of RESP, the protocol of Redis, as they come in.
 *
 * A request is an array of bulk strings, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", or a line of words,
 * "GET k\r\n". It may be cut anywhere: the parser remembers how far it has come and looks at no
 * byte twice, so that a request of n bytes costs O(n) however it arrives. It keeps offsets, not
 * pointers, as the bytes lie elsewhere when more of them have come. */
#ifndef KV_RESP_H
#define KV_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"

/* What is more than this is a protocol error. */
enum {
    RESP_ARGUMENTS_MAX = 16 << 10,
    RESP_BULK_MAX = 16 << 20,    /* bytes of one argument */
    RESP_REQUEST_MAX = 32 << 20, /* of the whole */
    RESP_LINE_MAX = 64 << 10,    /* of a request that is a line */
};

/* Where an argument is, counted from the beginning of its request. */
struct resp_argument {
    uint32_t at, length;
};

enum { RESP_FEW = 4 };

struct resp_parser {
    uint32_t at;     /* everything before has been looked at */
    uint32_t seen;   /* of a line: so far it has no end */
    uint32_t wanted; /* arguments that the array has; 0: it has not begun */
    uint32_t count;  /* of them that are here */
    uint32_t bulk;   /* length of the one that is under way */
    uint32_t capacity;
    bool is_in_bulk;
    struct resp_argument *many; /* NULL: they lie in few */
    struct resp_argument few[RESP_FEW];
};

/* A request that is whole. */
struct request {
    const uint8_t *bytes;
    const struct resp_argument *arguments;
    uint32_t count; /* at least 1: its name */
    uint64_t hash;  /* of the first key, where it has one */
};

static inline struct slice request_argument(const struct request *request, uint32_t index) {
    return (struct slice){request->bytes + request->arguments[index].at,
                          request->arguments[index].length};
}

enum resp_result {
    RESP_REQUEST, /* its first `at` bytes are one; without arguments it asks for nothing */
    RESP_MORE,    /* not yet */
    RESP_ERROR,   /* it will never be one */
};

/* Looks at the length bytes of a request that has begun at bytes[0]; those that were there at the
 * last call have not changed. On RESP_ERROR *ret_error is what is wrong, a literal. */
enum resp_result resp_parse(struct resp_parser *parser, const uint8_t *bytes, size_t length,
                            const char **ret_error);

/* On RESP_REQUEST: what was parsed, valid until resp_next(). */
static inline struct request resp_request(const struct resp_parser *parser, const uint8_t *bytes) {
    return (struct request){.bytes = bytes,
                            .arguments = parser->many ? parser->many : parser->few,
                            .count = parser->count};
}

/* Gets ready for the request behind. */
static inline void resp_next(struct resp_parser *parser) {
    parser->at = parser->seen = parser->wanted = parser->count = 0;
}

/* Frees what it holds; the parser is as good as new. A zeroed one holds nothing. */
void resp_reset(struct resp_parser *parser);

#endif
