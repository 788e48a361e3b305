#include "load/load_thread.h"

#include "load/context_switches.h"
#include "load/pattern.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#define EVENTS_PER_WAIT 256
#define NS_PER_MSEC 1000000u
#define SPIN_NS 50000u

void load_drop(load_thread *t, connection *c) {
    connection_close(c);
    t->open--;
}

void load_fail(load_thread *t, connection *c, const char *why) {
    if (t->failures++ == 0) /* the others usually fail alike */
        fprintf(stderr, "weft-load: connection %u: %s (%llu bytes sent, %llu received)\n", c->index,
                why, (unsigned long long)c->sent, (unsigned long long)c->received);
    load_drop(t, c);
}

static void wait_for(load_thread *t, connection *c, bool write) {
    if (c->wants_write == write)
        return;
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->wants_write = write;
}

static void push(load_thread *t, connection *c) {
    int r = connection_send(c, t->options->burst_writes ? t->options->sizes.bytes[0] : SIZE_MAX);
    if (r < 0 && r != -EAGAIN)
        load_fail(t, c, strerror(-r));
    else
        wait_for(t, c, r == -EAGAIN);
}

int load_watch(load_thread *t, connection *c) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0 ? -errno : 0;
}

void load_send(load_thread *t, connection *c, uint64_t messages) {
    for (uint64_t i = 0; i < messages; i++)
        sizes_step(&t->options->sizes, &c->begun);
    push(t, c);
}

void load_finish(load_thread *t, connection *c) {
    c->finishing = true;
    if (shutdown(c->fd, SHUT_WR) < 0)
        load_fail(t, c, strerror(errno));
}

uint64_t load_take_messages(load_thread *t, connection *c) {
    uint64_t taken = 0;
    for (; connection_has_message(c); taken++)
        sizes_step(&t->options->sizes, &c->arriving);
    atomic_store_explicit(&t->completed,
                          atomic_load_explicit(&t->completed, memory_order_relaxed) + taken,
                          memory_order_relaxed);
    return taken;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static void read_server(const load_thread *t, server_usage *ret_usage) {
    if (t->server == NULL)
        return;
    if (process_cpu_read_ns(t->server, &ret_usage->cpu_ns) < 0 ||
        context_switches_read(t->options->server_pid, &ret_usage->context_switches) < 0)
        fputs("weft-load: the server process has ended\n", stderr);
}

void load_end_measure(load_thread *t, uint64_t now_ns) {
    t->phase = LOAD_DRAIN;
    t->measured_to_ns = later(now_ns, t->measured_from_ns); /* it may have failed before a plan */
    t->server_to = t->server_from;
    read_server(t, &t->server_to);
}

static void begin_measure(load_thread *t, uint64_t now_ns) {
    t->phase = LOAD_MEASURE;
    t->measured_from_ns = now_ns;
    read_server(t, &t->server_from);
    if (t->options->rate > 0) { /* what is late is late against the plan */
        t->measured_from_ns = schedule_due_ns(t->plan, t->plan->measured);
        t->until_ns = schedule_due_ns(t->plan, t->plan->end) + LOAD_STALL_NS;
    } else if (t->options->requests == 0) {
        t->until_ns = now_ns + t->options->duration_ns;
    }
}

/* Moves to the phase that `now_ns` belongs to. */
static void advance(load_thread *t, uint64_t now_ns) {
    if (t->phase == LOAD_WARMUP && now_ns >= t->start_ns + t->options->warmup_ns)
        begin_measure(t, now_ns);
    if (t->phase == LOAD_MEASURE && now_ns >= t->until_ns)
        load_end_measure(t, now_ns);
}

static void pull(load_thread *t, connection *c) {
    static _Thread_local uint8_t buffer[PATTERN_WINDOW];
    ssize_t n = connection_receive(c, buffer, sizeof buffer, t->options->verify);
    if (n == -EAGAIN)
        return;
    if (n < 0) {
        load_fail(t, c, strerror((int)-n));
    } else if (n == 0) {
        if (!c->finishing)
            load_fail(t, c, "the server closed it");
        else if (t->mode->ended != NULL)
            t->mode->ended(t, c, cli_now_ns());
        else
            load_drop(t, c);
    } else if (c->received > c->begun.end) {
        load_fail(t, c, "more bytes came back than were sent");
    } else {
        uint64_t now_ns = cli_now_ns();
        advance(t, now_ns);
        t->mode->received(t, c, now_ns);
    }
}

static void handle(load_thread *t, connection *c, uint32_t events) {
    if ((events & EPOLLOUT) != 0)
        push(t, c);
    if (c->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        pull(t, c);
}

static uint64_t next_change_ns(const load_thread *t) {
    return t->phase == LOAD_WARMUP ? t->start_ns + t->options->warmup_ns : t->until_ns;
}

static int wait_ns(const load_thread *t, struct epoll_event *events, uint64_t timeout_ns) {
    const struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / CLI_NS_PER_SEC),
                                     .tv_nsec = (long)(timeout_ns % CLI_NS_PER_SEC)};
    int n = epoll_pwait2(t->epoll_fd, events, EVENTS_PER_WAIT, &timeout, NULL);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11; what is late then is reported as late */
        n = epoll_wait(t->epoll_fd, events, EVENTS_PER_WAIT,
                       (int)((timeout_ns + NS_PER_MSEC - 1) / NS_PER_MSEC));
    return n;
}

/* To sleep until a request is due would be to send it late by what a wake-up takes, tens of
 * microseconds in a virtual machine. So the thread wakes up before that, and looks for events until
 * it is time. It yields meanwhile, for a server that has to share its CPU. */
static int wait_for_events(const load_thread *t, struct epoll_event *events, uint64_t now_ns,
                           uint64_t until_ns) {
    uint64_t awake_from_ns = t->wake_ns > SPIN_NS ? t->wake_ns - SPIN_NS : 0;
    if (awake_from_ns <= now_ns)
        sched_yield();
    until_ns = earlier(until_ns, awake_from_ns);
    return wait_ns(t, events, until_ns > now_ns ? until_ns - now_ns : 0);
}

/* A connection of which the plan wants nothing for so long has not stalled. */
static void give_up_stalled(load_thread *t) {
    for (unsigned i = 0; i < t->count; i++) {
        connection *c = &t->connections[i];
        if (c->fd >= 0 && (c->finishing || connection_outstanding(c) > 0))
            load_fail(t, c, "no byte for 5 s");
    }
}

static void begin(load_thread *t) {
    uint64_t now_ns = cli_now_ns();
    prctl(PR_SET_TIMERSLACK, 1); /* ns; else timeouts are as late as 50 us */
    t->last_event_ns = now_ns;
    t->wake_ns = t->until_ns = LOAD_NEVER;
    advance(t, now_ns);
    for (unsigned i = 0; i < t->count; i++)
        t->mode->begin(t, &t->connections[i], now_ns);
    if (t->mode->woken != NULL)
        t->mode->woken(t, now_ns);
}

void load_thread_run(load_thread *t, void (*on_tick)(void *arg), void *arg) {
    struct epoll_event events[EVENTS_PER_WAIT];
    begin(t);
    uint64_t now_ns = t->last_event_ns;
    uint64_t next_tick_ns = now_ns + CLI_NS_PER_SEC;
    while (t->open > 0) {
        int n = wait_for_events(t, events, now_ns, earlier(next_tick_ns, next_change_ns(t)));
        for (int i = 0; i < n; i++)
            handle(t, events[i].data.ptr, events[i].events);
        now_ns = cli_now_ns();
        advance(t, now_ns);
        bool is_due = now_ns >= t->wake_ns;
        if (is_due)
            t->mode->woken(t, now_ns);
        if (n > 0 || is_due)
            t->last_event_ns = now_ns;
        else if (now_ns - t->last_event_ns >= LOAD_STALL_NS)
            give_up_stalled(t);
        if (now_ns >= next_tick_ns) {
            next_tick_ns = now_ns + CLI_NS_PER_SEC;
            on_tick(arg);
        }
    }
    /* A run that failed before its end was measured up to here. */
    if (t->phase == LOAD_MEASURE)
        load_end_measure(t, now_ns);
}
