/* What weft has to say to a human: one line that says what, where, why and what to do next.
 * An error that a call returns is not logged as well; the log is for what has no caller. */
#ifndef WEFT_LIB_BASE_LOG_H
#define WEFT_LIB_BASE_LOG_H

#include "weft/error.h"

enum log_level {
    LOG_LEVEL_ERROR = WEFT_LOG_ERROR,
    LOG_LEVEL_WARNING = WEFT_LOG_WARNING,
    LOG_LEVEL_INFO = WEFT_LOG_INFO,
    LOG_LEVEL_DEBUG = WEFT_LOG_DEBUG,
};

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A caller broke the contract in a way that cannot be answered by a return value: a release build
 * says so and goes on, a debug build stops. */
void log_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
