/*
 * How long messages are: all alike, or drawn from a list by weight. What is drawn depends on
 * nothing but the connection's index and the message's place, so that a run can be repeated, and so
 * that the ends of messages need not be kept until they come back: the receiver draws them again.
 */
#ifndef WEFT_BENCH_SIZES_H
#define WEFT_BENCH_SIZES_H

#include <stdint.h>

#define SIZES_MAX 16
#define SIZES_LARGEST (1u << 26)

typedef struct sizes {
    unsigned count;
    uint32_t bytes[SIZES_MAX];
    uint32_t upto[SIZES_MAX]; /* the weights, summed up to and with this one */
} sizes;

/* A place in the sequence of a connection's messages. */
typedef struct sizes_cursor {
    uint64_t number; /* messages up to here */
    uint64_t end;    /* and their bytes */
    uint64_t random;
} sizes_cursor;

int sizes_parse(const char *text, sizes *ret_sizes); /* "64:9,4096:1"; 0 or -EINVAL */
double sizes_mean(const sizes *s);

void sizes_rewind(sizes_cursor *cursor, unsigned index);
uint32_t sizes_draw(const sizes *s, sizes_cursor *cursor);

static inline void sizes_step(const sizes *s, sizes_cursor *cursor) {
    cursor->number++;
    cursor->end += s->count == 1 ? s->bytes[0] : sizes_draw(s, cursor);
}

#endif
