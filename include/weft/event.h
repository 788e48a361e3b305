/* weft/event.h: the event bits, and an event that the program itself triggers.
 *
 * One set of bits serves three ways: READ, WRITE, EDGE, ONESHOT and EXCLUSIVE ask, in
 * weft_selector_register() and weft_watch_start(); READ, WRITE, HANGUP and ERROR report, in
 * weft_ready.events and to a watch; TIMER, SIGNAL, PROCESS and USER tell what kind of source
 * reported, with ONESHOT and FINISHED for a source that has given all it had.
 *
 * A weft_event is an eventfd(2) that lives outside any selector. weft_selector_register_event()
 * (weft/selector.h) puts it into one or several; a trigger then wakes exactly one of those that
 * wait.
 *
 *     weft_event_create(&ev);
 *     weft_selector_register_event(s, ev, NULL);
 *     ...
 *     weft_event_trigger(ev);                 // any thread, or a signal handler
 *     ...
 *     weft_selector_unregister_event(s, ev);
 *     weft_event_destroy(ev);
 */
#ifndef WEFT_EVENT_H
#define WEFT_EVENT_H

#include <weft/api.h>

WEFT_BEGIN_DECLS

typedef struct weft_event weft_event;

enum {
    WEFT_READ      = 1u << 0,  /* reading will not block: bytes, a connection, the end (EPOLLIN) */
    WEFT_WRITE     = 1u << 1,  /* writing will not block (EPOLLOUT) */
    WEFT_TIMER     = 1u << 2,  /* a timer expired */
    WEFT_SIGNAL    = 1u << 3,  /* a signal was taken */
    WEFT_PROCESS   = 1u << 4,  /* a process ended */
    WEFT_USER      = 1u << 5,  /* a weft_event was triggered */
    WEFT_ERROR     = 1u << 6,  /* the fd is in error (EPOLLERR); reported unasked */
    WEFT_ONESHOT   = 1u << 7,  /* ask: report once, then pause until the next update (EPOLLONESHOT).
                                  Of a timer: expire once. Reported with FINISHED */
    WEFT_FINISHED  = 1u << 8,  /* nothing more will come: unregister at leisure. A oneshot timer, a
                                  process; comes with ONESHOT and TIMER or PROCESS */
    WEFT_HANGUP    = 1u << 9,  /* the peer closed, or closed its sending half (EPOLLHUP,
                                  EPOLLRDHUP). No error, and bytes may still wait: read up to
                                  the end */
    WEFT_EDGE      = 1u << 10, /* ask: report changes, not states (EPOLLET) */
    WEFT_EXCLUSIVE = 1u << 11, /* ask: of several selectors with this fd, wake few rather than all
                                  (EPOLLEXCLUSIVE); not with ONESHOT; reports no half-close */
};

/* Creates an event, not triggered.
 *
 * Thread:  any.
 * Owns:    the event is the caller's; weft_event_destroy() ends it.
 * Returns: 0, or
 *          -EINVAL  ret_event is NULL
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory; -ENODEV  the kernel cannot mount its anonymous inodes
 *          -EPERM   in a forked child
 * See:     eventfd(2), with EFD_CLOEXEC and EFD_NONBLOCK.
 */
WEFT_API int weft_event_create(weft_event **ret_event);

/* Closes the event's file descriptor and frees it. Unregister it everywhere first, and let no
 * thread or signal handler that might still trigger it be left.
 *
 * Thread:  any.
 * Owns:    ev ends here.
 * Returns: nothing; NULL is ignored.
 * See:     close(2).
 */
WEFT_API void weft_event_destroy(weft_event *ev);

/* Triggers ev. Triggers that nobody has taken yet add up and are reported together, their number in
 * weft_ready.value. Where the event is in several selectors, one taker gets them all.
 *
 * Thread:  any + async-signal-safe.
 * Returns: 0, also when the counter is saturated: ev is then as triggered as can be; or
 *          -EINVAL  ev is NULL
 *          -EPERM   in a forked child
 * See:     eventfd(2) on the counter; write(2).
 */
WEFT_API int weft_event_trigger(weft_event *ev);

WEFT_END_DECLS

#endif
