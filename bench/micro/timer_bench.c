/* A million timers with deadlines within a minute: start, start again, stop, and expiry. The
 * wheel is driven bare, by a simulated clock; libuv by its loop, whose clock is real, so what
 * expires there is due within 50 ms and waited for. ns per timer. */
#include "common/rounds.h"
#include "micro/shim.h"
#include "micro/tables.h"
#include "wheel/wheel.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef WEFT_BENCH_UV
#include <uv.h>
#endif

enum { TIMERS = 1000000, EXPIRY_MS = 50, SPREAD_MS = 60000 };
enum phase { START, RESTART, STOP, EXPIRE, PHASES };

#define NS_PER_MS UINT64_C(1000000)

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit) {
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * limit) >> 32);
}

static double ns_each(double begin) {
    return (bench_seconds() - begin) * 1e9 / TIMERS;
}

/* One pass takes all figures; the phases of a round share it. */
static double wheel_figures[PHASES], uv_figures[PHASES];

static void wheel_pass(void) {
    static struct wheel wheel;
    static struct wheel_node *nodes;
    if (!nodes)
        nodes = calloc(TIMERS, sizeof *nodes);
    if (!nodes)
        abort();
    uint64_t now = NS_PER_MS;
    wheel_init(&wheel, now);
    double begin = bench_seconds();
    for (unsigned i = 0; i < TIMERS; i++)
        wheel_start(&wheel, &nodes[i], now + (1 + random_below(SPREAD_MS)) * NS_PER_MS);
    wheel_figures[START] = ns_each(begin);
    begin = bench_seconds();
    for (unsigned i = 0; i < TIMERS; i++)
        wheel_start(&wheel, &nodes[i], now + (1 + random_below(SPREAD_MS)) * NS_PER_MS);
    wheel_figures[RESTART] = ns_each(begin);
    begin = bench_seconds();
    for (unsigned i = 0; i < TIMERS; i++)
        wheel_stop(&wheel, &nodes[i]);
    wheel_figures[STOP] = ns_each(begin);
    for (unsigned i = 0; i < TIMERS; i++)
        wheel_start(&wheel, &nodes[i], now + (1 + random_below(EXPIRY_MS)) * NS_PER_MS);
    unsigned expired = 0;
    begin = bench_seconds();
    for (uint64_t next; (next = wheel_next_ns(&wheel)) != UINT64_MAX;) {
        wheel_advance(&wheel, next);
        while (wheel_pop_due(&wheel))
            expired++;
    }
    wheel_figures[EXPIRE] = ns_each(begin);
    if (expired != TIMERS)
        abort();
}

#ifdef WEFT_BENCH_UV
static unsigned uv_expired;

static void uv_count(uv_timer_t *timer) {
    (void)timer;
    uv_expired++;
}

static void uv_start_all(uv_timer_t *timers, uint32_t spread_ms) {
    for (unsigned i = 0; i < TIMERS; i++)
        uv_timer_start(&timers[i], uv_count, 1 + random_below(spread_ms), 0);
}

static void uv_pass(void) {
    static uv_timer_t *timers;
    static uv_loop_t loop;
    if (!timers) {
        timers = calloc(TIMERS, sizeof *timers);
        if (!timers || uv_loop_init(&loop) < 0)
            abort();
        for (unsigned i = 0; i < TIMERS; i++)
            uv_timer_init(&loop, &timers[i]);
    }
    uv_update_time(&loop);
    double begin = bench_seconds();
    uv_start_all(timers, SPREAD_MS);
    uv_figures[START] = ns_each(begin);
    begin = bench_seconds();
    uv_start_all(timers, SPREAD_MS);
    uv_figures[RESTART] = ns_each(begin);
    begin = bench_seconds();
    for (unsigned i = 0; i < TIMERS; i++)
        uv_timer_stop(&timers[i]);
    uv_figures[STOP] = ns_each(begin);
    uv_update_time(&loop);
    uv_start_all(timers, EXPIRY_MS);
    usleep((EXPIRY_MS + 5) * 1000);
    uv_expired = 0;
    begin = bench_seconds();
    uv_update_time(&loop);
    while (uv_expired < TIMERS)
        uv_run(&loop, UV_RUN_NOWAIT);
    uv_figures[EXPIRE] = ns_each(begin);
}
#endif

/* The first phase asked for makes the pass. */
static double wheel_phase(const void *arg) {
    enum phase phase = *(const enum phase *)arg;
    wheel_pass();
    return wheel_figures[phase];
}

#ifdef WEFT_BENCH_UV
static double uv_phase(const void *arg) {
    enum phase phase = *(const enum phase *)arg;
    uv_pass();
    return uv_figures[phase];
}
#endif

void table_of_timers(unsigned rounds) {
    static const char *const titles[PHASES] = {"1 M timers, start", "1 M timers, start again",
                                               "1 M timers, stop", "1 M timers, expire"};
    static const struct contender contenders[] = {
        {"weft wheel", wheel_phase},
#ifdef WEFT_BENCH_UV
        {"libuv", uv_phase},
#endif
    };
    for (enum phase phase = START; phase < PHASES; phase++) {
        struct contest contest = {titles[phase], "ns",
                                  contenders,    sizeof contenders / sizeof contenders[0],
                                  &phase,        rounds};
        contest_run(&contest);
    }
}

static void bench_wheel(struct bench_state *s) {
    while (bench_keep_running(s, 1)) {
        wheel_pass();
        bench_took(s, wheel_figures[bench_argument(s)] * TIMERS / 1e9);
        bench_counter(s, "ns/timer", wheel_figures[bench_argument(s)]);
    }
}

BENCH("wheel/start", bench_wheel, .manual_time = true, .argument = START)
BENCH("wheel/restart", bench_wheel, .manual_time = true, .argument = RESTART)
BENCH("wheel/stop", bench_wheel, .manual_time = true, .argument = STOP)
BENCH("wheel/expire", bench_wheel, .manual_time = true, .argument = EXPIRE)
