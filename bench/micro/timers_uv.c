#include "micro/contest.h"
#include "micro/timers.h"

#include <uv.h>

static uv_timer_t *timers;
static uv_loop_t loop;

static void on_expiry(uv_timer_t *timer) {
    (void)timer;
    timers_expired();
}

static void start_all(void) {
    uv_update_time(&loop);
    for (unsigned i = 0; i < timers_count; i++)
        uv_timer_start(&timers[i], on_expiry, timers_delays_ms[i], 0);
}

static void stop_all(void) {
    for (unsigned i = 0; i < timers_count; i++)
        uv_timer_stop(&timers[i]);
}

double timers_uv(const void *arg) {
    static const struct timers_kind kind = {start_all, start_all, stop_all};
    timers = timers_open(arg, sizeof *timers);
    must("uv_loop_init", uv_loop_init(&loop));
    for (unsigned i = 0; i < timers_count; i++)
        must("uv_timer_init", uv_timer_init(&loop, &timers[i]));
    do {
        timers_arm(&kind);
        uv_run(&loop, UV_RUN_DEFAULT);
    } while (timers_again());
    return timers_figure();
}
