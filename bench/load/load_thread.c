#include "load/load_thread.h"

#include "load/pattern.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define EVENTS_PER_WAIT 256
#define STALL_NS (5 * CLI_NS_PER_SEC) /* no event at all for so long: the rest is given up */
#define NS_PER_MSEC 1000000u

static void drop(load_thread *t, connection *c) {
    connection_close(c);
    t->open--;
}

static void fail(load_thread *t, connection *c, const char *why) {
    if (t->failures++ == 0) /* the others usually fail alike */
        fprintf(stderr, "weft-load: connection %u: %s (%llu bytes sent, %llu received)\n", c->index,
                why, (unsigned long long)c->sent, (unsigned long long)c->received);
    drop(t, c);
}

static void wait_for(load_thread *t, connection *c, bool write) {
    if (c->wants_write == write)
        return;
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->wants_write = write;
}

static void push(load_thread *t, connection *c) {
    int r = connection_send(c, t->options->burst_writes ? t->options->size : SIZE_MAX);
    if (r < 0 && r != -EAGAIN)
        fail(t, c, strerror(-r));
    else
        wait_for(t, c, r == -EAGAIN);
}

static void finish(load_thread *t, connection *c) {
    c->finishing = true;
    if (shutdown(c->fd, SHUT_WR) < 0)
        fail(t, c, strerror(errno));
}

static void start_batch(load_thread *t, connection *c, uint64_t now_ns) {
    bool by_count = t->options->requests > 0 && t->phase == LOAD_MEASURE;
    uint64_t messages = t->options->pipeline;
    if (by_count && messages > t->to_send)
        messages = t->to_send;
    if (t->phase == LOAD_DRAIN || messages == 0) {
        finish(t, c);
        return;
    }
    if (by_count)
        t->to_send -= messages;
    c->counted = by_count;
    c->batch_start = c->batch_end;
    c->batch_end += messages * t->options->size;
    c->batch_at_ns = now_ns;
    c->batch_done = 0;
    push(t, c);
}

static uint64_t read_server_cpu(const load_thread *t) {
    uint64_t ns = 0;
    if (t->server != NULL && process_cpu_read_ns(t->server, &ns) < 0)
        fputs("weft-load: the server process has ended\n", stderr);
    return ns;
}

static void end_measure(load_thread *t, uint64_t now_ns) {
    t->phase = LOAD_DRAIN;
    t->measured_to_ns = now_ns;
    t->server_cpu_to_ns = read_server_cpu(t);
}

/* Moves to the phase that `now_ns` belongs to. */
static void advance(load_thread *t, uint64_t now_ns) {
    if (t->phase == LOAD_WARMUP && now_ns >= t->start_ns + t->options->warmup_ns) {
        t->phase = LOAD_MEASURE;
        t->measured_from_ns = now_ns;
        t->server_cpu_from_ns = read_server_cpu(t);
    }
    if (t->phase == LOAD_MEASURE && t->options->requests == 0 &&
        now_ns >= t->measured_from_ns + t->options->duration_ns)
        end_measure(t, now_ns);
}

/* Counts the messages that a receive completed. By time, what completes in the window counts: what
 * was under way at its start makes up for what is at its end. By number, exactly the messages sent
 * in the measured part count. */
static void complete(load_thread *t, connection *c, uint64_t now_ns) {
    uint64_t done = (c->received - c->batch_start) / t->options->size;
    uint64_t fresh = done - c->batch_done;
    c->batch_done = done;
    atomic_store_explicit(&t->completed,
                          atomic_load_explicit(&t->completed, memory_order_relaxed) + fresh,
                          memory_order_relaxed);
    if (t->phase != LOAD_MEASURE || (t->options->requests > 0 && !c->counted))
        return;
    histogram_record(&t->latency, now_ns - c->batch_at_ns, fresh);
    if (c->counted && (t->to_complete -= fresh) == 0)
        end_measure(t, now_ns);
}

static void pull(load_thread *t, connection *c) {
    static _Thread_local uint8_t buffer[PATTERN_WINDOW];
    ssize_t n = connection_receive(c, buffer, sizeof buffer, t->options->verify);
    if (n == -EAGAIN)
        return;
    if (n < 0) {
        fail(t, c, strerror((int)-n));
    } else if (n == 0) {
        if (c->finishing)
            drop(t, c);
        else
            fail(t, c, "the server closed it");
    } else if (c->received > c->batch_end) {
        fail(t, c, "more bytes came back than were sent");
    } else {
        uint64_t now_ns = cli_now_ns();
        complete(t, c, now_ns);
        if (c->received == c->batch_end)
            start_batch(t, c, now_ns);
    }
}

static void handle(load_thread *t, connection *c, uint32_t events) {
    if ((events & EPOLLOUT) != 0)
        push(t, c);
    if (c->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        pull(t, c);
}

static int timeout_ms(uint64_t now_ns, uint64_t next_tick_ns, const load_thread *t) {
    uint64_t until = next_tick_ns;
    uint64_t next_phase = UINT64_MAX;
    if (t->phase == LOAD_WARMUP)
        next_phase = t->start_ns + t->options->warmup_ns;
    else if (t->phase == LOAD_MEASURE && t->options->requests == 0)
        next_phase = t->measured_from_ns + t->options->duration_ns;
    if (next_phase < until)
        until = next_phase;
    return until <= now_ns ? 0 : (int)((until - now_ns + NS_PER_MSEC - 1) / NS_PER_MSEC);
}

static void give_up_stalled(load_thread *t) {
    for (unsigned i = 0; i < t->count; i++) {
        if (t->connections[i].fd >= 0)
            fail(t, &t->connections[i], "no byte for 5 s");
    }
}

void load_thread_run(load_thread *t, void (*on_tick)(void *arg), void *arg) {
    struct epoll_event events[EVENTS_PER_WAIT];
    uint64_t now_ns = cli_now_ns();
    uint64_t next_tick_ns = now_ns + CLI_NS_PER_SEC;
    t->last_event_ns = now_ns;
    advance(t, now_ns);
    for (unsigned i = 0; i < t->count; i++)
        start_batch(t, &t->connections[i], now_ns);
    while (t->open > 0) {
        int n =
            epoll_wait(t->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms(now_ns, next_tick_ns, t));
        for (int i = 0; i < n; i++)
            handle(t, events[i].data.ptr, events[i].events);
        now_ns = cli_now_ns();
        advance(t, now_ns);
        if (n > 0)
            t->last_event_ns = now_ns;
        else if (now_ns - t->last_event_ns >= STALL_NS)
            give_up_stalled(t);
        if (now_ns >= next_tick_ns) {
            next_tick_ns = now_ns + CLI_NS_PER_SEC;
            on_tick(arg);
        }
    }
    /* A run that failed before its end was measured up to here. */
    if (t->phase == LOAD_MEASURE)
        end_measure(t, now_ns);
}
