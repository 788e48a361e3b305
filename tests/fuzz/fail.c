/* A CHECK that fails ends the process in a way that libFuzzer keeps the input for. */
#include "failure.h"
#include "wtest.h"

_Noreturn void wtest_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    failure_say(file, line, format, arguments);
    va_end(arguments);
    abort();
}

_Noreturn void wtest_skip(const char *reason) {
    wtest_fail(__FILE__, __LINE__, "skipped: %s", reason);
}
