/*
 * Echo on libev, N loops in N threads, libev at its best: a watcher per connection, a receive
 * buffer per loop, and a send at once. The watcher asks for room only while there is something that
 * the kernel refused.
 */
#include "servers/peer.h"
#include "servers/server.h"

#include <ev.h>
#include <stddef.h>
#include <stdio.h>

typedef struct connection {
    peer peer; /* first: peer_accept and peer_close see nothing else */
    ev_io io;
} connection;

static void on_ready(struct ev_loop *loop, ev_io *io, int events) {
    (void)events;
    connection *c = io->data;
    bool was_blocked = c->peer.unsent != NULL;
    ssize_t n = peer_turn(ev_userdata(loop), &c->peer);
    bool is_blocked = c->peer.unsent != NULL;
    if (!peer_has_ended(n) && is_blocked == was_blocked)
        return;
    ev_io_stop(loop, io);
    if (peer_has_ended(n)) {
        peer_close(&c->peer);
        return;
    }
    ev_io_set(io, c->peer.fd, is_blocked ? EV_WRITE : EV_READ);
    ev_io_start(loop, io);
}

static void on_listener(struct ev_loop *loop, ev_io *io, int events) {
    (void)io;
    (void)events;
    connection *c = peer_accept(ev_userdata(loop), sizeof *c);
    if (c == NULL)
        return;
    ev_io_init(&c->io, on_ready, c->peer.fd, EV_READ);
    c->io.data = c;
    ev_io_start(loop, &c->io);
}

static void on_stop(struct ev_loop *loop, ev_io *io, int events) {
    (void)io;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void run(server_worker *w) {
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    server_check(loop == NULL ? -ENOSYS : 0, "ev_loop_new with epoll");
    ev_set_userdata(loop, w);
    ev_io listener, stop;
    ev_io_init(&listener, on_listener, w->listen_fd, EV_READ);
    ev_io_init(&stop, on_stop, w->stop_fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_io_start(loop, &stop);
    ev_run(loop, 0);
    ev_loop_destroy(loop);
}

int main(int argc, char **argv) {
    server_options options;
    char version[32];
    /* libev tells the version of its interface, 4.33 of release 4.33. */
    snprintf(version, sizeof version, "libev %d.%02d", ev_version_major(), ev_version_minor());
    server_parse(argc, argv, version, SERVER_PER_MESSAGE | SERVER_OWN_FDS, &options);
    return server_run(&options, run);
}
