#include "base/os.h"

#include "base/clock.h"
#include "base/mutant.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* >= 0 or -errno, once. */
#define OS_RESULT(call)                                                                            \
    ({                                                                                             \
        __typeof__(call) r_ = (call);                                                              \
        r_ < 0 ? -errno : r_;                                                                      \
    })

/* The same, made again while a signal interrupts it. */
#define OS_RETRY(call)                                                                             \
    ({                                                                                             \
        __typeof__(call) r_;                                                                       \
        do {                                                                                       \
            r_ = (call);                                                                           \
        } while (r_ < 0 && errno == EINTR);                                                        \
        r_ < 0 ? -errno : r_;                                                                      \
    })

ssize_t os_read(int fd, void *buffer, size_t size) {
    OS_SEAM(OS_READ);
    return OS_RETRY(read(fd, buffer, size));
}

ssize_t os_write(int fd, const void *data, size_t size) {
    ssize_t n;
    OS_SEAM(OS_WRITE);
    do {
        n = syscall_write(fd, data, size);
    } while (n == -EINTR);
    return n;
}

int os_close(int fd) {
#ifdef WEFT_SEAM
    /* Never refused: an fd that stays open would be a leak of the test. */
    (void)seam_enter(OS_CLOSE);
#endif
    return OS_RESULT(close(fd));
}

int os_set_nonblocking(int fd) {
    OS_SEAM(OS_FCNTL);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK)
        return 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 1;
}

int os_clear_nonblocking(int fd) {
    OS_SEAM(OS_FCNTL);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    return OS_RESULT(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

int os_dup(int fd) {
    OS_SEAM(OS_DUP);
    return OS_RETRY(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int os_dup_onto(int from, int to) {
    OS_SEAM(OS_DUP);
    return OS_RETRY(dup3(from, to, O_CLOEXEC));
}

int os_fd_check(int fd) {
    OS_SEAM(OS_FCNTL);
    return fcntl(fd, F_GETFD) < 0 ? -errno : 0;
}

int os_fd_check_file(int fd) {
    OS_SEAM(OS_FSTAT);
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
        return -EBADF;
    return S_ISREG(status.st_mode) ? 0 : -EINVAL;
}

size_t os_fd_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : limit.rlim_cur;
}

void os_wait_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
#ifdef WEFT_SEAM
    YIELD_POINT();
    if (seam_block_fn) {
        if (poll(&p, 1, 0) == 0)
            (void)seam_block_fn();
        return;
    }
#endif
    (void)poll(&p, 1, -1);
}

ssize_t os_sendv(int fd, const struct iovec *iov, size_t count, bool more) {
    OS_SEAM(OS_SENDMSG);
    struct iovec first;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
    if (count > 0 && OS_SEAM_LENGTH(OS_SENDMSG, SIZE_MAX) != SIZE_MAX) {
        first.iov_base = iov[0].iov_base;
        first.iov_len = OS_SEAM_LENGTH(OS_SENDMSG, iov[0].iov_len);
        message.msg_iov = &first;
        message.msg_iovlen = 1;
    }
    const int quiet = MUTANT("os-sigpipe") ? 0 : MSG_NOSIGNAL;
    return OS_RETRY(sendmsg(fd, &message, MSG_DONTWAIT | quiet | (more ? MSG_MORE : 0)));
}

/* There is no MSG_NOSIGNAL for it. Whoever calls has SIGPIPE blocked: weft's own threads have. */
ssize_t os_sendfile(int socket, int file, off_t offset, size_t size) {
    OS_SEAM(OS_SENDFILE);
    size = OS_SEAM_LENGTH(OS_SENDFILE, size);
    return OS_RETRY(sendfile(socket, file, &offset, size));
}

int os_socket(int domain, int type, int protocol) {
    OS_SEAM(OS_SOCKET);
    return OS_RESULT(socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

int os_bind(int fd, const struct sockaddr *address, socklen_t size) {
    OS_SEAM(OS_BIND);
    return OS_RESULT(bind(fd, address, size));
}

int os_listen(int fd, int backlog) {
    OS_SEAM(OS_LISTEN);
    return OS_RESULT(listen(fd, backlog));
}

int os_accept(int fd) {
    OS_SEAM(OS_ACCEPT);
    return OS_RETRY(accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int os_connect(int fd, const struct sockaddr *address, socklen_t size) {
    OS_SEAM(OS_CONNECT);
    int r = OS_RESULT(connect(fd, address, size));
    return r == -EINTR ? -EINPROGRESS : r; /* it goes on all the same (connect(2)) */
}

int os_shutdown(int fd, int how) {
    OS_SEAM(OS_SHUTDOWN);
    return OS_RESULT(shutdown(fd, how));
}

int os_getsockopt_int(int fd, int level, int option, int *ret_value) {
    OS_SEAM(OS_GETSOCKOPT);
    int value = 0;
    socklen_t size = sizeof value;
    if (getsockopt(fd, level, option, &value, &size) < 0)
        return -errno;
    *ret_value = value;
    return 0;
}

int os_setsockopt_int(int fd, int level, int option, int value) {
    return os_setsockopt(fd, level, option, &value, sizeof value);
}

int os_setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
    OS_SEAM(OS_SETSOCKOPT);
    return OS_RESULT(setsockopt(fd, level, option, value, size));
}

int os_getsockname(int fd, struct sockaddr_storage *ret_address, socklen_t *ret_size) {
    OS_SEAM(OS_GETSOCKNAME);
    *ret_size = sizeof *ret_address;
    return OS_RESULT(getsockname(fd, (struct sockaddr *)ret_address, ret_size));
}

int os_getpeername(int fd, struct sockaddr_storage *ret_address, socklen_t *ret_size) {
    OS_SEAM(OS_GETPEERNAME);
    *ret_size = sizeof *ret_address;
    return OS_RESULT(getpeername(fd, (struct sockaddr *)ret_address, ret_size));
}

int os_epoll_create(void) {
    OS_SEAM(OS_EPOLL_CREATE);
    return OS_RESULT(epoll_create1(EPOLL_CLOEXEC));
}

int os_epoll_ctl(int epoll_fd, int operation, int fd, uint32_t events, uint64_t cookie) {
    OS_SEAM(OS_EPOLL_CTL);
    struct epoll_event event = {.events = events, .data.u64 = cookie};
    return OS_RESULT(epoll_ctl(epoll_fd, operation, fd, &event));
}

/* Milliseconds for epoll_wait(2), rounded up; more than it can count is as good as for ever, since
 * whoever waits looks at its deadline again. */
static int timeout_ms(uint64_t timeout_ns) {
    if (timeout_ns == UINT64_MAX)
        return -1;
    uint64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int epoll_wait_for(int epoll_fd, struct epoll_event *events, int capacity,
                          uint64_t timeout_ns) {
#if !defined(THREAD_SANITIZER) && defined(SYS_epoll_pwait2)
    /* ThreadSanitizer knows only epoll_wait(). The 0 and for-ever cases have no use for the finer
     * clock, and epoll_wait() is 50 ns cheaper. */
    static _Atomic bool missing;
    if (timeout_ns != 0 && timeout_ns != UINT64_MAX &&
        !atomic_load_explicit(&missing, memory_order_relaxed)) {
        struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NSEC_PER_SEC),
                                   .tv_nsec = (long)(timeout_ns % NSEC_PER_SEC)};
        int n = (int)syscall(SYS_epoll_pwait2, epoll_fd, events, capacity, &timeout, NULL, 0);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n < 0 ? -errno : n;
        atomic_store_explicit(&missing, true, memory_order_relaxed);
    }
#endif
    return syscall_epoll_wait(epoll_fd, events, capacity, timeout_ms(timeout_ns));
}

int os_epoll_wait_until(int epoll_fd, struct epoll_event *events, int capacity,
                        uint64_t timeout_ns) {
    OS_SEAM(OS_EPOLL_WAIT);
#ifdef WEFT_SEAM
    while (seam_block_fn && timeout_ns != 0) {
        int n = epoll_wait_for(epoll_fd, events, capacity, 0);
        if (n != 0 || !seam_block_fn())
            return n;
    }
    if (seam_events_fn) {
        int n = epoll_wait_for(epoll_fd, events, capacity, timeout_ns);
        return n > 0 ? seam_events_fn(events, n, capacity) : n;
    }
#endif
    return epoll_wait_for(epoll_fd, events, capacity, timeout_ns);
}

int os_eventfd(void) {
    OS_SEAM(OS_EVENTFD);
    return OS_RESULT(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int os_timerfd(void) {
    OS_SEAM(OS_TIMERFD_CREATE);
    return OS_RESULT(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

static struct timespec timespec_of(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / NSEC_PER_SEC),
                             .tv_nsec = (long)(ns % NSEC_PER_SEC)};
}

int os_timerfd_set(int fd, uint64_t delay_ns, uint64_t period_ns) {
    OS_SEAM(OS_TIMERFD_SETTIME);
    struct itimerspec when = {.it_value = timespec_of(delay_ns),
                              .it_interval = timespec_of(period_ns)};
    return OS_RESULT(timerfd_settime(fd, 0, &when, NULL));
}

int os_signalfd(int fd, const sigset_t *set) {
    OS_SEAM(OS_SIGNALFD);
    return OS_RESULT(signalfd(fd, set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int os_pidfd_open(pid_t pid) {
    OS_SEAM(OS_PIDFD_OPEN);
    int r = OS_RESULT((int)syscall(SYS_pidfd_open, pid, 0));
    return r == -ENOENT ? -EINVAL : r; /* a thread's pid, from Linux 6.9 on */
}

int os_pipe(int ret_ends[2]) {
    OS_SEAM(OS_PIPE);
    return OS_RESULT(pipe2(ret_ends, O_CLOEXEC));
}

int os_sigmask(int how, const sigset_t *set, sigset_t *ret_old) {
    OS_SEAM(OS_SIGMASK);
    return -pthread_sigmask(how, set, ret_old);
}

int os_sigtimedwait_now(const sigset_t *set) {
    OS_SEAM(OS_SIGTIMEDWAIT);
    const struct timespec now = {0};
    return OS_RETRY(sigtimedwait(set, NULL, &now));
}

int os_sigaction_get(int signo, struct sigaction *ret_action) {
    OS_SEAM(OS_SIGACTION);
    return OS_RESULT(sigaction(signo, NULL, ret_action));
}

static int child_status(int pidfd, pid_t pid, int options, siginfo_t *ret_info) {
    OS_SEAM(OS_WAITID);
    siginfo_t info;
    memset(&info, 0, sizeof info); /* si_pid stays 0 while the child lives (waitid(2)) */
    /* __WALL: also one whose end raises another signal than SIGCHLD. */
    options |= WEXITED | WNOHANG | __WALL;
    idtype_t kind = pidfd >= 0 ? (idtype_t)P_PIDFD : P_PID;
    if (MUTANT("process-waits-for-any") && !(options & WNOWAIT))
        kind = P_ALL;
    int r = OS_RETRY(waitid(kind, (id_t)(pidfd >= 0 ? pidfd : pid), &info, options));
    if (r == -EINVAL && kind == (idtype_t)P_PIDFD) /* a kernel before 5.4 */
        r = OS_RETRY(waitid(P_PID, (id_t)pid, &info, options));
    if (r == 0)
        *ret_info = info;
    return r;
}

int os_child_peek(int pidfd, pid_t pid, siginfo_t *ret_info) {
    return child_status(pidfd, pid, WNOWAIT, ret_info);
}

int os_child_reap(int pidfd, pid_t pid, siginfo_t *ret_info) {
    return child_status(pidfd, pid, 0, ret_info);
}

int os_pidfd_signal(int pidfd, int signo) {
    OS_SEAM(OS_KILL);
    return OS_RESULT((int)syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0));
}

int os_kill(pid_t pid, int signo) {
    OS_SEAM(OS_KILL);
    return OS_RESULT(kill(pid, signo));
}

int os_mmap_anonymous(size_t size, void **ret_memory) {
    OS_SEAM(OS_MMAP);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *ret_memory = memory;
    return 0;
}

void os_munmap(void *memory, size_t size) {
    if (memory)
        munmap(memory, size);
}

int os_madvise(void *memory, size_t size, int advice) {
    OS_SEAM(OS_MADVISE);
    return OS_RESULT(madvise(memory, size, advice));
}

int os_thread_create(pthread_t *ret_thread, void *(*fn)(void *), void *arg) {
    OS_SEAM(OS_THREAD_CREATE);
    return -pthread_create(ret_thread, NULL, fn, arg);
}

int os_futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    OS_SEAM(OS_FUTEX);
#ifdef WEFT_SEAM
    if (seam_block_fn) {
        /* As the kernel does (futex(2)): who comes too late does not wait. */
        if (atomic_load_explicit(word, memory_order_relaxed) != expected)
            return -EAGAIN;
        return seam_block_fn() ? 0 : -ETIMEDOUT;
    }
#endif
    return (int)OS_RESULT(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0));
}

void os_futex_wake(_Atomic uint32_t *word, int waiters) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
}

uint64_t os_thread_preemptions(void) {
#ifdef WEFT_SEAM
    if (seam_preemptions)
        return seam_preemptions;
#endif
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) < 0 ? 0 : (uint64_t)usage.ru_nivcsw;
}

int os_affinity_get(cpu_set_t *ret_set, size_t size) {
    OS_SEAM(OS_AFFINITY);
    return OS_RESULT(sched_getaffinity(0, size, ret_set));
}

int os_affinity_set_self(int cpu) {
    OS_SEAM(OS_AFFINITY);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return OS_RESULT(sched_setaffinity(0, sizeof set, &set));
}

void os_timer_slack_minimal(void) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

void os_thread_name(const char *name) {
    prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL);
}

pid_t os_thread_id(void) {
    return (pid_t)syscall(SYS_gettid);
}

int os_getrandom(void *bytes, size_t size) {
    OS_SEAM(OS_GETRANDOM);
    ssize_t n = OS_RETRY(getrandom(bytes, size, 0));
    return n < 0 ? (int)n : 0;
}

ssize_t os_read_file(const char *path, char *buffer, size_t size) {
    OS_SEAM(OS_OPEN);
    int fd = OS_RETRY(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        return fd;
    size_t length = 0;
    ssize_t n = 0;
    while (length < size - 1 && (n = OS_RETRY(read(fd, buffer + length, size - 1 - length))) > 0)
        length += (size_t)n;
    close(fd);
    buffer[length] = 0;
    return n < 0 ? n : (ssize_t)length;
}
