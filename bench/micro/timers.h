/* The passes of a timers contest: all timers are started, started again, stopped, started with
 * early deadlines, and then all are due and expire. Each contender has loops for these over its own
 * timers, timer i due in timers_delays_ms[i]. */
#ifndef WEFT_BENCH_TIMERS_H
#define WEFT_BENCH_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timers_load {
    unsigned count, passes;
    unsigned expiry_ms; /* the latest of the early deadlines */
    unsigned per_ms;    /* not 0: start and expiry alone, so many for each millisecond on */
};

struct timers_kind {
    void (*start_all)(void);
    void (*restart_all)(void);
    void (*stop_all)(void);
};

extern unsigned timers_count;
extern uint32_t *timers_delays_ms;

void *timers_open(const struct timers_load *load, size_t size); /* memory for the timers: zeroes */
void timers_arm(const struct timers_kind *kind); /* a pass until expiry, which the loop does */
bool timers_expired(void);                       /* by each; true: it was the last of the pass */
bool timers_again(void);                         /* then: is there another pass? */
double timers_figure(void);                      /* notes the others too */

/* arg: struct timers_load */
double timers_wheel(const void *arg);
double timers_weft(const void *arg);
double timers_weft_at(const void *arg);
double timers_uv(const void *arg);
double timers_ev(const void *arg);

#endif
