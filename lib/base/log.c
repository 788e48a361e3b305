#include "base/log.h"

#include "weft/error.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink_fn)(int level, const char *message, void *arg);
static void *sink_arg;

void weft_set_log(void (*fn)(int level, const char *message, void *arg), void *arg) {
    pthread_mutex_lock(&sink_lock);
    sink_fn = fn;
    sink_arg = arg;
    pthread_mutex_unlock(&sink_lock);
}

static void log_deliver(enum log_level level, const char *message) {
    /* The lock is not held while the program's function runs: it may log, or set another one. */
    pthread_mutex_lock(&sink_lock);
    void (*fn)(int, const char *, void *) = sink_fn;
    void *arg = sink_arg;
    pthread_mutex_unlock(&sink_lock);
    if (fn)
        fn((int)level, message, arg);
    else if (level <= LOG_LEVEL_WARNING)
        fprintf(stderr, "weft: %s\n", message);
}

void log_line(enum log_level level, const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log_deliver(level, message);
}

void log_misuse(const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log_deliver(LOG_LEVEL_ERROR, message);
#ifdef WEFT_DEBUG
    abort();
#endif
}
