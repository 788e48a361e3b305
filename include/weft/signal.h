/* weft/signal.h: signals of the process, as callbacks on a worker.
 *
 * The runtime's sentinel reads a signalfd, 64 signals at a time, and sends each to every worker
 * that watches its number. fn is an ordinary callback: it may do what any other may, and no rule of
 * signal-safety(7) is for it.
 *
 * What a program must do first: name its numbers in weft_runtime_options.signals and create the
 * runtime in main() before other threads exist, so that all of them inherit the mask. A number that
 * some thread leaves unblocked can be given to that thread by the kernel, with its default action
 * or the program's own handler; weft then says so once, with the thread's name.
 *
 * What arrives: everything that is sent to the process (kill(2), sigqueue(3), a terminal's ^C),
 * also numbers that were inherited as ignored. Not what is sent to one thread of it (raise(3),
 * pthread_kill(3)). Standard signals coalesce in the kernel while one is pending (signal(7)).
 * Real-time signals queue, and arrive in order and with their payload. A signal that came before
 * the first watch of its number stays pending for it; one that comes when the last watch has gone
 * is discarded, and does not kill the process. A worker that lags behind by tens of thousands of
 * signals makes the sentinel leave them in the kernel's queue, whose length RLIMIT_SIGPENDING
 * bounds, until the worker has caught up: the memory for them is bounded, and none is lost.
 *
 *     static void reload(const struct signalfd_siginfo *info, void *arg) { ... }
 *
 *     static void start(weft_worker *w, void *arg) {
 *         if (weft_worker_index(w) == 0)
 *             weft_signal_watch(w, SIGHUP, reload, NULL, NULL);
 *     }
 */
#ifndef WEFT_SIGNAL_H
#define WEFT_SIGNAL_H

#include <sys/signalfd.h>
#include <weft/api.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_signal weft_signal;

/* Calls fn for each signal of that number that the process gets from now on. Several watches of a
 * number, on one worker or on many, each get every signal; on one worker in the order of their
 * start. info holds what signalfd(2) gives (number, sender, payload, ...) and is valid until fn
 * returns. fn never runs before this call has returned.
 *
 * Thread:  owner of w.
 * Owns:    the handle is valid until weft_signal_stop(), or until the worker ends; ret_signal may
 *          be NULL: the watch then lasts as long as the worker. A watch does not keep the runtime
 *          from stopping.
 * Returns: 0, or
 *          -EINVAL  w or fn is NULL, or signo is one that cannot be waited for (SIGKILL, SIGSTOP, a
 *                   synchronous fault, one of the C library's own, or no signal)
 *          -EBUSY   the thread that created the runtime does not block signo (name it in
 *                   weft_runtime_options.signals), or signo belongs to another runtime
 *          -ESHUTDOWN  the runtime's sentinel has ended: no signal would come any more
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory
 *          -EPERM   on another thread; in a forked child
 * See:     signalfd(2), signal(7), proc(5): SigBlk in /proc/self/task/<tid>/status.
 */
WEFT_API int weft_signal_watch(weft_worker *w, int signo,
                               void (*fn)(const struct signalfd_siginfo *info, void *arg),
                               void *arg, weft_signal **ret_signal);

/* Ends the watch: fn is never called after this returns, not even for a signal that is on its way.
 * Legal in fn. The number stays blocked, so a signal that is pending, or comes later, does no harm.
 *
 * Thread:  owner.
 * Owns:    the handle ends here.
 * Returns: nothing; NULL is ignored.
 * See:     weft_signal_watch().
 */
WEFT_API void weft_signal_stop(weft_signal *signal);

WEFT_END_DECLS

#endif
