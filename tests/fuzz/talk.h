/* A client of a protocol of weft's: says something in pieces, and hears the answer. */
#ifndef WEFT_TESTS_FUZZ_TALK_H
#define WEFT_TESTS_FUZZ_TALK_H

#include "input.h"

#include <weft.h>

enum { TALK_PIECES = 8 };

/* Where it is cut: the ends of all pieces but the last, in order. */
struct cuts {
    size_t at[TALK_PIECES - 1];
    unsigned count;
};

/* Chosen by the input. */
struct cuts cuts_of(struct input *in, size_t length);

/* The one worker of a runtime that lives until the process ends. */
weft_worker *talk_worker(void);

/* A connection to it: the bytes, piece by piece, each of which the worker has seen before the next
 * is sent; then their end. What came back until the other end; how much. */
size_t talk(const weft_protocol *protocol, const uint8_t *bytes, size_t length,
            const struct cuts *cuts, uint8_t *answer, size_t size);

#endif
