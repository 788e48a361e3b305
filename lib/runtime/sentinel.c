/* The sentinel: the thread that reads signals, waits for children, looks after the workers, and
 * walks the runtime through its stop. It has no loop of its own design: an inbox for messages, a
 * selector for fds, a few alarms. */
#include "runtime/inner.h"

static void wake_ready(struct worker_source *source, uint32_t epoll_events) {
    (void)epoll_events;
    inbox_acknowledge(&container_of(source, struct sentinel, wake_source)->inbox);
}

void sentinel_alarm_in(weft_runtime *rt, struct sentinel_alarm *alarm, uint64_t delay_ns,
                       void (*fn)(weft_runtime *rt)) {
    alarm->deadline_ns = time_add(clock_now_ns(), delay_ns);
    alarm->fn = fn;
    list_remove(&alarm->link);
    list_append(&rt->sentinel.alarms, &alarm->link);
}

static void end_grace(weft_runtime *rt);

static void begin_stop(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    s->stopping = true;
    sentinel_alarm_in(rt, &s->grace, s->impatient ? 0 : rt->grace_ns, end_grace);
    runtime_stop_owned(rt);
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_ask_stop(rt->workers[i]);
}

static void end_grace(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    /* Two signals can come in one read, the second before the message of the first. */
    if (!s->stopping)
        s->impatient = !MUTANT("stop-second-signal-lost");
    if (!s->stopping || s->expired)
        return;
    s->expired = true;
    list_remove(&s->grace.link);
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_ask_expire(rt->workers[i]);
}

static void stop_asked(weft_task *task) {
    begin_stop(container_of(task, weft_runtime, stop_task));
}

static void all_quiet(weft_task *task) {
    container_of(task, weft_runtime, quiet_task)->sentinel.done = true;
}

void sentinel_stop_signal(weft_runtime *rt) {
    if (runtime_is_stopping(rt))
        end_grace(rt);
    else
        weft_runtime_stop(rt);
}

void sentinel_tell(weft_runtime *rt, weft_task *task, void (*run)(weft_task *task)) {
    task->run = run;
    (void)inbox_push(&rt->sentinel.inbox, (struct queue_node *)&task->reserved[0]);
}

void weft_runtime_stop(weft_runtime *rt) {
    if (!rt || process_is_forked())
        return;
    /* One exchange decides who sends the message; the eventfd write is all that follows. */
    if (atom_xchg(&rt->stop_asked, 1, acq_rel) == 0)
        sentinel_tell(rt, &rt->stop_task, stop_asked);
}

static void worker_quiet(weft_worker *w) {
    weft_runtime *rt = w->runtime;
    if (atom_add(&rt->quiet_workers, 1, acq_rel) + 1 == rt->worker_count)
        sentinel_tell(rt, &rt->quiet_task, all_quiet);
}

/* A stream came from a worker that is still held, so not all have been quiet yet. */
static void worker_unquiet_after_all(weft_worker *w) {
    (void)atom_sub(&w->runtime->quiet_workers, 1, acq_rel);
}

static void worker_started(weft_worker *w) {
    if (!w->runtime->on_worker_start)
        return;
    worker_enter(w, w->runtime->on_worker_start);
    w->runtime->on_worker_start(w, w->runtime->arg);
}

static void worker_stopped(weft_worker *w) {
    if (w->runtime->on_worker_stop)
        w->runtime->on_worker_stop(w, w->runtime->arg);
}

static void worker_woken(weft_worker *w) {
    watchdog_kick(w->runtime);
}

const struct worker_host runtime_host = {
    .started = worker_started,
    .quiet = worker_quiet,
    .unquiet = worker_unquiet_after_all,
    .stopped = worker_stopped,
    .woken = worker_woken,
};

int sentinel_create(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    s->wake_source.ready = wake_ready;
    s->signal_source.ready = signals_ready;
    int r = inbox_create(&s->inbox);
    if (r < 0)
        return r;
    r = selector_create(&s->selector);
    if (r < 0)
        goto selector_failed;
    r = selector_register_raw(s->selector, s->inbox.fd, EPOLLIN, &s->wake_source);
    if (r < 0)
        goto register_failed;
    return 0;

register_failed:
    selector_destroy(s->selector);
selector_failed:
    inbox_destroy(&s->inbox);
    return r;
}

void sentinel_destroy(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    selector_destroy(s->selector);
    (void)inbox_close(&s->inbox);
    inbox_destroy(&s->inbox);
}

static void run_messages(struct sentinel *s) {
    for (struct queue_node *node = inbox_take(&s->inbox); node;) {
        weft_task *task = container_of(node, weft_task, reserved);
        node = node->next;
        task->run(task);
    }
}

static struct sentinel_alarm *first_alarm(const struct sentinel *s) {
    struct sentinel_alarm *first = NULL;
    for (struct list *node = s->alarms.next; node != &s->alarms; node = node->next) {
        struct sentinel_alarm *alarm = container_of(node, struct sentinel_alarm, link);
        if (!first || alarm->deadline_ns < first->deadline_ns)
            first = alarm;
    }
    return first;
}

/* Until the first alarm; no clock is read where none is set. */
static uint64_t time_left(const struct sentinel *s) {
    const struct sentinel_alarm *first = first_alarm(s);
    if (!first || first->deadline_ns == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now_ns = clock_now_ns();
    return first->deadline_ns > now_ns ? first->deadline_ns - now_ns : 0;
}

/* One at a time: the first is due, and may set itself anew. */
static void run_alarm(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    if (time_left(s) != 0)
        return;
    struct sentinel_alarm *alarm = first_alarm(s);
    list_remove(&alarm->link);
    alarm->fn(rt);
}

void sentinel_run(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    struct epoll_event events[64];
    watchdog_start(rt);
    while (!s->done) {
        uint64_t timeout_ns = inbox_arm(&s->inbox) ? time_left(s) : 0;
        int n = selector_wait(s->selector, events, (int)array_length(events), timeout_ns);
        for (int i = 0; i < n; i++) {
            struct worker_source *source = selector_live(s->selector, &events[i], NULL);
            if (source)
                source->ready(source, events[i].events);
        }
        run_messages(s);
        if (!s->done)
            run_alarm(rt);
    }
    processes_leave(rt);
    run_messages(s); /* the last of what workers told us: from here on they help themselves */
    gate_close(rt);
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_ask_finish(rt->workers[i]);
}
