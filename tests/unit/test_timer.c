/* Timers: never early, in order, and nothing fires that was stopped. */
#include "rt.h"

#include <string.h>

#include "random.h"

static weft_runtime *rt;
static weft_worker *worker;
static _Atomic unsigned fires;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

static void spin_ns(uint64_t ns) {
    uint64_t until = now_ns() + ns;
    while (now_ns() < until)
        ;
}

static uint64_t turn(void) {
    return rt_stats(weft_worker_current()).iterations;
}

static void count_fire(weft_timer *timer) {
    (void)timer;
    fires++;
}

/* --- never early ------------------------------------------------------------------------------ */

enum { MANY = 2000 };

struct tick {
    weft_timer timer;
    uint64_t due_ns, fired_ns, turn, order;
};

static struct tick ticks[MANY];
static uint64_t fire_order;

static void note_fire(weft_timer *timer) {
    struct tick *t = WEFT_CONTAINER_OF(timer, struct tick, timer);
    t->fired_ns = now_ns();
    t->turn = turn();
    t->order = ++fire_order;
    fires++;
}

static void start_tick(struct tick *t, uint64_t delay_ns) {
    *t = (struct tick){.timer.fn = note_fire};
    uint64_t before_ns = now_ns();
    weft_timer_start(worker, &t->timer, delay_ns, 0);
    t->due_ns = before_ns + delay_ns;
}

static void start_random(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < MANY; i++) {
        start_tick(&ticks[i], random_below(30000000));
        if (i % 16 == 0)
            spin_ns(random_below(200000));
    }
}

static void check_none_early(unsigned count) {
    for (unsigned i = 0; i < count; i++)
        CHECK_MSG(ticks[i].fired_ns >= ticks[i].due_ns, "timer %u fired %lld ns early", i,
                  (long long)(ticks[i].due_ns - ticks[i].fired_ns));
}

WTEST(timer, never_early) {
    random_seed(5);
    begin();
    rt_call(worker, start_random, NULL);
    rt_await(&fires, MANY);
    rt_end(rt);
    check_none_early(MANY);
}

static void start_after_long(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < 20; i++) {
        spin_ns(5000000);
        start_tick(&ticks[i], 150000000); /* long beside what a busy machine holds the end up by */
    }
}

WTEST(timer, counts_from_the_call_however_long_the_callback_ran) {
    begin();
    rt_call(worker, start_after_long, NULL);
    rt_await(&fires, 20);
    rt_end(rt);
    check_none_early(20);
}

/* --- order ------------------------------------------------------------------------------------ */

static void start_equal_deadlines(void *arg) {
    (void)arg;
    uint64_t base_ns = now_ns() + 3000000;
    for (unsigned i = 0; i < 600; i++) {
        ticks[i] = (struct tick){.timer.fn = note_fire, .due_ns = base_ns + WEFT_MSEC(i % 3)};
        weft_timer_start_at(worker, &ticks[i].timer, ticks[i].due_ns);
    }
}

WTEST(timer, equal_deadlines_fire_in_start_order) {
    begin();
    rt_call(worker, start_equal_deadlines, NULL);
    rt_await(&fires, 600);
    rt_end(rt);
    check_none_early(600);
    for (unsigned i = 0; i < 600; i++)
        CHECK_EQ(ticks[i].order, i % 3 * 200 + i / 3 + 1);
}

static void start_equal_delays(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < MANY; i++) {
        start_tick(&ticks[i], 4000000);
        spin_ns(random_below(12000)); /* some starts read the clock, some do without */
    }
}

WTEST(timer, equal_delays_never_overtake) {
    random_seed(6);
    begin();
    rt_call(worker, start_equal_delays, NULL);
    rt_await(&fires, MANY);
    rt_end(rt);
    check_none_early(MANY);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_MSG(ticks[i].order == i + 1, "timer %u fired as number %u", i,
                  (unsigned)ticks[i].order);
}

/* --- the earliest -------------------------------------------------------------------------------
 */

static void start_earlier(void *arg) {
    start_tick(&ticks[1], *(uint64_t *)arg);
}

static void stop_earlier(void *arg) {
    *(bool *)arg = weft_timer_stop(&ticks[1].timer);
}

static void start_later(void *arg) {
    start_tick(&ticks[0], *(uint64_t *)arg);
}

WTEST(timer, earliest_may_come_and_go_while_the_worker_sleeps) {
    uint64_t later_ns = 40000000, earlier_ns = 10000000, far_ns = WEFT_SEC(3600);
    bool stopped = false;
    begin();
    rt_call(worker, start_later, &later_ns);
    rt_await_armed(worker);
    rt_call(worker, start_earlier, &earlier_ns); /* the wait becomes shorter, */
    rt_await_armed(worker);
    rt_await(&fires, 2);
    CHECK_EQ(ticks[1].order, 1);
    CHECK_EQ(ticks[0].order, 2);
    check_none_early(2);
    rt_call(worker, start_later, &later_ns);
    rt_call(worker, start_earlier, &earlier_ns);
    rt_await_armed(worker);
    rt_call(worker, stop_earlier, &stopped); /* and longer, */
    CHECK(stopped);
    rt_await(&fires, 3);
    rt_call(worker, start_later, &far_ns);
    rt_await_armed(worker);
    rt_call(worker, start_earlier, &earlier_ns); /* and is not that of an hour */
    rt_await(&fires, 4);
    CHECK_EQ(ticks[1].order, 4);
    CHECK(ticks[1].fired_ns >= ticks[1].due_ns);
    rt_end(rt);
}

/* --- delay 0 ---------------------------------------------------------------------------------- */

static struct {
    weft_timer timer;
    uint64_t started_turn, last_turn;
    unsigned repeated, skipped;
    _Atomic bool over;
    _Atomic unsigned watched;
} zero;

static void start_zero(void *arg) {
    (void)arg;
    zero.started_turn = turn();
    start_tick(&ticks[0], 0);
    ticks[1] = (struct tick){.timer.fn = note_fire};
    weft_timer_start_at(worker, &ticks[1].timer, now_ns() - 1000000000); /* over: the same */
}

WTEST(timer, delay_zero_fires_in_the_next_iteration) {
    begin();
    for (unsigned i = 0; i < 50; i++) {
        rt_call(worker, start_zero, NULL);
        rt_await(&fires, 2 * i + 2);
        rt_turns(worker, 1);
        CHECK_EQ(ticks[0].turn, zero.started_turn + 1);
        CHECK_EQ(ticks[1].turn, zero.started_turn + 1);
        CHECK(ticks[0].order < ticks[1].order);
    }
    rt_end(rt);
}

static void restart_zero(weft_timer *timer) {
    uint64_t now = turn();
    zero.repeated += now == zero.last_turn;
    zero.skipped += now > zero.last_turn + 1;
    zero.last_turn = now;
    fires++;
    if (!zero.over)
        weft_timer_start(weft_worker_current(), timer, 0, 0);
}

static void start_zero_loop(void *arg) {
    (void)arg;
    zero.timer.fn = restart_zero;
    zero.last_turn = turn();
    weft_timer_start(worker, &zero.timer, 0, 0);
}

static void watched(weft_watch *watch, uint32_t events, void *arg) {
    char byte;
    (void)events;
    (void)arg;
    if (read(weft_watch_fd(watch), &byte, 1) == 1)
        zero.watched++;
}

static void watch_pipe(void *arg) {
    if (weft_watch_start(worker, *(int *)arg, WEFT_READ, watched, NULL, NULL) != 0)
        abort();
}

WTEST(timer, delay_zero_loop_runs_once_per_iteration_and_serves_sockets) {
    int ends[2];
    begin();
    CHECK_EQ(pipe(ends), 0);
    rt_call(worker, watch_pipe, &ends[0]);
    rt_call(worker, start_zero_loop, NULL);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQ(write(ends[1], "x", 1), 1);
        rt_await(&zero.watched, i + 1);
        rt_await(&fires, fires + 1);
    }
    zero.over = true;
    rt_end(rt);
    CHECK_EQ(zero.repeated, 0);
    CHECK_EQ(zero.skipped, 0);
    close(ends[0]);
    close(ends[1]);
}

/* --- stop and restart ------------------------------------------------------------------------- */

static struct {
    weft_timer *victim;
    bool stopped, again, pending_self, was_pending;
} stopping;

static void stop_other(weft_timer *timer) {
    stopping.pending_self = weft_timer_is_pending(timer);
    stopping.was_pending = weft_timer_is_pending(stopping.victim);
    stopping.stopped = weft_timer_stop(stopping.victim);
    stopping.again = weft_timer_stop(stopping.victim);
    free(stopping.victim); /* its memory is ours again */
    fires++;
}

static void start_two_due(void *arg) {
    static weft_timer first = {.fn = stop_other};
    (void)arg;
    stopping.victim = calloc(1, sizeof *stopping.victim);
    stopping.victim->fn = count_fire;
    uint64_t deadline_ns = now_ns() + 2000000;
    weft_timer_start_at(worker, &first, deadline_ns);
    weft_timer_start_at(worker, stopping.victim, deadline_ns);
    spin_ns(5000000); /* both come due in one batch */
}

WTEST(timer, stopped_by_another_of_its_batch_does_not_fire) {
    begin();
    rt_call(worker, start_two_due, NULL);
    rt_await(&fires, 1);
    rt_turns(worker, 3);
    rt_end(rt);
    CHECK_EQ(fires, 1);
    CHECK(stopping.was_pending);
    CHECK(stopping.stopped);
    CHECK(!stopping.again);
    CHECK(!stopping.pending_self); /* a timer that fires once is not pending in its callback */
}

static void delay_other(weft_timer *timer) {
    (void)timer;
    weft_timer_start(worker, stopping.victim, 3000000, 0);
    fires++;
}

static void start_delayed(void *arg) {
    static weft_timer first = {.fn = delay_other};
    (void)arg;
    start_tick(&ticks[0], 0);
    stopping.victim = &ticks[0].timer;
    uint64_t deadline_ns = now_ns() - 1;
    weft_timer_start_at(worker, &first, deadline_ns);
    weft_timer_start_at(worker, &ticks[0].timer, deadline_ns);
    ticks[0].due_ns = now_ns() + 3000000;
}

WTEST(timer, restarted_by_another_of_its_batch_fires_once_and_later) {
    begin();
    rt_call(worker, start_delayed, NULL);
    rt_await(&fires, 2);
    rt_turns(worker, 3);
    rt_end(rt);
    CHECK_EQ(fires, 2);
    check_none_early(1);
}

static void start_restarted(void *arg) {
    (void)arg;
    start_tick(&ticks[0], 1000000);
    start_tick(&ticks[1], 2000000);
    for (int i = 0; i < 100; i++) {
        uint64_t before_ns = now_ns();
        weft_timer_start(worker, &ticks[0].timer, 5000000, 0);
        ticks[0].due_ns = before_ns + 5000000;
    }
    stopping.stopped = weft_timer_stop(&ticks[1].timer);
}

WTEST(timer, restart_replaces_the_deadline) {
    begin();
    rt_call(worker, start_restarted, NULL);
    rt_await(&fires, 1);
    rt_turns(worker, 3);
    rt_end(rt);
    CHECK_EQ(fires, 1);
    CHECK(stopping.stopped);
    check_none_early(1);
}

/* --- remaining, and what a timer is that never ran ---------------------------------------------
 */

static struct {
    uint64_t idle, running, past, never, after_stop;
    bool ok;
} remaining;

static void read_remaining(void *arg) {
    weft_timer t = {.fn = count_fire};
    (void)arg;
    remaining.idle = weft_timer_remaining_ns(&t);
    remaining.ok = !weft_timer_is_pending(&t) && !weft_timer_stop(&t) && !weft_timer_stop(NULL) &&
                   !weft_timer_is_pending(NULL) && weft_timer_remaining_ns(NULL) == 0;
    weft_timer_start(worker, &t, WEFT_SEC(100), 0);
    remaining.ok = remaining.ok && weft_timer_is_pending(&t);
    remaining.running = weft_timer_remaining_ns(&t);
    weft_timer_start_at(worker, &t, 1);
    remaining.past = weft_timer_remaining_ns(&t);
    weft_timer_start(worker, &t, WEFT_FOREVER, 0);
    remaining.never = weft_timer_remaining_ns(&t);
    remaining.ok = remaining.ok && weft_timer_is_pending(&t) && weft_timer_stop(&t);
    remaining.after_stop = weft_timer_remaining_ns(&t);
}

WTEST(timer, remaining_tells_how_long) {
    begin();
    rt_call(worker, read_remaining, NULL);
    rt_end(rt);
    CHECK(remaining.ok);
    CHECK_EQ(remaining.idle, 0);
    CHECK(remaining.running > WEFT_SEC(90) && remaining.running <= WEFT_SEC(100));
    CHECK_EQ(remaining.past, 0);
    CHECK(remaining.never == WEFT_FOREVER);
    CHECK_EQ(remaining.after_stop, 0);
    CHECK_EQ(fires, 0);
}

/* --- fairness and idleness ---------------------------------------------------------------------
 */

static unsigned fires_at_task;

static void note_fires(void *arg) {
    (void)arg;
    fires_at_task = fires;
}

static void first_of_flood(weft_timer *timer) {
    (void)timer;
    fires++;
    if (weft_post_fn(worker, note_fires, NULL) != 0)
        abort();
}

static weft_timer flood[5000];

static void start_flood(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < 5000; i++) {
        flood[i].fn = i == 0 ? first_of_flood : count_fire;
        weft_timer_start(worker, &flood[i], 0, 0);
    }
}

WTEST(timer, flood_of_due_timers_lets_tasks_through) {
    begin();
    rt_call(worker, start_flood, NULL);
    rt_await(&fires, 5000);
    rt_turns(worker, 1);
    rt_end(rt);
    CHECK_EQ(fires, 5000);
    CHECK_MSG(fires_at_task > 0 && fires_at_task < 5000, "the task came after %u timers",
              fires_at_task);
}

static void start_one(void *arg) {
    start_tick(&ticks[0], *(uint64_t *)arg);
}

WTEST(timer, fraction_of_a_millisecond_is_no_reason_to_spin) {
    begin();
    for (unsigned i = 0; i < 20; i++) {
        uint64_t delay_ns = 2000000 + i * 91000;
        rt_call(worker, start_one, &delay_ns);
        uint64_t before = rt_stats(worker).iterations;
        rt_await(&fires, i + 1);
        uint64_t turns = rt_stats(worker).iterations - before;
        CHECK_MSG(turns <= 20, "%u iterations for one timer", (unsigned)turns);
    }
    rt_end(rt);
    check_none_early(1);
}

/* --- the end ------------------------------------------------------------------------------------
 */

static void leave_behind(void *arg) {
    weft_timer **timers = arg;
    for (unsigned i = 0; i < 100; i++) {
        timers[i] = calloc(1, sizeof *timers[i]);
        timers[i]->fn = count_fire;
        weft_timer_start(worker, timers[i], WEFT_SEC(3600) + i, i % 2 ? WEFT_SEC(1) : 0);
    }
}

WTEST(timer, left_over_at_the_end_is_idle_and_may_be_freed) {
    weft_timer *timers[100];
    begin();
    rt_call(worker, leave_behind, timers);
    rt_end(rt);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(!weft_timer_is_pending(timers[i]));
        CHECK(!weft_timer_stop(timers[i]));
        CHECK_EQ(weft_timer_remaining_ns(timers[i]), 0);
        free(timers[i]);
    }
    CHECK_EQ(fires, 0);
}

static weft_timer *late;

static void start_late(weft_worker *w, void *arg) {
    (void)arg;
    late = calloc(1, sizeof *late);
    late->fn = count_fire;
    weft_timer_start(w, late, 0, 1);
}

WTEST(timer, started_in_the_last_callback_never_fires) {
    const weft_runtime_options options = {.workers = 1, .on_worker_stop = start_late};
    rt = rt_start_with(&options);
    rt_end(rt);
    CHECK(late != NULL);
    CHECK(!weft_timer_is_pending(late));
    CHECK_EQ(fires, 0);
    free(late);
}
