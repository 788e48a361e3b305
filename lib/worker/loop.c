#include "worker/inner.h"

#include <string.h>

__thread weft_worker *worker_current __attribute__((tls_model("initial-exec")));

static weft_task *task_of(struct queue_node *node) {
    return container_of(node, weft_task, reserved);
}

static void run_task(weft_worker *w, struct queue_node *node) {
    weft_task *task = task_of(node);
    stat_add(&w->stats.tasks, 1);
    task_mark_idle(task);
    worker_note_callback(w, task->run);
    task->run(task); /* may free or post its task: not touched again */
}

/* What was deferred before this iteration began; what is deferred now is for the next. */
static void run_jobs(weft_worker *w) {
    for (struct list *node; unlikely((node = list_pop(&w->jobs_now)) != NULL);) {
        struct worker_job *job = container_of(node, struct worker_job, link);
        job->run(job);
    }
}

/* The batch is taken before anyone is called, so that a task posted by a task waits for the next
 * iteration; what the budget leaves stays in front of it. */
static void run_tasks(weft_worker *w) {
    if (!w->pending)
        w->pending = inbox_take(&w->inbox);
    const uint64_t start = clock_cycles();
    for (unsigned n = 0; w->pending && n < WORKER_TASKS;) {
        struct queue_node *node = w->pending;
        w->pending = node->next;
        run_task(w, node);
        if (MUTANT("task-same-iteration") && !w->pending)
            w->pending = inbox_take(&w->inbox);
        /* The counter costs as much as a small task: it is read for every eighth. */
        if (++n % 8 == 0 && clock_cycles() - start > WORKER_TASK_CYCLES &&
            !MUTANT("worker-no-budget"))
            break;
    }
    if (w->pending)
        w->has_extras = true;
    nodes_publish(w->nodes);
}

static void run_hooks(weft_worker *w, unsigned phase) {
    if (!list_is_empty(&w->hooks[phase]))
        list_visit(&w->hooks[phase], hook_call, w);
}

static void run_flush(weft_worker *w) {
    if (!w->flush_wanted)
        return;
    parts_flush(w);
    w->flush_wanted = false; /* parts serve what is asked for meanwhile */
}

static void run_disposals(weft_worker *w) {
    struct worker_disposal *disposal;
    while ((disposal = w->disposals) != NULL) {
        w->disposals = disposal->next;
        disposal->dispose(disposal);
    }
}

static bool has_work_left(const weft_worker *w) {
    bool pending = w->pending && !MUTANT("worker-sleeps-on-rest");
    return pending || !list_is_empty(&w->jobs) || w->flush_wanted;
}

static uint64_t time_to_deadline(weft_worker *w) {
    uint64_t next_ns = wheel_next_ns(&w->wheel);
    if (next_ns == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now_ns = worker_clock_cached(w);
    return next_ns > now_ns ? next_ns - now_ns : 0;
}

/* How long may the next wait last? Only a wheel that holds something is worth a clock. */
static uint64_t wait_time(weft_worker *w) {
    if (has_work_left(w))
        return 0;
    return wheel_is_empty(&w->wheel) ? UINT64_MAX : time_to_deadline(w);
}

/* The idle hooks, which may make work. */
static uint64_t wait_time_with_extras(weft_worker *w) {
    uint64_t timeout_ns = wait_time(w);
    if (timeout_ns == 0 || list_is_empty(&w->hooks[HOOK_IDLE]) ||
        !queue_looks_empty(&w->inbox.queue))
        return timeout_ns;
    run_hooks(w, HOOK_IDLE);
    run_flush(w);
    run_disposals(w);
    return wait_time(w);
}

OUT_OF_LINE static void tell_woken(weft_worker *w) {
    atom_store(&w->tell_wake, 0, relaxed);
    w->host->woken(w);
}

/* Nothing is pending after a sleep, so what was pushed meanwhile is the whole batch. */
OUT_OF_LINE static void take_pushed(weft_worker *w) {
    w->pending = inbox_take_batch(&w->inbox);
    stat_set(&w->stats.wakeups_sent, w->inbox.wakes_owed);
}

static inline void leave_callbacks(weft_worker *w) {
    stat_add(&w->stats.busy_cycles, clock_cycles() - w->woke_cycles);
    if (!MUTANT("watchdog-callback-left"))
        worker_note_callback(w, 0);
    rcu_section_leave();
}

static inline void enter_callbacks(weft_worker *w) {
    rcu_section_enter();
    w->woke_cycles = clock_cycles();
    w->now_valid = false;
    stat_add(&w->stats.iterations, 1);
}

/* Armed: true. The word that decides between sleep and work. */
static inline bool may_sleep(weft_worker *w, uint64_t timeout_ns) {
    return timeout_ns != 0 && (inbox_arm(&w->inbox) || MUTANT("worker-sleeps-unarmed"));
}

static inline int sleep_now(weft_worker *w, struct epoll_event *events, uint64_t timeout_ns) {
    if (MUTANT("worker-polls") && timeout_ns > NSEC_PER_SEC / 1000)
        timeout_ns = NSEC_PER_SEC / 1000;
    int n = selector_wait(w->selector, events, WORKER_EVENTS, timeout_ns);
    enter_callbacks(w);
    stat_add(&w->stats.waits, 1); /* of the iterations: never more than these */
    if (MUTANT("watchdog-told-too-early") && atom_load(&w->tell_wake, relaxed))
        tell_woken(w);
    /* Awake: posters need not write the eventfd any more. */
    if (unlikely(!inbox_disarm(&w->inbox)))
        take_pushed(w);
    return n;
}

/* There is work; or it is worth a look whether there soon is. */
__attribute__((noinline)) static int look_or_sleep(weft_worker *w, struct epoll_event *events,
                                                   uint64_t timeout_ns) {
    int n = 0;
    bool found = timeout_ns != 0 && w->spin.is_allowed && worker_spin(w, events, timeout_ns, &n);
    if (!found && may_sleep(w, timeout_ns))
        return sleep_now(w, events, timeout_ns);
    if (!found)
        n = selector_wait(w->selector, events, WORKER_EVENTS, 0);
    enter_callbacks(w);
    return n;
}

IN_LINE int wait_for_events(weft_worker *w, struct epoll_event *events, uint64_t timeout_ns) {
    leave_callbacks(w);
    int n = likely(!w->spin.is_allowed && may_sleep(w, timeout_ns))
                ? sleep_now(w, events, timeout_ns)
                : look_or_sleep(w, events, timeout_ns);
    /* After the take: a worker whose queue is still ARMED has not looked here yet, so whoever sets
     * the flag and then finds it ARMED will be told. */
    if (unlikely(atom_load(&w->tell_wake, relaxed)) && !MUTANT("watchdog-told-too-early"))
        tell_woken(w);
    return n;
}

static void ignore(struct worker_source *source, uint32_t epoll_events) {
    (void)source;
    (void)epoll_events;
}

/* Whom an event concerns that is out of date: nobody has to ask. */
static struct worker_source nobody = {ignore};

IN_LINE void dispatch(weft_worker *w, const struct epoll_event *events, int count) {
    if (unlikely(count <= 0))
        return;
    stat_add(&w->stats.events, (unsigned)count);
    struct weft_selector *selector = w->selector;
    const struct epoll_event *end = events + count;
    do {
        struct worker_source *source = selector_live(selector, events, &nobody);
        source->ready(source, events->events);
    } while (++events != end);
}

static inline void take_and_run_tasks(weft_worker *w) {
    if (unlikely(w->pending || !queue_looks_empty(&w->inbox.queue)))
        run_tasks(w);
}

static bool needs_extras(const weft_worker *w) {
    bool hooks = false;
    for (int i = 0; i < HOOK_PHASES; i++)
        hooks = hooks || !list_is_empty(&w->hooks[i]);
    return hooks || has_work_left(w) || !wheel_is_empty(&w->wheel);
}

static void end_extras(weft_worker *w) {
    timers_run(w);
    run_flush(w);
    run_disposals(w);
    run_hooks(w, HOOK_BEFORE_WAIT);
    run_flush(w); /* a hook may have written or closed */
    run_disposals(w);
    w->has_extras = needs_extras(w);
}

__attribute__((noinline)) static void iterate_with_extras(weft_worker *w,
                                                          struct epoll_event *events) {
    int n = wait_for_events(w, events, wait_time_with_extras(w));
    /* What is deferred or started from here on belongs to the next iteration. */
    list_splice(&w->jobs_now, &w->jobs);
    if (!wheel_is_empty(&w->wheel))
        timers_advance(w);
    run_hooks(w, HOOK_AFTER_WAIT);
    dispatch(w, events, n);
    run_jobs(w);
    take_and_run_tasks(w);
}

/* Iterations that bring only events, as most do under load, pass by everything else with one test:
 * whoever makes other work sets has_extras, and has his turn at the end of the same iteration. */
__attribute__((noinline)) static void iterate_plainly(weft_worker *w, struct epoll_event *events) {
    do {
        dispatch(w, events, wait_for_events(w, events, UINT64_MAX));
        take_and_run_tasks(w);
    } while (likely(!w->has_extras));
}

/* From here on posts are refused; everything accepted before runs, and may not be lost even when
 * it posts: what it posts is refused, or accepted by a worker that is still open. */
static void close_queue(weft_worker *w) {
    struct queue_node *rest = NULL;
    if (!MUTANT("worker-batch-lost-on-stop"))
        rest = inbox_close(&w->inbox);
    atom_store(&w->phase, WORKER_CLOSED, release);
    if (MUTANT("worker-rest-lost-on-stop"))
        w->pending = NULL;
    for (struct queue_node *batch = w->pending; batch;) {
        struct queue_node *node = batch;
        batch = batch->next;
        run_task(w, node);
    }
    w->pending = NULL;
    while (rest) {
        struct queue_node *node = rest;
        rest = rest->next;
        run_task(w, node);
    }
    run_flush(w);
    run_disposals(w);
}

void worker_run(weft_worker *w) {
    struct epoll_event events[WORKER_EVENTS];
    worker_current = w;
    atom_store(&w->thread_id, os_thread_id(), relaxed);
    os_timer_slack_minimal();
    rcu_thread_enter();
    rcu_section_enter();
    w->woke_cycles = clock_cycles();
    w->host->started(w);
    do {
        if (w->has_extras)
            iterate_with_extras(w, events);
        else
            iterate_plainly(w, events);
        end_extras(w);
    } while (!w->finish_seen);
    if (MUTANT("retire-last-unprotected"))
        rcu_section_leave();
    close_queue(w);
    w->host->stopped(w);
    worker_release_handles(w);
    if (!MUTANT("retire-last-unprotected"))
        rcu_section_leave();
    rcu_thread_leave();
    worker_current = NULL;
}

void worker_run_orphans(weft_worker *w) {
    weft_worker *outer = worker_current;
    worker_current = w;
    close_queue(w);
    worker_release_handles(w);
    worker_current = outer;
}

/* The three messages of a stop. */

static void tell_if_quiet(weft_worker *w) {
    if (w->stop_seen && w->holds == 0 && !w->quiet_told) {
        w->quiet_told = true;
        w->host->quiet(w);
    }
}

void worker_unquiet(weft_worker *w) {
    if (MUTANT("worker-quiet-for-good"))
        return;
    w->quiet_told = false;
    w->host->unquiet(w);
}

void worker_release(weft_worker *w) {
    w->holds--;
    tell_if_quiet(w);
}

static void stop_seen(weft_task *task) {
    weft_worker *w = container_of(task, weft_worker, stop_task);
    w->stop_seen = true;
    atom_store(&w->phase, WORKER_STOPPING, release);
    worker_hold(w); /* a part that closes its last stream must not end the others' turn */
    parts_stop(w);
    worker_release(w);
}

static void expire_seen(weft_task *task) {
    parts_expire(container_of(task, weft_worker, expire_task));
}

static void finish_seen(weft_task *task) {
    weft_worker *w = container_of(task, weft_worker, finish_task);
    w->finish_seen = w->has_extras = true;
    parts_finish(w);
}

static void send_message(weft_worker *w, weft_task *task, void (*run)(weft_task *task)) {
    task->run = run;
    (void)worker_post(w, task); /* the queue is open until finish was seen */
}

void worker_ask_stop(weft_worker *w) {
    send_message(w, &w->stop_task, stop_seen);
}

void worker_ask_expire(weft_worker *w) {
    send_message(w, &w->expire_task, expire_seen);
}

void worker_ask_finish(weft_worker *w) {
    send_message(w, &w->finish_task, finish_seen);
}
