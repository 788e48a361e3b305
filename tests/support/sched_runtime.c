#include "sched_runtime.h"

#include "runtime/runtime.h"
#include "scheduler.h"

#include <stdlib.h>

#ifdef WEFT_SEAM

static unsigned ended; /* workers */

static void run_worker(void *arg) {
    worker_run(arg);
    ended++;
}

static void run_sentinel(void *arg) {
    sentinel_run(arg);
}

weft_runtime *sched_runtime_make(const weft_runtime_options *options) {
    weft_runtime_options o = *options;
    weft_runtime *rt = NULL;
    o.grace_ns = o.grace_ns ? o.grace_ns : WEFT_FOREVER;
    o.stall_ns = o.stall_ns ? o.stall_ns : WEFT_FOREVER;
    if (weft_runtime_create(&o, &rt) < 0 || weft_runtime_set_spin(rt, WEFT_SPIN_NEVER) < 0)
        abort();
    return rt;
}

void sched_runtime_spawn_workers(weft_runtime *rt) {
    static const char *const names[] = {"worker-0", "worker-1", "worker-2", "worker-3"};
    ended = 0;
    for (unsigned i = 0; i < weft_runtime_worker_count(rt); i++)
        sched_spawn(names[i], run_worker, weft_runtime_worker(rt, i));
}

weft_runtime *sched_runtime_create(const weft_runtime_options *options) {
    weft_runtime *rt = sched_runtime_make(options);
    sched_runtime_spawn_workers(rt);
    sched_spawn("sentinel", run_sentinel, rt);
    return rt;
}

const char *sched_runtime_destroy(weft_runtime *rt, const char *wrong) {
    unsigned workers = weft_runtime_worker_count(rt);
    weft_runtime_destroy(rt);
    return !wrong && ended != workers ? "a worker did not end" : wrong;
}

#endif
