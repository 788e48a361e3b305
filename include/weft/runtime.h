/* weft/runtime.h: a runtime: a set of workers, from create to destroy.
 *
 * weft_runtime_create() makes the workers, which accept tasks and listeners from then on;
 * weft_runtime_start() gives each its thread; weft_runtime_join() waits for the end, and
 * weft_runtime_run() is both. weft_runtime_stop(), or a signal named to weft_runtime_stop_on(),
 * asks for that end, and weft_runtime_destroy() frees what is left. Several runtimes in one process
 * are legal; a signal number belongs to one of them at a time.
 *
 * A stop takes four steps, in this order:
 *
 *     1  it is asked for: listeners close, streams get on_stop; posts are still accepted
 *     2  all workers meet once their streams are gone, or the grace time is over
 *     3  the queues close, and every task accepted until then runs; a task posted by one of them is
 *        accepted or refused, never lost
 *     4  on_worker_stop on each worker; the threads end
 *
 * Signals. Threads that weft creates block all signals but synchronous faults. Of the program's own
 * threads weft touches only the one that calls create or stop_on, and only the numbers named there.
 * Create the runtime in main() before other threads, which then inherit the mask, and nothing else
 * is needed. Blocked numbers stay blocked: a mask restored at the end would let a late second
 * SIGTERM kill the process.
 */
#ifndef WEFT_RUNTIME_H
#define WEFT_RUNTIME_H

#include <weft/api.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

/* weft_runtime_options.flags */
enum {
    WEFT_PIN_WORKERS = 1u << 0, /* tie each worker to one of the CPUs this process may run on; one
                                   that cannot be runs untied, and the log says so */
};

/* weft_runtime_set_spin() */
enum {
    WEFT_SPIN_AUTO = 0, /* where this process may use at least two CPUs more than it has workers */
    WEFT_SPIN_ALWAYS = 1,
    WEFT_SPIN_NEVER  = 2,
};

/* All zero means the defaults. */
typedef struct weft_runtime_options {
    unsigned workers;    /* 0: one per CPU this process may run on (sched_getaffinity(2)); at most
                             1024 */
    uint32_t flags;      /* WEFT_PIN_WORKERS */
    const int *signals;  /* zero-terminated numbers this runtime will watch; create blocks exactly
                             these in the calling thread and leaves them blocked. NULL: none */
    uint64_t stall_ns;   /* a callback running longer is reported in the log and counted in
                             weft_stats.stalls; 0: 100 ms; WEFT_FOREVER: off */
    uint64_t grace_ns;   /* on stop: time for streams to flush and close; 0: 1 s */
    size_t max_buffered; /* bytes held for all streams together; 0: a quarter of memory; above it
                             the largest holders are closed */
    void (*on_worker_start)(weft_worker *w, void *arg); /* on each worker's thread, before anything
                                                           else */
    void (*on_worker_stop)(weft_worker *w, void *arg);  /* its last callback */
    void *arg;                                          /* for both */
    uint64_t reserved[8];                               /* zero */
} weft_runtime_options;

/* Creates a runtime with its workers, not yet their threads. It accepts posts and listeners at
 * once.
 *
 * Thread:  any; it is the calling thread in which options->signals are blocked.
 * Owns:    the runtime is the caller's; weft_runtime_destroy() ends it. options (NULL: the
 *          defaults) and what it points to are read before the call returns; arg must live as long
 *          as the workers.
 * Returns: 0, or
 *          -EINVAL  ret_runtime is NULL, more than 1024 workers, an unknown flag, reserved not
 *                   zero, or a signal that cannot be waited for (see
 *                   weft_selector_register_signal())
 *          -EBUSY   one of the signals belongs to another runtime
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     epoll_create1(2), eventfd(2), pthread_sigmask(3).
 */
WEFT_API int weft_runtime_create(const weft_runtime_options *options, weft_runtime **ret_runtime);

/* Stops rt if it runs, joins its threads, drops the owner's reference. A runtime that was never
 * started runs the tasks it accepted on the calling thread. What others hold by weft_runtime_ref()
 * stays valid for posts, which are refused.
 *
 * Thread:  any but the runtime's own, once. On one of its workers it logs, and acts as stop.
 * Owns:    the owner's reference ends here.
 * Returns: nothing; NULL is ignored.
 * See:     pthread_join(3).
 */
WEFT_API void weft_runtime_destroy(weft_runtime *rt);

/* Whether workers look for work, for at most 30 us, before they sleep: a post then reaches one in
 * a fraction of what waking it takes, at the cost of CPU time. A worker that finds nothing, or that
 * is preempted, looks less and less often. WEFT_SPIN_AUTO, the default, decides by the CPUs that
 * this process may use and by the limits of its control groups, as they are when the runtime is
 * created; limits that cannot be read leave none to spare. See weft_stats.spins.
 *
 * Thread:  any, before the start.
 * Returns: 0, or
 *          -EINVAL  rt is NULL, or spin is none of these
 *          -EALREADY  the runtime has started, or ended
 *          -EPERM   in a forked child
 * See:     sched_getaffinity(2), cgroups(7).
 */
WEFT_API int weft_runtime_set_spin(weft_runtime *rt, uint32_t spin);

/* Takes a reference, for a foreign thread or a signal handler that may outlive the owner: with one,
 * a post after the end is refused with -ESHUTDOWN, never unsafe. It does not keep the runtime
 * running.
 *
 * Thread:  any that holds a reference or knows that the owner still does.
 * Owns:    the reference is the caller's; weft_runtime_unref() ends it.
 * Returns: rt; NULL for NULL.
 * See:     weft_runtime_unref().
 */
WEFT_API weft_runtime *weft_runtime_ref(weft_runtime *rt);

/* Drops a reference of weft_runtime_ref(). The last one frees memory; none stops or joins.
 *
 * Thread:  any.
 * Owns:    the reference ends here.
 * Returns: nothing; NULL is ignored.
 * See:     weft_runtime_destroy(), which drops the owner's.
 */
WEFT_API void weft_runtime_unref(weft_runtime *rt);

/* Names a signal that stops rt. May be called several times, for several numbers. The second such
 * signal ends the grace time.
 *
 * Thread:  any; it is the calling thread in which signo is blocked. Threads that exist already must
 *          block it themselves.
 * Returns: 0, also when signo was named before, or
 *          -EINVAL  rt is NULL, or a signal that cannot be waited for (see
 *                   weft_selector_register_signal())
 *          -EBUSY   signo belongs to another runtime
 *          -ESHUTDOWN  rt has ended
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     signalfd(2), signal(7), pthread_sigmask(3).
 */
WEFT_API int weft_runtime_stop_on(weft_runtime *rt, int signo);

/* Starts the threads, which run when the call returns. After a stop that came first they start, and
 * go through its four steps.
 *
 * Thread:  any.
 * Returns: 0, or
 *          -EINVAL  rt is NULL
 *          -EALREADY  started before
 *          -EAGAIN  the system has no thread left; start may be tried again
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     pthread_create(3); prctl(2), PR_SET_TIMERSLACK, which weft sets in its own threads.
 */
WEFT_API int weft_runtime_start(weft_runtime *rt);

/* Waits until rt was stopped and every thread of it has ended. Once they have it returns at once.
 *
 * Thread:  any but the runtime's own.
 * Returns: 0, or
 *          -EINVAL  rt is NULL or was not started
 *          -EDEADLK  called from a callback
 *          -EPERM   in a forked child
 * See:     pthread_join(3).
 */
WEFT_API int weft_runtime_join(weft_runtime *rt);

/* weft_runtime_start(), then weft_runtime_join(): what main() ends with.
 *
 * Thread:  any but the runtime's own.
 * Returns: 0 when rt was stopped and has ended, or
 *          -EINVAL  rt is NULL
 *          -EALREADY  started before
 *          -EDEADLK  called from a callback of a runtime that is not started yet
 *          -EAGAIN  the system has no thread left
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     weft_runtime_start(), weft_runtime_join().
 */
WEFT_API int weft_runtime_run(weft_runtime *rt);

/* Asks rt to stop, and returns at once. Sticky: before the start it takes effect there, and a
 * second one changes nothing.
 *
 * Thread:  any + async-signal-safe.
 * Returns: nothing; NULL is ignored.
 * See:     signal-safety(7), eventfd(2).
 */
WEFT_API void weft_runtime_stop(weft_runtime *rt);

/* The number of workers, which never changes.
 *
 * Thread:  any.
 * Returns: the number, at least 1; 0 for NULL.
 * See:     weft_runtime_options.workers.
 */
WEFT_API unsigned weft_runtime_worker_count(const weft_runtime *rt);

/* The worker with that index, from 0 on.
 *
 * Thread:  any.
 * Owns:    the worker is the runtime's and valid as long as a reference to that is.
 * Returns: the worker, or NULL out of range.
 * See:     weft_worker_index().
 */
WEFT_API weft_worker *weft_runtime_worker(weft_runtime *rt, unsigned index);

/* A lightly loaded worker: the less loaded of a few that are looked at, so that many callers at
 * once do not all pick the same one.
 *
 * Thread:  any.
 * Owns:    the worker is the runtime's and valid as long as a reference to that is.
 * Returns: the worker; NULL for NULL.
 * See:     M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS
 *          12(10), 2001.
 */
WEFT_API weft_worker *weft_runtime_pick(weft_runtime *rt);

WEFT_END_DECLS

#endif
