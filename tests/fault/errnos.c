/* What each call may fail with, from its man page: every errno that the page lists and that the
 * arguments weft gives do not rule out for certain; of calls that older kernels or filters of
 * system calls refuse, also that. EINTR only where base/os.h lets it through. */
#include "sweep.h"

#include <errno.h>

#define LIST(...)                                                                                  \
    ({                                                                                             \
        static const int list[] = {__VA_ARGS__, 0};                                                \
        list;                                                                                      \
    })

const int *sweep_errnos(enum os_call call) {
    switch (call) {
    case OS_ALLOC: return LIST(ENOMEM);
    case OS_THREAD_CREATE: return LIST(EAGAIN, EINVAL, EPERM);
    case OS_READ: return LIST(EAGAIN, EBADF, EFAULT, EINVAL, EIO, EISDIR);
    case OS_WRITE:
        return LIST(EAGAIN, EBADF, EDQUOT, EFAULT, EFBIG, EINVAL, EIO, ENOSPC, EPERM, EPIPE);
    case OS_RECV:
        return LIST(EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EFAULT, EINTR, EINVAL, ENOMEM,
                    ENOTCONN, ENOTSOCK, ETIMEDOUT, EHOSTUNREACH);
    case OS_SEND:
        return LIST(EACCES, EAGAIN, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT, EINTR, EINVAL, EISCONN,
                    EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE, ETIMEDOUT,
                    EHOSTUNREACH);
    case OS_SENDMSG:
        return LIST(EACCES, EAGAIN, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT, EINVAL, EISCONN,
                    EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE, ETIMEDOUT,
                    EHOSTUNREACH);
    case OS_SENDFILE:
        return LIST(EAGAIN, EBADF, ECONNRESET, EFAULT, EINVAL, EIO, ENOMEM, EOVERFLOW, EPIPE,
                    ESPIPE);
    case OS_SOCKET:
        return LIST(EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT);
    case OS_BIND:
        return LIST(EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EADDRNOTAVAIL, EFAULT, ELOOP,
                    ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EROFS);
    case OS_LISTEN: return LIST(EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP);
    case OS_ACCEPT:
        return LIST(EAGAIN, EBADF, ECONNABORTED, EFAULT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM,
                    ENOTSOCK, EOPNOTSUPP, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
                    EHOSTUNREACH, ENETUNREACH, ENOSR, ESOCKTNOSUPPORT, EPROTONOSUPPORT, ETIMEDOUT);
    case OS_CONNECT:
        return LIST(EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, EBADF,
                    ECONNREFUSED, EFAULT, EISCONN, ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT,
                    EHOSTUNREACH);
    case OS_PATH:
        return LIST(EACCES, EBUSY, EFAULT, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOLCK, ENOMEM,
                    ENOTDIR, EPERM, EROFS, EMFILE, ENFILE);
    case OS_SHUTDOWN: return LIST(EBADF, EINVAL, ENOTCONN, ENOTSOCK);
    case OS_GETSOCKOPT:
    case OS_SETSOCKOPT: return LIST(EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOMEM, EPERM);
    case OS_GETSOCKNAME: return LIST(EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK);
    case OS_GETPEERNAME: return LIST(EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK);
    case OS_FCNTL: return LIST(EACCES, EAGAIN, EBADF, EINVAL, EPERM);
    case OS_FSTAT: return LIST(EACCES, EBADF, EFAULT, ENOMEM, EOVERFLOW);
    case OS_DUP: return LIST(EBADF, EBUSY, EINVAL, EMFILE);
    case OS_EPOLL_CREATE: return LIST(EINVAL, EMFILE, ENFILE, ENOMEM);
    case OS_EPOLL_CTL: return LIST(EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM);
    case OS_EPOLL_WAIT: return LIST(EBADF, EFAULT, EINTR, EINVAL);
    case OS_EVENTFD: return LIST(EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM);
    case OS_TIMERFD_CREATE: return LIST(EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EPERM);
    case OS_TIMERFD_SETTIME: return LIST(EBADF, EFAULT, EINVAL, ECANCELED);
    case OS_SIGNALFD: return LIST(EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM);
    case OS_SIGMASK: return LIST(EFAULT, EINVAL);
    case OS_SIGTIMEDWAIT: return LIST(EAGAIN, EINVAL);
    case OS_PIDFD_OPEN: return LIST(EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH, ENOSYS, EPERM);
    case OS_WAITID: return LIST(EAGAIN, ECHILD, EINVAL, ESRCH);
    case OS_KILL: return LIST(EBADF, EINVAL, EPERM, ESRCH);
    case OS_SIGACTION: return LIST(EFAULT, EINVAL);
    case OS_PIPE: return LIST(EFAULT, EINVAL, EMFILE, ENFILE);
    case OS_OPEN: return LIST(EACCES, EMFILE, ENFILE, ENOENT, ENOMEM);
    case OS_CLONE: return LIST(EAGAIN, EINVAL, ENOMEM, ENOSPC, EPERM);
    case OS_CLOSE_RANGE: return LIST(EINVAL, EMFILE, ENOMEM, ENOSYS, EPERM);
    case OS_MMAP: return LIST(EACCES, EAGAIN, EINVAL, ENFILE, ENOMEM, EPERM);
    case OS_MADVISE: return LIST(EACCES, EAGAIN, EINVAL, ENOMEM);
    case OS_AFFINITY: return LIST(EFAULT, EINVAL, EPERM, ESRCH);
    case OS_GETRANDOM: return LIST(EAGAIN, EFAULT, EINVAL, ENOSYS);
    case OS_CLOSE: /* nobody could do anything about it, and on Linux it is closed even so */
    case OS_FUTEX: /* a wait that fails is one that is over; who waited looks again */
    case OS_CALL_COUNT: break;
    }
    return LIST(0);
}
