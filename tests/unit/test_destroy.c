/* The last of a runtime: destroy with and without start, references, and cycles of it all. */
#include "rt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Atomic unsigned runs;

static void count(void *arg) {
    (void)arg;
    runs++;
}

/* --- without start -------------------------------------------------------------------------------
 */

static char order[64];
static pthread_t runner;
static weft_worker *expected_worker;
static unsigned strangers;

static void note_order(void *arg) {
    strangers += !pthread_equal(runner, pthread_self()) || weft_worker_current() != expected_worker;
    order[strlen(order)] = *(const char *)arg;
}

WTEST(destroy, without_start_runs_what_was_accepted_on_the_calling_thread) {
    int fds = open_fd_count();
    weft_runtime *rt = rt_create(1);
    runner = pthread_self();
    expected_worker = weft_runtime_worker(rt, 0);
    for (const char *p = "abcdef"; *p; p++)
        CHECK_EQ(weft_post_fn(expected_worker, note_order, text(p)), 0);
    CHECK_STR(order, "");
    weft_runtime_destroy(rt);
    CHECK_STR(order, "abcdef");
    CHECK_EQ(strangers, 0);
    CHECK(weft_worker_current() == NULL);
    CHECK_EQ(open_fd_count(), fds);
}

static struct {
    weft_runtime *rt;
    int to_self, to_later, to_earlier, broadcast, called, joined;
} orphan;

static void post_around(void *arg) {
    weft_runtime *rt = arg;
    weft_worker *self = weft_worker_current();
    unsigned index = weft_worker_index(self);
    count(NULL);
    if (index == 1) {
        orphan.to_self = weft_post_fn(self, count, NULL);
        orphan.to_later = weft_post_fn(weft_runtime_worker(rt, 2), count, NULL);
        orphan.to_earlier = weft_post_fn(weft_runtime_worker(rt, 0), count, NULL);
        orphan.broadcast = weft_broadcast(rt, count, NULL);
        orphan.called = weft_call(weft_runtime_worker(rt, 2), count, NULL);
        orphan.joined = weft_runtime_join(rt);
        weft_set_log(NULL, NULL);
    }
}

WTEST(destroy, tasks_of_a_runtime_that_never_ran_are_accepted_or_refused) {
    orphan.rt = rt_create(3);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(weft_post_fn(weft_runtime_worker(orphan.rt, i), post_around, orphan.rt), 0);
    weft_runtime_destroy(orphan.rt);
    CHECK_EQ(runs, 3u + (orphan.to_self == 0) + (orphan.to_later == 0) + (orphan.to_earlier == 0));
    CHECK(orphan.to_self == 0 || orphan.to_self == -ESHUTDOWN);
    CHECK_EQ(orphan.to_later, 0); /* its turn was still to come */
    CHECK_EQ(orphan.to_earlier, -ESHUTDOWN);
    CHECK_EQ(orphan.broadcast, -ESHUTDOWN);
    CHECK_EQ(orphan.called, -EDEADLK);
    CHECK_EQ(orphan.joined, -EDEADLK);
}

static int quiet_lines;

static void count_lines(int level, const char *message, void *arg) {
    (void)level;
    (void)message;
    (void)arg;
    quiet_lines++;
}

static void destroy_inside(void *arg) {
    weft_runtime_destroy(arg);
    count(NULL);
}

WTEST(destroy, inside_a_task_of_a_runtime_that_never_ran_is_no_second_destroy) {
    weft_set_log(count_lines, NULL);
    weft_runtime *rt = rt_create(2);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), destroy_inside, rt), 0);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 1), count, NULL), 0);
    weft_runtime_destroy(rt);
    CHECK_EQ(runs, 2);
    CHECK_EQ(quiet_lines, 1);
}

static _Atomic unsigned orphan_fires;

static void orphan_fired(weft_timer *timer) {
    (void)timer;
    orphan_fires++;
}

static int orphan_ends[2];

static void orphan_event(weft_watch *watch, uint32_t events, void *arg) {
    (void)watch;
    (void)events;
    (void)arg;
    orphan_fires++;
}

static void leave_handles(void *arg) {
    weft_worker *w = weft_worker_current();
    weft_timer_start(w, arg, 0, 0);
    if (weft_watch_start(w, orphan_ends[1], WEFT_WRITE, orphan_event, NULL, NULL) != 0 ||
        weft_hook_start(w, WEFT_IDLE, count, NULL, NULL) != 0)
        abort();
}

WTEST(destroy, handles_of_a_runtime_that_never_ran_go_with_it) {
    weft_timer timer = {.fn = orphan_fired};
    CHECK_EQ(pipe(orphan_ends), 0);
    weft_runtime *rt = rt_create(1);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), leave_handles, &timer), 0);
    weft_runtime_destroy(rt);
    CHECK_EQ(orphan_fires, 0);
    CHECK_EQ(runs, 0);
    CHECK(!weft_timer_is_pending(&timer));
    CHECK_EQ(close(orphan_ends[0]), 0);
    CHECK_EQ(close(orphan_ends[1]), 0);
}

/* --- with start --- */

WTEST(destroy, alone_stops_and_joins) {
    int fds = open_fd_count();
    weft_runtime *rt = rt_start(3);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(weft_broadcast(rt, count, NULL), 0);
    weft_runtime_destroy(rt);
    CHECK_EQ(runs, 300);
    CHECK_EQ(open_fd_count(), fds);
}

static void destroy_other(void *arg) {
    weft_runtime_destroy(arg);
    count(NULL);
}

WTEST(destroy, from_a_worker_of_another_runtime_is_an_ordinary_one) {
    weft_runtime *a = rt_start(1), *b = rt_start(2);
    CHECK_EQ(weft_broadcast(b, count, NULL), 0);
    rt_call(weft_runtime_worker(a, 0), destroy_other, b);
    CHECK_EQ(runs, 3);
    rt_end(a);
}

/* --- references --- */

WTEST(destroy, holder_of_a_reference_is_refused_not_unsafe) {
    for (int started = 0; started < 2; started++) {
        weft_runtime *rt = started ? rt_start(2) : rt_create(2);
        weft_task task = {.run = NULL};
        CHECK(weft_runtime_ref(rt) == rt);
        CHECK(weft_runtime_ref(rt) == rt);
        weft_runtime_destroy(rt);
        weft_runtime_unref(rt);
        weft_worker *w = weft_runtime_worker(rt, 1);
        CHECK(weft_worker_runtime(w) == rt);
        CHECK_EQ(weft_worker_index(w), 1);
        task.run = (void (*)(weft_task *))abort;
        CHECK_EQ(weft_post(w, &task), -ESHUTDOWN);
        CHECK_EQ(weft_post_fn(w, count, NULL), -ESHUTDOWN);
        CHECK_EQ(weft_call(w, count, NULL), -ESHUTDOWN);
        CHECK_EQ(weft_broadcast(rt, count, NULL), -ESHUTDOWN);
        CHECK_EQ(weft_runtime_start(rt), -EALREADY);
        weft_runtime_stop(rt);
        weft_runtime_unref(rt);
    }
    CHECK_EQ(runs, 0);
}

static void *unref_late(void *arg) {
    weft_runtime *rt = arg;
    while (weft_post_fn(weft_runtime_worker(rt, 0), count, NULL) == 0)
        sched_yield(); /* the stop wants its turn */
    weft_runtime_unref(rt);
    return NULL;
}

WTEST(destroy, last_reference_may_go_on_any_thread) {
    int fds = open_fd_count();
    for (unsigned i = 0; i < 100 / wtest_slowdown() + 1; i++) {
        weft_runtime *rt = weft_runtime_ref(rt_start(1));
        pthread_t thread = thread_begin(unref_late, rt);
        weft_runtime_destroy(rt);
        thread_end(thread);
    }
    CHECK_EQ(open_fd_count(), fds);
}

/* --- thread-local destructors --- */

static pthread_key_t key;
static weft_runtime *keyed;
static _Atomic unsigned tls_accepted, tls_refused, tls_other;

static void post_from_destructor(void *arg) {
    for (unsigned i = 0; i < 2; i++) {
        int r = weft_post_fn(weft_runtime_worker(keyed, i), count, NULL);
        tls_accepted += r == 0;
        tls_refused += r == -ESHUTDOWN;
        tls_other += r != 0 && r != -ESHUTDOWN;
    }
    tls_other += weft_worker_current() != NULL;
    if (arg != &key) /* a foreign thread's reference */
        weft_runtime_unref(keyed);
}

static void set_key(weft_worker *w, void *arg) {
    (void)w;
    pthread_setspecific(key, arg);
}

static void *foreign_with_key(void *arg) {
    pthread_setspecific(key, arg);
    return NULL;
}

WTEST(destroy, thread_local_destructors_may_post) {
    CHECK_EQ(pthread_key_create(&key, post_from_destructor), 0);
    const weft_runtime_options options = {.workers = 2, .on_worker_start = set_key, .arg = &key};
    unsigned rounds = 100 / wtest_slowdown() + 1;
    for (unsigned i = 0; i < rounds; i++) {
        runs = tls_accepted = tls_refused = 0;
        keyed = weft_runtime_ref(rt_start_with(&options));
        for (unsigned worker = 0; worker < 2; worker++)
            rt_turns(weft_runtime_worker(keyed, worker), 1);
        weft_runtime_ref(keyed);
        pthread_t thread = thread_begin(foreign_with_key, &runs);
        weft_runtime_destroy(keyed);
        thread_end(thread);
        weft_runtime_unref(keyed);
        CHECK_EQ(runs, tls_accepted);
        CHECK_EQ(tls_accepted + tls_refused, 6);
        CHECK_EQ(tls_other, 0);
        CHECK(tls_refused >= 2); /* a worker's own queue is closed when its thread ends */
    }
}

/* --- cycles --- */

static long resident_kib(void) {
    char line[128];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = atol(line + 6);
    fclose(file);
    return kib;
}

static weft_timer cycle_timers[2];

static void cycle_work(void *arg) {
    unsigned index = weft_worker_index(weft_worker_current());
    (void)arg;
    cycle_timers[index] = (weft_timer){.fn = orphan_fired};
    weft_timer_start(weft_worker_current(), &cycle_timers[index], 0, 1000000);
    count(NULL);
}

static void cycle(unsigned number) {
    weft_runtime *rt = rt_create(2);
    CHECK_EQ(weft_broadcast(rt, cycle_work, NULL), 0);
    if (number % 3 != 0) {
        CHECK_EQ(weft_runtime_start(rt), 0);
        rt_turns(weft_runtime_worker(rt, number % 2), 2);
    }
    weft_runtime_destroy(rt);
}

WTEST(destroy, three_hundred_cycles_leave_fds_and_memory_flat) {
    unsigned cycles = 300 / wtest_slowdown() + 30, warm = cycles / 3;
    int fds = open_fd_count();
    long warm_kib = 0;
    for (unsigned i = 0; i < cycles; i++) {
        cycle(i);
        CHECK_EQ(open_fd_count(), fds);
        if (i == warm)
            warm_kib = resident_kib();
    }
    CHECK_EQ(runs, 2 * cycles);
    long grown = resident_kib() - warm_kib;
    if (wtest_slowdown() == 1) /* sanitizers keep what was freed for a while */
        CHECK_MSG(grown < 1024, "%ld KiB more after %u cycles", grown, cycles - warm);
}
