/* The nodes of weft_post_fn() under the deterministic scheduler: posters that share a stripe, and a
 * worker that gives back meanwhile. */
#include "runtime/runtime.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <weft.h>

#include <string.h>

enum { POSTERS = 3, EACH = 3, BEFORE = 4, ALL = BEFORE + POSTERS * EACH, SCHEDULES = 3400 };

/* Every thread is scheduled, so plain memory will do. */
static struct {
    weft_runtime *rt;
    unsigned runs[ALL], total;
} s;

static void run_once(void *arg) {
    unsigned *runs = arg;
    SCHED_CHECK(++*runs == 1); /* a node that two had would run one's function twice */
    if (++s.total == ALL)
        weft_runtime_stop(s.rt);
}

static void post(unsigned i) {
    SCHED_CHECK(weft_post_fn(weft_runtime_worker(s.rt, 0), run_once, &s.runs[i]) == 0);
}

/* Begins when there are nodes that may come back. */
static void run_poster(void *arg) {
    unsigned first = BEFORE + (unsigned)(uintptr_t)arg * EACH;
    while (s.total < BEFORE)
        sched_step();
    for (unsigned i = 0; i < EACH; i++)
        post(first + i);
}

static void setup(uint64_t seed) {
    static const char *const names[] = {"poster-0", "poster-1", "poster-2"};
    (void)seed;
    memset(&s, 0, sizeof s);
    seam_node_stripes = 1;
    s.rt = sched_runtime_create(&(const weft_runtime_options){.workers = 1});
    for (unsigned i = 0; i < BEFORE; i++)
        post(i);
    for (uintptr_t i = 0; i < POSTERS; i++)
        sched_spawn(names[i], run_poster, (void *)i);
}

static const char *verdict(void) {
    const char *wrong = sched_runtime_destroy(s.rt, NULL);
    for (unsigned i = 0; i < ALL; i++)
        if (s.runs[i] != 1)
            wrong = "a function did not run once";
    if (seam_nodes != 0)
        wrong = "a node was lost, or freed twice";
    return wrong;
}

WTEST(nodes_sched, a_node_has_one_owner_and_none_is_lost) {
    static const struct sched_test test = {"nodes", setup, verdict};
    CHECK(sched_explore(&test, SCHEDULES));
}
