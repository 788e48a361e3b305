#include "wtest.h"

#include <stdlib.h>

/* valgrind runs set WTEST_SLOWDOWN; sanitizer builds know it themselves. */
unsigned wtest_slowdown(void) {
    const char *asked = getenv("WTEST_SLOWDOWN");
    if (asked && atoi(asked) > 0)
        return (unsigned)atoi(asked);
#if defined(__SANITIZE_THREAD__)
    return 20;
#elif defined(__SANITIZE_ADDRESS__)
    return 4;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return 20;
#elif __has_feature(address_sanitizer)
    return 4;
#endif
#endif
    return 1;
}
