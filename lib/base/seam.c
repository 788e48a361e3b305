#include "base/os.h"

#ifdef WEFT_SEAM
#include <string.h>

void (*seam_yield_fn)(void);
int (*seam_call_fn)(enum os_call call);
size_t (*seam_length_fn)(enum os_call call, size_t length);
bool (*seam_block_fn)(void);
int (*seam_events_fn)(struct epoll_event *events, int count, int capacity);
uint64_t seam_preemptions;

int seam_enter(enum os_call call) {
    YIELD_POINT();
    return seam_call_fn ? seam_call_fn(call) : 0;
}

size_t seam_length(enum os_call call, size_t length) {
    return seam_length_fn ? seam_length_fn(call, length) : length;
}

const char *seam_call_name(enum os_call call) {
    static const char *const names[OS_CALL_COUNT] = {
        [OS_ALLOC] = "malloc",
        [OS_THREAD_CREATE] = "pthread_create",
        [OS_READ] = "read",
        [OS_WRITE] = "write",
        [OS_CLOSE] = "close",
        [OS_RECV] = "recv",
        [OS_SEND] = "send",
        [OS_SENDMSG] = "sendmsg",
        [OS_SENDFILE] = "sendfile",
        [OS_SOCKET] = "socket",
        [OS_BIND] = "bind",
        [OS_LISTEN] = "listen",
        [OS_ACCEPT] = "accept4",
        [OS_CONNECT] = "connect",
        [OS_PATH] = "a call on a path",
        [OS_SHUTDOWN] = "shutdown",
        [OS_GETSOCKOPT] = "getsockopt",
        [OS_SETSOCKOPT] = "setsockopt",
        [OS_GETSOCKNAME] = "getsockname",
        [OS_GETPEERNAME] = "getpeername",
        [OS_FCNTL] = "fcntl",
        [OS_FSTAT] = "fstat",
        [OS_DUP] = "dup3",
        [OS_EPOLL_CREATE] = "epoll_create1",
        [OS_EPOLL_CTL] = "epoll_ctl",
        [OS_EPOLL_WAIT] = "epoll_wait",
        [OS_EVENTFD] = "eventfd",
        [OS_TIMERFD_CREATE] = "timerfd_create",
        [OS_TIMERFD_SETTIME] = "timerfd_settime",
        [OS_SIGNALFD] = "signalfd",
        [OS_SIGMASK] = "pthread_sigmask",
        [OS_SIGTIMEDWAIT] = "sigtimedwait",
        [OS_PIDFD_OPEN] = "pidfd_open",
        [OS_WAITID] = "waitid",
        [OS_KILL] = "pidfd_send_signal",
        [OS_SIGACTION] = "sigaction",
        [OS_PIPE] = "pipe2",
        [OS_OPEN] = "open",
        [OS_CLONE] = "clone",
        [OS_CLOSE_RANGE] = "close_range",
        [OS_MMAP] = "mmap",
        [OS_MADVISE] = "madvise",
        [OS_FUTEX] = "futex",
        [OS_AFFINITY] = "sched_setaffinity",
        [OS_GETRANDOM] = "getrandom",
    };
    return names[call];
}
#endif
