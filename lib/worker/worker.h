/* The door of worker/: one thread, its selector, its inbox, its timers.
 *
 * One iteration (loop.c):
 *
 *     wait -> AFTER_WAIT hooks -> ready sources -> deferred jobs and posted tasks (budget)
 *          -> due timers (budget) -> flush -> disposals -> BEFORE_WAIT hooks -> wait
 *
 * The wait takes no time when work is left over, else it lasts until the next deadline.
 *
 * Upper floors attach by registering, and are never named here:
 *
 *   worker_source    what an fd in the worker's selector belongs to: ready() is called with the
 *                    kernel's event bits. A new kind of source is a new file, not a new case.
 *   worker_job       something to do in the next iteration, on this thread, without an allocation
 *   worker_disposal  memory that may be touched until the iteration ends, and is freed then
 *   worker_part      state that an upper floor keeps in every worker, with its own start and stop
 */
#ifndef WEFT_LIB_WORKER_H
#define WEFT_LIB_WORKER_H

#include "base/base.h"
#include "queue/queue.h"
#include "selector/selector.h"
#include "wheel/wheel.h"

#include "weft/hook.h"
#include "weft/task.h"
#include "weft/timer.h"
#include "weft/watch.h"
#include "weft/worker.h"

enum {
    WORKER_EVENTS = 512, /* ready fds per wait */
    WORKER_TASKS = 1024, /* tasks per iteration, and */
    WORKER_TASK_CYCLES =
        2000000,          /* about a millisecond of them: then I/O and timers have their turn */
    WORKER_TIMERS = 1024, /* due timers per iteration */
    WORKER_SCRATCH = 64 << 10, /* bytes of the buffer that every recv goes through */
    WORKER_PARTS = 8,
};

struct worker_source {
    void (*ready)(struct worker_source *source, uint32_t epoll_events);
};

struct worker_job {
    struct list link; /* list_init()ed while idle */
    void (*run)(struct worker_job *job);
};

struct worker_disposal {
    struct worker_disposal *next;
    void (*dispose)(struct worker_disposal *disposal);
};

struct worker_part {
    size_t state_size;
    int (*create)(weft_worker *w, void *state);  /* on the creating thread */
    void (*flush)(weft_worker *w, void *state);  /* end of an iteration that asked for it */
    void (*stop)(weft_worker *w, void *state);   /* the runtime was asked to stop */
    void (*expire)(weft_worker *w, void *state); /* the grace time is over */
    void (*finish)(weft_worker *w, void *state); /* nothing comes from the coordinating thread any
                                                    more; callbacks may run a last time */
    void (*leave)(weft_worker *w,
                  void *state); /* on the worker's thread, after its last callback */
    void (*destroy)(weft_worker *w, void *state);
};

/* Called by constructors, before main(). The part must live for ever. */
void worker_part_register(const struct worker_part *part);

/* What the runtime above is told. */
struct worker_host {
    void (*started)(weft_worker *w); /* on the worker's thread, before anything else */
    void (*quiet)(weft_worker *w);   /* stopping, and nothing holds the worker any more */
    void (*unquiet)(weft_worker *w); /* and now something does again */
    void (*stopped)(weft_worker *w); /* its last callback */
    void (*woken)(weft_worker *w);   /* after a wait, when tell_wake was set, which ends it */
};

struct worker_stats {
    stat_counter iterations, waits, wakeups_sent, events, tasks, timers, busy_cycles;
    stat_counter streams_open, streams_accepted, streams_handed_over, accept_pauses;
    stat_counter bytes_in, bytes_out, bytes_held;
    stat_counter spins, spins_hit, spin_ns;
    stat_counter calls; /* callbacks that move none of the others: see worker_enter() */
};

/* Looking for work before a sleep (spin.c). */
struct worker_spin {
    bool is_allowed;
    uint32_t skips, skips_next; /* sleeps without a look: now, and after the next in vain */
    uint32_t shared_next;       /* the same, where others want the CPU */
    uint32_t looks;             /* since that was checked */
    uint64_t preemptions;
};

enum worker_phase { WORKER_CREATED, WORKER_RUNNING, WORKER_STOPPING, WORKER_CLOSED };

struct weft_worker {
    /* Immutable after create. */
    weft_runtime *runtime;
    const struct worker_host *host;
    struct weft_selector *selector;
    unsigned index;
    struct nodes *nodes; /* of weft_post_fn(); any thread (nodes.c) */

    /* Any thread. */
    struct inbox inbox;
    _Atomic uint32_t phase; /* enum worker_phase; written by the worker (at first: its creator) */
    uint64_t started_ns, started_cycles; /* immutable from RUNNING on */
    void *_Atomic data;                  /* the program's */
    _Atomic uint32_t tell_wake; /* somebody wants to know when this worker wakes; set by anyone */
    stat_counter stalls;        /* written by who watches over the workers */
    _Atomic pid_t thread_id;    /* 0 before its thread runs */

    /* The worker's thread only. */
    WEFT_CACHE_ALIGNED struct list jobs; /* to run in the next iteration */
    struct list jobs_now;                /* to run in this one */
    struct worker_disposal *disposals;
    struct queue_node *pending; /* taken from the inbox, not yet run */
    bool has_extras;            /* there may be more to do than events and new tasks */
    stat_counter callback;      /* the program's function that runs or ran last; 0 in a wait */
    bool flush_wanted, stop_seen, quiet_told, finish_seen;
    unsigned holds;  /* what must end before the worker may (streams) */
    uint64_t now_ns; /* this iteration's time, once somebody asked for it */
    bool now_valid;
    uint64_t clock_ns, clock_cycles; /* last reading of the clock, and the cycle counter then */
    uint64_t start_floor_ns; /* timers never start from an earlier time than one before them */
    struct wheel wheel;
    struct list hooks[3];
    struct list watches;
    struct worker_source wake_source;
    weft_task stop_task, expire_task, finish_task;
    uint8_t *scratch; /* WORKER_SCRATCH bytes in */
    uint64_t woke_cycles;
    struct worker_spin spin;
    void *part_states[WORKER_PARTS];

    /* Written by the worker, read by anyone. */
    WEFT_CACHE_ALIGNED struct worker_stats stats;
};

int worker_create(weft_runtime *runtime, unsigned index, const struct worker_host *host,
                  weft_worker **ret_worker);

/* Before its thread runs: may it look for work where it would sleep? */
void worker_set_spin(weft_worker *w, bool may);

/* After worker_run() has returned, or instead of it (then accepted tasks run here). */
void worker_destroy(weft_worker *w);

/* By whoever creates the thread, before it runs: from here on a weft_call() may wait for it. */
static inline void worker_mark_running(weft_worker *w) {
    w->started_cycles = clock_cycles();
    w->started_ns = clock_now_ns();
    /* Release: pairs with the acquire in weft_worker_stats(), which reads the two. */
    atom_store(&w->phase, WORKER_RUNNING, release);
}

/* The thread's body: returns when worker_finish() was asked for and everything accepted has run. */
void worker_run(weft_worker *w);

/* From the thread that coordinates the stop, each once and in this order. The queue is open until
 * worker_finish() has been seen. */
void worker_ask_stop(weft_worker *w); /* parts stop; host->quiet() once nothing holds the worker */
void worker_ask_expire(weft_worker *w); /* parts end what is left */
void worker_ask_finish(weft_worker *w); /* close the queue, run what was accepted, end */

/* fn once on each worker, all or none (-ENOMEM). The caller keeps their queues open meanwhile. */
int worker_post_fn_all(weft_worker *const *workers, unsigned count, void (*fn)(void *arg),
                       void *arg);

#ifdef WEFT_SEAM
extern unsigned seam_node_stripes; /* of this many at most: with 1 all posters meet */
extern _Atomic int seam_nodes;     /* of weft_post_fn(), allocated and not freed, in the process */
#endif

/* Functions handed to weft_retire() that have not run yet, in this process; and a wait for them. */
uint64_t retire_waiting(void);
void retire_wait(void);

/* Is this thread a worker's, inside the read-side section that its callbacks run in? Then nothing
 * that is retired from now on goes before the callback ends. (A thread that runs the tasks of a
 * worker which never ran is not.) */
extern __thread bool worker_in_section __attribute__((tls_model("initial-exec")));

/* Runs what was accepted by a worker that never ran. */
void worker_run_orphans(weft_worker *w);

extern __thread weft_worker *worker_current __attribute__((tls_model("initial-exec")));

static inline bool worker_is_mine(const weft_worker *w) {
    return worker_current == w;
}

/* 0, or the answer to a call that does not belong here: -EINVAL, -EPERM. */
int worker_owner_check(const weft_worker *w, const char *call);

/* The same for calls that cannot answer: false, and a debug build stops. */
bool worker_owner_refuse(const weft_worker *w, const char *call); /* false */

static inline bool worker_owner_check_void(const weft_worker *w, const char *call) {
    return likely(w && worker_is_mine(w) && !process_is_forked()) || worker_owner_refuse(w, call);
}

/* CLOCK_MONOTONIC of this iteration. */
uint64_t worker_clock_read(weft_worker *w);

static inline uint64_t worker_now(weft_worker *w) {
    if (!w->now_valid) {
        w->now_ns = worker_clock_read(w);
        w->now_valid = true;
    }
    return w->now_ns;
}

/* In the next iteration; again is a no-op. */
static inline void worker_defer(weft_worker *w, struct worker_job *job) {
    if (list_is_empty(&job->link))
        list_append(&w->jobs, &job->link);
    w->has_extras = true;
}

static inline void worker_dispose(weft_worker *w, struct worker_disposal *disposal) {
    disposal->next = w->disposals;
    w->disposals = disposal;
    w->has_extras = true;
}

static inline void worker_want_flush(weft_worker *w) {
    w->flush_wanted = w->has_extras = true;
}

void worker_unquiet(weft_worker *w);

/* On a worker that was quiet already only for what another one holds until it hears of this. */
static inline void worker_hold(weft_worker *w) {
    w->holds++;
    if (w->quiet_told)
        worker_unquiet(w);
}
void worker_release(weft_worker *w);

void *worker_part_state(weft_worker *w, const struct worker_part *part);

/* Before each callback of the program: for whoever watches over the workers. A store, since whether
 * it is still the same call is told by the counters, of which each callback moves one. */
#define worker_note_callback(w, fn) stat_set(&(w)->callback, (uintptr_t)(fn))

/* The same for those that would move none. */
#define worker_enter(w, fn)                                                                        \
    do {                                                                                           \
        weft_worker *entered_ = (w);                                                               \
        worker_note_callback(entered_, fn);                                                        \
        stat_add(&entered_->stats.calls, 1);                                                       \
    } while (0)

/* Source registration in the worker's selector, with the kernel's own event bits. */
int worker_source_add(weft_worker *w, int fd, uint32_t epoll_events, struct worker_source *source);

/* Pushes the task of an inner message; like weft_post() without its checks. */
static inline int worker_post(weft_worker *w, weft_task *task) {
    return inbox_push(&w->inbox, (struct queue_node *)&task->reserved[0]);
}

#endif
