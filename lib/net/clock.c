/* The deadlines of a stream: one timer serves them all, since they never apply at once. An open
 * stream may have an idle timeout; a closing one has its flush, then its linger. Memory for it
 * exists only from the first deadline on. */
#include "net/inner.h"

static void clock_fired(weft_timer *timer);

static int clock_ensure(weft_stream *s) {
    if (s->clock)
        return 0;
    struct stream_clock *clock = mem_zalloc(sizeof *clock);
    if (!clock)
        return -ENOMEM;
    clock->timer.fn = clock_fired;
    clock->stream = s;
    s->clock = clock;
    return 0;
}

int stream_clock_idle(weft_stream *s, uint64_t idle_ns) {
    if (idle_ns == UINT64_MAX)
        idle_ns = 0;
    if (idle_ns == 0 && !s->clock)
        return 0;
    int r = clock_ensure(s);
    if (r < 0)
        return r;
    s->clock->idle_ns = idle_ns;
    s->clock->active_ns = worker_now(s->net->worker);
    if (idle_ns == 0) {
        s->flags &= ~(uint32_t)STREAM_IDLE;
        weft_timer_stop(&s->clock->timer);
        return 0;
    }
    s->flags |= STREAM_IDLE;
    weft_timer_start(s->net->worker, &s->clock->timer, idle_ns, 0);
    return 0;
}

int stream_clock_deadline(weft_stream *s, uint64_t delay_ns) {
    int r = clock_ensure(s);
    if (r < 0)
        return r;
    s->flags &= ~(uint32_t)STREAM_IDLE;
    weft_timer_start(s->net->worker, &s->clock->timer, delay_ns, 0);
    return 0;
}

int stream_clock_connect(weft_stream *s) {
    uint64_t timeout_ns = s->protocol->connect_timeout_ns;
    int r = stream_clock_deadline(s, timeout_ns ? timeout_ns : NET_CONNECT_TIMEOUT_NS);
    if (r == 0 && !MUTANT("connect-idle-forgotten"))
        s->clock->idle_ns = s->protocol->idle_timeout_ns;
    return r;
}

void stream_clock_connected(weft_stream *s) {
    uint64_t idle_ns = s->clock->idle_ns;
    weft_timer_stop(&s->clock->timer);
    (void)stream_clock_idle(s, idle_ns); /* its memory is there */
    if ((s->flags & STREAM_IDLE) == 0)
        stream_clock_stop(s);
}

void stream_clock_stop(weft_stream *s) {
    if (!s->clock)
        return;
    weft_timer_stop(&s->clock->timer);
    mem_free(s->clock, sizeof *s->clock);
    s->clock = NULL;
    s->flags &= ~(uint32_t)STREAM_IDLE;
}

/* Activity only stores a time; the timer, when it fires, looks at how long ago that was. */
static void idle_fired(weft_stream *s) {
    weft_worker *w = s->net->worker;
    struct stream_clock *clock = s->clock;
    /* What was stored as the time of the last byte may be that much too early. */
    uint64_t active_ns = time_add(clock->active_ns, CLOCK_STALE_NS);
    uint64_t now_ns = worker_now(w), due_ns = time_add(active_ns, clock->idle_ns);
    if (due_ns > now_ns) {
        weft_timer_start_at(w, &clock->timer, due_ns);
        return;
    }
    if (!s->protocol->on_timeout) {
        stream_end(s, -ETIMEDOUT);
        return;
    }
    clock->active_ns = now_ns;
    weft_timer_start_at(w, &clock->timer, time_add(now_ns, clock->idle_ns));
    stream_enter(s, (uintptr_t)s->protocol->on_timeout);
    s->protocol->on_timeout(s);
    stream_leave(s);
}

static void clock_fired(weft_timer *timer) {
    weft_stream *s = container_of(timer, struct stream_clock, timer)->stream;
    if (s->flags & STREAM_ENDED)
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
        s->clock->idle_ns = timeout_ns;
    else if (stream_clock_idle(s, timeout_ns) < 0)
        stream_end(s, -ENOMEM); /* a stream that cannot time out would hold its fd for ever */
}
