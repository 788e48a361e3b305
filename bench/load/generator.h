/*
 * What all modes share. Each thread owns an epoll set and its share of the connections and goes
 * through the phases
 *
 *     WARMUP --(time)--> MEASURE --(time, or all requests back)--> DRAIN
 *
 * In DRAIN nothing new is sent: a connection whose batch came back half-closes and waits for the
 * server's end, so that at the end every byte sent is accounted for and no late surplus is missed.
 */
#ifndef WEFT_BENCH_GENERATOR_H
#define WEFT_BENCH_GENERATOR_H

#include "load/histogram.h"
#include "load/options.h"

typedef struct load_result {
    histogram latency; /* ns: of messages, or with --churn of connections */
    double per_s;      /* what the histogram counts */
    double requests_per_s;
    uint64_t requests; /* messages completed in the measured part */
    uint64_t measured_ns;
    uint64_t server_cpu_ns;         /* in the measured part; 0 without --server-pid */
    uint64_t context_switches;      /* likewise */
    uint64_t planned, sent, waited; /* of the open loop, in the measured part */
    histogram lateness;             /* ns, of the generator itself */
    uint64_t dialled;               /* connections of --churn, whole run */
    uint64_t own_cpu_ns;            /* of the generator, whole run */
    uint64_t bytes_sent, bytes_received, bytes_mismatched; /* whole run */
    unsigned failures; /* connections that ended otherwise than asked */
} load_result;

/* 0, or -errno when nothing could be measured (said on stderr). A run with failures or mismatches
 * is a result, not an error. */
int generator_run(const load_options *options, load_result *ret_result);

#endif
