/* reply.h: replies of RESP, one behind the other, until a stream takes them.
 *
 * Short bytes are copied. A long value is lent: its place among the bytes is noted, and it goes to
 * the stream by weft_stream_write_ref(). */
#ifndef KV_REPLY_H
#define KV_REPLY_H

#include <weft.h>

#include "value.h"

enum {
    REPLY_LEND = 16 << 10,      /* values from this length on are lent: it costs 0.6 of copying at
                                   64 KiB, 0.5 at 1 MiB, and below 16 KiB no less */
    REPLY_FULL = 256 << 10,     /* a stream with so much unsent gets no more for now */
    REPLY_PIECE_MAX = 64 << 10, /* of one write, besides lent ones */
};

struct lent {
    struct value *value;
    size_t at; /* the bytes in front of it */
};

struct reply {
    uint8_t *bytes;
    size_t length, capacity;
    size_t sent; /* the stream has these */
    struct lent *lent;
    uint32_t lent_count, lent_capacity, lent_sent;
    bool is_broken; /* memory was lacking: something is missing at the end */
};

/* Makes room for length bytes more, and counts them in; NULL: no memory, the reply is broken. */
uint8_t *reply_extend(struct reply *reply, size_t length);

void reply_bytes(struct reply *reply, const void *bytes, size_t length);
#define REPLY_LITERAL(reply, text) reply_bytes((reply), (text), sizeof(text) - 1)

void reply_integer(struct reply *reply, int64_t number);
void reply_bulk(struct reply *reply, struct slice bytes);
void reply_value(struct reply *reply, struct value *value);
void reply_nil(struct reply *reply);
void reply_array(struct reply *reply, size_t count);

/* "-ERR ...": the format of printf(), of which 256 bytes are used. Line breaks become blanks. */
__attribute__((format(printf, 2, 3))) void reply_error(struct reply *reply, const char *format,
                                                       ...);

/* One reply is complete, which began at `start`. Broken, it becomes an error; false: there is no
 * memory even for that. */
bool reply_finish(struct reply *reply, size_t start);

/* Writes what comes before `end` to the stream, as far as that is not full; false: it is. One that
 * does not take it is aborted. */
bool reply_write(struct reply *reply, weft_stream *s, size_t end);

/* Forgets it all. A large buffer is not kept. */
void reply_clear(struct reply *reply);

void reply_destroy(struct reply *reply);

#endif
