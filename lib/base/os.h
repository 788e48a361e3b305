/* Every system call that weft makes, and nothing else of the C library that can fail.
 *
 * - Results are >= 0 or -errno; out-parameters are untouched on failure.
 * - EINTR: calls that may simply be made again are (read, write, accept4, waitid); the
 *   ones that wait return it, because whoever waits wants to look around. close() is never
 *   repeated: on Linux the fd is gone even then (close(2)).
 * - This is the one seam where tests inject faults. In a test build (WEFT_SEAM) each call first
 *   asks seam_call_fn, whose -errno is returned in the kernel's stead, and may be told to move
 *   fewer bytes; each call is a yield point of the deterministic scheduler. In a release build
 *   nothing of that exists, and the calls of the fast path are inlined. */
#ifndef WEFT_LIB_BASE_OS_H
#define WEFT_LIB_BASE_OS_H

#include "base/atomic.h"
#include "base/mutant.h"
#include "base/syscall.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum os_call {
    OS_ALLOC,
    OS_THREAD_CREATE,
    OS_READ,
    OS_WRITE,
    OS_CLOSE,
    OS_RECV,
    OS_SEND,
    OS_SENDMSG,
    OS_SENDFILE,
    OS_SOCKET,
    OS_BIND,
    OS_LISTEN,
    OS_ACCEPT,
    OS_CONNECT,
    OS_PATH,
    OS_SHUTDOWN,
    OS_GETSOCKOPT,
    OS_SETSOCKOPT,
    OS_GETSOCKNAME,
    OS_GETPEERNAME,
    OS_FCNTL,
    OS_FSTAT,
    OS_DUP,
    OS_EPOLL_CREATE,
    OS_EPOLL_CTL,
    OS_EPOLL_WAIT,
    OS_EVENTFD,
    OS_TIMERFD_CREATE,
    OS_TIMERFD_SETTIME,
    OS_SIGNALFD,
    OS_SIGMASK,
    OS_SIGTIMEDWAIT,
    OS_PIDFD_OPEN,
    OS_WAITID,
    OS_KILL,
    OS_SIGACTION,
    OS_PIPE,
    OS_OPEN,
    OS_CLONE,
    OS_CLOSE_RANGE,
    OS_MMAP,
    OS_MADVISE,
    OS_FUTEX,
    OS_AFFINITY,
    OS_GETRANDOM,
    OS_CALL_COUNT
};

#ifdef WEFT_SEAM
extern int (*seam_call_fn)(enum os_call call);                     /* 0 or the -errno to return */
extern size_t (*seam_length_fn)(enum os_call call, size_t length); /* bytes to let through */
/* What a wait found, to be changed: the number that is left of it, or that it has become. */
extern int (*seam_events_fn)(struct epoll_event *events, int count, int capacity);
extern uint64_t seam_preemptions;   /* instead of the thread's own, if not 0 */
extern bool (*seam_block_fn)(void); /* instead of blocking: false gives up, as a timeout does */
int seam_enter(enum os_call call);
size_t seam_length(enum os_call call, size_t length);
const char *seam_call_name(enum os_call call);
int64_t seam_live_allocations(void); /* mem.h: made and not freed */
#define OS_SEAM(call)                                                                              \
    do {                                                                                           \
        int injected_ = seam_enter(call);                                                          \
        if (injected_ < 0)                                                                         \
            return injected_;                                                                      \
    } while (0)
#define OS_SEAM_LENGTH(call, length) seam_length((call), (length))
#define os_seam_refuses(call) (seam_enter(call) < 0)
#else
#define OS_SEAM(call) ((void)0)
#define OS_SEAM_LENGTH(call, length) (length)
#define os_seam_refuses(call) false
#endif

/* Bytes. */
ssize_t os_read(int fd, void *buffer, size_t size);
ssize_t os_write(int fd, const void *data, size_t size);
int os_close(int fd);
int os_set_nonblocking(int fd); /* 1: it was not before, 0: it was */
int os_clear_nonblocking(int fd);
int os_dup(int fd);                /* close-on-exec */
int os_dup_onto(int from, int to); /* dup3 with O_CLOEXEC */
int os_fd_check(int fd);           /* 0 or -EBADF */
int os_fd_check_file(int fd);      /* regular, to be read: 0, -EBADF or -EINVAL */
size_t os_fd_limit(void);          /* how many this process may have */
void os_wait_readable(int fd);     /* until it is, or something else is worth a look */

/* Sockets. The two calls of the fast path are inline: recv and send, since read and write cost
 * 60 ns more on a socket (an extra walk through the VFS). They do not wait, so that nothing should
 * interrupt them (in Linux's TCP and unix sockets EAGAIN comes before the look at signals); if
 * something does, it is what EAGAIN is: os_says_later(). */
static inline ssize_t os_recv(int fd, void *buffer, size_t size) {
    OS_SEAM(OS_RECV);
    return syscall_recv(fd, buffer, OS_SEAM_LENGTH(OS_RECV, size), MSG_DONTWAIT);
}

static inline ssize_t os_send(int fd, const void *data, size_t size) {
    OS_SEAM(OS_SEND);
    return syscall_send(fd, data, OS_SEAM_LENGTH(OS_SEND, size),
                        MSG_DONTWAIT | (MUTANT("os-sigpipe") ? 0 : MSG_NOSIGNAL));
}

static inline bool os_says_later(ssize_t result) {
    return result == -EAGAIN || result == -EINTR;
}

ssize_t os_sendv(int fd, const struct iovec *iov, size_t count, bool more); /* more: MSG_MORE */
ssize_t os_sendfile(int socket, int file, off_t offset, size_t size);
int os_socket(int domain, int type, int protocol); /* non-blocking, close-on-exec */
int os_bind(int fd, const struct sockaddr *address, socklen_t size);
int os_listen(int fd, int backlog);
int os_accept(int fd); /* non-blocking, close-on-exec */
int os_connect(int fd, const struct sockaddr *address, socklen_t size);
int os_shutdown(int fd, int how);
int os_getsockopt_int(int fd, int level, int option, int *ret_value);
int os_setsockopt_int(int fd, int level, int option, int value);
int os_setsockopt(int fd, int level, int option, const void *value, socklen_t size);
int os_getsockname(int fd, struct sockaddr_storage *ret_address, socklen_t *ret_size);
int os_getpeername(int fd, struct sockaddr_storage *ret_address, socklen_t *ret_size);

/* Paths of unix sockets (os_path.c). */
struct path_identity {
    dev_t device;
    ino_t inode;
    bool is_socket;
};
int os_directory_lock(const char *path); /* of the directory it lies in; an fd that holds it */
int os_path_identify(const char *path, struct path_identity *ret_identity); /* no link followed */
int os_unlink(const char *path);
int os_chmod(const char *path, mode_t mode);
int os_fchmod(int fd, mode_t mode);

/* Readiness. */
int os_epoll_create(void);
int os_epoll_ctl(int epoll_fd, int operation, int fd, uint32_t events, uint64_t cookie);
/* timeout_ns UINT64_MAX waits for ever; -EINTR is returned. Nanosecond resolution where the kernel
 * has epoll_pwait2 (5.11), else rounded up to milliseconds: never early. */
int os_epoll_wait_until(int epoll_fd, struct epoll_event *events, int capacity,
                        uint64_t timeout_ns);

static inline int os_epoll_wait(int epoll_fd, struct epoll_event *events, int capacity,
                                uint64_t timeout_ns) {
#ifndef WEFT_SEAM
    /* The two common cases have no use for the finer clock: -1 for ever, 0 not at all. */
    if (timeout_ns + 1 <= 1)
        return syscall_epoll_wait(epoll_fd, events, capacity, (int)timeout_ns);
#endif
    return os_epoll_wait_until(epoll_fd, events, capacity, timeout_ns);
}

/* Sources. All of them non-blocking and close-on-exec. */
int os_eventfd(void);
int os_timerfd(void);
int os_timerfd_set(int fd, uint64_t delay_ns, uint64_t period_ns);
int os_signalfd(int fd, const sigset_t *set); /* fd -1: a new one */
int os_pidfd_open(pid_t pid);                 /* -EINVAL for a thread that is no process */
int os_pipe(int ret_ends[2]);                 /* blocking; reading end first */

/* Signals and processes. */
int os_sigmask(int how, const sigset_t *set, sigset_t *ret_old);
int os_sigtimedwait_now(const sigset_t *set); /* the number consumed, or -EAGAIN */
int os_sigaction_get(int signo, struct sigaction *ret_action);
/* The status of a child, named by its pidfd or, where that is -1 or the kernel does not wait for
 * such, by its pid: looked at, or taken with the child. 0, or -ECHILD; ret_info->si_pid is 0 while
 * it lives. */
int os_child_peek(int pidfd, pid_t pid, siginfo_t *ret_info);
int os_child_reap(int pidfd, pid_t pid, siginfo_t *ret_info);
int os_pidfd_signal(int pidfd, int signo);
int os_kill(pid_t pid, int signo);

/* Memory, threads, CPUs. */
int os_mmap_anonymous(size_t size, void **ret_memory);
void os_munmap(void *memory, size_t size);
int os_madvise(void *memory, size_t size, int advice);
int os_thread_create(pthread_t *ret_thread, void *(*fn)(void *), void *arg);
int os_futex_wait(_Atomic uint32_t *word, uint32_t expected);
void os_futex_wake(_Atomic uint32_t *word, int waiters);
uint64_t os_thread_preemptions(void); /* times the scheduler took the caller's CPU for another */
int os_affinity_get(cpu_set_t *ret_set, size_t size);
int os_affinity_set_self(int cpu);
void os_timer_slack_minimal(void);
void os_thread_name(const char *name);
pid_t os_thread_id(void);

/* Random bytes, 256 at most: never fewer than asked for (getrandom(2)). */
int os_getrandom(void *bytes, size_t size);

/* A small file as a string: its length, cut to size - 1. */
ssize_t os_read_file(const char *path, char *buffer, size_t size);

#endif
