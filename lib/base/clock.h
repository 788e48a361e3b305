/* Time. Everything in weft counts CLOCK_MONOTONIC nanoseconds.
 *
 * The cycle counter answers a cheaper question: has so little time passed since the last reading
 * that the cached one will do? It never becomes a time itself. */
#ifndef WEFT_LIB_BASE_CLOCK_H
#define WEFT_LIB_BASE_CLOCK_H

#include <stdint.h>

#define NSEC_PER_SEC UINT64_C(1000000000)

/* CLOCK_MONOTONIC now; in test builds clock_test_ns replaces it when it is not zero. */
uint64_t clock_now_ns(void);

#ifdef WEFT_SEAM
extern uint64_t clock_test_ns;
#endif

/* a + b without wrapping: durations past the clock's range mean for ever. */
static inline uint64_t time_add(uint64_t a, uint64_t b) {
    uint64_t sum = a + b;
    return sum < a ? UINT64_MAX : sum;
}

/* Cycles of a counter that runs at a constant rate; 0 where there is none, which makes every
 * cached time look stale. */
static inline uint64_t clock_cycles(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

/* While fewer cycles than this have passed since a reading, less than CLOCK_STALE_NS has passed,
 * on any counter of 1 GHz and up. */
#define CLOCK_STALE_CYCLES UINT64_C(60000)
#define CLOCK_STALE_NS UINT64_C(60000)

#endif
