/* The sentinel: the thread that reads signals and walks the runtime through its stop. It has no
 * loop of its own design: an inbox for messages, a selector for fds, a deadline. */
#include "runtime/runtime.h"

static void wake_ready(struct worker_source *source, uint32_t epoll_events) {
    (void)epoll_events;
    inbox_acknowledge(&container_of(source, struct sentinel, wake_source)->inbox);
}

static void begin_stop(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    s->stopping = true;
    s->deadline_ns = s->impatient ? 0 : time_add(clock_now_ns(), rt->grace_ns);
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
    s->deadline_ns = UINT64_MAX;
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_ask_expire(rt->workers[i]);
}

static void stop_asked(weft_task *task) {
    begin_stop(container_of(task, weft_runtime, stop_task));
}

static void all_quiet(weft_task *task) {
    container_of(task, weft_runtime, quiet_task)->sentinel.done = true;
}

/* The first such signal stops, the second ends the grace time. */
static void signals_ready(struct worker_source *source, uint32_t epoll_events) {
    struct sentinel *s = container_of(source, struct sentinel, signal_source);
    weft_runtime *rt = container_of(s, weft_runtime, sentinel);
    struct signalfd_siginfo infos[64];
    (void)epoll_events;
    /* Another thread may just be adding a number to what the fd reads. */
    pthread_mutex_lock(&rt->lock);
    ssize_t n = os_read(rt->signal_fd, infos, sizeof infos);
    pthread_mutex_unlock(&rt->lock);
    for (; n >= (ssize_t)sizeof infos[0]; n -= (ssize_t)sizeof infos[0]) {
        if (runtime_is_stopping(rt))
            end_grace(rt);
        else
            weft_runtime_stop(rt);
    }
}

static void tell_sentinel(weft_runtime *rt, weft_task *task, void (*run)(weft_task *task)) {
    task->run = run;
    (void)inbox_push(&rt->sentinel.inbox, (struct queue_node *)&task->reserved[0]);
}

void weft_runtime_stop(weft_runtime *rt) {
    if (!rt || process_is_forked())
        return;
    /* One exchange decides who sends the message; the eventfd write is all that follows. */
    if (atom_xchg(&rt->stop_asked, 1, acq_rel) == 0)
        tell_sentinel(rt, &rt->stop_task, stop_asked);
}

static void worker_quiet(weft_worker *w) {
    weft_runtime *rt = w->runtime;
    if (atom_add(&rt->quiet_workers, 1, acq_rel) + 1 == rt->worker_count)
        tell_sentinel(rt, &rt->quiet_task, all_quiet);
}

static void worker_started(weft_worker *w) {
    if (w->runtime->on_worker_start)
        w->runtime->on_worker_start(w, w->runtime->arg);
}

static void worker_stopped(weft_worker *w) {
    if (w->runtime->on_worker_stop)
        w->runtime->on_worker_stop(w, w->runtime->arg);
}

const struct worker_host runtime_host = {
    .started = worker_started,
    .quiet = worker_quiet,
    .stopped = worker_stopped,
};

int sentinel_create(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    s->deadline_ns = UINT64_MAX;
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
    if (rt->signal_fd >= 0)
        os_close(rt->signal_fd);
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

static uint64_t time_left(const struct sentinel *s) {
    if (s->deadline_ns == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now_ns = clock_now_ns();
    return s->deadline_ns > now_ns ? s->deadline_ns - now_ns : 0;
}

void sentinel_run(weft_runtime *rt) {
    struct sentinel *s = &rt->sentinel;
    struct epoll_event events[8];
    while (!s->done) {
        uint64_t timeout_ns = inbox_arm(&s->inbox) ? time_left(s) : 0;
        int n = selector_wait(s->selector, events, (int)array_length(events), timeout_ns);
        for (int i = 0; i < n; i++) {
            struct worker_source *source = selector_live(s->selector, &events[i]);
            if (source)
                source->ready(source, events[i].events);
        }
        run_messages(s);
        if (!s->done && time_left(s) == 0)
            end_grace(rt);
    }
    gate_close(rt);
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_ask_finish(rt->workers[i]);
}
