/* The calls around the bare post: post_fn, broadcast, call. */
#include "rt.h"

#include <errno.h>

static _Atomic unsigned runs;
static _Atomic unsigned runs_of[8];

static void count(void *arg) {
    (void)arg;
    runs++;
    runs_of[weft_worker_index(weft_worker_current())]++;
}

/* --- post_fn ---------------------------------------------------------------------------------- */

WTEST(post_fn, runs_on_its_worker_with_its_argument) {
    weft_runtime *rt = rt_start(3);
    for (unsigned i = 0; i < 300; i++)
        CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, i % 3), count, NULL), 0);
    rt_end(rt);
    CHECK_EQ(runs, 300);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(runs_of[i], 100);
}

WTEST(post_fn, without_memory_nothing_is_posted) {
    fault_begin();
    weft_runtime *rt = rt_start(1);
    fault_arm_call(OS_ALLOC, 1);
    int r = weft_post_fn(weft_runtime_worker(rt, 0), count, NULL);
    CHECK_EQ(fault_disarm(), -ENOMEM);
    CHECK_EQ(r, -ENOMEM);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), count, NULL), 0);
    rt_end(rt);
    CHECK_EQ(runs, 1);
}

/* --- broadcast ------------------------------------------------------------------------------- */

WTEST(broadcast, runs_once_on_each_worker) {
    enum { TIMES = 50 };
    weft_runtime *rt = rt_start(4);
    for (int i = 0; i < TIMES; i++)
        CHECK_EQ(weft_broadcast(rt, count, NULL), 0);
    rt_end(rt);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(runs_of[i], TIMES);
}

static void broadcast_again(void *arg) {
    if (weft_broadcast(arg, count, NULL) != 0)
        abort();
}

WTEST(broadcast, reaches_the_callers_own_worker) {
    weft_runtime *rt = rt_start(3);
    rt_call(weft_runtime_worker(rt, 1), broadcast_again, rt);
    rt_end(rt);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(runs_of[i], 1);
}

WTEST(broadcast, before_start_is_accepted) {
    weft_runtime *rt = rt_create(3);
    CHECK_EQ(weft_broadcast(rt, count, NULL), 0);
    CHECK_EQ(runs, 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_end(rt);
    CHECK_EQ(runs, 3);
    CHECK_EQ(runs_of[2], 1);
}

WTEST(broadcast, without_memory_runs_nowhere) {
    fault_begin();
    weft_runtime *rt = rt_start(4);
    for (unsigned n = 1; n <= 4; n++)
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            fault_arm(n, for_ever);
            int r = weft_broadcast(rt, count, NULL);
            CHECK_EQ(fault_disarm(), -ENOMEM);
            CHECK_EQ(r, -ENOMEM);
        }
    for (unsigned i = 0; i < 4; i++)
        rt_turns(weft_runtime_worker(rt, i), 2);
    CHECK_EQ(runs, 0);
    CHECK_EQ(weft_broadcast(rt, count, NULL), 0);
    rt_end(rt);
    CHECK_EQ(runs, 4);
}

WTEST(broadcast, after_the_end_is_refused) {
    weft_runtime *rt = weft_runtime_ref(rt_start(2));
    rt_end(rt);
    CHECK_EQ(weft_broadcast(rt, count, NULL), -ESHUTDOWN);
    weft_runtime_unref(rt);
    CHECK_EQ(runs, 0);
}

static struct {
    weft_runtime *rt;
    _Atomic unsigned accepted, ready;
} racing;

static void *race_broadcasts(void *arg) {
    (void)arg;
    racing.ready++;
    int r;
    while ((r = weft_broadcast(racing.rt, count, NULL)) == 0) {
        racing.accepted++;
        sched_yield(); /* the stop wants its turn */
    }
    return (void *)(intptr_t)(r != -ESHUTDOWN);
}

WTEST(broadcast, racing_a_stop_reaches_all_or_none) {
    unsigned rounds = 100 / wtest_slowdown() + 2;
    for (unsigned round = 0; round < rounds; round++) {
        pthread_t threads[3];
        void *wrong[3];
        for (int i = 0; i < 4; i++)
            runs_of[i] = 0;
        racing.accepted = racing.ready = 0;
        racing.rt = weft_runtime_ref(rt_start(4));
        for (int i = 0; i < 3; i++)
            threads[i] = thread_begin(race_broadcasts, NULL);
        rt_await(&racing.ready, 3);
        rt_end(racing.rt);
        for (int i = 0; i < 3; i++) {
            pthread_join(threads[i], &wrong[i]);
            CHECK(wrong[i] == NULL);
        }
        for (int i = 0; i < 4; i++)
            CHECK_EQ(runs_of[i], racing.accepted);
        weft_runtime_unref(racing.rt);
    }
}

/* --- call ------------------------------------------------------------------------------------- */

struct question {
    int a, b, sum; /* plain memory */
    weft_worker *seen;
};

static void answer(void *arg) {
    struct question *q = arg;
    q->seen = weft_worker_current();
    q->sum = q->a + q->b;
}

WTEST(call, returns_when_fn_has_run_and_shows_its_result) {
    weft_runtime *rt = rt_start(2);
    for (int i = 0; i < 2000 / (int)wtest_slowdown(); i++) {
        struct question q = {.a = i, .b = 2};
        weft_worker *w = weft_runtime_worker(rt, (unsigned)i % 2);
        CHECK_EQ(weft_call(w, answer, &q), 0);
        CHECK_EQ(q.sum, i + 2);
        CHECK(q.seen == w);
    }
    rt_end(rt);
}

static void *call_often(void *arg) {
    weft_runtime *rt = arg;
    for (int i = 0; i < 500 / (int)wtest_slowdown(); i++) {
        struct question q = {.a = i, .b = i};
        if (weft_call(weft_runtime_worker(rt, 0), answer, &q) != 0 || q.sum != 2 * i)
            return rt;
    }
    return NULL;
}

WTEST(call, from_many_threads_at_once) {
    weft_runtime *rt = rt_start(1);
    pthread_t threads[6];
    void *wrong;
    for (int i = 0; i < 6; i++)
        threads[i] = thread_begin(call_often, rt);
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], &wrong);
        CHECK(wrong == NULL);
    }
    rt_end(rt);
}

struct inner_call {
    weft_worker *target;
    int result, sum;
};

static void call_from_worker(void *arg) {
    struct inner_call *inner = arg;
    struct question q = {.a = 20, .b = 22};
    inner->result = weft_call(inner->target, answer, &q);
    inner->sum = q.sum;
}

WTEST(call, from_a_worker_of_the_same_runtime_is_refused) {
    weft_runtime *rt = rt_start(2);
    for (unsigned i = 0; i < 2; i++) {
        struct inner_call inner = {.target = weft_runtime_worker(rt, i)};
        rt_call(weft_runtime_worker(rt, 0), call_from_worker, &inner);
        CHECK_EQ(inner.result, -EDEADLK);
        CHECK_EQ(inner.sum, 0);
    }
    rt_end(rt);
}

WTEST(call, from_a_worker_of_another_runtime_works) {
    weft_runtime *a = rt_start(1), *b = rt_start(1);
    struct inner_call inner = {.target = weft_runtime_worker(b, 0)};
    rt_call(weft_runtime_worker(a, 0), call_from_worker, &inner);
    CHECK_EQ(inner.result, 0);
    CHECK_EQ(inner.sum, 42);
    rt_end(a);
    rt_end(b);
}

WTEST(call, before_start_and_after_the_end_is_refused) {
    weft_runtime *rt = weft_runtime_ref(rt_create(1));
    weft_worker *w = weft_runtime_worker(rt, 0);
    struct question q = {0};
    CHECK_EQ(weft_call(w, answer, &q), -EAGAIN);
    CHECK_EQ(weft_runtime_start(rt), 0);
    CHECK_EQ(weft_call(w, answer, &q), 0);
    q.seen = NULL;
    rt_end(rt);
    CHECK_EQ(weft_call(w, answer, &q), -ESHUTDOWN);
    CHECK(q.seen == NULL);
    weft_runtime_unref(rt);
}
