/* Random numbers for tests: the same sequence everywhere, and a seed to print with every failure.
 * The environment variable WTEST_SEED replays one. */
#ifndef WEFT_TESTS_RANDOM_H
#define WEFT_TESTS_RANDOM_H

#include <stdint.h>
#include <stdlib.h>

static uint64_t random_state; /* of this file's tests, which each start with random_seed() */

/* xorshift64*; a state of 0 would stay there. */
static inline uint64_t random_u64(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

static inline uint64_t random_below(uint64_t limit) {
    return random_u64() % limit;
}

/* Returns the seed in force: the usual one, or what WTEST_SEED says. */
static inline uint64_t random_seed(uint64_t usual) {
    const char *asked = getenv("WTEST_SEED");
    uint64_t seed = asked ? strtoull(asked, NULL, 0) : usual;
    random_state = seed ? seed : 1;
    return seed;
}

#endif
