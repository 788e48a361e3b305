#include "micro/contest.h"
#include "micro/timers.h"

#include <ev.h>
#include <string.h>

static ev_timer *timers;
static struct ev_loop *loop;

static void on_expiry(struct ev_loop *l, ev_timer *timer, int events) {
    (void)l;
    (void)timer;
    (void)events;
    timers_expired();
}

static void start_all(void) {
    ev_now_update(loop);
    for (unsigned i = 0; i < timers_count; i++) {
        ev_timer_set(&timers[i], timers_delays_ms[i] / 1e3, 0.);
        ev_timer_start(loop, &timers[i]);
    }
}

/* The documented way for a timer that is active. */
static void restart_all(void) {
    ev_now_update(loop);
    for (unsigned i = 0; i < timers_count; i++) {
        timers[i].repeat = timers_delays_ms[i] / 1e3;
        ev_timer_again(loop, &timers[i]);
    }
}

static void stop_all(void) {
    for (unsigned i = 0; i < timers_count; i++)
        ev_timer_stop(loop, &timers[i]);
}

double timers_ev(const void *arg) {
    static const struct timers_kind kind = {start_all, restart_all, stop_all};
    timers = timers_open(arg, sizeof *timers);
    loop = ev_loop_new(EVFLAG_AUTO);
    must_call("ev_loop_new", loop ? 0 : -1);
    for (unsigned i = 0; i < timers_count; i++)
        ev_init(&timers[i], on_expiry);
    do {
        timers_arm(&kind);
        ev_run(loop, 0);
    } while (timers_again());
    return timers_figure();
}
