/*
 * One thread of the generator, and what its modes have to provide and may call. The thread's loop
 * waits, receives, compares and keeps to the phases; a mode decides what is sent when, and what is
 * recorded.
 */
#ifndef WEFT_BENCH_LOAD_THREAD_H
#define WEFT_BENCH_LOAD_THREAD_H

#include "load/connection.h"
#include "load/histogram.h"
#include "load/options.h"
#include "load/process_cpu.h"
#include "load/schedule.h"

#include <stdatomic.h>

#define LOAD_STALL_NS (5 * CLI_NS_PER_SEC) /* no event at all for so long: the rest is given up */
#define LOAD_NEVER UINT64_MAX

typedef enum load_phase { LOAD_WARMUP, LOAD_MEASURE, LOAD_DRAIN } load_phase;

/* What a server had used at some time. */
typedef struct server_usage {
    uint64_t cpu_ns, context_switches;
} server_usage;

typedef struct load_mode load_mode;

typedef struct load_thread {
    /* Immutable while the thread runs. */
    const load_options *options;
    const load_mode *mode;
    const schedule *plan;      /* of the open loop */
    const process_cpu *server; /* only the first thread has one */
    unsigned index;
    uint64_t start_ns; /* of the warm-up, the same for all threads */
    connection *connections;
    unsigned count;
    int epoll_fd;

    /* The thread's own. */
    load_phase phase;
    unsigned open; /* connections not given up or ended for good */
    unsigned failures;
    uint64_t to_send;     /* with --requests: of the measured part, what is still unsent */
    uint64_t to_complete; /* and what is not yet back; the open loop always has a number */
    uint64_t measured_from_ns, measured_to_ns;
    uint64_t until_ns; /* the measured part ends then at the latest */
    uint64_t wake_ns;  /* when the mode wants to be woken, or LOAD_NEVER */
    server_usage server_from, server_to;
    uint64_t last_event_ns;
    histogram latency;

    /* Of the open loop. */
    uint64_t turn;   /* the thread's requests up to here have been looked at when they were due */
    uint64_t sent;   /* requests of the measured part */
    uint64_t waited; /* those that found their connection busy */
    histogram lateness; /* of the others: from when they were due to when they were sent */

    /* Of churn. */
    uint64_t dialled; /* connections, in the whole run */

    /* Written by the thread, read by the one that prints the progress. */
    atomic_uint_fast64_t completed;
} load_thread;

struct load_mode {
    /* Once for each connection, at the start; it is open but for churn. */
    void (*begin)(load_thread *t, connection *c, uint64_t now_ns);
    /* More bytes are there, none beyond what was sent. */
    void (*received)(load_thread *t, connection *c, uint64_t now_ns);
    /* The server has answered load_finish(). NULL: the connection is dropped. */
    void (*ended)(load_thread *t, connection *c, uint64_t now_ns);
    /* At wake_ns or later. */
    void (*woken)(load_thread *t, uint64_t now_ns);
};

extern const load_mode load_closed_loop, load_open_loop, load_churn;

/* Runs until every connection is closed. The progress line is printed by whoever sets `on_tick`,
 * called about once a second. */
void load_thread_run(load_thread *t, void (*on_tick)(void *arg), void *arg);

/* For the modes. Each of these may find the connection broken, and give it up: fd is -1 then. */
int load_watch(load_thread *t, connection *c); /* 0 or -errno */
void load_send(load_thread *t, connection *c, uint64_t messages);
void load_finish(load_thread *t, connection *c); /* half-closes: nothing more will be sent */
void load_drop(load_thread *t, connection *c);   /* for good */
void load_fail(load_thread *t, connection *c, const char *why);

/* Steps over the messages that are there in full: their number. */
uint64_t load_take_messages(load_thread *t, connection *c);
void load_end_measure(load_thread *t, uint64_t now_ns);

#endif
