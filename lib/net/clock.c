/* The deadlines of a stream: one time serves them all, since they never apply at once. An open
 * stream may have an idle timeout; one that connects, flushes or lingers has a deadline for that.
 *
 * Every stream is in its worker's wheel for streams, also when it has no deadline (UINT64_MAX): so
 * the wheel is the list of all streams as well, and a timeout costs no memory of its own. A
 * deadline that is put off, as each byte does with an idle timeout, is stored and nothing else: the
 * stream stays where the wheel has it, comes out too early, and is put back. Only an earlier one
 * moves it. One timer of the worker's waits for the whole wheel.
 *
 * A loop over all streams that calls the program moves none: what got an earlier deadline meanwhile
 * is marked, and moved when the loop is over. */
#include "net/inner.h"

#define IDLE_MOST ((UINT64_C(1) << 48) - 1)

static void wake_at(struct net_worker *net, uint64_t when_ns) {
    if (when_ns >= net->clocks_due_ns)
        return;
    net->clocks_due_ns = when_ns;
    weft_timer_start_at(net->worker, &net->clocks_timer, when_ns);
}

void stream_clock_file(weft_stream *s) {
    struct net_worker *net = s->net;
    uint64_t deadline_ns = s->clock.deadline_ns;
    /* A wheel that lags behind would want to be advanced at once, to sort what it gets. */
    if (deadline_ns != UINT64_MAX && net->visits == 0)
        wheel_advance(&net->clocks, net->worker->clock_ns);
    wheel_start(&net->clocks, &s->clock, deadline_ns);
    wake_at(net, deadline_ns);
}

static void set_deadline(weft_stream *s, uint64_t deadline_ns) {
    bool filed = wheel_is_pending(&s->clock) && deadline_ns < s->clock.deadline_ns;
    s->clock.deadline_ns = deadline_ns;
    if (!filed)
        return;
    if (s->net->visits == 0 || MUTANT("net-moved-while-visited")) {
        stream_clock_file(s);
        return;
    }
    s->flags |= STREAM_MISFILED;
    s->net->misfiled = true;
}

/* Rounded up, and with what may have passed since the reading of the clock that it counts from. */
static uint64_t idle_units(uint64_t idle_ns) {
    uint64_t units = time_add(idle_ns, CLOCK_STALE_NS + IDLE_UNIT_NS - 1) / IDLE_UNIT_NS;
    return idle_ns == 0 || units > IDLE_MOST ? 0 : units;
}

static void note_idle(weft_stream *s, uint64_t idle_ns) {
    s->idle = idle_units(idle_ns) & IDLE_MOST;
}

static void begin_idle(weft_stream *s) {
    if (s->idle == 0) {
        stream_clock_stop(s);
        return;
    }
    s->flags |= STREAM_IDLE;
    set_deadline(s, stream_clock_now(s) + stream_idle_ns(s));
}

void stream_clock_idle(weft_stream *s, uint64_t idle_ns) {
    note_idle(s, idle_ns);
    begin_idle(s);
}

void stream_clock_deadline(weft_stream *s, uint64_t delay_ns) {
    s->flags &= ~(uint32_t)STREAM_IDLE;
    set_deadline(s, time_add(stream_clock_now(s), time_add(delay_ns, CLOCK_STALE_NS)));
}

void stream_clock_stop(weft_stream *s) {
    s->flags &= ~(uint32_t)STREAM_IDLE;
    set_deadline(s, UINT64_MAX);
}

void stream_clock_begin(weft_stream *s) {
    stream_clock_idle(s, s->protocol->idle_timeout_ns);
    if ((s->flags & STREAM_CONNECTING) == 0)
        return;
    uint64_t timeout_ns = s->protocol->connect_timeout_ns;
    stream_clock_deadline(s, timeout_ns ? timeout_ns : NET_CONNECT_TIMEOUT_NS);
    if (MUTANT("connect-idle-forgotten"))
        s->idle = 0;
}

void stream_clock_connected(weft_stream *s) {
    if ((s->flags & STREAM_TIMED) == 0) /* closed meanwhile: the time to flush goes on */
        begin_idle(s);
}

static void idle_fired(weft_stream *s) {
    if (!s->protocol->on_timeout) {
        stream_end(s, -ETIMEDOUT);
        return;
    }
    begin_idle(s);
    stream_enter(s, (uintptr_t)s->protocol->on_timeout);
    s->protocol->on_timeout(s);
    stream_leave(s);
}

/* Its deadline has come, and is its last one unless it gets another here. */
static void expired(weft_stream *s) {
    const uint32_t connecting = MUTANT("connect-for-ever") ? 0 : STREAM_CONNECTING;
    const uint32_t timed = MUTANT("net-close-times-out") ? STREAM_CLOSING : STREAM_TIMED;
    if (s->flags & STREAM_LINGER)
        stream_end(s, 0); /* the peer had its second; what it still sends is answered by a reset */
    else if (s->flags & (timed | connecting))
        stream_end(s, -ETIMEDOUT);
    else if (s->flags & STREAM_CLOSING)
        return; /* an idle timeout, and a close of this very iteration */
    else
        idle_fired(s);
}

/* Put off, or not to be served now: in the next iteration, or where it moves to. */
static bool waits(const weft_stream *s, uint64_t now_ns) {
    if (s->clock.deadline_ns > now_ns && !MUTANT("net-idle-early"))
        return true;
    return (s->flags & STREAM_MOVING) ||
           (s->flags & (STREAM_UNOPENED | STREAM_CONNECTING | STREAM_CLOSING | STREAM_ENDED)) ==
               STREAM_UNOPENED;
}

static void clocks_fired(weft_timer *timer) {
    struct net_worker *net = container_of(timer, struct net_worker, clocks_timer);
    uint64_t now_ns = net->worker->clock_ns; /* by which the timer was found due */
    net->clocks_due_ns = 0;                  /* nobody starts it meanwhile */
    wheel_advance(&net->clocks, now_ns);
    struct wheel_node *node;
    for (unsigned n = 0; n < WORKER_TIMERS && (node = wheel_pop_due(&net->clocks)) != NULL; n++) {
        weft_stream *s = container_of(node, weft_stream, clock);
        bool is_due = !waits(s, now_ns);
        if (is_due)
            s->clock.deadline_ns = UINT64_MAX;
        wheel_start(&net->clocks, &s->clock, s->clock.deadline_ns);
        if (is_due)
            expired(s);
    }
    net->clocks_due_ns = UINT64_MAX;
    wake_at(net, wheel_next_ns(&net->clocks));
}

void clocks_init(struct net_worker *net) {
    wheel_init(&net->clocks, 0);
    net->clocks_timer.fn = clocks_fired;
    net->clocks_due_ns = UINT64_MAX;
}

/* All streams. */

weft_stream *stream_after(struct net_worker *net, weft_stream *s) {
    struct wheel_node *node = wheel_after(&net->clocks, s ? &s->clock : NULL);
    return node ? container_of(node, weft_stream, clock) : NULL;
}

static void move_misfiled(struct net_worker *net) {
    net->misfiled = false;
    for (weft_stream *s = stream_after(net, NULL), *next; s; s = next) {
        next = stream_after(net, s);
        if (s->flags & STREAM_MISFILED)
            wheel_start(&net->clocks, &s->clock, s->clock.deadline_ns);
        s->flags &= ~(uint32_t)STREAM_MISFILED;
    }
    wake_at(net, wheel_next_ns(&net->clocks));
}

void streams_visit(struct net_worker *net, void (*fn)(weft_stream *s, void *arg), void *arg) {
    net->visits++;
    for (weft_stream *s = NULL; (s = stream_after(net, s)) != NULL;)
        fn(s, arg);
    if (--net->visits == 0 && net->misfiled && !MUTANT("net-misfiled-for-ever"))
        move_misfiled(net);
}

void weft_stream_set_idle_timeout(weft_stream *s, uint64_t timeout_ns) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_set_idle_timeout"))
        return;
    if (s->flags & (STREAM_CLOSING | STREAM_ENDED))
        return;
    if (s->flags & STREAM_CONNECTING)
        note_idle(s, timeout_ns);
    else
        stream_clock_idle(s, timeout_ns);
}
