/* The shipped stop under the deterministic scheduler: workers, sentinel, posters, broadcasters and
 * whoever asks for the stop, each atomic access and each system call a point where another may go
 * on. What the threads of a runtime run is run here by threads of the schedule. */
#include "runtime/runtime.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <weft.h>

#include <stdio.h>
#include <string.h>

enum { WORKERS = 2, POSTERS = 2, EACH = 3, SCHEDULES = 3400 };

struct item {
    weft_task task;
    int result;
    unsigned runs;
};

/* Every thread is scheduled, so plain memory will do. */
static struct {
    weft_runtime *rt;
    struct item items[POSTERS][EACH];
    unsigned chained, chained_runs; /* posted by tasks */
    unsigned broadcasts, broadcast_runs[WORKERS];
} s;

static void chained_run(void *arg) {
    (void)arg;
    s.chained_runs++;
}

/* Runs, and posts to the other worker. */
static void item_run(weft_task *task) {
    struct item *item = WEFT_CONTAINER_OF(task, struct item, task);
    unsigned at = weft_worker_index(weft_worker_current());
    item->runs++;
    SCHED_CHECK(item->runs == 1);
    if (weft_post_fn(weft_runtime_worker(s.rt, 1 - at), chained_run, NULL) == 0)
        s.chained++;
}

static void broadcast_run(void *arg) {
    (void)arg;
    s.broadcast_runs[weft_worker_index(weft_worker_current())]++;
}

static void post(void *arg) {
    struct item *items = arg;
    for (unsigned i = 0; i < EACH; i++) {
        items[i].task.run = item_run;
        items[i].result = weft_post(weft_runtime_worker(s.rt, i % WORKERS), &items[i].task);
        SCHED_CHECK(items[i].result == 0 || items[i].result == -ESHUTDOWN);
    }
}

static void broadcast(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < EACH; i++) {
        int r = weft_broadcast(s.rt, broadcast_run, NULL);
        SCHED_CHECK(r == 0 || r == -ESHUTDOWN);
        s.broadcasts += r == 0;
    }
}

static void ask_stop(void *arg) {
    weft_runtime_stop(arg);
}

/* The watchdog is as it is by default. */
static const weft_runtime_options options = {.workers = WORKERS, .stall_ns = WEFT_MSEC(100)};

static void set_up(weft_runtime *rt) {
    memset(&s, 0, sizeof s);
    s.rt = rt;
    for (unsigned i = 0; i < POSTERS * EACH; i++)
        s.items[i / EACH][i % EACH].result = -ESHUTDOWN; /* until posted */
}

static const char *nothing_lost(void) {
    unsigned expected = s.broadcasts;
    for (unsigned i = 0; i < POSTERS; i++)
        for (unsigned j = 0; j < EACH; j++)
            if (s.items[i][j].runs != (s.items[i][j].result == 0))
                return "an accepted task did not run, or a refused one did";
    if (s.chained_runs != s.chained)
        return "a task posted by a task was lost";
    for (unsigned i = 0; i < WORKERS; i++)
        if (s.broadcast_runs[i] != expected)
            return "a broadcast reached some workers and not others";
    return NULL;
}

/* --- the whole of it ----------------------------------------------------------------------------
 */

static void setup_stop(uint64_t seed) {
    (void)seed;
    set_up(sched_runtime_create(&options));
    sched_spawn("poster-0", post, s.items[0]);
    sched_spawn("poster-1", post, s.items[1]);
    sched_spawn("caster", broadcast, NULL);
    sched_spawn("stopper", ask_stop, s.rt);
}

static const char *verdict_stop(void) {
    const char *wrong = sched_runtime_destroy(s.rt, NULL);
    return wrong ? wrong : nothing_lost();
}

WTEST(stop_sched, accepted_runs_once_through_any_stop) {
    static const struct sched_test test = {"stop", setup_stop, verdict_stop};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- the gate ------------------------------------------------------------------------------------
 */

static void close_all(void *arg) {
    (void)arg;
    gate_close(s.rt);
    for (unsigned i = 0; i < WORKERS; i++)
        worker_run_orphans(weft_runtime_worker(s.rt, i));
}

static void setup_gate(uint64_t seed) {
    (void)seed;
    set_up(sched_runtime_make(&options));
    sched_spawn("caster-0", broadcast, NULL);
    sched_spawn("caster-1", broadcast, NULL);
    sched_spawn("closer", close_all, NULL);
}

static const char *verdict_gate(void) {
    weft_runtime_destroy(s.rt); /* never started as far as it knows: queues are closed and empty */
    return nothing_lost();
}

WTEST(stop_sched, broadcast_reaches_all_or_none) {
    static const struct sched_test test = {"gate", setup_gate, verdict_gate};
    CHECK(sched_explore(&test, SCHEDULES));
}
