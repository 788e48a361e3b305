/*
 * A connection of the servers that call recv and send themselves (raw epoll, libev, libevent): one
 * receive, its echo sent at once, and what the kernel refused kept, while nothing more is read.
 * Their loops differ in how they wait, and in nothing here.
 */
#ifndef WEFT_BENCH_PEER_H
#define WEFT_BENCH_PEER_H

#include "servers/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

typedef struct peer {
    int fd;
    uint8_t *unsent; /* what the kernel did not take; nothing is read meanwhile */
    size_t unsent_at, unsent_len;
} peer;

/* A system call with nothing around it, -errno included: libc's recv, send and epoll_wait are
 * cancellation points, which in a process with threads costs two atomic operations a call. */
static inline long bare_call(long number, long a, long b, long c, long d, long e, long f) {
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result = number;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else /* no cancellation point either, but a function */
    long result = syscall(number, a, b, c, d, e, f);
    return result < 0 ? -errno : result;
#endif
}

/* Bytes, or -errno. */
static inline ssize_t peer_recv(const server_worker *w, int fd, uint8_t *data, size_t len) {
    if (w->is_bare)
        return bare_call(SYS_recvfrom, fd, (long)data, (long)len, 0, 0, 0);
    ssize_t n = recv(fd, data, len, 0);
    return n < 0 ? -errno : n;
}

static inline ssize_t peer_send(const server_worker *w, int fd, const uint8_t *data, size_t len) {
    if (w->is_bare)
        return bare_call(SYS_sendto, fd, (long)data, (long)len, MSG_NOSIGNAL, 0, 0);
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* One connection of the worker's listener, in `size` zeroed bytes that begin with a peer; NULL if
 * there is none, or no memory. One per wake-up: looping until EAGAIN costs a call for each lone
 * connection. */
static inline void *peer_accept(const server_worker *w, size_t size) {
    int fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return NULL;
    peer *p = calloc(1, size);
    if (p == NULL) {
        close(fd);
        return NULL;
    }
    p->fd = fd;
    return p;
}

static inline void peer_close(peer *p) {
    close(p->fd);
    free(p->unsent);
    free(p);
}

/* Bytes the kernel took, up to len; -errno for a dead peer. */
static inline ssize_t peer_send_pieces(const server_worker *w, int fd, const uint8_t *data,
                                       size_t len) {
    size_t sent = 0;
    while (sent < len) {
        size_t piece = len - sent < w->piece ? len - sent : w->piece;
        ssize_t n = peer_send(w, fd, data + sent, piece);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return n;
        sent += (size_t)n;
        if ((size_t)n < piece)
            break;
    }
    return (ssize_t)sent;
}

static inline int peer_keep(peer *p, const uint8_t *data, size_t len) {
    p->unsent = malloc(len);
    if (p->unsent == NULL)
        return -ENOMEM;
    memcpy(p->unsent, data, len);
    p->unsent_at = 0;
    p->unsent_len = len;
    return 0;
}

/* 0 when all that was kept is out, -EAGAIN, or another -errno. */
static inline int peer_flush(const server_worker *w, peer *p) {
    ssize_t n = peer_send_pieces(w, p->fd, p->unsent + p->unsent_at, p->unsent_len - p->unsent_at);
    if (n < 0)
        return (int)n;
    p->unsent_at += (size_t)n;
    if (p->unsent_at < p->unsent_len)
        return -EAGAIN;
    free(p->unsent);
    p->unsent = NULL;
    return 0;
}

/* What a peer that is ready gets: what was kept goes out, then one receive and its echo. Bytes
 * received; -EAGAIN if there was nothing to do; 0 at the peer's end, or another -errno. */
static inline ssize_t peer_turn(server_worker *w, peer *p) {
    if (p->unsent != NULL) {
        int r = peer_flush(w, p);
        if (r < 0)
            return r;
    }
    ssize_t n = peer_recv(w, p->fd, w->scratch, sizeof w->scratch);
    if (n <= 0)
        return n;
    ssize_t sent = peer_send_pieces(w, p->fd, w->scratch, (size_t)n);
    if (sent < 0)
        return sent;
    int r = sent < n ? peer_keep(p, w->scratch + sent, (size_t)(n - sent)) : 0;
    return r < 0 ? r : n;
}

/* Of a turn's result. */
static inline bool peer_has_ended(ssize_t n) {
    return n == 0 || (n < 0 && n != -EAGAIN);
}

#endif
