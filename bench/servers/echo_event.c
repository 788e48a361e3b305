/*
 * Echo on libevent, N bases in N threads. Two ways to write it:
 *
 * default        libevent at its best: a persistent event per connection, a receive buffer per base
 *                and a send at once. The event asks for room only while there is something that the
 *                kernel refused.
 * --bufferevent  what most programs do: a bufferevent per connection, whose input is moved to its
 *                output without a copy.
 */
#include "servers/peer.h"
#include "servers/server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>

typedef struct base {
    server_worker *worker;
    struct event_base *events;
} base;

typedef struct connection {
    peer peer; /* first: peer_accept and peer_close see nothing else */
    base *base;
    struct event *event;
} connection;

static void on_ready(evutil_socket_t fd, short events, void *arg) {
    (void)events;
    connection *c = arg;
    bool was_blocked = c->peer.unsent != NULL;
    ssize_t n = peer_turn(c->base->worker, &c->peer);
    bool is_blocked = c->peer.unsent != NULL;
    if (!peer_has_ended(n) && is_blocked == was_blocked)
        return;
    event_del(c->event);
    if (!peer_has_ended(n)) {
        short direction = is_blocked ? EV_WRITE : EV_READ;
        event_assign(c->event, c->base->events, fd, (short)(direction | EV_PERSIST), on_ready, c);
        event_add(c->event, NULL);
        return;
    }
    event_free(c->event);
    peer_close(&c->peer);
}

static void on_listener(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    base *b = arg;
    connection *c = peer_accept(b->worker, sizeof *c);
    if (c == NULL)
        return;
    c->base = b;
    c->event = event_new(b->events, c->peer.fd, EV_READ | EV_PERSIST, on_ready, c);
    if (c->event == NULL || event_add(c->event, NULL) < 0) {
        if (c->event != NULL)
            event_free(c->event);
        peer_close(&c->peer);
    }
}

static void on_input(struct bufferevent *bev, void *arg) {
    (void)arg;
    if (bufferevent_write_buffer(bev, bufferevent_get_input(bev)) < 0)
        bufferevent_free(bev);
}

static void on_drained(struct bufferevent *bev, void *arg) {
    (void)arg;
    bufferevent_free(bev);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    bool has_output = evbuffer_get_length(bufferevent_get_output(bev)) > 0;
    if ((what & BEV_EVENT_EOF) != 0 && has_output) /* closing now would drop it */
        bufferevent_setcb(bev, NULL, on_drained, on_event, arg);
    else
        bufferevent_free(bev);
}

static void on_listener_buffered(evutil_socket_t fd, short events, void *arg) {
    (void)events;
    const base *b = arg;
    int peer_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer_fd < 0)
        return;
    struct bufferevent *bev = bufferevent_socket_new(b->events, peer_fd, BEV_OPT_CLOSE_ON_FREE);
    if (bev == NULL) {
        close(peer_fd);
        return;
    }
    bufferevent_setcb(bev, on_input, NULL, on_event, NULL);
    bufferevent_enable(bev, EV_READ); /* writing is enabled from the start */
}

static void on_stop(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    event_base_loopbreak(arg);
}

static struct event_base *base_new(void) {
    struct event_config *config = event_config_new();
    server_check(config == NULL ? -ENOMEM : 0, "event_config_new");
    /* Each base is its thread's: no locks. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_O1);
    struct event_base *events = event_base_new_with_config(config);
    server_check(events == NULL ? -ENOSYS : 0, "event_base_new_with_config");
    event_config_free(config);
    return events;
}

static struct event *watch(struct event_base *events, int fd, event_callback_fn callback,
                           void *arg) {
    struct event *event = event_new(events, fd, EV_READ | EV_PERSIST, callback, arg);
    server_check(event == NULL || event_add(event, NULL) < 0 ? -ENOMEM : 0, "event_add");
    return event;
}

static void run(server_worker *w) {
    base b = {.worker = w, .events = base_new()};
    bool is_buffered = (w->options->flags & SERVER_BUFFEREVENT) != 0;
    struct event *listener =
        watch(b.events, w->listen_fd, is_buffered ? on_listener_buffered : on_listener, &b);
    struct event *stop = watch(b.events, w->stop_fd, on_stop, b.events);
    event_base_dispatch(b.events);
    event_free(listener);
    event_free(stop);
    event_base_free(b.events);
}

int main(int argc, char **argv) {
    server_options options;
    char version[64];
    snprintf(version, sizeof version, "libevent %s", event_get_version());
    server_parse(argc, argv, version, SERVER_BUFFEREVENT | SERVER_PER_MESSAGE | SERVER_OWN_FDS,
                 &options);
    if (options.per_message > 0 && (options.flags & SERVER_BUFFEREVENT) != 0)
        server_check(-EINVAL, "--per-message goes without --bufferevent");
    signal(SIGPIPE, SIG_IGN); /* bufferevents write without MSG_NOSIGNAL */
    return server_run(&options, run);
}
