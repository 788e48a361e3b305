/* One thread of the generator: internal to load_thread.c and generator.c. */
#ifndef WEFT_BENCH_LOAD_THREAD_H
#define WEFT_BENCH_LOAD_THREAD_H

#include "load/connection.h"
#include "load/histogram.h"
#include "load/options.h"
#include "load/process_cpu.h"

#include <stdatomic.h>

typedef enum load_phase { LOAD_WARMUP, LOAD_MEASURE, LOAD_DRAIN } load_phase;

typedef struct load_thread {
    /* Immutable while the thread runs. */
    const load_options *options;
    const process_cpu *server; /* only the first thread has one */
    uint64_t start_ns;         /* of the warm-up, the same for all threads */
    connection *connections;
    unsigned count;
    int epoll_fd;

    /* The thread's own. */
    load_phase phase;
    unsigned open; /* connections not yet closed */
    unsigned failures;
    uint64_t to_send;     /* with --requests: messages of the measured part still unsent */
    uint64_t to_complete; /* and those not yet back */
    uint64_t measured_from_ns, measured_to_ns;
    uint64_t server_cpu_from_ns, server_cpu_to_ns;
    uint64_t last_event_ns;
    histogram latency;

    /* Written by the thread, read by the one that prints the progress. */
    atomic_uint_fast64_t completed;
} load_thread;

/* Runs until every connection is closed. The progress line is printed by whoever sets `on_tick`,
 * called about once a second. */
void load_thread_run(load_thread *t, void (*on_tick)(void *arg), void *arg);

#endif
