/* weft/error.h: around the core: what an error is called, which weft this is, where the log goes.
 *
 * weft_strerror() and weft_err_name() put a result into words; weft_set_log() takes over the few
 * lines that weft itself has to say, about things that no call can return: a listener that pauses
 * for want of file descriptors, a callback that holds up its worker. An error that a call returns
 * is never logged as well. The functions here are the only ones that work unchanged in a forked
 * child.
 *
 *     int r = weft_listen(rt, ":80", &protocol, NULL, NULL);
 *     if (r < 0) fprintf(stderr, "listen: %s (%s)\n", weft_strerror(r), weft_err_name(r));
 */
#ifndef WEFT_ERROR_H
#define WEFT_ERROR_H

#include <weft/api.h>

WEFT_BEGIN_DECLS

/* Severity of a log line: the numbers of syslog(3), so that they can be handed on as they are. */
enum {
    WEFT_LOG_ERROR   = 3, /* something was lost or given up */
    WEFT_LOG_WARNING = 4, /* weft goes on, but somebody should know */
    WEFT_LOG_INFO    = 6, /* worth a line once */
    WEFT_LOG_DEBUG   = 7, /* for whoever debugs weft */
};

/* Replaces the function that log lines go to, for the whole process. fn gets the severity
 * (WEFT_LOG_*), one line without a newline, valid until fn returns, and arg. It may run on any
 * thread, on several at once, and must not call weft. fn NULL brings back the default: warnings and
 * errors to stderr.
 *
 * Thread:  any; a line that is being written meanwhile may still go to the old function.
 * Returns: nothing.
 * See:     syslog(3) for the severities.
 */
WEFT_API void weft_set_log(void (*fn)(int level, const char *message, void *arg), void *arg);

/* The text of a result: "connection refused" for -ECONNREFUSED. Not localized.
 *
 * Thread:  any + async-signal-safe.
 * Returns: a static string, never NULL; a number that is no errno of Linux gets a text too.
 * See:     errno(3), strerror(3).
 */
WEFT_API const char *weft_strerror(int error);

/* The name of a result: "ECONNREFUSED" for -ECONNREFUSED.
 *
 * Thread:  any + async-signal-safe.
 * Returns: a static string, never NULL; a number that is no errno of Linux gets a text too.
 * See:     errno(3), strerrorname_np(3).
 */
WEFT_API const char *weft_err_name(int error);

/* The version of the library at run time, "major.minor.patch". While major is 0, the SONAME carries
 * the minor.
 *
 * Thread:  any + async-signal-safe.
 * Returns: a static string.
 * See:     https://semver.org
 */
WEFT_API const char *weft_version(void);

WEFT_END_DECLS

#endif
