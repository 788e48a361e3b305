#include "wtest.h"

#include "base/sanitizer.h"

#include <stdlib.h>
#include <string.h>

/* valgrind runs set WTEST_SLOWDOWN; sanitizer and coverage builds know it themselves. */
unsigned wtest_slowdown(void) {
    const char *asked = getenv("WTEST_SLOWDOWN");
    if (asked && atoi(asked) > 0)
        return (unsigned)atoi(asked);
#if defined(THREAD_SANITIZER)
    return 20;
#elif defined(ADDRESS_SANITIZER) || defined(WEFT_COVERAGE)
    return 4;
#else
    return 1;
#endif
}

bool wtest_under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}
