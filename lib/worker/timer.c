/* The public timers, on the worker's wheel. */
#include "worker/inner.h"

/* What weft_timer's reserved words hold. */
struct timer {
    void (*fn)(weft_timer *timer);
    struct wheel_node node;
    uint64_t period_ns;
    weft_worker *worker;
};

_Static_assert(sizeof(struct timer) <= sizeof(weft_timer), "weft_timer is frozen");

static struct timer *timer_of(const weft_timer *t) {
    return (struct timer *)(uintptr_t)t;
}

uint64_t worker_clock_read(weft_worker *w) {
    w->clock_cycles = clock_cycles();
    w->clock_ns = clock_now_ns();
    return w->clock_ns;
}

uint64_t worker_clock_cached(weft_worker *w) {
    uint64_t cycles = clock_cycles() - w->clock_cycles;
    return cycles - 1 < CLOCK_STALE_CYCLES - 1 ? w->clock_ns : worker_clock_read(w);
}

/* The time from which a delay counts. Never early means: not before now; so while the cached
 * reading is good enough, everything that may have passed since is added. The sums never go
 * backwards, or of two equal delays the later start could fire first. */
static uint64_t start_time(weft_worker *w) {
    uint64_t cycles = clock_cycles() - w->clock_cycles;
    uint64_t from_ns;
    if (MUTANT("timer-stale-clock"))
        from_ns = w->clock_ns;
    else
        from_ns = cycles - 1 < CLOCK_STALE_CYCLES - 1 ? w->clock_ns + CLOCK_STALE_NS
                                                      : worker_clock_read(w);
    if (from_ns < w->start_floor_ns && !MUTANT("timer-no-floor"))
        from_ns = w->start_floor_ns;
    w->start_floor_ns = from_ns;
    return from_ns;
}

static bool may_start(weft_worker *w, weft_timer *t, const char *call) {
    if (unlikely(!t || !t->fn)) {
        log_misuse("%s: a timer needs a function; set fn before starting it", call);
        return false;
    }
    return worker_owner_check_void(w, call);
}

static inline void start_at(weft_worker *w, struct timer *timer, uint64_t deadline_ns,
                            uint64_t period_ns) {
    timer->worker = w;
    timer->period_ns = period_ns;
    wheel_start(&w->wheel, &timer->node, deadline_ns);
    w->has_extras = true;
}

void weft_timer_start(weft_worker *w, weft_timer *t, uint64_t delay_ns, uint64_t period_ns) {
    if (unlikely(!may_start(w, t, "weft_timer_start")))
        return;
    /* Without delay the next iteration will do, whatever the clock says. */
    uint64_t deadline_ns = delay_ns == 0 ? 0 : time_add(start_time(w), delay_ns);
    start_at(w, timer_of(t), deadline_ns, period_ns);
}

void weft_timer_start_at(weft_worker *w, weft_timer *t, uint64_t deadline_ns) {
    if (likely(may_start(w, t, "weft_timer_start_at")))
        start_at(w, timer_of(t), deadline_ns, 0);
}

bool weft_timer_stop(weft_timer *t) {
    struct timer *timer = timer_of(t);
    if (!t || !wheel_is_pending(&timer->node) ||
        !worker_owner_check_void(timer->worker, "weft_timer_stop"))
        return false;
    return wheel_stop(&timer->worker->wheel, &timer->node);
}

bool weft_timer_is_pending(const weft_timer *t) {
    return t && wheel_is_pending(&timer_of(t)->node);
}

uint64_t weft_timer_remaining_ns(const weft_timer *t) {
    if (!weft_timer_is_pending(t))
        return 0;
    struct timer *timer = timer_of(t);
    if (timer->node.deadline_ns == UINT64_MAX)
        return UINT64_MAX;
    /* The clock that delays count from: what is left is never more than the delay was. */
    uint64_t now_ns = start_time(timer->worker);
    return timer->node.deadline_ns > now_ns ? timer->node.deadline_ns - now_ns : 0;
}

/* The next multiple of the period after now: periods that were missed are one call. */
static uint64_t next_period(uint64_t deadline_ns, uint64_t period_ns, uint64_t now_ns) {
    uint64_t missed = now_ns > deadline_ns ? (now_ns - deadline_ns) / period_ns : 0;
    if (MUTANT("timer-catches-up"))
        missed = 0;
    return time_add(deadline_ns + missed * period_ns, period_ns);
}

static void timer_fire(weft_worker *w, struct timer *timer) {
    stat_add(&w->stats.timers, 1);
    if (timer->period_ns != 0) {
        uint64_t now_ns = worker_clock_cached(w);
        /* One that was started without delay counts its periods from now. */
        uint64_t from_ns = timer->node.deadline_ns ? timer->node.deadline_ns : now_ns;
        wheel_start(&w->wheel, &timer->node, next_period(from_ns, timer->period_ns, now_ns));
    }
    worker_note_callback(w, timer->fn);
    timer->fn((weft_timer *)timer); /* may free its timer: not touched again */
}

void timers_advance(weft_worker *w) {
    wheel_advance(&w->wheel, worker_clock_cached(w));
}

void timers_run(weft_worker *w) {
    for (unsigned n = 0; n < WORKER_TIMERS || MUTANT("timer-no-budget"); n++) {
        struct wheel_node *node = wheel_pop_due(&w->wheel);
        if (likely(!node))
            return;
        timer_fire(w, container_of(node, struct timer, node));
    }
}

/* What still runs when its worker ends never fires; it is idle from then on, and may be freed. */
void timers_release(weft_worker *w) {
    while (!MUTANT("timer-left-pending") && wheel_pop_any(&w->wheel))
        ;
}
