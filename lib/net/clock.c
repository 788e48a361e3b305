/* The deadlines of a stream: one timer serves them all, since they never apply at once. An open
 * stream may have an idle timeout; a closing one has its flush, then its linger. Memory for it
 * exists only from the first deadline on. */
#include "net/inner.h"

static void clock_fired(weft_timer *timer);

int stream_extra_ensure(weft_stream *s) {
    if (s->extra)
        return 0;
    struct stream_extra *extra = mem_zalloc(sizeof *extra);
    if (!extra)
        return -ENOMEM;
    extra->timer.fn = clock_fired;
    extra->stream = s;
    s->extra = extra;
    return 0;
}

void stream_extra_drop(weft_stream *s) {
    if (s->extra)
        mem_free(s->extra, sizeof *s->extra);
    s->extra = NULL;
}

int stream_clock_idle(weft_stream *s, uint64_t idle_ns) {
    if (idle_ns == UINT64_MAX)
        idle_ns = 0;
    if (idle_ns == 0 && !s->extra)
        return 0;
    int r = stream_extra_ensure(s);
    if (r < 0)
        return r;
    s->extra->idle_ns = idle_ns;
    s->extra->active_ns = worker_now(s->net->worker);
    if (idle_ns == 0) {
        s->flags &= ~(uint32_t)STREAM_IDLE;
        weft_timer_stop(&s->extra->timer);
        return 0;
    }
    s->flags |= STREAM_IDLE;
    weft_timer_start(s->net->worker, &s->extra->timer, idle_ns, 0);
    return 0;
}

int stream_clock_deadline(weft_stream *s, uint64_t delay_ns) {
    int r = stream_extra_ensure(s);
    if (r < 0)
        return r;
    s->flags &= ~(uint32_t)STREAM_IDLE;
    weft_timer_start(s->net->worker, &s->extra->timer, delay_ns, 0);
    return 0;
}

int stream_clock_connect(weft_stream *s) {
    uint64_t timeout_ns = s->protocol->connect_timeout_ns;
    int r = stream_clock_deadline(s, timeout_ns ? timeout_ns : NET_CONNECT_TIMEOUT_NS);
    if (r == 0 && !MUTANT("connect-idle-forgotten"))
        s->extra->idle_ns = s->protocol->idle_timeout_ns;
    return r;
}

void stream_clock_connected(weft_stream *s) {
    uint64_t idle_ns = s->extra->idle_ns;
    weft_timer_stop(&s->extra->timer);
    (void)stream_clock_idle(s, idle_ns); /* its memory is there */
    if ((s->flags & STREAM_IDLE) == 0)
        stream_clock_stop(s);
}

void stream_clock_stop(weft_stream *s) {
    if (!s->extra)
        return;
    weft_timer_stop(&s->extra->timer);
    s->flags &= ~(uint32_t)STREAM_IDLE;
    if (!s->extra->mailbox)
        stream_extra_drop(s);
}

/* One that came due in this very iteration is due at once where the stream goes. */
uint64_t stream_clock_depart(weft_stream *s) {
    if (!s->extra)
        return UINT64_MAX;
    bool pending = weft_timer_is_pending(&s->extra->timer);
    uint64_t left_ns = pending ? weft_timer_remaining_ns(&s->extra->timer) : 0;
    weft_timer_stop(&s->extra->timer);
    return pending || s->flags & (STREAM_IDLE | STREAM_CONNECTING) ? left_ns : UINT64_MAX;
}

void stream_clock_arrive(weft_stream *s, uint64_t left_ns) {
    if (left_ns != UINT64_MAX)
        weft_timer_start(s->net->worker, &s->extra->timer, left_ns, 0);
}

/* Activity only stores a time; the timer, when it fires, looks at how long ago that was. */
static void idle_fired(weft_stream *s) {
    weft_worker *w = s->net->worker;
    struct stream_extra *extra = s->extra;
    /* What was stored as the time of the last byte may be that much too early. */
    uint64_t active_ns = time_add(extra->active_ns, CLOCK_STALE_NS);
    uint64_t now_ns = worker_now(w), due_ns = time_add(active_ns, extra->idle_ns);
    if (due_ns > now_ns) {
        weft_timer_start_at(w, &extra->timer, due_ns);
        return;
    }
    if (!s->protocol->on_timeout) {
        stream_end(s, -ETIMEDOUT);
        return;
    }
    extra->active_ns = now_ns;
    weft_timer_start_at(w, &extra->timer, time_add(now_ns, extra->idle_ns));
    stream_enter(s, (uintptr_t)s->protocol->on_timeout);
    s->protocol->on_timeout(s);
    stream_leave(s);
}

static void clock_fired(weft_timer *timer) {
    weft_stream *s = container_of(timer, struct stream_extra, timer)->stream;
    if (s->flags & (STREAM_ENDED | STREAM_MOVING))
        return;
    const uint32_t connecting = MUTANT("connect-for-ever") ? 0 : STREAM_CONNECTING;
    const uint32_t timed = MUTANT("net-close-times-out") ? STREAM_CLOSING : STREAM_TIMED;
    if (s->flags & STREAM_LINGER)
        stream_end(s, 0); /* the peer had its second; what it still sends is answered by a reset */
    else if (s->flags & (timed | connecting))
        stream_end(s, -ETIMEDOUT);
    else if (s->flags & STREAM_CLOSING)
        return; /* an idle timeout, and a close of this very iteration */
    else if (s->flags & STREAM_OPENED)
        idle_fired(s);
}

void weft_stream_set_idle_timeout(weft_stream *s, uint64_t timeout_ns) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_set_idle_timeout"))
        return;
    if (s->flags & (STREAM_CLOSING | STREAM_ENDED))
        return;
    if (s->flags & STREAM_CONNECTING)
        s->extra->idle_ns = timeout_ns;
    else if (stream_clock_idle(s, timeout_ns) < 0)
        stream_end(s, -ENOMEM); /* a stream that cannot time out would hold its fd for ever */
}
