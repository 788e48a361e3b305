/*
 * Echo on bare epoll, as fast as hand-written code gets and no faster: one recv and one send per
 * wake-up of a connection, no call to learn that nothing is left. It frames nothing, times nothing
 * out and trusts its peers; the reference for what a framework adds.
 *
 * --edge registers once for both directions and edges instead of levels. --per-message sends every
 * BYTES bytes by themselves, which is what a handler that replies to each message costs.
 */
#include "servers/server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 512 };

typedef struct peer {
    int fd;
    uint8_t *unsent; /* what the kernel did not take; nothing is read meanwhile */
    size_t unsent_at, unsent_len;
} peer;

typedef struct worker {
    const server_options *options;
    int listen_fd, signal_fd, epoll_fd;
    size_t piece;        /* bytes per send */
    peer listener, stop; /* only their addresses matter: they tell events apart */
    uint8_t scratch[SERVER_SCRATCH];
} worker;

static bool is_edge(const worker *w) {
    return (w->options->flags & SERVER_EDGE) != 0;
}

static void control(worker *w, int op, int fd, uint32_t events, void *tag) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    server_check(epoll_ctl(w->epoll_fd, op, fd, &event) < 0 ? -errno : 0, "epoll_ctl");
}

static void peer_close(peer *p) {
    close(p->fd);
    free(p->unsent);
    free(p);
}

/* Bytes the kernel took, up to len; -errno for a dead peer. */
static ssize_t send_pieces(const worker *w, int fd, const uint8_t *data, size_t len) {
    size_t sent = 0;
    while (sent < len) {
        size_t piece = len - sent < w->piece ? len - sent : w->piece;
        ssize_t n = send(fd, data + sent, piece, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return -errno;
        sent += (size_t)n;
        if ((size_t)n < piece)
            break;
    }
    return (ssize_t)sent;
}

static int keep(worker *w, peer *p, const uint8_t *data, size_t len) {
    p->unsent = malloc(len);
    if (p->unsent == NULL)
        return -ENOMEM;
    memcpy(p->unsent, data, len);
    p->unsent_at = 0;
    p->unsent_len = len;
    if (!is_edge(w))
        control(w, EPOLL_CTL_MOD, p->fd, EPOLLOUT, p);
    return 0;
}

/* 0 when all is out, -EAGAIN, or another -errno. */
static int flush(worker *w, peer *p) {
    ssize_t n = send_pieces(w, p->fd, p->unsent + p->unsent_at, p->unsent_len - p->unsent_at);
    if (n < 0)
        return (int)n;
    p->unsent_at += (size_t)n;
    if (p->unsent_at < p->unsent_len)
        return -EAGAIN;
    free(p->unsent);
    p->unsent = NULL;
    if (!is_edge(w))
        control(w, EPOLL_CTL_MOD, p->fd, EPOLLIN, p);
    return 0;
}

/* Receives once and echoes: bytes received, 0 at the peer's end, -errno. */
static ssize_t echo_once(worker *w, peer *p) {
    ssize_t n = recv(p->fd, w->scratch, sizeof w->scratch, 0);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    ssize_t sent = send_pieces(w, p->fd, w->scratch, (size_t)n);
    if (sent < 0)
        return sent;
    if (sent < n) {
        int r = keep(w, p, w->scratch + sent, (size_t)(n - sent));
        return r < 0 ? r : n;
    }
    return n;
}

static void peer_ready(worker *w, peer *p, uint32_t events) {
    if (p->unsent != NULL) {
        int r = flush(w, p);
        if (r == -EAGAIN)
            return;
        if (r < 0) {
            peer_close(p);
            return;
        }
    }
    /* Of a level the next wait tells again, so one receive is enough. Of an edge it does not: read
     * on after a full buffer, and when the end came along, which has no edge of its own. */
    ssize_t n;
    do {
        n = echo_once(w, p);
    } while (is_edge(w) && p->unsent == NULL &&
             (n == SERVER_SCRATCH || (n > 0 && (events & EPOLLRDHUP) != 0)));
    if (n == 0 || (n < 0 && n != -EAGAIN))
        peer_close(p);
}

/* One accept per wake-up: looping until EAGAIN costs a call for each lone connection. */
static void accept_one(worker *w) {
    int fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    peer *p = calloc(1, sizeof *p);
    if (p == NULL) {
        close(fd);
        return;
    }
    p->fd = fd;
    control(w, EPOLL_CTL_ADD, fd,
            is_edge(w) ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | (uint32_t)EPOLLET : EPOLLIN, p);
}

static void *run(void *arg) {
    worker *w = arg;
    struct epoll_event events[EVENTS_PER_WAIT];
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server_check(w->epoll_fd < 0 ? -errno : 0, "epoll_create1");
    control(w, EPOLL_CTL_ADD, w->listen_fd, EPOLLIN, &w->listener);
    /* Nobody reads the signal: it stays readable, so that every worker sees it. */
    control(w, EPOLL_CTL_ADD, w->signal_fd, EPOLLIN, &w->stop);
    for (;;) {
        int n = epoll_wait(w->epoll_fd, events, EVENTS_PER_WAIT, -1);
        for (int i = 0; i < n; i++) {
            peer *p = events[i].data.ptr;
            if (p == &w->stop)
                return NULL;
            if (p == &w->listener)
                accept_one(w);
            else
                peer_ready(w, p, events[i].events);
        }
    }
}

static int block_stop_signals(void) {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    int fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
    server_check(fd < 0 ? -errno : 0, "signalfd");
    return fd;
}

int main(int argc, char **argv) {
    server_options options;
    server_parse(argc, argv, SERVER_EDGE | SERVER_PER_MESSAGE, &options);
    int signal_fd = block_stop_signals();
    int fds[SERVER_MAX_WORKERS];
    pthread_t ids[SERVER_MAX_WORKERS];
    server_bind(&options, true, fds);
    worker *workers = calloc(options.workers, sizeof *workers);
    server_check(workers == NULL ? -ENOMEM : 0, "workers");
    for (unsigned i = 0; i < options.workers; i++) {
        workers[i].options = &options;
        workers[i].listen_fd = fds[i];
        workers[i].signal_fd = signal_fd;
        workers[i].piece = options.per_message > 0 ? options.per_message : SERVER_SCRATCH;
        /* The first worker is this thread: one worker is a process with one thread. */
        if (i > 0)
            server_check(-pthread_create(&ids[i], NULL, run, &workers[i]), "thread");
    }
    if (options.idle_thread)
        server_start_idle_thread();
    server_announce_fd(fds[0]);
    run(&workers[0]);
    for (unsigned i = 1; i < options.workers; i++)
        pthread_join(ids[i], NULL);
    free(workers);
    return EXIT_SUCCESS;
}
