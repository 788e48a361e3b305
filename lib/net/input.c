/* Input: socket -> the worker's scratch -> on_data; and what on_data left. */
#include "net/inner.h"

/* The bytes that on_data left are kept, and shown again with what came since, as one piece. Few of
 * them are copied in front of the next bytes in the scratch buffer: the common case, the beginning
 * of a message, with all of the scratch behind it to receive into. Many stay where they are, and
 * new bytes are received behind them, so that a long message is moved only when its buffer
 * doubles: linear work, also when it arrives byte by byte. */
enum { KEPT_FEW = 4 << 10, KEPT_ROOM = 1 << 10 };

static size_t kept_length(const weft_stream *s) {
    return s->in ? s->in->end - s->in->start : 0;
}

static void kept_free(struct kept *kept) {
    if (kept)
        mem_free(kept, sizeof *kept + kept->capacity);
}

static struct kept *kept_create(size_t length) {
    size_t capacity = 512 - sizeof(struct kept);
    while (capacity < length)
        capacity += MUTANT("net-kept-exact") ? 512 : capacity;
    struct kept *kept = mem_alloc(sizeof *kept + capacity);
    if (kept)
        *kept = (struct kept){.capacity = capacity};
    return kept;
}

void stream_drop_kept(weft_stream *s) {
    net_unhold(s, kept_length(s));
    kept_free(s->in);
    s->in = NULL;
    s->flags &= ~(uint32_t)STREAM_KEPT;
}

/* What is kept from now on is `length` bytes at `data`, which lie outside of the kept buffer. */
static int keep_instead(weft_stream *s, const uint8_t *data, size_t length) {
    struct kept *kept = s->in;
    size_t before = kept_length(s);
    if (!kept || kept->capacity < length) {
        kept = kept_create(length);
        if (!kept)
            return -ENOMEM;
        kept_free(s->in);
        s->in = kept;
    }
    memcpy(kept->data, data, length);
    kept->start = 0;
    kept->end = length;
    s->flags |= MUTANT("net-left-over-again") ? STREAM_KEPT | STREAM_SHOW : STREAM_KEPT;
    net_unhold(s, before);
    net_hold(s, length);
    return 0;
}

/* Room behind many kept bytes. */
static int kept_reserve(weft_stream *s) {
    struct kept *kept = s->in;
    size_t length = kept_length(s);
    if (kept->capacity - kept->end >= KEPT_ROOM)
        return 0;
    struct kept *grown =
        kept_create(length + (MUTANT("net-kept-exact") ? 0 : length / 2) + KEPT_ROOM);
    if (!grown)
        return -ENOMEM;
    memcpy(grown->data, kept->data + kept->start, length);
    grown->end = length;
    kept_free(kept);
    s->in = grown;
    return 0;
}

static bool consumed_too_much(weft_stream *s, size_t used, size_t length) {
    if (likely(used <= length))
        return false;
#ifdef WEFT_DEBUG
    log_misuse("on_data of stream fd %d returned %zu, but was given %zu bytes; it must return what "
               "it consumed",
               s->fd, used, length);
#endif
    stream_end(s, -EINVAL);
    return true;
}

/* A stream that leaves too much waits for a message that weft will not hold. */
static void check_unconsumed(weft_stream *s) {
    if (s->in && s->in->end - s->in->start > stream_max_unconsumed(s))
        stream_end(s, -EMSGSIZE);
}

/* Whether on_data ended the stream. What was kept until now it has seen, and perhaps consumed:
 * on_close must not find it again. */
static bool ended_by_on_data(weft_stream *s, size_t used, size_t length) {
    if (!consumed_too_much(s, used, length) && !(s->flags & (STREAM_CLOSING | STREAM_ENDED)))
        return false;
    stream_drop_kept(s);
    return true;
}

/* What on_data left of the scratch buffer. */
static void keep_rest(weft_stream *s, size_t used, size_t length) {
    if (ended_by_on_data(s, used, length))
        return;
    if (used == length)
        stream_drop_kept(s);
    else if (keep_instead(s, s->net->scratch + used, length - used) < 0)
        stream_end(s, -ENOMEM);
    else
        check_unconsumed(s);
}

static void show_scratch(weft_stream *s, size_t length) {
    s->flags &= ~(uint32_t)STREAM_SHOW;
    stream_enter(s, (uintptr_t)s->protocol->on_data);
    size_t used = s->protocol->on_data(s, s->net->scratch, length);
    keep_rest(s, used, length);
    stream_leave(s);
}

void stream_show_kept(weft_stream *s) {
    struct kept *kept = s->in;
    size_t length = kept->end - kept->start;
    s->flags &= ~(uint32_t)STREAM_SHOW;
    stream_enter(s, (uintptr_t)s->protocol->on_data);
    size_t used = s->protocol->on_data(s, kept->data + kept->start, length);
    if (!ended_by_on_data(s, used, length)) {
        kept->start += used;
        net_unhold(s, used);
        if (kept->start == kept->end)
            stream_drop_kept(s);
        else
            check_unconsumed(s);
    }
    stream_leave(s);
}

void stream_tell_eof(weft_stream *s) {
    s->flags |= STREAM_EOF_TOLD;
    if (!s->protocol->on_eof) {
        weft_stream_close(s);
        return;
    }
    stream_enter(s, (uintptr_t)s->protocol->on_eof);
    s->protocol->on_eof(s);
    stream_leave(s);
}

/* The end comes after all bytes: also after those that are about to be shown again. */
static void eof_seen(weft_stream *s) {
    s->flags |= STREAM_EOF;
    if (MUTANT("net-eof-ends"))
        stream_end(s, 0);
    if ((s->flags & STREAM_SHOW) == 0 || MUTANT("net-eof-before-left-over"))
        stream_tell_eof(s);
    stream_settle(s);
}

OUT_OF_LINE static void received_none(weft_stream *s, ssize_t n) {
    if (n == 0)
        eof_seen(s);
    else if (!os_says_later(n))
        stream_end(s, (int)n);
}

static void note_received(weft_stream *s, size_t n) {
    stat_add(&s->net->worker->stats.bytes_in, n);
    if (s->flags & STREAM_IDLE)
        stream_note_activity(s);
}

static void receive_behind_many(weft_stream *s) {
    if (kept_reserve(s) < 0) {
        stream_end(s, -ENOMEM);
        return;
    }
    struct kept *kept = s->in;
    ssize_t n = os_recv(s->fd, kept->data + kept->end, kept->capacity - kept->end);
    if (n <= 0) {
        received_none(s, n);
        return;
    }
    kept->end += (size_t)n;
    net_hold(s, (size_t)n);
    note_received(s, (size_t)n);
    stream_show_kept(s);
}

static void receive(weft_stream *s) {
    size_t few = kept_length(s);
    if (few > KEPT_FEW) {
        receive_behind_many(s);
        return;
    }
    uint8_t *scratch = s->net->scratch;
    ssize_t n = os_recv(s->fd, scratch + few, WORKER_SCRATCH - few);
    if (n <= 0) {
        received_none(s, n);
        return;
    }
    if (few)
        memcpy(scratch, s->in->data + s->in->start, few);
    note_received(s, (size_t)n);
    show_scratch(s, few + (size_t)n);
}

/* A lingering stream waits for the peer's end; what still comes is nobody's. */
static void discard(weft_stream *s) {
    ssize_t n = os_recv(s->fd, s->net->scratch, WORKER_SCRATCH);
    if (n == 0 || (n < 0 && !os_says_later(n)))
        stream_end(s, 0);
}

/* A socket in an error state reports it once, to SO_ERROR or to recv(): a second recv() would say
 * end of file. Where SO_ERROR cannot be had the stream ends all the same: a paused one would not
 * hear of it again. */
static void failed(weft_stream *s) {
    int error = 0, unseen = 0;
    int r = os_getsockopt_int(s->fd, SOL_SOCKET, SO_ERROR,
                              MUTANT("net-error-unseen") ? &unseen : &error);
    if (r == 0 && error == 0)
        return;
    stream_end(s, s->flags & STREAM_LINGER ? 0 : r < 0 ? r : -error);
}

/* What is to be shown again comes first: received behind it, more would be kept than a protocol
 * that pauses after each message consumes. */
static bool left_over_is_due(const weft_stream *s) {
    const uint32_t due = STREAM_SHOW | STREAM_KEPT;
    if (MUTANT("net-left-over-later") || MUTANT("net-eof-before-left-over") ||
        MUTANT("move-end-overtakes") || MUTANT("net-eof-overtakes"))
        return false;
    return (s->flags & due) == due;
}

OUT_OF_LINE static void ready_slowly(weft_stream *s, uint32_t epoll_events) {
    if (s->flags & STREAM_MOVING)
        return; /* it is said again where the stream goes */
    if (s->flags & STREAM_CONNECTING) {
        stream_connected(s);
        if (s->flags & STREAM_ENDED)
            return;
    }
    /* An adopted stream may have bytes before its on_open had its turn. */
    if ((s->flags & (STREAM_UNOPENED | STREAM_CLOSING)) == STREAM_UNOPENED &&
        !MUTANT("net-data-before-open")) {
        stream_open(s);
        if (s->flags & STREAM_ENDED || stream_leaves(s))
            return;
    }
    if (epoll_events & EPOLLERR) {
        failed(s);
        if (s->flags & STREAM_ENDED)
            return;
    }
    if (epoll_events & EPOLLHUP && MUTANT("net-hang-up-hides"))
        stream_end(s, 0);
    if (epoll_events & EPOLLOUT) {
        s->flags &= ~(uint32_t)STREAM_BLOCKED;
        output_send(s);
    }
    if (epoll_events & (EPOLLIN | EPOLLHUP)) {
        if (s->flags & STREAM_LINGER)
            discard(s);
        else if (stream_may_read(s) && !left_over_is_due(s))
            receive(s);
    }
    stream_settle(s);
}

/* on_data did not take everything, or did something that needs a look. */
OUT_OF_LINE static void data_left(weft_stream *s, size_t used, size_t length) {
    keep_rest(s, used, length);
    stream_leave(s);
}

/* The fast path: bytes came, nothing is kept, nothing waits, nothing is special. One recv, one
 * callback, one send; a short read ends the reading, and a long one is reported again by the
 * level-triggered selector after the others had their turn. Of the flags none is set but those in
 * `allowed`: before the callback, and after it. */
IN_LINE void pass_through(weft_stream *s, uint32_t allowed) {
    struct net_worker *net = s->net;
    ssize_t n = os_recv(s->fd, net->scratch, WORKER_SCRATCH);
    if (unlikely(n <= 0)) {
        received_none(s, n);
        return;
    }
    weft_worker *w = net->worker;
    size_t (*on_data)(weft_stream *, const uint8_t *, size_t) = s->protocol->on_data;
    stat_add(&w->stats.bytes_in, (size_t)n);
    if (!MUTANT("watchdog-data-unseen"))
        worker_note_callback(w, on_data);
    if (allowed & STREAM_IDLE)
        stream_note_activity(s);
    net->current = s;
    size_t used = on_data(s, net->scratch, (size_t)n);
    if (unlikely(used != (size_t)n || (s->flags & ~allowed))) {
        data_left(s, used, (size_t)n);
        return;
    }
    if (net->output_length) {
        if (allowed & STREAM_IDLE)
            output_gathered_send(s);
        else
            output_gathered_pass(s, net);
    }
    net->current = NULL;
    if (MUTANT("net-reads-to-the-end"))
        stream_ready(&s->source, EPOLLIN);
}

__attribute__((noinline)) static void ready_timed(weft_stream *s, uint32_t epoll_events) {
    if (epoll_events == EPOLLIN && stream_is_fast(s))
        pass_through(s, STREAM_FAST);
    else
        ready_slowly(s, epoll_events);
}

void stream_ready(struct worker_source *source, uint32_t epoll_events) {
    weft_stream *s = container_of(source, weft_stream, source);
    const uint32_t allowed = STREAM_FAST & ~(uint32_t)STREAM_IDLE;
    if (likely(epoll_events == EPOLLIN && (s->flags & ~allowed) == 0))
        pass_through(s, allowed);
    else
        ready_timed(s, epoll_events);
}

void weft_stream_pause(weft_stream *s) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_pause"))
        return;
    s->flags |= STREAM_PAUSED;
    stream_service_soon(s);
}

void weft_stream_resume(weft_stream *s) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_resume"))
        return;
    if ((s->flags & STREAM_PAUSED) == 0)
        return;
    s->flags &= ~(uint32_t)STREAM_PAUSED;
    s->flags |= STREAM_SHOW;
    stream_service_soon(s);
}
