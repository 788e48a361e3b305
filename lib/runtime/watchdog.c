/* Looks after workers that stay in one callback.
 *
 * DESIGN
 *
 * A worker notes the function before each callback, a store, and 0 before it waits; each callback
 * moves one of its counters. The sentinel looks at both every quarter of stall_ns. If function and
 * counters are what they were, it is the same call still; when that has lasted for stall_ns it is
 * reported. So a call is never reported early, and one that lasts a quarter longer than stall_ns is
 * always seen.
 *
 * While all workers sleep the sentinel sleeps, too:
 *
 *     TICKING --nobody awake--> ARMED (each worker has tell_wake set) --still nobody--> ASLEEP
 *        ^                        |                                                       |
 *        +---- somebody awake ----+----------------- kick: a worker woke -----------------+
 *
 * A worker sleeps when its queue is ARMED and it notes no function. It looks at tell_wake after
 * every wait and after it has taken its queue. One that is found asleep in two looks, a quarter of
 * stall_ns apart and tell_wake set before the second, has that look still before it, or had it in
 * between, and told: the time between two looks stands in for a fence that would cost every
 * iteration something (docs/decisions/013). */
#include "runtime/inner.h"

#define STALL_DEFAULT_NS (NSEC_PER_SEC / 10)
#define TICK_MINIMUM_NS (NSEC_PER_SEC / 1000)
/* A worker that stalls again and again has one line of the log a second. */
#define REPORT_PAUSE_NS NSEC_PER_SEC
enum { LOOKS_PER_STALL = 4 };

struct watched_worker {
    uintptr_t callback; /* as of the last look */
    uint64_t moved;
    uint64_t since_ns;       /* the look that saw them first */
    uint64_t quiet_until_ns; /* no line in the log before */
    uint64_t unreported;     /* stalls since the last line */
    bool counted;            /* this stall */
};

int watchdog_create(weft_runtime *rt, uint64_t stall_ns) {
    struct watchdog *d = &rt->watchdog;
    d->stall_ns = stall_ns ? stall_ns : STALL_DEFAULT_NS;
    if (d->stall_ns == UINT64_MAX)
        return 0;
    d->workers = mem_zalloc(rt->worker_count * sizeof d->workers[0]);
    return d->workers ? 0 : -ENOMEM;
}

void watchdog_destroy(weft_runtime *rt) {
    mem_free(rt->watchdog.workers, rt->worker_count * sizeof rt->watchdog.workers[0]);
}

/* Grows with every callback and every iteration. */
static uint64_t moved_of(const weft_worker *w) {
    const struct worker_stats *s = &w->stats;
    return stat_read(&s->iterations) + stat_read(&s->tasks) + stat_read(&s->timers) +
           stat_read(&s->calls) + stat_read(&s->bytes_in);
}

static void report(weft_runtime *rt, unsigned index, uint64_t duration_ns) {
    const struct watched_worker *seen = &rt->watchdog.workers[index];
    weft_worker *w = rt->workers[index];
    struct thread_status status;
    char function[320], others[64] = "";
    const char *how = "";
    if (thread_status_read(atom_load(&w->thread_id, relaxed), &status) == 0)
        how = status.state == 'R' ? " (it computes)" : " (it waits in a system call)";
    symbol_describe(seen->callback, function, sizeof function);
    if (seen->unreported > 1)
        snprintf(others, sizeof others, "; stall number %ju since the last report",
                 (uintmax_t)seen->unreported);
    log_line(LOG_LEVEL_WARNING, "worker %u has been in one callback for %ju ms%s%s: %s", index,
             (uintmax_t)(duration_ns / 1000000), how, others, function);
}

static void stalls(weft_runtime *rt, unsigned index, uint64_t now_ns) {
    struct watched_worker *seen = &rt->watchdog.workers[index];
    uint64_t duration_ns = now_ns - seen->since_ns;
    if (seen->counted && !MUTANT("watchdog-counts-again"))
        return;
    seen->counted = true;
    seen->unreported++;
    stat_add(&rt->workers[index]->stalls, 1);
    if (now_ns < seen->quiet_until_ns && !MUTANT("watchdog-floods"))
        return;
    report(rt, index, duration_ns);
    seen->unreported = 0;
    seen->quiet_until_ns = time_add(now_ns, REPORT_PAUSE_NS);
}

/* True: it is awake, or was since the last look. */
static bool look_at(weft_runtime *rt, unsigned index, uint64_t now_ns) {
    struct watched_worker *seen = &rt->watchdog.workers[index];
    weft_worker *w = rt->workers[index];
    uintptr_t callback = (uintptr_t)stat_read(&w->callback);
    uint64_t moved = moved_of(w);
    if (callback != seen->callback || (moved != seen->moved && !MUTANT("watchdog-same-function"))) {
        *seen = (struct watched_worker){.callback = callback,
                                        .moved = moved,
                                        .since_ns = now_ns,
                                        .quiet_until_ns = seen->quiet_until_ns,
                                        .unreported = seen->unreported};
        return true;
    }
    if (callback == 0)
        return !queue_is_armed(&w->inbox.queue) && !MUTANT("watchdog-awake-unseen");
    if (now_ns - seen->since_ns >= rt->watchdog.stall_ns)
        stalls(rt, index, now_ns);
    return true;
}

static bool is_in(weft_runtime *rt, enum watchdog_state state) {
    return atom_load(&rt->watchdog.state, relaxed) == (uint32_t)state;
}

static void enter(weft_runtime *rt, enum watchdog_state state) {
    atom_store(&rt->watchdog.state, (uint32_t)state, relaxed);
}

static void set_tell_wake(weft_runtime *rt, uint32_t tell) {
    for (unsigned i = 0; i < rt->worker_count; i++)
        atom_store(&rt->workers[i]->tell_wake, tell, relaxed);
}

static void tick_again(weft_runtime *rt) {
    uint64_t tick_ns = rt->watchdog.stall_ns / LOOKS_PER_STALL;
    if (tick_ns < TICK_MINIMUM_NS)
        tick_ns = TICK_MINIMUM_NS;
    sentinel_alarm_in(rt, &rt->watchdog.tick, tick_ns, watchdog_tick);
}

void watchdog_tick(weft_runtime *rt) {
    bool any_awake = MUTANT("watchdog-never-sleeps");
    uint64_t now_ns = clock_now_ns();
    for (unsigned i = 0; i < rt->worker_count; i++)
        any_awake |= look_at(rt, i, now_ns);
    if (any_awake && is_in(rt, WATCHDOG_ARMED))
        set_tell_wake(rt, 0);
    if (any_awake) {
        enter(rt, WATCHDOG_TICKING);
    } else if (is_in(rt, WATCHDOG_TICKING)) {
        enter(rt, WATCHDOG_ARMED);
        if (!MUTANT("watchdog-unarmed"))
            set_tell_wake(rt, 1);
    } else {
        enter(rt, WATCHDOG_ASLEEP);
        return;
    }
    tick_again(rt);
}

void watchdog_start(weft_runtime *rt) {
    enter(rt, WATCHDOG_ASLEEP);
    if (rt->watchdog.stall_ns == UINT64_MAX)
        return;
    enter(rt, WATCHDOG_TICKING);
    tick_again(rt);
}

static void kicked(weft_task *task) {
    weft_runtime *rt = container_of(task, weft_runtime, watchdog.kick_task);
    /* Not before: the task is in the queue until now. */
    atom_store(&rt->watchdog.kicked, 0, release);
    set_tell_wake(rt, 0);
    enter(rt, WATCHDOG_TICKING);
    tick_again(rt);
}

void watchdog_kick(weft_runtime *rt) {
    if (atom_xchg(&rt->watchdog.kicked, 1, acq_rel) == 0)
        sentinel_tell(rt, &rt->watchdog.kick_task, kicked);
}
