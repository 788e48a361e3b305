/* weft/selector.h: a selector: what is registered, what is ready.
 *
 * A selector is an epoll(7) set with a table beside it. Five kinds of source go in: file
 * descriptors of the program's own (weft_selector_register), and timers, signals, processes and
 * events, each of which is a file descriptor too, created by weft except for the event's. Every
 * entry is known by its fd and carries one pointer of the program's, `data`. weft_selector_select()
 * waits, and fills an array of weft_ready. Workers are built on selectors, but a selector needs no
 * runtime; it is the tool for a loop of one's own.
 *
 * It is safe across threads. The table is shared, grows on demand to any fd the kernel hands out,
 * never moves an entry and is looked up without a lock; registering and unregistering are legal
 * while another thread selects. One thread selects at a time. Each entry has a generation, and what
 * an fd reported before it was unregistered, or closed and reused, is never shown afterwards; what
 * was handed out already in a batch can be tested with weft_selector_is_live(). The data of an
 * entry that another thread unregisters may be in the hands of the selecting thread until its batch
 * is done with: free it on that thread, or with weft_retire() (weft/task.h).
 *
 *     weft_ready ready[64];
 *     weft_selector_register(s, fd, WEFT_READ, conn);
 *     for (;;) {
 *         int n = weft_selector_select(s, WEFT_FOREVER, ready, 64);
 *         for (int i = 0; i < n; i++)
 *             if (weft_selector_is_live(s, &ready[i]))    // an earlier one may have closed it
 *                 serve(ready[i].data, ready[i].events);
 *     }
 *
 * A selector that belongs to a worker (weft_worker_selector) is for inspection and nesting: calls
 * that register, update, unregister or select give -EPERM on it. Calls that look an fd up take any
 * int and answer -ENOENT; -EBADF comes only from calls that hand the fd to the kernel.
 */
#ifndef WEFT_SELECTOR_H
#define WEFT_SELECTOR_H

#include <sys/signalfd.h>
#include <sys/types.h>

#include <weft/api.h>
#include <weft/event.h>

WEFT_BEGIN_DECLS

typedef struct weft_selector weft_selector;

/* One ready entry. Its layout is frozen for the SONAME. */
typedef struct weft_ready {
    int fd;              /* the entry's fd: the program's, or what the registering call returned */
    uint32_t events;     /* what happened: WEFT_READ ... WEFT_HANGUP */
    int error;           /* with WEFT_ERROR: 0 or -errno. SO_ERROR (socket(7)), consumed by the
                            look; of a process whose status is not to be had what waitid(2) says,
                            -ECHILD as a rule; of another source what read(2) says, and the event
                            comes again */
    uint32_t generation; /* of the entry; see weft_selector_is_live() */
    uint64_t value;      /* TIMER: expirations since the last report; USER: triggers; SIGNAL: the
                            number; PROCESS: the wait status as waitpid(2) gives it */
    void *data;          /* as registered, or as set since */
} weft_ready;

/* Creates an empty selector.
 *
 * Thread:  any.
 * Owns:    the selector is the caller's; weft_selector_destroy() ends it.
 * Returns: 0, or
 *          -EINVAL  ret_selector is NULL
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     epoll_create1(2), with EPOLL_CLOEXEC.
 */
WEFT_API int weft_selector_create(weft_selector **ret_selector);

/* Closes every fd that the selector created (its own, timerfds, signalfds, pidfds), never one of
 * the program's, restores the signal mask that the calling thread changed by registering signals
 * here, and frees the selector.
 *
 * Thread:  any, while no other thread uses it.
 * Owns:    s ends here; data and events stay the caller's.
 * Returns: nothing; NULL is ignored.
 * See:     close(2), pthread_sigmask(3).
 */
WEFT_API void weft_selector_destroy(weft_selector *s);

/* Registers fd. events is WEFT_READ, WEFT_WRITE, both or neither; with neither the entry is paused:
 * in the table, but not counted and not reported. WEFT_EDGE, WEFT_ONESHOT and WEFT_EXCLUSIVE may be
 * added, not both of the last. A half-close of the peer is asked for together with READ alone:
 * with WRITE only it would be reported for ever.
 *
 * The kernel decides what is registered already. Where it accepts an fd that the table still knows,
 * the old entry was stale, its fd closed and reused; a new generation supersedes it.
 *
 * Thread:  any.
 * Owns:    fd stays the caller's. Unregister it before closing it.
 * Returns: 0, or
 *          -EINVAL  s is NULL, an event bit is not one of these, an addition to neither READ nor
 *                   WRITE, ONESHOT with EXCLUSIVE, EXCLUSIVE of an epoll set, or s in itself
 *          -EBADF   fd is negative or not open
 *          -EEXIST  fd is registered; the first data is kept
 *          -EPERM   fd is a regular file or a directory, which are always ready; a worker's
 *                   selector; in a forked child
 *          -ELOOP   a loop of selectors, or a nest too deep
 *          -EMFILE, -ENFILE  no file descriptor left; only with neither READ nor WRITE: the first
 *                   entry that is paused takes one, for all that s pauses
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 * See:     epoll_ctl(2), EPOLL_CTL_ADD.
 */
WEFT_API int weft_selector_register(weft_selector *s, int fd, uint32_t events, void *data);

/* Registers a timer that expires timeout_ns nanoseconds from now and, with flags 0, every
 * timeout_ns from then on; with WEFT_ONESHOT it expires once and is then FINISHED: still
 * registered, its data in place, not counted, until it is unregistered. A oneshot of 0 ns expires
 * at the next select. Each timer costs an fd; for many, see weft/timer.h.
 *
 * Thread:  any.
 * Owns:    the timerfd is the selector's: weft_selector_unregister() closes it.
 * Returns: the timerfd, by which the timer is known, or
 *          -EINVAL  s is NULL, flags other than 0 and WEFT_ONESHOT, or a period of 0 ns
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory; -ENODEV  the kernel cannot mount its anonymous inodes
 *          -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -EPERM   a worker's selector; in a forked child
 * See:     timerfd_create(2), with CLOCK_MONOTONIC.
 */
WEFT_API int weft_selector_register_timer(weft_selector *s, uint64_t timeout_ns, uint32_t flags,
                                          void *data);

/* Registers a signal. signo is blocked in the calling thread, counted per thread and number, and
 * the mask found before the first is restored when that thread unregisters the last, whatever is
 * pending then being consumed first: the signal that arrives too late does not kill the process.
 * Register on the thread that selects, and block signo in all others (or before creating them): the
 * kernel gives a signal to any thread that lets it in.
 *
 * Thread:  any; it is the calling thread's mask that changes.
 * Owns:    the signalfd is the selector's: weft_selector_unregister() closes it.
 * Returns: the signalfd, by which the signal is known, or
 *          -EINVAL  s is NULL, or signo is none that can be waited for: SIGKILL, SIGSTOP, the
 *                   synchronous faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL), <= 0, > SIGRTMAX, or one
 *                   that the C library keeps for itself
 *          -EEXIST  signo is registered in s
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory; -ENODEV  the kernel cannot mount its anonymous inodes
 *          -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -EPERM   a worker's selector; in a forked child
 * See:     signalfd(2), signal(7), pthread_sigmask(3).
 */
WEFT_API int weft_selector_register_signal(weft_selector *s, int signo, void *data);

/* Registers the end of a child. There is exactly one event, also for a child that is dead already,
 * with the wait status in weft_ready.value; the entry is then FINISHED: still registered, not
 * counted, until it is unregistered. The status is peeked at, not taken: the child remains a zombie
 * until the program waits for it. Where it is not our child, or was reaped elsewhere, the event is
 * PROCESS with ERROR, error -ECHILD and value 0.
 *
 * Thread:  any.
 * Owns:    the pidfd is the selector's: weft_selector_unregister() closes it. Reaping stays the
 *          caller's.
 * Returns: the pidfd, by which the process is known, or
 *          -EINVAL  s is NULL, or pid is <= 0 or that of a thread
 *          -ESRCH   no such process
 *          -EEXIST  pid is registered in s and not finished
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory; -ENODEV  the kernel cannot mount its anonymous inodes
 *          -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -ENOSYS  a kernel older than 5.4
 *          -EPERM   a worker's selector; in a forked child
 * See:     pidfd_open(2); waitid(2) with P_PIDFD and WNOWAIT.
 */
WEFT_API int weft_selector_register_process(weft_selector *s, pid_t pid, void *data);

/* Registers an event. It may be in several selectors at once; one trigger then wakes exactly one of
 * those that wait, and one that lost the race goes on waiting.
 *
 * Thread:  any.
 * Owns:    ev stays the caller's, and must be unregistered before it is destroyed.
 * Returns: 0, or
 *          -EINVAL  s or ev is NULL
 *          -EEXIST  ev is registered in s
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -EPERM   a worker's selector; in a forked child
 * See:     eventfd(2), epoll_ctl(2).
 */
WEFT_API int weft_selector_register_event(weft_selector *s, weft_event *ev, void *data);

/* Changes what fd is watched for; the bits are those of weft_selector_register(). Without READ and
 * WRITE the entry is paused, and takes itself out of the kernel's set; with them it resumes. Asking
 * for what is set already costs no system call, with two exceptions that always go to the kernel:
 * WEFT_EDGE, so that a caller can see an edge again, and WEFT_ONESHOT, which may just have fired:
 * an entry that did is not counted until an update re-arms it.
 *
 * Thread:  any.
 * Returns: 0, or
 *          -EINVAL  s is NULL, a bad combination of events, or fd is a timer, signal, process or
 *                   event
 *          -ENOENT  fd is not registered
 *          -EBADF   fd was closed
 *          -EMFILE, -ENFILE  no file descriptor left for the first pause, as
 *                   weft_selector_register(); the entry stays as it was
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -EPERM   fd was closed and its number now is a file that is always ready; a worker's
 *                   selector; in a forked child
 *          -ELOOP   resuming would close a loop of selectors
 * See:     epoll_ctl(2): EPOLL_CTL_DEL to pause, _ADD to resume, _MOD to change.
 */
WEFT_API int weft_selector_update(weft_selector *s, int fd, uint32_t events);

/* Unregisters fd, of any kind: closes a timerfd, signalfd or pidfd, and restores the signal mask
 * when the thread that registered the signal unregisters it. No select that begins later reports
 * fd; what a batch already holds fails weft_selector_is_live().
 *
 * Unregister, then close. An fd that is closed while a duplicate of it lives stays in the kernel's
 * set, which keeps reporting it; that is never shown and never spun on, but the selector may have
 * to rebuild the set under the same weft_selector_fd(), and an outer selector must then register it
 * again.
 *
 * Thread:  any.
 * Owns:    an fd of the program's stays the caller's; data is the caller's again.
 * Returns: 0, also when fd was closed before, or
 *          -EINVAL  s is NULL
 *          -ENOENT  fd is not registered
 *          -ENOMEM  no memory in the kernel: fd is still registered
 *          -EPERM   a worker's selector; in a forked child
 * See:     epoll_ctl(2), EPOLL_CTL_DEL; epoll(7), on closed descriptors.
 */
WEFT_API int weft_selector_unregister(weft_selector *s, int fd);

/* Unregisters ev, which stays open and keeps its triggers.
 *
 * Thread:  any.
 * Owns:    ev is the caller's, as before.
 * Returns: 0, or
 *          -EINVAL  s or ev is NULL
 *          -ENOENT  ev is not registered
 *          -EPERM   a worker's selector; in a forked child
 * See:     epoll_ctl(2), EPOLL_CTL_DEL.
 */
WEFT_API int weft_selector_unregister_event(weft_selector *s, weft_event *ev);

/* Waits up to timeout_ns nanoseconds (0: looks only; WEFT_FOREVER: no limit) for entries to become
 * ready, and fills at most capacity of them, and at most a number of its own, 64 or more. It
 * allocates nothing. A caller that loses an event to another selector waits on for the rest of its
 * time. An entry that was unregistered before is never reported, nor is the old event of an fd that
 * was reused.
 *
 * Thread:  any, one at a time.
 * Owns:    what ready[i].data points to must live until this batch is done with.
 * Returns: the number filled; 0 when the time is over or a signal handler ran; or
 *          -EINVAL  s or ready is NULL, or capacity is 0
 *          -EBUSY   another thread is selecting on s
 *          -EMFILE, -ENFILE, -ENOMEM, -ENOSPC  the set has to be rebuilt (see
 *                   weft_selector_unregister()) and cannot be; nothing is lost, and the next select
 *                   tries again
 *          -EPERM   a worker's selector; in a forked child
 * See:     epoll_wait(2), epoll_pwait2(2).
 */
WEFT_API int weft_selector_select(weft_selector *s, uint64_t timeout_ns, weft_ready *ready,
                                  size_t capacity);

/* Whether the entry that r reports is still the one registered. False once it was unregistered or
 * its fd registered anew. The question to ask before serving the later entries of a batch.
 *
 * Thread:  any.
 * Returns: true or false; false for NULL.
 * See:     epoll(7), on events of descriptors closed earlier in the same batch.
 */
WEFT_API bool weft_selector_is_live(weft_selector *s, const weft_ready *r);

/* The whole message that came with the signal last reported on fd, a signalfd of s: sender,
 * payload, code. weft_ready carries the number alone.
 *
 * Thread:  owner: the thread that selects on s.
 * Returns: 0, or
 *          -EINVAL  s is NULL, or fd is not a signal
 *          -ENOENT  fd is not registered
 *          -ENODATA no signal was reported yet
 *          -EPERM   in a forked child
 * See:     signalfd(2), struct signalfd_siginfo.
 */
WEFT_API int weft_selector_signal_info(weft_selector *s, int fd, struct signalfd_siginfo *ret_info);

/* The data of fd. The load is atomic: it sees a whole pointer of weft_selector_set_data().
 *
 * Thread:  any.
 * Returns: 0, or
 *          -EINVAL  s is NULL
 *          -ENOENT  fd is not registered
 *          -EPERM   in a forked child
 * See:     C11 7.17.7.2, atomic_load.
 */
WEFT_API int weft_selector_get_data(weft_selector *s, int fd, void **ret_data);

/* Replaces the data of fd. A batch that holds the old pointer keeps it.
 *
 * Thread:  any.
 * Owns:    the old data is the caller's, under the rule of weft_selector_select().
 * Returns: 0, or
 *          -EINVAL  s is NULL
 *          -ENOENT  fd is not registered
 *          -EPERM   a worker's selector; in a forked child
 * See:     C11 7.17.7.1, atomic_store.
 */
WEFT_API int weft_selector_set_data(weft_selector *s, int fd, void *data);

/* The slot that holds the data of fd, to read and write in place. The address is stable until fd is
 * unregistered; growth of the table never moves it.
 *
 *     void **slot = weft_selector_data(s, fd);
 *     if (slot) ...; else ...;
 *
 * Thread:  whoever registers and unregisters fd.
 * Returns: the slot, or NULL when fd is not registered, and for a worker's selector.
 * See:     weft_selector_get_data(), for a load that needs no such care.
 */
WEFT_API void **weft_selector_data(weft_selector *s, int fd);

/* Whether fd is registered, paused and finished entries included.
 *
 * Thread:  any; another thread may change the answer before it is read.
 * Returns: true or false; any int is legal.
 * See:     weft_selector_count(), which leaves out the paused and the finished.
 */
WEFT_API bool weft_selector_contains(weft_selector *s, int fd);

/* The number of entries that can still report: neither paused, nor finished, nor disarmed by
 * ONESHOT.
 *
 * Thread:  any; another thread may change the answer before it is read.
 * Returns: the number; 0 for NULL.
 * See:     epoll_ctl(2), EPOLLONESHOT.
 */
WEFT_API size_t weft_selector_count(weft_selector *s);

/* Whether weft_selector_count() is 0: a select without a timeout would then wait for ever.
 *
 * Thread:  any; another thread may change the answer before it is read.
 * Returns: true or false; true for NULL.
 * See:     weft_selector_count().
 */
WEFT_API bool weft_selector_is_empty(weft_selector *s);

/* The epoll fd, readable while something is ready: register it with WEFT_READ in another selector
 * to nest this one. It is not to be closed, nor given to epoll_ctl(2) or epoll_wait(2).
 *
 * Thread:  any.
 * Owns:    the fd stays the selector's.
 * Returns: the fd, or
 *          -EINVAL  s is NULL
 *          -EPERM   in a forked child
 * See:     epoll(7), on epoll sets inside epoll sets.
 */
WEFT_API int weft_selector_fd(weft_selector *s);

WEFT_END_DECLS

#endif
