/* Through a worker: all but expiry in one callback. weft_timer_start looks at the clock for each
 * timer, weft_timer_start_at is given a deadline. */
#include "micro/contest.h"
#include "micro/timers.h"

#include <weft.h>

#define NS_PER_MS UINT64_C(1000000)

static weft_worker *worker;
static weft_timer *timers;

static void start_all(void) {
    for (unsigned i = 0; i < timers_count; i++)
        weft_timer_start(worker, &timers[i], timers_delays_ms[i] * NS_PER_MS, 0);
}

static void start_all_at(void) {
    uint64_t now = weft_worker_now_ns(worker);
    for (unsigned i = 0; i < timers_count; i++)
        weft_timer_start_at(worker, &timers[i], now + timers_delays_ms[i] * NS_PER_MS);
}

static void stop_all(void) {
    for (unsigned i = 0; i < timers_count; i++)
        weft_timer_stop(&timers[i]);
}

static const struct timers_kind by_delay = {start_all, start_all, stop_all};
static const struct timers_kind by_deadline = {start_all_at, start_all_at, stop_all};
static const struct timers_kind *kind;

static void on_expiry(weft_timer *timer) {
    (void)timer;
    if (!timers_expired())
        return;
    if (timers_again())
        timers_arm(kind);
    else
        weft_runtime_stop(weft_worker_runtime(worker));
}

static void on_start(weft_worker *w, void *arg) {
    (void)arg;
    worker = w;
    timers_arm(kind);
}

static double run(const void *arg) {
    const weft_runtime_options options = {
        .workers = 1, .stall_ns = WEFT_FOREVER, .on_worker_start = on_start};
    weft_runtime *rt = NULL;
    timers = timers_open(arg, sizeof *timers);
    for (unsigned i = 0; i < timers_count; i++)
        timers[i].fn = on_expiry;
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
    return timers_figure();
}

double timers_weft(const void *arg) {
    kind = &by_delay;
    return run(arg);
}

double timers_weft_at(const void *arg) {
    kind = &by_deadline;
    return run(arg);
}
