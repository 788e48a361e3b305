/* Start, join, destroy: the threads of a runtime. */
#include "runtime/inner.h"

#include <stdio.h>

static void name_this_thread(const struct runtime_thread *t) {
    char name[16];
    if (t->worker)
        snprintf(name, sizeof name, "weft-%u", weft_worker_index(t->worker));
    else
        snprintf(name, sizeof name, "weft-sentinel");
    os_thread_name(name);
}

static void *thread_main(void *arg) {
    struct runtime_thread *t = arg;
    /* Nothing happens before all threads exist: a start that fails leaves no trace. */
    while (atom_load(&t->runtime->go, acquire) == GO_WAIT)
        (void)os_futex_wait(&t->runtime->go, GO_WAIT);
    if (atom_load(&t->runtime->go, acquire) == GO_CANCEL)
        return NULL;
    name_this_thread(t);
    if (t->cpu >= 0 && os_affinity_set_self(t->cpu) < 0)
        log_line(LOG_LEVEL_WARNING,
                 "worker %u could not be pinned to CPU %d; it runs unpinned (has the process lost "
                 "that CPU?)",
                 weft_worker_index(t->worker), t->cpu);
    if (t->worker)
        worker_run(t->worker);
    else
        sentinel_run(t->runtime);
    return NULL;
}

static void release_threads(weft_runtime *rt, uint32_t go, unsigned count) {
    atom_store(&rt->go, go, release);
    os_futex_wake(&rt->go, (int)count);
}

static void join_threads(weft_runtime *rt, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        pthread_join(rt->threads[i].thread, NULL);
}

/* All of them or none. They inherit the mask of their creator. */
static int create_threads(weft_runtime *rt) {
    sigset_t all, old;
    const unsigned count = rt->worker_count + 1;
    signals_mask_of_threads(rt, &all);
    int r = os_sigmask(SIG_SETMASK, &all, &old);
    if (r < 0)
        return r;
    unsigned i = 0;
    atom_store(&rt->go, GO_WAIT, relaxed);
    for (; i < count && r == 0; i++)
        r = os_thread_create(&rt->threads[i].thread, thread_main, &rt->threads[i]);
    if (r < 0 && !MUTANT("start-leaves-threads")) {
        release_threads(rt, GO_CANCEL, count);
        join_threads(rt, i - 1);
    }
    (void)os_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

int weft_runtime_start(weft_runtime *rt) {
    if (!rt)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    lock_take(&rt->lock);
    int r = -EALREADY;
    if (atom_load(&rt->phase, relaxed) == RUNTIME_CREATED) {
        r = create_threads(rt);
        if (r == 0) {
            for (unsigned i = 0; i < rt->worker_count; i++)
                worker_mark_running(rt->workers[i]);
            atom_store(&rt->phase, RUNTIME_RUNNING, release);
            release_threads(rt, GO_RUN, rt->worker_count + 1);
        }
    }
    lock_drop(&rt->lock);
    return r;
}

static bool is_own_worker(const weft_runtime *rt) {
    return worker_current && worker_current->runtime == rt;
}

int weft_runtime_join(weft_runtime *rt) {
    if (!rt)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    if (is_own_worker(rt))
        return -EDEADLK;
    if (atom_load(&rt->phase, acquire) == RUNTIME_CREATED)
        return -EINVAL;
    /* Whoever comes first joins; the others wait for it. */
    lock_take(&rt->join_lock);
    if (!rt->joined) {
        join_threads(rt, rt->worker_count + 1);
        rt->joined = true;
        atom_store(&rt->phase, RUNTIME_ENDED, release);
    }
    lock_drop(&rt->join_lock);
    return 0;
}

int weft_runtime_run(weft_runtime *rt) {
    int r = weft_runtime_start(rt);
    return r < 0 ? r : weft_runtime_join(rt);
}

/* True for one caller: the runtime never ran, and from now on never will. */
static bool end_unstarted(weft_runtime *rt) {
    lock_take(&rt->lock);
    bool unstarted = atom_load(&rt->phase, relaxed) == RUNTIME_CREATED;
    if (unstarted) {
        rt->joined = true;
        atom_store(&rt->phase, RUNTIME_ENDED, release);
    }
    lock_drop(&rt->lock);
    return unstarted;
}

/* A runtime that never ran: what was accepted runs here, in the order of the workers. */
static void run_accepted(weft_runtime *rt) {
    runtime_stop_owned(rt);
    gate_close(rt);
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_run_orphans(rt->workers[i]);
}

void weft_runtime_destroy(weft_runtime *rt) {
    if (!rt || process_is_forked())
        return;
    weft_runtime_stop(rt);
    if (is_own_worker(rt)) {
        log_line(LOG_LEVEL_ERROR,
                 "weft_runtime_destroy: called on worker %u of the same runtime, which would "
                 "wait for itself; the runtime stops, destroy it from outside",
                 weft_worker_index(worker_current));
        return;
    }
    if (end_unstarted(rt))
        run_accepted(rt);
    else
        (void)weft_runtime_join(rt);
    lock_take(&rt->lock); /* who holds a reference may be in weft_runtime_stop_on() */
    signals_release(rt);
    lock_drop(&rt->lock);
    retire_wait();
    weft_runtime_unref(rt);
}
