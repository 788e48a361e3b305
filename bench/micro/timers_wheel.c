/* The wheel by itself, driven by a simulated clock. */
#include "micro/contest.h"
#include "micro/timers.h"
#include "wheel/wheel.h"

#define NS_PER_MS UINT64_C(1000000)

static struct wheel wheel;
static struct wheel_node *nodes;
static uint64_t now;

static void start_all(void) {
    for (unsigned i = 0; i < timers_count; i++)
        wheel_start(&wheel, &nodes[i], now + timers_delays_ms[i] * NS_PER_MS);
}

static void stop_all(void) {
    for (unsigned i = 0; i < timers_count; i++)
        wheel_stop(&wheel, &nodes[i]);
}

/* Through all deadlines. */
static void expire_all(void) {
    for (bool last = false; !last;) {
        now = wheel_next_ns(&wheel);
        wheel_advance(&wheel, now);
        while (wheel_pop_due(&wheel))
            last = timers_expired();
    }
}

double timers_wheel(const void *arg) {
    static const struct timers_kind kind = {start_all, start_all, stop_all};
    nodes = timers_open(arg, sizeof *nodes);
    now = NS_PER_MS;
    wheel_init(&wheel, now);
    do {
        timers_arm(&kind);
        expire_all();
    } while (timers_again());
    return timers_figure();
}
