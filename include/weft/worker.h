/* weft/worker.h: a worker: one thread, one selector, one loop.
 *
 * Workers come with the runtime (weft/runtime.h) and end with it; the program meets them as the `w`
 * that other calls take, and as weft_worker_current() inside a callback. Whatever is attached to a
 * worker (timers, watches, hooks, streams) belongs to that worker's thread: attach it in
 * on_worker_start or in a callback, and reach it from elsewhere by posting a task (weft/task.h).
 * Before the runtime starts there is no such thread, and owner calls give -EPERM. The getters below
 * are for any thread.
 *
 * One iteration of the loop: wait, read the clock, ready file descriptors, posted tasks, due
 * timers, writes made from outside their stream, what was closed is freed, hooks. Tasks and timers
 * have a budget per iteration, so that no flood of one starves the others.
 */
#ifndef WEFT_WORKER_H
#define WEFT_WORKER_H

#include <weft/api.h>
#include <weft/selector.h>

WEFT_BEGIN_DECLS

typedef struct weft_runtime weft_runtime;
typedef struct weft_worker weft_worker;

/* Counters of one worker since start; times in nanoseconds. weft_stats grows into `reserved`. */
typedef struct weft_stats {
    uint64_t iterations;          /* turns of the loop */
    uint64_t waits;               /* of these, turns whose wait could block */
    uint64_t wakeups_sent;        /* eventfd writes that posters made to wake this worker */
    uint64_t events;              /* ready entries that the selector reported */
    uint64_t tasks;               /* tasks run */
    uint64_t timers;              /* timer callbacks run */
    uint64_t stalls;              /* callbacks that ran longer than weft_runtime_options.stall_ns */
    uint64_t busy_ns;             /* time spent not waiting */
    uint64_t streams_open;        /* streams now */
    uint64_t streams_accepted;    /* connections of listeners that became streams here */
    uint64_t streams_handed_over; /* connections given to a worker with fewer streams */
    uint64_t accept_pauses;       /* times accepting paused for want of fds or memory */
    uint64_t bytes_in;            /* received by streams */
    uint64_t bytes_out;           /* taken by the kernel from streams */
    uint64_t bytes_held;          /* in stream buffers now: unsent output, unconsumed input */
    uint64_t retired_waiting;     /* weft_retire() functions not run yet, in the process */
    uint64_t spins;               /* waits that began by looking for work, where CPUs are spare */
    uint64_t spins_hit;           /* of these, those that found some, and did not sleep */
    uint64_t spin_ns;             /* time spent looking; no part of busy_ns */
    uint64_t reserved[12];
} weft_stats;

/* The worker on whose thread the caller runs. The cheapest call of all: one thread-local load.
 *
 * Thread:  any + async-signal-safe.
 * Returns: the worker, or NULL off a worker.
 * See:     pthreads(7).
 */
WEFT_API weft_worker *weft_worker_current(void);

/* The runtime that w belongs to.
 *
 * Thread:  any.
 * Owns:    no reference is taken; see weft_runtime_ref().
 * Returns: the runtime; NULL for NULL.
 * See:     weft/runtime.h.
 */
WEFT_API weft_runtime *weft_worker_runtime(weft_worker *w);

/* The selector that w waits on, to look at (count, contains, get_data) or to nest by its fd. To
 * register, update, unregister or select on it is -EPERM: use weft_watch_start().
 *
 * Thread:  any.
 * Owns:    the selector stays the worker's.
 * Returns: the selector; NULL for NULL.
 * See:     weft/selector.h.
 */
WEFT_API weft_selector *weft_worker_selector(weft_worker *w);

/* The number of w in its runtime, from 0 on: weft_runtime_worker(rt, index) is w again.
 *
 * Thread:  any.
 * Returns: the index; 0 for NULL.
 * See:     weft_runtime_worker().
 */
WEFT_API unsigned weft_worker_index(const weft_worker *w);

/* CLOCK_MONOTONIC as of this iteration, in nanoseconds: the clock is read when a callback first
 * asks, and every later one of the iteration sees the same time. It is the clock of
 * weft_timer_start_at().
 *
 * Thread:  any; off w's thread there is no iteration, and it is the present.
 * Returns: nanoseconds; 0 for NULL.
 * See:     clock_gettime(2).
 */
WEFT_API uint64_t weft_worker_now_ns(weft_worker *w);

/* Attaches one pointer of the program's to w: a place for what it keeps per thread. Usually set in
 * on_worker_start and freed in on_worker_stop.
 *
 * Thread:  owner; any before start.
 * Owns:    data stays the caller's.
 * Returns: nothing.
 * See:     weft_runtime_options.on_worker_start.
 */
WEFT_API void weft_worker_set_data(weft_worker *w, void *data);

/* The pointer of weft_worker_set_data().
 *
 * Thread:  any; one that reads it off the owner's thread orders that read itself.
 * Returns: the pointer, NULL before it was set.
 * See:     weft_worker_set_data().
 */
WEFT_API void *weft_worker_data(const weft_worker *w);

/* Copies the counters of w. size is the sizeof of the caller's struct: a program built against an
 * older or newer weft gets what both know, and zero in the bytes past weft's. Counters are
 * consistent one by one, not with each other, and may lag by the running iteration.
 *
 *     weft_stats stats;
 *     weft_worker_stats(w, &stats, sizeof stats);
 *
 * Thread:  any.
 * Returns: 0, or
 *          -EINVAL  w is NULL
 *          -EPERM   in a forked child
 * See:     C11 7.17.7.2, atomic_load: one writer, relaxed loads.
 */
WEFT_API int weft_worker_stats(weft_worker *w, weft_stats *ret_stats, size_t size);

WEFT_END_DECLS

#endif
