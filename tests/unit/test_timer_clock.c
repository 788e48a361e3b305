/* Periods, and deadlines at the far ends of the clock, with a clock that the test sets. It is read
 * and written on the worker's thread alone. */
#include "rt.h"

static weft_worker *worker;
static _Atomic unsigned fires;

/* The worker believes its last reading for a while: past that, it asks again. */
static void outlast_cached_clock(void) {
    uint64_t until = clock_cycles() + 2 * CLOCK_STALE_CYCLES;
    while (clock_cycles() < until && clock_cycles() != 0)
        ;
}

static void set_clock(void *arg) {
    clock_test_ns = *(uint64_t *)arg;
    outlast_cached_clock();
}

/* The worker sees the time, and has finished an iteration with it. */
static void time_is(uint64_t ns) {
    rt_call(worker, set_clock, &ns);
    rt_turns(worker, 3);
}

static weft_runtime *begin_at(uint64_t ns) {
    /* Without the watchdog, whose clock it is, too. */
    const weft_runtime_options options = {.workers = 1, .stall_ns = WEFT_FOREVER};
    clock_test_ns = ns;
    weft_runtime *rt = rt_start_with(&options);
    worker = weft_runtime_worker(rt, 0);
    time_is(ns);
    return rt;
}

static void end(weft_runtime *rt) {
    rt_end(rt);
    clock_test_ns = 0;
}

struct start {
    weft_timer timer;
    uint64_t delay_ns, period_ns, remaining_ns;
};

static void fired(weft_timer *timer) {
    (void)timer;
    fires++;
}

static void start_run(void *arg) {
    struct start *s = arg;
    s->timer.fn = s->timer.fn ? s->timer.fn : fired;
    outlast_cached_clock();
    weft_timer_start(worker, &s->timer, s->delay_ns, s->period_ns);
}

static void read_remaining(void *arg) {
    struct start *s = arg;
    outlast_cached_clock();
    s->remaining_ns = weft_timer_remaining_ns(&s->timer);
}

static uint64_t remaining_of(struct start *s) {
    rt_call(worker, read_remaining, s);
    return s->remaining_ns;
}

static const uint64_t base_ns = UINT64_C(1000000000000);

WTEST(timer_clock, missed_periods_are_one_call_and_the_rhythm_is_kept) {
    weft_runtime *rt = begin_at(base_ns);
    struct start s = {.delay_ns = WEFT_MSEC(10), .period_ns = WEFT_MSEC(10)};
    rt_call(worker, start_run, &s);
    CHECK_EQ(remaining_of(&s), WEFT_MSEC(10));
    time_is(base_ns + WEFT_MSEC(9));
    CHECK_EQ(fires, 0);
    time_is(base_ns + WEFT_MSEC(11));
    CHECK_EQ(fires, 1);
    CHECK_EQ(remaining_of(&s), WEFT_MSEC(9));
    time_is(base_ns + WEFT_MSEC(78)); /* 20 to 70 are missed */
    CHECK_EQ(fires, 2);
    CHECK_EQ(remaining_of(&s), WEFT_MSEC(2));
    time_is(base_ns + WEFT_MSEC(81));
    CHECK_EQ(fires, 3);
    time_is(base_ns + WEFT_SEC(3600) + WEFT_MSEC(5));
    CHECK_EQ(fires, 4);
    CHECK_EQ(remaining_of(&s), WEFT_MSEC(5));
    end(rt);
}

WTEST(timer_clock, without_delay_periods_count_from_the_first_call) {
    weft_runtime *rt = begin_at(base_ns);
    struct start s = {.period_ns = WEFT_MSEC(10)};
    rt_call(worker, start_run, &s);
    rt_turns(worker, 2);
    CHECK_EQ(fires, 1);
    CHECK_EQ(remaining_of(&s), WEFT_MSEC(10));
    time_is(base_ns + WEFT_MSEC(35));
    CHECK_EQ(fires, 2);
    CHECK_EQ(remaining_of(&s), WEFT_MSEC(5));
    end(rt);
}

static bool pending_inside;

static void stop_at_third(weft_timer *timer) {
    pending_inside = weft_timer_is_pending(timer);
    if (++fires == 3 && !weft_timer_stop(timer))
        abort();
}

WTEST(timer_clock, periodic_is_pending_in_its_callback_and_stops_there) {
    weft_runtime *rt = begin_at(base_ns);
    struct start s = {
        .timer.fn = stop_at_third, .delay_ns = WEFT_MSEC(5), .period_ns = WEFT_MSEC(5)};
    rt_call(worker, start_run, &s);
    for (unsigned i = 1; i <= 10; i++)
        time_is(base_ns + i * WEFT_MSEC(6));
    end(rt);
    CHECK_EQ(fires, 3);
    CHECK(pending_inside);
    CHECK(!weft_timer_is_pending(&s.timer));
}

static void free_at_second(weft_timer *timer) {
    if (++fires < 2)
        return;
    weft_timer_stop(timer);
    free(WEFT_CONTAINER_OF(timer, struct start, timer));
}

WTEST(timer_clock, periodic_may_be_freed_once_stopped) {
    weft_runtime *rt = begin_at(base_ns);
    struct start *s = calloc(1, sizeof *s);
    *s = (struct start){.timer.fn = free_at_second, .delay_ns = 1, .period_ns = 1};
    rt_call(worker, start_run, s);
    for (unsigned i = 1; i <= 5; i++)
        time_is(base_ns + i * WEFT_MSEC(6));
    end(rt);
    CHECK_EQ(fires, 2);
}

/* A delay fires at its time and not a moment before, wherever the clock stands. */
static void check_delay(uint64_t from_ns, uint64_t delay_ns) {
    const uint64_t ms = WEFT_MSEC(1);
    weft_runtime *rt = begin_at(from_ns);
    struct start s = {.delay_ns = delay_ns};
    fires = 0;
    rt_call(worker, start_run, &s);
    time_is(from_ns + delay_ns / 2);
    CHECK_EQ(fires, 0);
    time_is(from_ns + delay_ns - ms);
    CHECK_EQ(fires, 0);
    CHECK_EQ(remaining_of(&s), ms);
    time_is(from_ns + delay_ns + ms);
    CHECK_EQ(fires, 1);
    end(rt);
}

WTEST(timer_clock, long_delays_are_exact) {
    const uint64_t wrap31 = WEFT_MSEC(UINT64_C(1) << 31), wrap32 = WEFT_MSEC(UINT64_C(1) << 32);
    const uint64_t delays[] = {wrap31 - WEFT_MSEC(1), wrap31,           wrap31 + WEFT_MSEC(1),
                               wrap32 - WEFT_MSEC(1), wrap32,           wrap32 + WEFT_MSEC(1),
                               UINT64_C(1) << 62,     UINT64_C(1) << 63};
    for (unsigned i = 0; i < array_length(delays); i++)
        check_delay(base_ns, delays[i]);
}

WTEST(timer_clock, clock_may_cross_any_boundary) {
    const uint64_t boundaries[] = {WEFT_MSEC(UINT64_C(1) << 31), WEFT_MSEC(UINT64_C(1) << 32),
                                   UINT64_C(1) << 32, UINT64_C(1) << 63};
    for (unsigned i = 0; i < array_length(boundaries); i++)
        check_delay(boundaries[i] - WEFT_MSEC(5), WEFT_MSEC(20));
}

WTEST(timer_clock, delays_past_the_end_of_the_clock_saturate) {
    weft_runtime *rt = begin_at(base_ns);
    struct start late = {.delay_ns = UINT64_MAX - base_ns}, never = {.delay_ns = UINT64_MAX},
                 wraps = {.delay_ns = UINT64_MAX - 5, .period_ns = UINT64_MAX};
    rt_call(worker, start_run, &late);
    rt_call(worker, start_run, &never);
    rt_call(worker, start_run, &wraps);
    CHECK(remaining_of(&never) == UINT64_MAX);
    CHECK(remaining_of(&wraps) == UINT64_MAX);
    time_is(UINT64_C(1) << 63);
    time_is(UINT64_MAX - WEFT_SEC(1));
    CHECK_EQ(fires, 0);
    rt_await_armed(worker); /* and the worker is at rest */
    end(rt);
    CHECK(!weft_timer_is_pending(&never.timer));
}

WTEST(timer_clock, period_past_the_end_of_the_clock_fires_once) {
    weft_runtime *rt = begin_at(base_ns);
    struct start s = {.delay_ns = WEFT_MSEC(5), .period_ns = UINT64_MAX - WEFT_SEC(1)};
    rt_call(worker, start_run, &s);
    time_is(base_ns + WEFT_MSEC(7));
    CHECK_EQ(fires, 1);
    time_is(base_ns + WEFT_SEC(100));
    time_is(UINT64_C(1) << 63);
    CHECK_EQ(fires, 1);
    end(rt);
}

/* now_ns is one value for the whole of an iteration. */
static uint64_t seen[3];

static void see_now(void *arg) {
    seen[(uintptr_t)arg] = weft_worker_now_ns(worker);
    clock_test_ns += WEFT_MSEC(7);
    outlast_cached_clock();
}

WTEST(timer_clock, every_callback_of_an_iteration_sees_the_same_time) {
    static struct hold hold;
    weft_runtime *rt = begin_at(base_ns);
    hold_begin(&hold, worker);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK_EQ(weft_post_fn(worker, see_now, (void *)i), 0);
    hold_end(&hold, worker);
    rt_call(worker, see_now, (void *)2);
    CHECK_EQ(seen[0], base_ns);
    CHECK_EQ(seen[1], base_ns);
    CHECK_EQ(seen[2], base_ns + WEFT_MSEC(14));
    end(rt);
}
