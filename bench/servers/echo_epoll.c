/*
 * Echo on bare epoll, as fast as hand-written code gets and no faster: one recv and one send per
 * wake-up of a connection, no call to learn that nothing is left. It frames nothing, times nothing
 * out and trusts its peers; the reference for what a framework adds.
 *
 * --edge registers once for both directions and edges instead of levels. --per-message sends every
 * BYTES bytes by themselves, which is what a handler that replies to each message costs. --bare
 * makes the system calls of each request without libc's wrappers.
 */
#include "servers/peer.h"
#include "servers/server.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/utsname.h>

enum { EVENTS_PER_WAIT = 512 };

typedef struct loop {
    server_worker *worker;
    int epoll_fd;
    bool is_edge;
    peer listener, stop; /* only their addresses matter: they tell events apart */
} loop;

static void control(const loop *l, int op, int fd, uint32_t events, void *tag) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    server_check(epoll_ctl(l->epoll_fd, op, fd, &event) < 0 ? -errno : 0, "epoll_ctl");
}

static void peer_ready(const loop *l, peer *p, uint32_t events) {
    bool was_blocked = p->unsent != NULL;
    /* Of a level the next wait tells again, so one receive is enough. Of an edge it does not: read
     * on after a full buffer, and when the end came along, which has no edge of its own. While
     * something is kept the edge of room for it is to come. */
    ssize_t n;
    do {
        n = peer_turn(l->worker, p);
    } while (l->is_edge && p->unsent == NULL &&
             (n == SERVER_SCRATCH || (n > 0 && (events & EPOLLRDHUP) != 0)));
    bool is_blocked = p->unsent != NULL;
    if (peer_has_ended(n))
        peer_close(p);
    else if (!l->is_edge && is_blocked != was_blocked)
        control(l, EPOLL_CTL_MOD, p->fd, is_blocked ? EPOLLOUT : EPOLLIN, p);
}

static void accept_one(const loop *l) {
    peer *p = peer_accept(l->worker, sizeof *p);
    uint32_t edges = EPOLLIN | EPOLLOUT | EPOLLRDHUP | (uint32_t)EPOLLET;
    if (p != NULL)
        control(l, EPOLL_CTL_ADD, p->fd, l->is_edge ? edges : EPOLLIN, p);
}

static int wait_for_events(const loop *l, struct epoll_event *events) {
    if (l->worker->is_bare)
        return (int)bare_call(SYS_epoll_pwait, l->epoll_fd, (long)events, EVENTS_PER_WAIT, -1, 0,
                              0);
    return epoll_wait(l->epoll_fd, events, EVENTS_PER_WAIT, -1);
}

static void run(server_worker *w) {
    struct epoll_event events[EVENTS_PER_WAIT];
    loop l = {.worker = w, .is_edge = (w->options->flags & SERVER_EDGE) != 0};
    l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server_check(l.epoll_fd < 0 ? -errno : 0, "epoll_create1");
    control(&l, EPOLL_CTL_ADD, w->listen_fd, EPOLLIN, &l.listener);
    control(&l, EPOLL_CTL_ADD, w->stop_fd, EPOLLIN, &l.stop);
    for (;;) {
        int n = wait_for_events(&l, events);
        for (int i = 0; i < n; i++) {
            peer *p = events[i].data.ptr;
            if (p == &l.stop)
                return;
            if (p == &l.listener)
                accept_one(&l);
            else
                peer_ready(&l, p, events[i].events);
        }
    }
}

static const char *version(void) {
    static char text[sizeof(struct utsname)];
    struct utsname system;
    server_check(uname(&system) < 0 ? -errno : 0, "uname");
    snprintf(text, sizeof text, "Linux %s, glibc %s", system.release, gnu_get_libc_version());
    return text;
}

int main(int argc, char **argv) {
    server_options options;
    server_parse(argc, argv, version(),
                 SERVER_EDGE | SERVER_PER_MESSAGE | SERVER_OWN_FDS | SERVER_BARE, &options);
    return server_run(&options, run);
}
