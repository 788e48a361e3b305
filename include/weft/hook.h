/* weft/hook.h: a callback at a fixed point of each iteration.
 *
 * Where tasks answer "run this once" and timers "run this then", a hook answers "run this every
 * time the worker comes by": to batch what its callbacks collected, or to use the moment before it
 * sleeps. A hook is started and stopped; the phase tells where in the iteration it sits:
 *
 *     WEFT_AFTER_WAIT -> events -> tasks -> timers -> writes -> closes -> WEFT_BEFORE_WAIT
 *                                  [ -> WEFT_IDLE, if the wait is going to block ] -> wait
 *
 * Hooks of one phase run in the order of their starts. None keeps the worker awake.
 */
#ifndef WEFT_HOOK_H
#define WEFT_HOOK_H

#include <weft/api.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_hook weft_hook;

enum {
    WEFT_BEFORE_WAIT = 1u << 0, /* the last thing of an iteration */
    WEFT_AFTER_WAIT  = 1u << 1, /* the first thing of an iteration */
    WEFT_IDLE        = 1u << 2, /* before a wait that would block; does not prevent it */
};

/* Runs fn(arg) at phase, one of the three, in each iteration of w. A hook that is started by a hook
 * first runs in the next iteration.
 *
 * Thread:  owner of w.
 * Owns:    the handle is valid until weft_hook_stop(), or until the worker ends; ret_hook may be
 *          NULL for one that stays to the end.
 * Returns: 0, or
 *          -EINVAL  w or fn is NULL, or phase is not one of the three
 *          -ENOMEM  no memory
 *          -EPERM   on another thread; in a forked child
 * See:     epoll_wait(2), the wait in question.
 */
WEFT_API int weft_hook_start(weft_worker *w, uint32_t phase, void (*fn)(void *arg), void *arg,
                             weft_hook **ret_hook);

/* Ends the hook: fn is not called any more, not even later in this phase. Legal in fn.
 *
 * Thread:  owner.
 * Owns:    the handle ends here.
 * Returns: nothing; NULL is ignored.
 * See:     weft_hook_start().
 */
WEFT_API void weft_hook_stop(weft_hook *hook);

WEFT_END_DECLS

#endif
