/* The memory of weft_post_fn() goes round: taken again, bounded, and never lost. */
#include "rt.h"

#include <errno.h>

enum { KEPT = 3 * 4096 }; /* by a worker of one stripe at the most */

static _Atomic unsigned runs;

static void count_run(void *arg) {
    (void)arg;
    runs++;
}

static void post(weft_worker *w) {
    CHECK_EQ(weft_post_fn(w, count_run, NULL), 0);
}

/* Back once w has given back what ran before: the second turn begins after the batch of the first
 * has ended. */
static void await_nodes(weft_worker *w) {
    rt_turns(w, 2);
}

static uint64_t allocations_of_rounds(weft_worker *w, unsigned rounds) {
    uint64_t before = calls_of(OS_ALLOC);
    for (unsigned i = 0; i < rounds; i++) {
        post(w);
        await_nodes(w);
    }
    return calls_of(OS_ALLOC) - before;
}

WTEST(task_nodes, posting_allocates_nothing_in_the_steady_state) {
    enum { ROUNDS = 1000 };
    calls_watch();
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    (void)allocations_of_rounds(w, 3);
    CHECK_EQ(allocations_of_rounds(w, ROUNDS), 0);
    CHECK_EQ(runs, ROUNDS + 3);
    rt_end(rt);
    CHECK_EQ(seam_nodes, 0);
}

WTEST(task_nodes, of_a_flood_no_more_than_two_chains_are_kept) {
    enum { FLOOD = 20000 };
    struct hold hold;
    calls_watch();
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    for (unsigned i = 0; i < 2; i++) {
        hold_begin(&hold, w);
        uint64_t before = calls_of(OS_ALLOC);
        for (unsigned j = 0; j < FLOOD; j++)
            post(w);
        uint64_t allocations = calls_of(OS_ALLOC) - before;
        CHECK(allocations >= FLOOD - KEPT);
        CHECK_EQ(allocations<FLOOD, i> 0); /* some were kept of the first, none before it */
        hold_end(&hold, w);
        await_nodes(w);
        CHECK_EQ(runs, (i + 1) * FLOOD);
        CHECK(seam_nodes <= KEPT);
    }
    rt_end(rt);
    CHECK_EQ(seam_nodes, 0);
}

WTEST(task_nodes, of_a_refused_post_is_not_lost) {
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    struct hold hold;
    hold_begin(&hold, w);
    for (unsigned i = 0; i < 3; i++)
        post(w);
    hold_end(&hold, w);
    await_nodes(w);
    CHECK_EQ(seam_nodes, 3);
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    for (unsigned i = 0; i < 5; i++) { /* with nodes there, and without */
        CHECK_EQ(weft_post_fn(w, count_run, NULL), -ESHUTDOWN);
        CHECK_EQ(weft_broadcast(rt, count_run, NULL), -ESHUTDOWN);
    }
    weft_runtime_destroy(rt);
    CHECK_EQ(runs, 3);
    CHECK_EQ(seam_nodes, 0);
}

WTEST(task_nodes, without_memory_a_post_changes_nothing) {
    fault_begin();
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    for (unsigned i = 0; i < 2; i++) {
        fault_arm_call(OS_ALLOC, 1);
        CHECK_EQ(weft_post_fn(w, count_run, NULL), i == 0 ? -ENOMEM : 0); /* then there is a node */
        CHECK_EQ(fault_disarm(), i == 0 ? -ENOMEM : 0);
        CHECK_EQ(seam_nodes, i);
        post(w);
        await_nodes(w);
        CHECK_EQ(runs, i == 0 ? 1 : 3);
    }
    rt_end(rt);
    CHECK_EQ(runs, 3);
    CHECK_EQ(seam_nodes, 0);
}

WTEST(task_nodes, without_memory_for_all_a_broadcast_reaches_nobody) {
    fault_begin();
    weft_runtime *rt = rt_start(3);
    for (unsigned i = 0; i < 3; i += 2) { /* the one in the middle has no node */
        post(weft_runtime_worker(rt, i));
        await_nodes(weft_runtime_worker(rt, i));
    }
    fault_arm_call(OS_ALLOC, 1);
    CHECK_EQ(weft_broadcast(rt, count_run, NULL), -ENOMEM);
    CHECK_EQ(fault_disarm(), -ENOMEM);
    for (unsigned i = 0; i < 3; i++)
        await_nodes(weft_runtime_worker(rt, i));
    CHECK_EQ(runs, 2);
    CHECK_EQ(seam_nodes, 1); /* the other was taken, and freed */
    CHECK_EQ(weft_broadcast(rt, count_run, NULL), 0);
    for (unsigned i = 0; i < 3; i++)
        await_nodes(weft_runtime_worker(rt, i));
    CHECK_EQ(runs, 5);
    CHECK_EQ(seam_nodes, 3);
    rt_end(rt);
    CHECK_EQ(seam_nodes, 0);
}

/* --- who runs what was posted ----------------------------------------------------------------- */

static weft_runtime *unstarted;
static _Atomic unsigned strangers;

static void run_on_its_own(void *arg) {
    strangers += weft_worker_current() != arg;
    runs++;
}

static void destroy_unstarted(void *arg) {
    weft_runtime_destroy(unstarted);
    strangers += weft_worker_current() != arg;
}

WTEST(task_nodes, of_a_runtime_that_never_ran_go_back_to_their_own_worker) {
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    unstarted = rt_create(2);
    for (unsigned i = 0; i < 10; i++) {
        weft_worker *other = weft_runtime_worker(unstarted, i % 2);
        CHECK_EQ(weft_post_fn(other, run_on_its_own, other), 0);
    }
    CHECK_EQ(weft_broadcast(unstarted, count_run, NULL), 0);
    CHECK_EQ(seam_nodes, 12);
    rt_call(w, destroy_unstarted, w);
    CHECK_EQ(runs, 12);
    CHECK_EQ(strangers, 0);
    CHECK_EQ(seam_nodes, 0);
    rt_end(rt);
}

/* --- posters that meet ------------------------------------------------------------------------ */

enum { POSTERS = 8, EACH = 20000 };

static struct {
    weft_worker *worker;
    unsigned each;
    unsigned char seen[POSTERS * EACH]; /* the worker's */
    _Atomic unsigned refused;
} meet;

static void see(void *arg) {
    (*(unsigned char *)arg)++;
}

static void *post_each(void *arg) {
    unsigned char *seen = arg;
    for (unsigned i = 0; i < meet.each; i++)
        if (weft_post_fn(meet.worker, see, &seen[i]) != 0)
            meet.refused++;
    return NULL;
}

WTEST(task_nodes, of_posters_that_share_a_stripe_carry_each_function_once) {
    pthread_t threads[POSTERS];
    seam_node_stripes = 1;
    weft_runtime *rt = rt_start(1);
    meet.worker = weft_runtime_worker(rt, 0);
    meet.each = EACH / wtest_slowdown();
    for (unsigned i = 0; i < POSTERS; i++)
        threads[i] = thread_begin(post_each, &meet.seen[i * EACH]);
    for (unsigned i = 0; i < POSTERS; i++)
        thread_end(threads[i]);
    await_nodes(meet.worker);
    CHECK(seam_nodes <= KEPT);
    rt_end(rt);
    CHECK_EQ(meet.refused, 0);
    for (unsigned i = 0; i < POSTERS * EACH; i++)
        CHECK_EQ(meet.seen[i], i % EACH < meet.each);
    CHECK_EQ(seam_nodes, 0);
}
