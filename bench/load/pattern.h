/*
 * The bytes that a connection sends. Byte number p of connection c is table[(p + offset of c) %
 * period] of one pseudo-random table with a prime period, repeated far enough that a window can be
 * read from any start: sending copies nothing and checking is a memcmp. A byte that is lost,
 * doubled, reordered or delivered to another connection shifts the comparison and shows.
 */
#ifndef WEFT_BENCH_PATTERN_H
#define WEFT_BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_PERIOD 65521u
#define PATTERN_WINDOW 65536u /* bytes that can be had in one piece */

void pattern_init(void); /* once, before any thread that reads it */

extern uint8_t pattern_table[PATTERN_PERIOD + PATTERN_WINDOW];

/* PATTERN_WINDOW bytes of the stream of connection `index`, from `position` on. */
static inline const uint8_t *pattern_at(unsigned index, uint64_t position) {
    return &pattern_table[(position + index * UINT64_C(7919)) % PATTERN_PERIOD];
}

#endif
