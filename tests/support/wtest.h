/* One test body, two runners.
 *
 * WTEST(suite, name) { ... } becomes a Criterion test, or, with -DWTEST_PLAIN, an entry of the
 * plain runner. The plain one exists because Criterion cannot start under ThreadSanitizer (its
 * shared arena lies in the sanitizer's shadow range); it also serves gdb, helgrind and stress.
 *
 * The CHECK macros belong to the test's own thread. Other threads record what they saw in atomics;
 * the test joins them and checks. */
#ifndef WEFT_TESTS_WTEST_H
#define WEFT_TESTS_WTEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#ifndef WTEST_TIMEOUT_S
#define WTEST_TIMEOUT_S 120
#endif

#ifdef WTEST_PLAIN

struct wtest_case {
    const char *suite, *name;
    void (*fn)(void);
    struct wtest_case *next;
};
void wtest_register(struct wtest_case *test);

#define WTEST(suite_, name_)                                                                       \
    static void suite_##_##name_##_body(void);                                                     \
    __attribute__((constructor)) static void suite_##_##name_##_register(void) {                   \
        static struct wtest_case test = {#suite_, #name_, suite_##_##name_##_body, 0};             \
        wtest_register(&test);                                                                     \
    }                                                                                              \
    static void suite_##_##name_##_body(void)

#else

#include <criterion/criterion.h>
#define WTEST(suite_, name_) Test(suite_, name_, .timeout = WTEST_TIMEOUT_S)

#endif

_Noreturn void wtest_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void wtest_skip(const char *reason);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            wtest_fail(__FILE__, __LINE__, "%s", #condition);                                      \
    } while (0)

/* Integers of any width and sign; prints both. */
#define CHECK_EQ(actual, expected)                                                                 \
    do {                                                                                           \
        intmax_t actual_ = (intmax_t)(actual), expected_ = (intmax_t)(expected);                   \
        if (actual_ != expected_)                                                                  \
            wtest_fail(__FILE__, __LINE__, "%s is %jd, expected %s = %jd", #actual, actual_,       \
                       #expected, expected_);                                                      \
    } while (0)

#define CHECK_STR(actual, expected)                                                                \
    do {                                                                                           \
        const char *actual_ = (actual), *expected_ = (expected);                                   \
        if (!actual_ || __builtin_strcmp(actual_, expected_) != 0)                                 \
            wtest_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #actual,               \
                       actual_ ? actual_ : "(null)", expected_);                                   \
    } while (0)

/* Says more than the condition does: a printf format and its arguments. */
#define CHECK_MSG(condition, ...)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            wtest_fail(__FILE__, __LINE__, __VA_ARGS__);                                           \
    } while (0)

/* Sanitizers and valgrind slow everything down: loops of the long tests are divided by this. */
unsigned wtest_slowdown(void);
bool wtest_under_valgrind(void);

#endif
