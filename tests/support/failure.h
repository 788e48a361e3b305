/* How the programs without Criterion say which check has failed; what they do then is theirs. */
#ifndef WEFT_TESTS_FAILURE_H
#define WEFT_TESTS_FAILURE_H

#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 3, 0))) static inline void
failure_say(const char *file, int line, const char *format, va_list arguments) {
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    fflush(stderr);
}

#endif
