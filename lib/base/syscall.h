/* System calls without the C library's wrapper, for those of the fast path.
 *
 * recv, send and epoll_wait are cancellation points (pthreads(7)): in a process with threads, glibc
 * turns asynchronous cancellation on and off around each, about 30 instructions and two atomic
 * operations a call. weft's threads are never cancelled. Echo needed 307 instructions a request
 * with the wrappers and 183 without (callgrind, 50 connections; docs/decisions/010).
 *
 * write is the fourth: a poster that was cancelled in the wake-up write would leave a worker asleep
 * that everybody believes awake.
 *
 * Sanitizer builds use the wrappers, which is where their interceptors are. syscall_raw() itself is
 * there in every build: between clone and exec a child may call nothing else (base/child.c). */
#ifndef WEFT_LIB_BASE_SYSCALL_H
#define WEFT_LIB_BASE_SYSCALL_H

#include "base/sanitizer.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(THREAD_SANITIZER) || defined(ADDRESS_SANITIZER) || defined(MEMORY_SANITIZER)
#define SYSCALL_WRAPPED 1
#elif defined(__clang_analyzer__) /* which does not know what the kernel writes behind a syscall */
#define SYSCALL_WRAPPED 1
#endif

#if defined(__x86_64__)

/* Linux's x86-64 convention (syscall(2)): rcx and r11 are lost, the result is in rax, -errno
 * included. */
__attribute__((always_inline)) static inline long syscall_raw(long number, long a, long b, long c,
                                                              long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The same of four arguments and of five: a register less to fill for each that the kernel does not
 * look at. */
__attribute__((always_inline)) static inline long syscall_raw4(long number, long a, long b, long c,
                                                               long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((always_inline)) static inline long syscall_raw5(long number, long a, long b, long c,
                                                               long d, long e) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

__attribute__((always_inline)) static inline long syscall_raw(long number, long a, long b, long c,
                                                              long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#define syscall_raw5(number, a, b, c, d, e) syscall_raw(number, a, b, c, d, e, 0)

#else

__attribute__((always_inline)) static inline long syscall_raw(long number, long a, long b, long c,
                                                              long d, long e, long f) {
    long result = syscall(number, a, b, c, d, e, f);
    return result < 0 ? -errno : result;
}
#ifndef SYSCALL_WRAPPED
#define SYSCALL_WRAPPED 1
#endif

#endif

/* >= 0 or -errno. */
static inline ssize_t syscall_write(int fd, const void *data, size_t size) {
#ifdef SYSCALL_WRAPPED
    ssize_t n = write(fd, data, size);
    return n < 0 ? -errno : n;
#else
    return syscall_raw(SYS_write, fd, (long)data, (long)size, 0, 0, 0);
#endif
}

static inline ssize_t syscall_recv(int fd, void *buffer, size_t size, int flags) {
#ifdef SYSCALL_WRAPPED
    ssize_t n = recv(fd, buffer, size, flags);
    return n < 0 ? -errno : n;
#else
    /* No address is wanted, so the place for its length is not looked at. */
    return syscall_raw5(SYS_recvfrom, fd, (long)buffer, (long)size, flags, 0);
#endif
}

static inline ssize_t syscall_send(int fd, const void *data, size_t size, int flags) {
#ifdef SYSCALL_WRAPPED
    ssize_t n = send(fd, data, size, flags);
    return n < 0 ? -errno : n;
#else
    return syscall_raw5(SYS_sendto, fd, (long)data, (long)size, flags, 0);
#endif
}

static inline int syscall_epoll_wait(int fd, struct epoll_event *events, int capacity,
                                     int timeout_ms) {
#ifdef SYSCALL_WRAPPED
    int n = epoll_wait(fd, events, capacity, timeout_ms);
    return n < 0 ? -errno : n;
#elif defined(SYS_epoll_wait)
    return (int)syscall_raw4(SYS_epoll_wait, fd, (long)events, capacity, timeout_ms);
#else
    return (int)syscall_raw(SYS_epoll_pwait, fd, (long)events, capacity, timeout_ms, 0, 0);
#endif
}

#endif
