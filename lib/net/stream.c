/* A stream's life: created, opened, served, ended, freed. */
#include "net/inner.h"

static size_t size_of(size_t state_size) {
    return sizeof(weft_stream) + state_size;
}

/* What the protocol says about limits, as flags. */
static void note_limits(weft_stream *s) {
    s->flags &= ~(uint32_t)(STREAM_STRICT | STREAM_UNCHOKED);
    if (stream_high_water(s) <= NET_OUTPUT || stream_max_pending(s) <= NET_OUTPUT)
        s->flags |= STREAM_STRICT;
    if (!s->listener && (s->protocol->flags & WEFT_STREAM_PAUSE) == 0 && !MUTANT("net-all-pause"))
        s->flags |= STREAM_UNCHOKED;
}

void stream_enlist(weft_stream *s) {
    stream_clock_file(s);
    worker_hold(s->net->worker);
    stat_add(&s->net->worker->stats.streams_open, 1);
}

int stream_create(struct net_worker *net, int fd, const weft_protocol *protocol, void *arg,
                  weft_listener *listener, uint32_t flags, weft_stream **ret_stream) {
    weft_stream *s = mem_zalloc(size_of(protocol->state_size));
    if (!s)
        return -ENOMEM;
    s->source.ready = stream_ready;
    s->net = net;
    s->protocol = protocol;
    s->arg = arg;
    s->fd = fd;
    s->listener = listener;
    s->flags = flags | STREAM_UNOPENED;
    note_limits(s);
    int r = stream_watch(s);
    if (r < 0) {
        mem_free(s, size_of(protocol->state_size));
        return r;
    }
    stream_clock_begin(s);
    stream_enlist(s);
    *ret_stream = s;
    return 0;
}

/* Callbacks. */

void stream_enter(weft_stream *s, uintptr_t callback) {
    s->net->current = s;
    worker_enter(s->net->worker, callback);
}

void stream_leave(weft_stream *s) {
    struct net_worker *net = s->net;
    if (net->output_length)
        output_gathered_send(s);
    if ((s->flags & STREAM_ENDED) == 0)
        output_send(s); /* what did not fit into the worker's buffer */
    net->current = NULL;
    stream_settle(s);
}

void stream_open(weft_stream *s) {
    s->flags &= ~(uint32_t)STREAM_UNOPENED;
    if (s->protocol->on_open) {
        stream_enter(s, (uintptr_t)s->protocol->on_open);
        s->protocol->on_open(s);
        stream_leave(s);
    }
    mailbox_read(s); /* what came by its id until now */
}

void stream_stop(weft_stream *s) {
    if (s->flags & (STREAM_ENDED | STREAM_STOP_TOLD | STREAM_MOVING))
        return; /* on_move comes first, where it goes */
    s->flags |= STREAM_STOP_TOLD;
    if (s->flags & STREAM_CONNECTING && !MUTANT("connect-told-to-stop")) {
        stream_end(s, -ESHUTDOWN);
        return;
    }
    if ((s->flags & (STREAM_UNOPENED | STREAM_CLOSING)) == STREAM_UNOPENED &&
        !MUTANT("net-stop-before-open"))
        stream_open(s);
    if (s->flags & (STREAM_ENDED | STREAM_CLOSING))
        return;
    if (!s->protocol->on_stop) {
        weft_stream_close(s);
        return;
    }
    stream_enter(s, (uintptr_t)s->protocol->on_stop);
    s->protocol->on_stop(s);
    stream_leave(s);
}

/* Lists of those who want something done. */

static void list_on(weft_stream *s, struct stream_list *list) {
    if (s->flags & STREAM_LISTED)
        return;
    s->flags |= STREAM_LISTED;
    s->service = NULL;
    *list->tail = s;
    list->tail = &s->service;
}

/* The first, no longer listed, or NULL. */
static weft_stream *list_off(struct stream_list *list) {
    weft_stream *s = list->first;
    if (!s)
        return NULL;
    s->flags &= ~(uint32_t)STREAM_LISTED;
    list->first = s->service;
    if (!list->first)
        list->tail = &list->first;
    return s;
}

static void unlist_moving(struct stream_list *list) {
    weft_stream **link = &list->first, *s;
    while ((s = *link) != NULL) {
        if (s->flags & STREAM_MOVING) {
            s->flags &= ~(uint32_t)STREAM_LISTED;
            *link = s->service;
        } else
            link = &s->service;
    }
    list->tail = link;
}

void streams_unlist_moving(struct net_worker *net) {
    unlist_moving(&net->dirty);
    unlist_moving(&net->later);
}

void stream_service_soon(weft_stream *s) {
    list_on(s, &s->net->dirty);
    worker_want_flush(s->net->worker);
}

void stream_service_later(weft_stream *s) {
    list_on(s, &s->net->later);
    worker_defer(s->net->worker, &s->net->later_job);
}

/* What should the selector look at? */
static uint32_t wanted_interest(const weft_stream *s) {
    uint32_t wanted = 0;
    if (s->flags & STREAM_CONNECTING)
        return STREAM_SEES_OUT;
    if (s->flags & STREAM_BLOCKED)
        wanted |= STREAM_SEES_OUT;
    if (s->flags & STREAM_LINGER || stream_may_read(s))
        wanted |= STREAM_SEES_IN;
    return wanted;
}

static void note_interest(weft_stream *s, uint32_t interest) {
    s->flags = (s->flags & ~(uint32_t)(STREAM_SEES_IN | STREAM_SEES_OUT)) | interest;
}

/* A stream that waits for nothing still hears of errors, edge triggered: a hang-up that is not
 * acted upon would otherwise be reported for ever. */
static uint32_t epoll_bits(uint32_t interest) {
    if (!interest && !MUTANT("net-hang-up-spin"))
        return EPOLLET;
    return (interest & STREAM_SEES_IN ? EPOLLIN : 0u) |
           (interest & STREAM_SEES_OUT ? EPOLLOUT : 0u);
}

int stream_watch(weft_stream *s) {
    uint32_t wanted = wanted_interest(s);
    note_interest(s, wanted);
    return worker_source_add(s->net->worker, s->fd, epoll_bits(wanted), &s->source);
}

static void update_interest(weft_stream *s) {
    uint32_t wanted = wanted_interest(s);
    if (wanted == (s->flags & (STREAM_SEES_IN | STREAM_SEES_OUT)))
        return;
    int r = selector_modify_raw(s->net->worker->selector, s->fd, epoll_bits(wanted));
    if (r < 0)
        stream_end(s, r); /* the program closed our fd: nothing can be waited for any more */
    else
        note_interest(s, wanted);
}

static uint64_t close_timeout(const weft_stream *s) {
    return s->protocol->close_timeout_ns ? s->protocol->close_timeout_ns : NET_CLOSE_TIMEOUT_NS;
}

/* Closing: flush, half-close, wait for the peer's end. Each wait has a deadline. */
static void advance_closing(weft_stream *s) {
    stream_drop_kept(s);
    if (s->flags & STREAM_LINGER)
        return;
    if (s->flags & STREAM_UNSENT) {
        if ((s->flags & STREAM_TIMED) == 0)
            stream_clock_deadline(s, close_timeout(s));
        s->flags |= STREAM_TIMED;
        return;
    }
    if (s->flags & STREAM_CONNECTING) {
        stream_end(s, 0); /* nobody is there yet who could wait for an end */
        return;
    }
    if (s->flags & STREAM_EOF) {
        stream_end(s, 0);
        return;
    }
    if (MUTANT("net-no-linger")) {
        stream_end(s, 0);
        return;
    }
    s->flags |= STREAM_SHUT;
    output_sent_all(s);
    s->flags |= STREAM_LINGER;
    stream_clock_deadline(s, NET_LINGER_NS);
}

void stream_settle(weft_stream *s) {
    if (s->flags & (STREAM_ENDED | STREAM_MOVING) || s->net->current == s)
        return;
    if ((s->flags & STREAM_CHOKED) && output_is_below_mark(s)) {
        s->flags &= ~(uint32_t)STREAM_CHOKED;
        s->flags |= MUTANT("net-unchoked-unshown") ? 0 : STREAM_SHOW;
    }
    if (s->flags & STREAM_CLOSING)
        advance_closing(s);
    else if ((s->flags & STREAM_UNSENT) == 0)
        output_sent_all(s);
    if (s->flags & STREAM_ENDED)
        return;
    update_interest(s);
    if (s->flags & STREAM_CONNECTING && !MUTANT("connect-opens-early"))
        return; /* on_open comes before everything else */
    if ((s->flags & STREAM_SHOW) || ((s->flags & STREAM_DRAIN) && output_is_below_mark(s)))
        stream_service_later(s);
}

/* End. */

void stream_end(weft_stream *s, int error) {
    if (s->flags & STREAM_ENDED)
        return;
    s->flags |= STREAM_ENDED;
    /* A reset that comes after the peer's end of output is EPIPE to the kernel. Here that is the
     * name of what the program ended itself. */
    s->error = (int16_t)(error == -EPIPE && !MUTANT("net-epipe-told") ? -ECONNRESET : error);
    /* Of a connection that the peer has reset nothing is left to reset. */
    if (error < 0 && (error != -ECONNRESET || MUTANT("net-resets-the-reset")))
        s->flags |= STREAM_RESET;
    selector_unregister(s->net->worker->selector, s->fd);
    stream_clock_stop(s);
    output_drop(s);
    if (s->net->current == s)
        s->net->output_length = 0;
    stream_service_soon(s);
}

/* The grace time is over. One that only waits for the peer's end has done all it promised. */
void stream_expire(weft_stream *s) {
    stream_end(s, s->flags & STREAM_LINGER && !MUTANT("net-linger-expires") ? 0 : -ESHUTDOWN);
}

/* SO_LINGER with no time makes the close a reset (socket(7)). */
void socket_close_with_reset(int fd) {
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)os_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    os_close(fd);
}

static void close_socket(weft_stream *s) {
    if (s->flags & STREAM_RESET)
        socket_close_with_reset(s->fd);
    else
        os_close(s->fd);
    plain_store(&s->fd, -1); /* getters are for any thread */
}

/* on_close, then everything goes. Only from the two lists: no callback of s can be running. */
static void finish(weft_stream *s) {
    struct net_worker *net = s->net;
    s->flags |= STREAM_LISTED; /* on no list, and no call puts it on one any more */
    if (net->released && !MUTANT("net-release-late"))
        releases_run(net); /* what it was lent goes back before its end is told */
    if (s->protocol->on_close) {
        stream_enter(s, (uintptr_t)s->protocol->on_close);
        s->protocol->on_close(s, s->error);
        net->current = NULL;
    }
    mailbox_close(s);
    close_socket(s);
    stream_drop_kept(s);
    wheel_stop(&net->clocks, &s->clock);
    stat_sub(&net->worker->stats.streams_open, 1);
    atom_sub(&net->assigned, 1, relaxed);
    if (s->listener)
        listener_stream_gone(s->listener);
    mem_free(s, 0); /* of the size that its first protocol named */
    worker_release(net->worker);
}

/* Service. */

static void flush_once(struct net_worker *net) {
    streams_depart(net);
    /* Those that wait for the next iteration may have output for this one. */
    for (weft_stream *s = net->later.first; s; s = s->service) {
        if ((s->flags & STREAM_ENDED) == 0) {
            output_send(s);
            stream_settle(s);
        }
    }
    for (weft_stream *s; (s = list_off(&net->dirty)) != NULL;) {
        if (s->flags & STREAM_MOVING) {
            stream_service_soon(s); /* one that stays is served after all */
            streams_depart(net);
            continue;
        }
        if ((s->flags & STREAM_ENDED) == 0) {
            output_send(s);
            stream_settle(s);
        }
        /* One that ended just now is listed, behind others: its turn comes. */
        if ((s->flags & (STREAM_ENDED | STREAM_LISTED)) == STREAM_ENDED)
            finish(s);
    }
}

/* An on_close or a release may have moved others: they leave now, as nobody asks again. */
void streams_flush(struct net_worker *net) {
    do
        flush_once(net);
    while (!list_is_empty(&net->moves));
}

static void tell_drain(weft_stream *s) {
    s->flags &=
        ~(uint32_t)(MUTANT("net-drain-again") ? STREAM_REFUSED : STREAM_DRAIN | STREAM_REFUSED);
    mailbox_note_room(s);
    if (!s->protocol->on_drain || (s->flags & STREAM_CLOSING))
        return;
    stream_enter(s, (uintptr_t)s->protocol->on_drain);
    s->protocol->on_drain(s);
    stream_leave(s);
}

/* Not after on_eof, which was the last chance to look: no on_data follows it. */
static void show_left_over(weft_stream *s) {
    const uint32_t stand =
        STREAM_EOF_TOLD | STREAM_PAUSED | STREAM_CHOKED | STREAM_CLOSING | STREAM_ENDED;
    s->flags &= ~(uint32_t)STREAM_SHOW;
    if (s->flags & stand)
        return;
    if (s->flags & STREAM_KEPT)
        stream_show_kept(s);
}

/* Not while left-over input is to be shown once more: what on_data just wrote may have paused the
 * stream and left at once. */
static void show_withheld_eof(weft_stream *s) {
    const uint32_t stand = STREAM_EOF | STREAM_EOF_TOLD | STREAM_PAUSED | STREAM_CHOKED |
                           STREAM_CLOSING | STREAM_ENDED |
                           (MUTANT("net-eof-overtakes") ? 0 : STREAM_SHOW);
    if ((s->flags & stand) == STREAM_EOF)
        stream_tell_eof(s);
}

/* One callback after the other, until one of them has moved it. */
static void tell_what_is_due(weft_stream *s) {
    if ((s->flags & (STREAM_UNOPENED | STREAM_CLOSING | STREAM_ENDED)) == STREAM_UNOPENED)
        stream_open(s);
    if (stream_leaves(s))
        return;
    if ((s->flags & (STREAM_DRAIN | STREAM_ENDED)) == STREAM_DRAIN && output_is_below_mark(s))
        tell_drain(s);
    if (stream_leaves(s))
        return;
    if (s->flags & STREAM_SHOW)
        show_left_over(s);
    if (!stream_leaves(s))
        show_withheld_eof(s);
}

static void serve_later(weft_stream *s) {
    if (s->flags & STREAM_MOVING) {
        stream_service_soon(s);
        return;
    }
    if (s->flags & STREAM_CONNECTING && !MUTANT("connect-opens-early"))
        return;
    tell_what_is_due(s);
    /* While it waited for its turn others may have written to it: they found it listed. */
    if (!MUTANT("net-later-unflushed"))
        stream_service_soon(s);
    else
        stream_settle(s);
}

void streams_later(struct worker_job *job) {
    struct net_worker *net = container_of(job, struct net_worker, later_job);
    struct stream_list batch = net->later;
    net->later = (struct stream_list){.tail = &net->later.first};
    for (weft_stream *s; (s = list_off(&batch)) != NULL;)
        serve_later(s);
}

/* The program's calls. */

void weft_stream_close(weft_stream *s) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_close"))
        return;
    if (s->flags & (STREAM_CLOSING | STREAM_ENDED))
        return;
    s->flags |= STREAM_CLOSING;
    stream_service_soon(s);
}

void weft_stream_abort(weft_stream *s) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_abort"))
        return;
    if (s->flags & STREAM_ENDED)
        return;
    s->flags |= STREAM_RESET;
    stream_end(s, 0);
}

void weft_stream_set_protocol(weft_stream *s, const weft_protocol *protocol, void *arg) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_set_protocol"))
        return;
    if (protocol_check(protocol) < 0) {
        log_misuse("weft_stream_set_protocol: stream fd %d: a protocol needs an on_data, known "
                   "flags, and zero in reserved; it stays what it was",
                   s->fd);
        return;
    }
    s->protocol = protocol;
    s->arg = arg;
    note_limits(s);
    mailbox_note_room(s);
    /* What the old one left is for the new one to see. */
    if (!MUTANT("net-upgrade-unshown"))
        s->flags |= STREAM_SHOW;
    if ((s->flags & STREAM_ENDED) == 0)
        weft_stream_set_idle_timeout(s, protocol->idle_timeout_ns);
    stream_service_soon(s);
}

static int adoptable(int fd) {
    int type = 0, listening = 0;
    struct sockaddr_storage peer;
    socklen_t size = 0;
    int r = fd < 0 ? -EBADF : os_getsockopt_int(fd, SOL_SOCKET, SO_TYPE, &type);
    if (r < 0)
        return r;
    if (type != SOCK_STREAM)
        return -EINVAL;
    r = os_getsockopt_int(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening);
    if (r < 0)
        return r;
    return listening ? -EINVAL : os_getpeername(fd, &peer, &size);
}

int weft_adopt(weft_worker *w, int fd, const weft_protocol *protocol, void *arg,
               weft_stream **ret_stream) {
    int r = worker_owner_check(w, "weft_adopt");
    if (r == 0)
        r = protocol_check(protocol);
    if (r == 0)
        r = adoptable(fd);
    if (r == 0 && runtime_is_stopping(w->runtime))
        r = -ESHUTDOWN;
    if (r < 0)
        return r;
    struct net_worker *net = net_of(w);
    int was_blocking = os_set_nonblocking(fd);
    if (was_blocking < 0)
        return was_blocking;
    weft_stream *s = NULL;
    r = stream_create(net, fd, protocol, arg, NULL, 0, &s);
    if (r < 0) {
        if (was_blocking && !MUTANT("fault-net-not-undone"))
            (void)os_clear_nonblocking(fd);
        return r;
    }
    atom_add(&net->assigned, 1, relaxed);
    (void)os_setsockopt_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* a unix socket has no such thing */
    stream_service_later(s);
    if (ret_stream)
        *ret_stream = s;
    return 0;
}
