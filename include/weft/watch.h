/* weft/watch.h: readiness of a file descriptor, as a callback on a worker.
 *
 * A watch is an entry in the worker's selector with a function: started, updated to pause or to ask
 * for something else, and stopped, which ends the handle. The fd stays the program's throughout; so
 * does SO_ERROR on a watched socket, which weft leaves for its owner to read. For connections
 * prefer weft/stream.h; a watch is for what is no stream: a pipe, a terminal, a datagram socket,
 * the fd of another library, or of another selector.
 *
 *     static void input(weft_watch *watch, uint32_t events, void *arg) {
 *         char buffer[4096];
 *         ssize_t n = read(weft_watch_fd(watch), buffer, sizeof buffer);
 *         if (n == 0) weft_watch_stop(watch);
 *     }
 *
 *     weft_watch_start(w, fd, WEFT_READ, input, NULL, NULL);
 */
#ifndef WEFT_WATCH_H
#define WEFT_WATCH_H

#include <weft/api.h>
#include <weft/event.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_watch weft_watch;

/* Watches fd. events is WEFT_READ, WEFT_WRITE, both or neither (paused), with WEFT_EDGE,
 * WEFT_ONESHOT or WEFT_EXCLUSIVE added as in weft_selector_register(). fn gets the bits that are
 * set now: READ and WRITE of those asked for, HANGUP and ERROR. It never runs before this call has
 * returned.
 *
 * Thread:  owner of w.
 * Owns:    fd stays the caller's, to be closed after the stop. The handle is valid until
 *          weft_watch_stop(), or until the worker ends; ret_watch may be NULL, for fn gets it too.
 * Returns: 0, or
 *          -EINVAL  w or fn is NULL, or a bad combination of events
 *          -EBADF   fd is negative or not open
 *          -EEXIST  fd is watched on w already
 *          -EPERM   fd is a regular file or a directory, which are always ready; on another thread;
 *                   in a forked child
 *          -ELOOP   fd is a selector that leads back to w's
 *          -EMFILE, -ENFILE  no file descriptor left; only for a watch that starts paused: the
 *                   first pause on a worker takes one, for all of its watches
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 * See:     epoll_ctl(2), EPOLL_CTL_ADD.
 */
WEFT_API int weft_watch_start(weft_worker *w, int fd, uint32_t events,
                              void (*fn)(weft_watch *watch, uint32_t events, void *arg), void *arg,
                              weft_watch **ret_watch);

/* Changes what is watched for, as weft_selector_update() does: neither READ nor WRITE pauses; an
 * update after a ONESHOT has fired, or with EDGE, arms anew.
 *
 * Thread:  owner.
 * Returns: 0, or
 *          -EINVAL  watch is NULL, or a bad combination of events
 *          -EBADF   the fd was closed
 *          -EPERM   the fd was closed and its number now is a file that is always ready; on another
 *                   thread; in a forked child
 *          -ELOOP   resuming would close a loop of selectors
 *          -EMFILE, -ENFILE  no file descriptor left for the first pause on this worker; the watch
 *                   stays as it was
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 * See:     epoll_ctl(2): EPOLL_CTL_DEL to pause, _ADD to resume, _MOD to change.
 */
WEFT_API int weft_watch_update(weft_watch *watch, uint32_t events);

/* Ends the watch: fn is not called any more, not even for an event of this very batch. Legal in fn.
 *
 * Thread:  owner.
 * Owns:    the handle ends here; fd stays the caller's.
 * Returns: nothing; NULL is ignored.
 * See:     epoll_ctl(2), EPOLL_CTL_DEL.
 */
WEFT_API void weft_watch_stop(weft_watch *watch);

/* The fd that is watched.
 *
 * Thread:  any, while the watch lives.
 * Owns:    fd stays the program's.
 * Returns: the fd, or
 *          -EINVAL  watch is NULL
 *          -EPERM   in a forked child
 * See:     weft_watch_start().
 */
WEFT_API int weft_watch_fd(const weft_watch *watch);

WEFT_END_DECLS

#endif
