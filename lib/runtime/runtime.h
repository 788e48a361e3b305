/* The door of runtime/: N workers, the sentinel, and the life they share.
 *
 *   CREATED --start--> RUNNING --stop--> STOPPING --all quiet--> CLOSING --threads ended--> ENDED
 *
 * Stopping takes four steps, and one thread walks them, the sentinel (sentinel.c):
 *   1. asked for: each worker's parts stop (listeners close, streams get on_stop); posts go on
 *   2. every worker reports that nothing holds it; when the grace time ends first, parts are told
 *      to end what is left. Then the sentinel asks all workers to finish, and ends.
 *   3. each worker closes its queue and runs all that was accepted
 *   4. on_worker_stop, and the threads end
 * A queue closes only after every worker was quiet, so no stream ever finds a closed queue.
 *
 * The sentinel also owns what comes from outside of all workers, and hands it to the one that
 * asked: signals (signals.c, signal_watch.c) and the exits of children (processes.c, spawn.c). And
 * it looks after workers that stay in a callback (watchdog.c). */
#ifndef WEFT_LIB_RUNTIME_H
#define WEFT_LIB_RUNTIME_H

#include "base/base.h"
#include "queue/queue.h"
#include "selector/selector.h"
#include "worker/worker.h"

#include "weft/runtime.h"

enum runtime_phase { RUNTIME_CREATED, RUNTIME_RUNNING, RUNTIME_ENDED };

/* What an upper floor leaves in the runtime's keeping until it goes. */
struct runtime_owned {
    struct list link;
    void (*stop)(struct runtime_owned *owned); /* the runtime was asked to stop; any thread */
    void (*release)(struct runtime_owned *owned);
};

struct runtime_thread {
    pthread_t thread;
    weft_runtime *runtime;
    weft_worker *worker; /* NULL: the sentinel */
    int cpu;             /* to pin to, or -1 */
};

/* What the sentinel does at a certain time, unless it is put off. In its list while it is set; its
 * thread only. */
struct sentinel_alarm {
    struct list link;
    uint64_t deadline_ns;
    void (*fn)(weft_runtime *rt);
};

struct sentinel {
    struct inbox inbox;
    struct weft_selector *selector;
    struct worker_source wake_source, signal_source;
    struct list alarms;
    struct sentinel_alarm grace; /* the grace time is over */
    bool stopping, expired, done;
    bool impatient; /* the grace time was ended before the stop began */
};

/* Sets of signals are words: bit n - 1 is signal n (signal_bit()). */
struct signals {
    /* Immutable after create. */
    pid_t creator;         /* the thread that created the runtime */
    uint64_t creator_mask; /* what it blocked then */

    /* Guarded by the runtime's lock. */
    uint64_t claimed;    /* numbers that belong to this runtime */
    uint64_t stopping;   /* those that stop it */
    uint64_t watched;    /* those that some worker watches or has watched */
    uint64_t sweeping;   /* SIGCHLD, when it stands in for pidfds */
    int fd;              /* reads the last three; -1 before the first */
    bool held_back;      /* only stopping ones are read: the rest waits in the kernel */
    struct list exposed; /* threads that leave some of them unblocked, and were told of */

    /* Any thread. */
    _Atomic uint32_t batches; /* under way to workers, and SIGNALS_HELD_BACK */
    weft_task resume_task;

    /* The sentinel's thread only. */
    struct signal_batch *spare;  /* what the next read fills */
    struct sentinel_alarm retry; /* there may be memory for one again */
};

/* Children: guarded by the one lock that all runtimes share (processes.c). */
struct children {
    struct list swept; /* those without a pidfd that could be waited on */
    bool sweeping;     /* SIGCHLD was asked for, for their sake */
    bool by_clock;     /* and refused */
    bool sentinel_gone;
    bool stolen_said; /* the sentinel's thread only, as is the next */
    struct sentinel_alarm sweep_alarm;
    _Atomic uint32_t sweep_asked;
    weft_task sweep_task;
};

enum watchdog_state { WATCHDOG_TICKING, WATCHDOG_ARMED, WATCHDOG_ASLEEP };

struct watchdog {
    uint64_t stall_ns; /* UINT64_MAX: off. Immutable after create, as is the next */
    struct watched_worker *workers;
    _Atomic uint32_t state;     /* enum watchdog_state; changed by the sentinel alone */
    struct sentinel_alarm tick; /* the sentinel's thread only */
    _Atomic uint32_t kicked;
    weft_task kick_task;
};

struct weft_runtime {
    /* Immutable after create. */
    unsigned worker_count;
    uint32_t flags;
    bool cpus_are_spare; /* more than the workers need */
    uint64_t grace_ns;
    size_t max_buffered;
    void (*on_worker_start)(weft_worker *w, void *arg);
    void (*on_worker_stop)(weft_worker *w, void *arg);
    void *arg;
    weft_worker **workers;
    struct runtime_thread *threads; /* worker_count + 1, the sentinel's last */

    /* Any thread. */
    _Atomic uint32_t references;
    _Atomic uint32_t stop_asked;
    _Atomic uint32_t next_pick;
    _Atomic uint32_t quiet_workers;
    _Atomic uint32_t gate;  /* threads inside a broadcast, and GATE_CLOSED */
    _Atomic uint32_t go;    /* what new threads wait for: GO_WAIT, GO_RUN, GO_CANCEL */
    _Atomic uint32_t phase; /* enum runtime_phase; changed under lock */
    weft_task stop_task, quiet_task;

    pthread_mutex_t join_lock; /* held while threads end, by the first who joins */
    bool joined;

    pthread_mutex_t lock; /* start, signals, owned */
    struct list owned;

    struct sentinel sentinel;
    struct signals signals;
    struct children children;
    struct watchdog watchdog;
};

enum { GO_WAIT, GO_RUN, GO_CANCEL };
#define GATE_CLOSED (UINT32_C(1) << 31)

static inline bool runtime_is_stopping(weft_runtime *rt) {
    return atom_load(&rt->stop_asked, acquire) != 0;
}

/* In the runtime's keeping until its end; -ESHUTDOWN when it was asked to stop already. */
int runtime_own(weft_runtime *rt, struct runtime_owned *owned);

/* The first step of a stop. */
void runtime_stop_owned(weft_runtime *rt);

/* sentinel.c */
int sentinel_create(weft_runtime *rt);
void sentinel_destroy(weft_runtime *rt);
void sentinel_run(weft_runtime *rt);
/* Runs the task on the sentinel's thread, if that has not ended. Any thread, async-signal-safe. */
void sentinel_tell(weft_runtime *rt, weft_task *task, void (*run)(weft_task *task));
void sentinel_stop_signal(weft_runtime *rt); /* the first stops, the second ends the grace time */
void sentinel_alarm_in(weft_runtime *rt, struct sentinel_alarm *alarm, uint64_t delay_ns,
                       void (*fn)(weft_runtime *rt)); /* set already: put off, or forward */

/* signals.c: numbers belong to one runtime of the process at a time. All but the first and the last
 * hold the runtime's lock. */
int signals_create(weft_runtime *rt, const int *numbers);
void signals_destroy(weft_runtime *rt);
void signals_mask_of_threads(const weft_runtime *rt, sigset_t *ret_mask); /* of rt's own threads */
int signals_claim_stop(weft_runtime *rt, int signo);
int signals_claim_watch(weft_runtime *rt, int signo); /* 1: the first watch of this number */
int signals_claim_sweep(weft_runtime *rt);
void signals_release(weft_runtime *rt);
int signals_hold_back(weft_runtime *rt, bool held_back);
/* Says once of each thread that it leaves signo unblocked. Without the lock. */
void signals_tell_exposed(weft_runtime *rt, int signo);

/* signal_watch.c: from the signalfd to the workers. */
void signals_ready(struct worker_source *source, uint32_t epoll_events);
void signal_batch_free(weft_runtime *rt, struct signal_batch *batch);

/* processes.c; on the sentinel's thread. */
void processes_sweep(weft_runtime *rt);
void processes_leave(weft_runtime *rt); /* the sentinel ends: workers are on their own now */

/* watchdog.c */
int watchdog_create(weft_runtime *rt, uint64_t stall_ns);
void watchdog_destroy(weft_runtime *rt);
void watchdog_start(weft_runtime *rt); /* these two on the sentinel's thread */
void watchdog_tick(weft_runtime *rt);
void watchdog_kick(weft_runtime *rt); /* a worker woke that was asked to tell; any thread */

/* gate.c: broadcasts reach all queues or none, so none may close while one is under way. */
bool gate_enter(weft_runtime *rt);
void gate_leave(weft_runtime *rt);
void gate_close(weft_runtime *rt);

#endif
