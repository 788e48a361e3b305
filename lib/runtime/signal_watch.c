/* Signals on their way from the signalfd to the watches of workers.
 *
 * DESIGN
 *
 * The sentinel reads up to 64 signals at a time into a batch, and posts the batch, once, to every
 * worker that watches one of the numbers in it. The worker goes through it and calls its own
 * watches: their lists are its thread's alone, so a watch that has been stopped is simply not there
 * any more, and the sentinel never holds a pointer to one. All it knows is one word per worker,
 * `wanted`.
 *
 *     signalfd --read 64--> batch --post--> worker 0: for each signal: its watches, in order
 *                             |  \--post--> worker 3: ...
 *                             +--- freed by the last of them
 *
 * Order is kept: one reader, batches in the order of their reads, queues in the order of posts.
 * Nothing is lost: the batch is there before the read. Memory is bounded: when BATCHES_HIGH batches
 * are under way, because a worker does not get to them, the sentinel stops reading all but the
 * signals that stop the runtime, and leaves the others in the kernel's queue, until BATCHES_LOW are
 * left. */
#include "runtime/inner.h"

enum { SIGNALS_AT_ONCE = 64, BATCHES_HIGH = 1024, BATCHES_LOW = 256, SIGNAL_NUMBERS = _NSIG - 1 };
#define SIGNALS_HELD_BACK (UINT32_C(1) << 31)
#define MEMORY_RETRY_NS (10 * NSEC_PER_SEC / 1000)

struct signal_message {
    weft_task task;
    struct signal_batch *batch;
};

struct signal_batch {
    _Atomic uint32_t references;
    unsigned count;
    weft_runtime *runtime;
    struct signalfd_siginfo infos[SIGNALS_AT_ONCE];
    struct signal_message messages[]; /* one per worker */
};

struct weft_signal {
    struct list link;
    weft_worker *worker;
    int signo;
    void (*fn)(const struct signalfd_siginfo *info, void *arg);
    void *arg;
};

/* In each worker. */
struct worker_signals {
    _Atomic uint64_t wanted; /* changed by the worker under the runtime's lock */
    struct list watches[SIGNAL_NUMBERS];
    unsigned counts[SIGNAL_NUMBERS]; /* lists are taken apart while they are called */
};

static const struct worker_part signals_part;

static struct worker_signals *signals_of(weft_worker *w) {
    return worker_part_state(w, &signals_part);
}

/* --- batches -------------------------------------------------------------------------------------
 */

static size_t batch_size(const weft_runtime *rt) {
    return sizeof(struct signal_batch) + rt->worker_count * sizeof(struct signal_message);
}

static struct signal_batch *batch_create(weft_runtime *rt) {
    struct signal_batch *batch = mem_alloc(batch_size(rt));
    if (batch)
        batch->runtime = rt;
    return batch;
}

void signal_batch_free(weft_runtime *rt, struct signal_batch *batch) {
    mem_free(batch, batch_size(rt));
}

static int hold_back(weft_runtime *rt, bool held_back) {
    lock_take(&rt->lock);
    int r = signals_hold_back(rt, held_back);
    lock_drop(&rt->lock);
    return r;
}

/* Whatever the reason could be (signalfd(2) knows none): they must not wait for ever. */
static void signals_resume(weft_runtime *rt) {
    if (hold_back(rt, false) < 0 && !MUTANT("fault-resumed-once"))
        sentinel_alarm_in(rt, &rt->signals.retry, MEMORY_RETRY_NS, signals_resume);
}

static void resume_run(weft_task *task) {
    signals_resume(container_of(task, weft_runtime, signals.resume_task));
}

/* Only one who drops the count from above to LOW finds exactly this value, and while it is held
 * back the count only drops. */
static void batch_unref(struct signal_batch *batch) {
    weft_runtime *rt = batch->runtime;
    struct signals *s = &rt->signals;
    /* Release and acquire: who frees sees the others done with it. */
    if (atom_sub(&batch->references, 1, acq_rel) != 1)
        return;
    signal_batch_free(rt, batch);
    if (atom_sub(&s->batches, 1, acq_rel) - 1 != (SIGNALS_HELD_BACK | BATCHES_LOW))
        return;
    if (MUTANT("signal-held-for-ever"))
        return;
    if (atom_and(&s->batches, ~SIGNALS_HELD_BACK, acq_rel) & SIGNALS_HELD_BACK)
        sentinel_tell(rt, &s->resume_task, resume_run);
}

/* --- the sentinel's side -------------------------------------------------------------------------
 */

static void note_sent(weft_runtime *rt) {
    struct signals *s = &rt->signals;
    if (atom_add(&s->batches, 1, acq_rel) + 1 != BATCHES_HIGH || MUTANT("signal-unbounded"))
        return;
    (void)hold_back(rt, true);
    /* They may have been through before the mark was set, and nobody would then tell. */
    uint32_t before = atom_or(&s->batches, SIGNALS_HELD_BACK, acq_rel);
    if (before <= BATCHES_LOW) {
        (void)atom_and(&s->batches, ~SIGNALS_HELD_BACK, acq_rel);
        signals_resume(rt);
    }
}

static void message_run(weft_task *task);

static void deliver(weft_runtime *rt, uint64_t numbers) {
    struct signal_batch *batch = rt->signals.spare;
    bool sent = false;
    atom_store(&batch->references, 1, relaxed); /* ours */
    for (unsigned i = 0; i < rt->worker_count; i++) {
        weft_worker *w = rt->workers[i];
        /* Relaxed: the lock around the read orders it; a watch started meanwhile may miss it. */
        if ((atom_load(&signals_of(w)->wanted, relaxed) & numbers) == 0)
            continue;
        struct signal_message *message = &batch->messages[i];
        *message = (struct signal_message){.task.run = message_run, .batch = batch};
        atom_add(&batch->references, 1, relaxed);
        (void)worker_post(w, &message->task); /* queues are open while the sentinel lives */
        sent = true;
        if (MUTANT("signal-first-watcher-only"))
            break;
    }
    if (!sent)
        return; /* still the spare one */
    rt->signals.spare = NULL;
    note_sent(rt);
    batch_unref(batch);
}

/* Into `infos`; how many. */
static unsigned read_some(weft_runtime *rt, struct signalfd_siginfo *infos, size_t capacity) {
    ssize_t n = os_read(rt->signals.fd, infos, capacity * sizeof infos[0]);
    return n > 0 ? (unsigned)((size_t)n / sizeof infos[0]) : 0;
}

/* Stops, sweeps; the numbers that came. */
static uint64_t look_through(weft_runtime *rt, const struct signalfd_siginfo *infos, unsigned count,
                             uint64_t stopping, uint64_t sweeping) {
    uint64_t numbers = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t bit = signal_bit((int)infos[i].ssi_signo);
        numbers |= bit;
        if (stopping & bit)
            sentinel_stop_signal(rt);
    }
    if (numbers & sweeping)
        processes_sweep(rt);
    return numbers;
}

/* No memory: those that stop are served, the others wait. While the signalfd still gives both,
 * nothing is read. */
static void read_without_memory(weft_runtime *rt) {
    struct signalfd_siginfo infos[4];
    if (!rt->signals.held_back && !MUTANT("signal-read-without-memory")) {
        if (signals_hold_back(rt, true) < 0 && !MUTANT("fault-held-back-anyway"))
            return;
        sentinel_alarm_in(rt, &rt->signals.retry, MEMORY_RETRY_NS, signals_resume);
    }
    uint64_t stopping = rt->signals.stopping;
    unsigned count = read_some(rt, infos, array_length(infos));
    lock_drop(&rt->lock);
    (void)look_through(rt, infos, count, stopping, 0);
    lock_take(&rt->lock);
}

void signals_ready(struct worker_source *source, uint32_t epoll_events) {
    weft_runtime *rt = container_of(source, weft_runtime, sentinel.signal_source);
    struct signals *s = &rt->signals;
    (void)epoll_events;
    /* The batch first: a signal that was read has to have a place. */
    if (!s->spare)
        s->spare = batch_create(rt);
    /* Another thread may just be adding a number to what the fd reads. */
    lock_take(&rt->lock);
    if (!s->spare) {
        read_without_memory(rt);
        lock_drop(&rt->lock);
        return;
    }
    uint64_t stopping = s->stopping, sweeping = s->sweeping;
    s->spare->count = read_some(rt, s->spare->infos, SIGNALS_AT_ONCE);
    if (MUTANT("signal-one-of-a-batch") && s->spare->count > 1)
        s->spare->count = 1;
    lock_drop(&rt->lock);
    uint64_t numbers = look_through(rt, s->spare->infos, s->spare->count, stopping, sweeping);
    if (numbers)
        deliver(rt, numbers);
}

/* --- the worker's side ---------------------------------------------------------------------------
 */

struct delivery {
    weft_worker *worker;
    const struct signalfd_siginfo *info;
};

static void watch_call(struct list *node, void *arg) {
    const struct delivery *d = arg;
    weft_signal *signal = container_of(node, weft_signal, link);
    worker_enter(d->worker, signal->fn);
    signal->fn(d->info, signal->arg); /* may stop, and so free, its watch: not touched again */
}

static void message_run(weft_task *task) {
    struct signal_batch *batch = container_of(task, struct signal_message, task)->batch;
    struct delivery d = {.worker = worker_current};
    struct worker_signals *ws = signals_of(d.worker);
    for (unsigned i = 0; i < batch->count; i++) {
        d.info = &batch->infos[i];
        list_visit(&ws->watches[d.info->ssi_signo - 1], watch_call, &d);
    }
    batch_unref(batch);
}

/* 1: the first of its number in the runtime. */
static int watch_enter(weft_worker *w, struct worker_signals *ws, int signo) {
    weft_runtime *rt = w->runtime;
    if (w->finish_seen && !MUTANT("signal-watched-too-late"))
        return -ESHUTDOWN;
    lock_take(&rt->lock);
    int r = signals_claim_watch(rt, signo);
    if (r >= 0)
        atom_or(&ws->wanted, signal_bit(signo), relaxed);
    lock_drop(&rt->lock);
    return r;
}

int weft_signal_watch(weft_worker *w, int signo,
                      void (*fn)(const struct signalfd_siginfo *info, void *arg), void *arg,
                      weft_signal **ret_signal) {
    int r = worker_owner_check(w, "weft_signal_watch");
    if (r < 0)
        return r;
    if (!fn || !signal_is_watchable(signo))
        return -EINVAL;
    weft_signal *signal = mem_alloc(sizeof *signal);
    if (!signal)
        return -ENOMEM;
    struct worker_signals *ws = signals_of(w);
    r = watch_enter(w, ws, signo);
    if (r < 0) {
        mem_free(signal, sizeof *signal);
        return r;
    }
    *signal = (weft_signal){.worker = w, .signo = signo, .fn = fn, .arg = arg};
    list_append(&ws->watches[signo - 1], &signal->link);
    ws->counts[signo - 1]++;
    if (r == 1)
        signals_tell_exposed(w->runtime, signo);
    if (ret_signal)
        *ret_signal = signal;
    return 0;
}

void weft_signal_stop(weft_signal *signal) {
    if (!signal || !worker_owner_check_void(signal->worker, "weft_signal_stop"))
        return;
    struct worker_signals *ws = signals_of(signal->worker);
    if (MUTANT("signal-called-after-stop"))
        return;
    list_remove(&signal->link);
    if (--ws->counts[signal->signo - 1] == 0)
        atom_and(&ws->wanted, ~signal_bit(signal->signo), relaxed);
    mem_free(signal, sizeof *signal);
}

static int part_create(weft_worker *w, void *state) {
    struct worker_signals *ws = state;
    (void)w;
    for (int i = 0; i < SIGNAL_NUMBERS; i++)
        list_init(&ws->watches[i]);
    return 0;
}

static void part_leave(weft_worker *w, void *state) {
    struct worker_signals *ws = state;
    (void)w;
    for (int i = 0; i < SIGNAL_NUMBERS; i++)
        for (struct list *node; (node = list_pop(&ws->watches[i]));)
            mem_free(container_of(node, weft_signal, link), sizeof(weft_signal));
}

static const struct worker_part signals_part = {
    .state_size = sizeof(struct worker_signals),
    .create = part_create,
    .leave = part_leave,
};

__attribute__((constructor)) static void part_register(void) {
    worker_part_register(&signals_part);
}
