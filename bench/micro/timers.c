/* timers: random deadlines within a minute, ns per timer. What expires was due a while ago: the
 * loops have nothing to wait for.
 *
 * million_timers: libuv's benchmark of this name, shorter: a million timers with growing deadlines,
 * from the first start to the last expiry. */
#include "micro/timers.h"

#include "micro/contest.h"
#include "micro/families.h"

#include <stdlib.h>
#include <unistd.h>

enum { SPREAD_MS = 60000, GRACE_MS = 5, MILLION = 1000000 };
enum phase { START, RESTART, STOP, EXPIRE, PHASES };

unsigned timers_count;
uint32_t *timers_delays_ms;

static struct timers_load load;
static unsigned pending, passes_made;
static double seconds[PHASES], expiry_begin;

void *timers_open(const struct timers_load *wanted, size_t size) {
    load = *wanted;
    timers_count = load.count;
    timers_delays_ms = calloc(load.count, sizeof *timers_delays_ms);
    void *timers = calloc(load.count, size);
    must_call("calloc", timers && timers_delays_ms ? 0 : -1);
    for (size_t i = 0; i < load.count * size; i++) /* no page is new when time is taken */
        ((volatile char *)timers)[i] = 0;
    return timers;
}

static void choose_delays(unsigned spread_ms) {
    static uint32_t random = 1;
    for (unsigned i = 0; i < load.count; i++) {
        random = random * 1664525u + 1013904223u;
        timers_delays_ms[i] = 1 + (uint32_t)(((uint64_t)random * spread_ms) >> 32);
    }
}

static void measure(enum phase phase, void (*all)(void)) {
    double begin = bench_seconds();
    all();
    seconds[phase] += bench_seconds() - begin;
}

void timers_arm(const struct timers_kind *kind) {
    pending = load.count;
    if (load.per_ms > 0) {
        for (unsigned i = 0; i < load.count; i++)
            timers_delays_ms[i] = 1 + i / load.per_ms;
        expiry_begin = bench_seconds();
        kind->start_all();
        return;
    }
    choose_delays(SPREAD_MS);
    measure(START, kind->start_all);
    choose_delays(SPREAD_MS);
    measure(RESTART, kind->restart_all);
    measure(STOP, kind->stop_all);
    choose_delays(load.expiry_ms);
    kind->start_all();
    usleep((load.expiry_ms + GRACE_MS) * 1000);
    expiry_begin = bench_seconds();
}

bool timers_expired(void) {
    if (--pending > 0)
        return false;
    seconds[EXPIRE] += bench_seconds() - expiry_begin;
    return true;
}

bool timers_again(void) {
    return ++passes_made < load.passes;
}

static double ns_each(enum phase phase) {
    return seconds[phase] * 1e9 / load.count / passes_made;
}

double timers_figure(void) {
    if (load.per_ms > 0)
        return ns_each(EXPIRE);
    for (enum phase phase = RESTART; phase < PHASES; phase++)
        apart_note(phase, ns_each(phase));
    return ns_each(START);
}

void register_timers(void) {
    static const struct timers_load ten_thousand = {10000, 10, 5, 0}, million = {MILLION, 1, 50, 0},
                                    growing = {MILLION, 1, 0, MILLION / 20};
    static const struct contender contenders[] = {
        {"weft", timers_weft}, {"weft_start_at", timers_weft_at}, {"weft_wheel", timers_wheel},
#ifdef WEFT_BENCH_UV
        {"libuv", timers_uv},
#endif
#ifdef WEFT_BENCH_EV
        {"libev", timers_ev},
#endif
    };
    contest_register(&(struct contest){
        .family = "timers",
        .cases = {{"10k/start", NS}, {"10k/restart", NS}, {"10k/stop", NS}, {"10k/expire", NS}},
        .arg = &ten_thousand,
        CONTENDERS(contenders)});
    contest_register(&(struct contest){
        .family = "timers",
        .cases = {{"1M/start", NS}, {"1M/restart", NS}, {"1M/stop", NS}, {"1M/expire", NS}},
        .arg = &million,
        CONTENDERS(contenders)});
    contest_register(&(struct contest){.family = "million_timers",
                                       .cases = {{"start_and_expire", NS}},
                                       .arg = &growing,
                                       CONTENDERS(contenders)});
}
