#include "base/clock.h"

#include <time.h>

#ifdef WEFT_SEAM
uint64_t clock_test_ns;
#endif

uint64_t clock_now_ns(void) {
    struct timespec t;
#ifdef WEFT_SEAM
    if (clock_test_ns)
        return clock_test_ns;
#endif
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}
