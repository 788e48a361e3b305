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
 * A queue closes only after every worker was quiet, so no stream ever finds a closed queue. */
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

struct sentinel {
    struct inbox inbox;
    struct weft_selector *selector;
    struct worker_source wake_source, signal_source;
    uint64_t deadline_ns; /* end of the grace time, once stopping */
    bool stopping, expired, done;
    bool impatient; /* the grace time was ended before the stop began */
};

struct weft_runtime {
    /* Immutable after create. */
    unsigned worker_count;
    uint32_t flags;
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
    sigset_t signals;      /* claimed for this runtime */
    sigset_t stop_signals; /* those that stop it: what the signalfd reads */
    int signal_fd;         /* -1 before the first */

    struct sentinel sentinel;
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

/* signals.c: numbers belong to one runtime of the process at a time. */
int signals_claim(weft_runtime *rt, const int *numbers);
int signals_claim_stop(weft_runtime *rt, int signo);
void signals_release(weft_runtime *rt);

/* gate.c: broadcasts reach all queues or none, so none may close while one is under way. */
bool gate_enter(weft_runtime *rt);
void gate_leave(weft_runtime *rt);
void gate_close(weft_runtime *rt);

#endif
