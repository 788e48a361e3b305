/* Retirement: a function runs once nobody can be looking any more, on the reclaimer's thread. */
#include "rt.h"

#include <errno.h>
#include <urcu/urcu-memb.h>

static _Atomic unsigned runs, in_callback;
static pthread_t main_thread;
static _Atomic bool on_main, on_worker;

static void count(void *arg) {
    (void)arg;
    if (pthread_equal(main_thread, pthread_self()))
        on_main = true;
    if (weft_worker_current())
        on_worker = true;
    runs++;
}

WTEST(retire, runs_once_on_the_reclaimers_thread) {
    main_thread = pthread_self();
    for (unsigned i = 0; i < 50; i++)
        CHECK_EQ(weft_retire(count, NULL), 0);
    rt_await(&runs, 50);
    weft_runtime *rt = rt_start(1);
    weft_runtime_destroy(rt); /* waits for what is left */
    CHECK_EQ(runs, 50);
    CHECK(!on_main);
    CHECK(!on_worker);
}

WTEST(retire, waits_for_running_callbacks) {
    static struct hold holds[2];
    weft_runtime *rt = rt_start(2);
    weft_worker *a = weft_runtime_worker(rt, 0), *b = weft_runtime_worker(rt, 1);
    for (unsigned i = 0; i < 3; i++) {
        hold_begin(&holds[0], a);
        hold_begin(&holds[1], b);
        CHECK_EQ(weft_retire(count, NULL), 0);
        let_others_run();
        CHECK_EQ(runs, i);
        CHECK_EQ(rt_stats(a).retired_waiting, 1);
        hold_end(&holds[0], a);
        let_others_run();
        CHECK_EQ(runs, i); /* the other still runs */
        hold_end(&holds[1], b);
        rt_await(&runs, i + 1);
    }
    rt_end(rt);
    CHECK_EQ(runs, 3);
}

/* --- freed only when unseen --- */

struct shared {
    unsigned check;
};

static struct shared *_Atomic published;
static _Atomic unsigned reads, bad_reads, reclaimed;
static _Atomic bool reading_over;

static void reclaim(void *arg) {
    struct shared *s = arg;
    s->check = 0;
    free(s);
    reclaimed++;
}

static void read_shared(weft_task *task) {
    struct shared *s = atomic_load(&published);
    for (int i = 0; i < 50; i++)
        bad_reads += s->check != 4711;
    reads++;
    if (!reading_over && weft_post(weft_worker_current(), task) != 0)
        abort();
}

static struct shared *make_shared(void) {
    struct shared *s = malloc(sizeof *s);
    s->check = 4711;
    return s;
}

WTEST(retire, callbacks_may_read_what_is_being_replaced) {
    weft_task readers[2] = {{.run = read_shared}, {.run = read_shared}};
    unsigned rounds = 20000 / wtest_slowdown();
    published = make_shared();
    weft_runtime *rt = rt_start(2);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(weft_post(weft_runtime_worker(rt, i), &readers[i]), 0);
    rt_await(&reads, 10);
    for (unsigned i = 0; i < rounds; i++)
        CHECK_EQ(weft_retire(reclaim, atomic_exchange(&published, make_shared())), 0);
    rt_await(&reads, reads + 10);
    reading_over = true;
    rt_end(rt);
    CHECK_EQ(reclaimed, rounds);
    CHECK_EQ(bad_reads, 0);
    free(published);
}

/* --- from everywhere --- */

static unsigned each;
static _Atomic unsigned failed;

static void *retire_many(void *arg) {
    bool registers = arg != NULL;
    if (registers)
        urcu_memb_register_thread();
    for (unsigned i = 0; i < each; i++)
        failed += weft_retire(count, NULL) != 0;
    if (registers)
        urcu_memb_unregister_thread();
    return NULL;
}

static void retire_inside(void *arg) {
    in_callback += urcu_memb_read_ongoing() != 0;
    failed += weft_retire(count, arg) != 0;
}

WTEST(retire, a_hundred_thousand_from_foreign_threads_and_callbacks) {
    pthread_t threads[4];
    weft_runtime *rt = rt_start(2);
    each = 25000 / wtest_slowdown();
    for (uintptr_t i = 0; i < 4; i++) /* half of them registered with liburcu by the program */
        threads[i] = thread_begin(retire_many, i % 2 ? rt : NULL);
    for (unsigned i = 0; i < 100; i++)
        rt_call(weft_runtime_worker(rt, i % 2), retire_inside, NULL);
    for (int i = 0; i < 4; i++)
        thread_end(threads[i]);
    rt_end(rt); /* waits for them all */
    CHECK_EQ(failed, 0);
    CHECK_EQ(runs, 4 * each + 100);
    CHECK_EQ(in_callback, 100); /* callbacks are inside a read-side section */
    CHECK_EQ(retire_waiting(), 0);
}

static void retire_again(void *arg) {
    uintptr_t left = (uintptr_t)arg;
    runs++;
    failed += left > 0 && weft_retire(retire_again, (void *)(left - 1)) != 0;
}

WTEST(retire, from_a_retired_function) {
    CHECK_EQ(weft_retire(retire_again, (void *)20), 0);
    rt_await(&runs, 21);
    CHECK_EQ(failed, 0);
}

WTEST(retire, leaves_the_programs_own_call_rcu_alone) {
    urcu_memb_register_thread();
    CHECK(urcu_memb_get_thread_call_rcu_data() == NULL);
    CHECK_EQ(weft_retire(count, NULL), 0);
    CHECK(urcu_memb_get_thread_call_rcu_data() == NULL);
    rt_await(&runs, 1);
    urcu_memb_unregister_thread();
}

/* --- the end --- */

static void destroy_runtime(void *arg) {
    weft_runtime_destroy(arg);
    runs++;
}

WTEST(retire, a_retired_function_may_destroy_a_runtime) {
    CHECK_EQ(weft_retire(destroy_runtime, rt_start(1)), 0);
    rt_await(&runs, 1);
}

WTEST(retire, destroy_waits_for_what_was_retired) {
    for (unsigned i = 1; i <= 20; i++) {
        weft_runtime *rt = rt_start(2);
        rt_call(weft_runtime_worker(rt, 0), retire_inside, NULL);
        weft_runtime_destroy(rt);
        CHECK_EQ(runs, i);
    }
}

WTEST(retire, without_memory_nothing_is_retired) {
    fault_begin();
    for (unsigned n = 1; n <= 3; n++) { /* the reclaimer's mask there and back, the record */
        fault_arm_call(n == 3 ? OS_ALLOC : OS_SIGMASK, n == 3 ? 1 : n);
        int r = weft_retire(count, NULL);
        int injected = fault_disarm();
        if (n == 1 || n == 3) {
            CHECK(injected < 0);
            CHECK_EQ(r, -ENOMEM);
        }
        CHECK(!is_blocked(SIGTERM) || n == 2);
        sigset_t none;
        sigemptyset(&none);
        pthread_sigmask(SIG_SETMASK, &none, NULL);
    }
    rt_await(&runs, 1); /* that of n == 2: the call works once the failure is gone */
    CHECK_EQ(weft_retire(count, NULL), 0);
    rt_await(&runs, 2);
}
