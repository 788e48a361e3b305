#include "wtest.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>

_Noreturn void wtest_fail(const char *file, int line, const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    cr_assert_fail("%s:%d: %s", file, line, message);
    abort();
}

_Noreturn void wtest_skip(const char *reason) {
    cr_skip_test("%s", reason);
    abort();
}
