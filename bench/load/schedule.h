/*
 * The plan of an open loop: request g is due g / rate seconds after the start and goes to the
 * connection whose turn is g % turns. It is arithmetic alone. A request that has to wait, since its
 * connection is busy or the generator late, is held in no queue: when it was due can be told from
 * its number, both when it is sent and when its echo is there.
 */
#ifndef WEFT_BENCH_SCHEDULE_H
#define WEFT_BENCH_SCHEDULE_H

#include "common/cli.h"

#include <stdbool.h>

typedef struct schedule {
    uint64_t start_ns;
    uint64_t rate;     /* requests a second, at most CLI_NS_PER_SEC */
    uint64_t turns;    /* connections */
    uint64_t measured; /* the first request of the measured part */
    uint64_t end;      /* behind the last one */
} schedule;

/* Requests due in the first `ns`. Whole seconds apart, so that no product wraps. */
static inline uint64_t schedule_requests_in(uint64_t rate, uint64_t ns) {
    uint64_t part = ns % CLI_NS_PER_SEC * rate;
    return ns / CLI_NS_PER_SEC * rate + part / CLI_NS_PER_SEC + (part % CLI_NS_PER_SEC > 0);
}

/* From its number and not from the time of the one before it: an interval that is no whole number
 * of nanoseconds adds up to no drift. */
static inline uint64_t schedule_due_ns(const schedule *s, uint64_t request) {
    return s->start_ns + request / s->rate * CLI_NS_PER_SEC +
           request % s->rate * CLI_NS_PER_SEC / s->rate;
}

static inline bool schedule_measures(const schedule *s, uint64_t request) {
    return request >= s->measured && request < s->end;
}

/* The request that is message number `message` of the connection with this turn. */
static inline uint64_t schedule_request(const schedule *s, uint64_t turn, uint64_t message) {
    return turn + message * s->turns;
}

/* How many of the measured requests the connection with this turn has. */
static inline uint64_t schedule_share(const schedule *s, uint64_t turn) {
    uint64_t before = (s->measured + s->turns - 1 - turn) / s->turns;
    return (s->end + s->turns - 1 - turn) / s->turns - before;
}

#endif
