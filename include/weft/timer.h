/* weft/timer.h: timers of a worker.
 *
 * A weft_timer lies in the program's own object, starting from zero, and is on one worker's wheel
 * from start to expiry or stop. Start, stop and expiry are O(1) with millions pending, and none
 * allocates or fails.
 *
 * A timer is never early, counted from the call, however long the callback that starts it has been
 * running, and at most one tick of 1 ms late on an idle worker. Equal deadlines fire in the order
 * of their starts. A delay of 0 fires in the next iteration. Stopping another timer that is due,
 * from a callback, guarantees that it does not fire. Timers that are pending when the worker ends
 * do not fire; they need no stop then.
 *
 *     struct session { weft_timer idle; ... };
 *
 *     static void session_idle(weft_timer *timer) {
 *         struct session *session = WEFT_CONTAINER_OF(timer, struct session, idle);
 *         ...
 *     }
 *
 *     session->idle = (weft_timer){ .fn = session_idle };
 *     weft_timer_start(w, &session->idle, WEFT_SEC(30), 0);
 */
#ifndef WEFT_TIMER_H
#define WEFT_TIMER_H

#include <weft/api.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_timer weft_timer;

/* Embedded in an object of the program's; zero but for fn. Its layout is frozen for the SONAME. Not
 * to be moved, copied or freed while pending. fn may restart, stop or, once it is not pending, free
 * it. */
struct weft_timer {
    void (*fn)(weft_timer *timer);
    uint64_t reserved[7];
};

/* Starts t, or restarts it if it is pending: it fires delay_ns nanoseconds from now, and then every
 * period_ns; 0: once. Periods that were missed collapse into one call, and the rhythm is kept.
 * WEFT_FOREVER as the delay never fires. A periodic timer is pending during its callback: stop it
 * before freeing it.
 *
 * Thread:  owner of w; a pending timer can be restarted only on the worker that it is on.
 * Owns:    the memory of t must stay until it has fired or was stopped.
 * Returns: nothing; without w, t or t->fn it does nothing.
 * See:     clock_gettime(2), CLOCK_MONOTONIC; G. Varghese and A. Lauck, Hashed and Hierarchical
 *          Timing Wheels, IEEE/ACM ToN 5(6), 1997.
 */
WEFT_API void weft_timer_start(weft_worker *w, weft_timer *t, uint64_t delay_ns,
                               uint64_t period_ns);

/* Starts t, or restarts it, to fire once at deadline_ns of CLOCK_MONOTONIC. It reads no clock, and
 * is the cheaper of the two where many timers are restarted: pass weft_worker_now_ns() plus a
 * delay. A deadline that is over fires in the next iteration.
 *
 * Thread:  owner of w; a pending timer can be restarted only on the worker that it is on.
 * Owns:    the memory of t must stay until it has fired or was stopped.
 * Returns: nothing; without w, t or t->fn it does nothing.
 * See:     clock_gettime(2), CLOCK_MONOTONIC.
 */
WEFT_API void weft_timer_start_at(weft_worker *w, weft_timer *t, uint64_t deadline_ns);

/* Stops t; it does not fire any more, even where it is due in this very batch. Idempotent, also on
 * a timer that was never started.
 *
 * Thread:  owner of the worker that t is on.
 * Owns:    the memory of t is the caller's again.
 * Returns: true: it was pending and will not fire; false: it was not pending.
 * See:     weft_timer_is_pending().
 */
WEFT_API bool weft_timer_stop(weft_timer *t);

/* Whether t will fire. A timer that fires once is not pending in its callback, a periodic one is.
 *
 * Thread:  owner of the worker that t is on.
 * Returns: true or false; false for NULL and for a timer that is all zero.
 * See:     weft_timer_stop().
 */
WEFT_API bool weft_timer_is_pending(const weft_timer *t);

/* The nanoseconds from now until t is due.
 *
 * Thread:  owner of the worker that t is on.
 * Returns: nanoseconds; 0 when it is due or not pending.
 * See:     clock_gettime(2), CLOCK_MONOTONIC.
 */
WEFT_API uint64_t weft_timer_remaining_ns(const weft_timer *t);

WEFT_END_DECLS

#endif
