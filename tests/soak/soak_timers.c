/* Timers that start, restart and stop each other, and periodic ones. */
#include "soak.h"

enum { TIMERS = 32, TICK_NS = 1000000 };

static struct account accounts[] = {
    {{"timers started", 0}, {{"fired", 0}, {"stopped or replaced", 0}, {"pending at the end", 0}}},
    {{"periodic ones started", 0}, {{"stopped or replaced", 0}, {"pending at the end", 0}}},
};

struct own {
    weft_timer timer;
    struct set *set;
    uint64_t due_ns;    /* not before */
    uint64_t latest_ns; /* of its deadline */
    uint64_t period_ns;
    bool armed;
};

/* A worker's. */
struct set {
    uint64_t random;
    uint64_t fired_due_ns; /* the latest deadline of those that fired once */
    struct own timers[TIMERS];
};

static struct set *sets;

static struct account *account_of(const struct own *t) {
    return &accounts[t->period_ns != 0];
}

/* It will not fire any more. */
static void disarm(struct own *t) {
    tally(&account_of(t)->out[t->period_ns == 0]);
    t->armed = false;
}

static void start(struct own *t) {
    uint64_t *random = &t->set->random;
    uint64_t delay_ns = roll(random, UINT64_C(1) << (10 + roll(random, 17)));
    uint64_t before_ns = now_ns();
    if (t->armed != weft_timer_is_pending(&t->timer))
        soak_fail("timers: is_pending says %d", !t->armed);
    if (t->armed)
        disarm(t);
    t->period_ns = roll(random, 16) == 0 ? TICK_NS + roll(random, 5 * TICK_NS) : 0;
    t->due_ns = before_ns + delay_ns;
    t->armed = true;
    tally(&account_of(t)->in);
    if (t->period_ns == 0 && roll(random, 4) == 0)
        weft_timer_start_at(weft_worker_current(), &t->timer, t->due_ns);
    else
        weft_timer_start(weft_worker_current(), &t->timer, delay_ns, t->period_ns);
    t->latest_ns = now_ns() + delay_ns;
}

static void stop(struct own *t) {
    bool was_pending = weft_timer_stop(&t->timer);
    if (was_pending != t->armed)
        soak_fail("timers: a stop says %d", was_pending);
    if (t->armed)
        disarm(t);
}

/* Each call leads to one start on average, so the set neither dies out nor spins. */
static void fire(weft_timer *timer) {
    struct own *t = WEFT_CONTAINER_OF(timer, struct own, timer);
    struct set *set = t->set;
    if (!t->armed)
        soak_fail("timers: one fires that was stopped, or has fired");
    if (now_ns() < t->due_ns)
        soak_fail("timers: one is %ju ns early", (uintmax_t)(t->due_ns - now_ns()));
    if (t->period_ns == 0) {
        tally(&accounts[0].out[0]);
        t->armed = false;
        if (t->due_ns > set->fired_due_ns)
            set->fired_due_ns = t->due_ns;
    } else {
        t->due_ns += t->period_ns; /* at the earliest: missed periods collapse */
        if (roll(&set->random, 20) != 0)
            return;
        stop(t);
    }
    if (roll(&set->random, 4) == 0)
        stop(&set->timers[roll(&set->random, TIMERS)]);
    start(t);
    start(&set->timers[roll(&set->random, TIMERS)]);
}

static void begin_here(void *arg) {
    (void)arg;
    struct set *set = &sets[weft_worker_index(weft_worker_current())];
    for (unsigned i = 0; i < TIMERS; i++) {
        set->timers[i] = (struct own){.timer.fn = fire, .set = set};
        start(&set->timers[i]);
    }
}

static void begin(void) {
    sets = calloc(epoch.workers, sizeof *sets);
    for (unsigned i = 0; i < epoch.workers; i++)
        sets[i].random = mix(soak_seed ^ (epoch.number * MAX_WORKERS + i));
    on_each_worker(begin_here, NULL);
}

/* Who is pending after its worker's end was not overtaken: by more than a tick, timers fire in the
 * order of their deadlines. */
static void end_of(const struct set *set) {
    for (unsigned i = 0; i < TIMERS; i++) {
        const struct own *t = &set->timers[i];
        if (weft_timer_is_pending(&t->timer))
            soak_fail("timers: one is pending on a worker that has ended");
        if (!t->armed)
            continue;
        tally(&account_of(t)->out[t->period_ns == 0 ? 2 : 1]);
        if (t->period_ns == 0 && t->latest_ns + 2 * TICK_NS < set->fired_due_ns)
            soak_fail("timers: one never fired, though others did that were due %ju ns later",
                      (uintmax_t)(set->fired_due_ns - t->due_ns));
    }
}

static void end(void) {
    for (unsigned i = 0; i < epoch.workers; i++)
        end_of(&sets[i]);
    free(sets);
}

const struct part timers_part = {"timers", accounts, sizeof accounts / sizeof accounts[0],
                                 begin,    NULL,     end};
