/* A worker as the program meets it: its getters, its clock, its counters, its selector. */
#include "rt.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* --- getters --- */

struct self {
    weft_worker *current;
    weft_runtime *runtime;
    unsigned index;
};

static void look_around(void *arg) {
    struct self *self = arg;
    self->current = weft_worker_current();
    self->runtime = weft_worker_runtime(self->current);
    self->index = weft_worker_index(self->current);
}

WTEST(worker, knows_itself) {
    rt = rt_start(3);
    CHECK(weft_worker_current() == NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct self self = {0};
        weft_worker *w = weft_runtime_worker(rt, i);
        rt_call(w, look_around, &self);
        CHECK(self.current == w);
        CHECK(self.runtime == rt);
        CHECK_EQ(self.index, i);
        CHECK_EQ(weft_worker_index(w), i);
        CHECK(weft_worker_runtime(w) == rt);
    }
    rt_end(rt);
}

static void set_data(void *arg) {
    weft_worker_set_data(worker, arg);
}

WTEST(worker, keeps_the_programs_pointer) {
    int here;
    begin();
    CHECK(weft_worker_data(worker) == NULL);
    rt_call(worker, set_data, &here);
    CHECK(weft_worker_data(worker) == &here);
    rt_end(rt);
}

WTEST(worker, may_be_given_a_pointer_before_the_start) {
    int here;
    weft_runtime *made = NULL;
    CHECK_EQ(weft_runtime_create(&(weft_runtime_options){.workers = 1}, &made), 0);
    weft_worker_set_data(weft_runtime_worker(made, 0), &here);
    CHECK(weft_worker_data(weft_runtime_worker(made, 0)) == &here);
    weft_runtime_destroy(made);
}

/* --- the clock --- */

static uint64_t seen_ns;

static void see_now(void *arg) {
    (void)arg;
    seen_ns = weft_worker_now_ns(worker);
}

WTEST(worker, clock_is_monotonic_and_that_of_the_iteration) {
    begin();
    for (int i = 0; i < 200; i++) {
        uint64_t before_ns = now_ns();
        rt_turns(worker, 1); /* whatever the next call sees is of a later iteration */
        rt_call(worker, see_now, NULL);
        CHECK(seen_ns >= before_ns);
        CHECK(seen_ns <= now_ns());
    }
    rt_end(rt);
}

WTEST(worker, clock_may_be_read_from_any_thread) {
    rt = rt_create(1);
    worker = weft_runtime_worker(rt, 0);
    for (int started = 0; started < 2; started++) {
        uint64_t before_ns = now_ns();
        uint64_t ns = weft_worker_now_ns(worker);
        CHECK(ns >= before_ns);
        CHECK(ns <= now_ns());
        if (!started)
            CHECK_EQ(weft_runtime_start(rt), 0);
    }
    rt_end(rt);
}

/* --- counters --- */

static _Atomic unsigned fires;

static void fired(weft_timer *timer) {
    (void)timer;
    fires++;
}

static weft_timer timers[10];

static void start_timers(void *arg) {
    (void)arg;
    for (int i = 0; i < 10; i++) {
        timers[i].fn = fired;
        weft_timer_start(worker, &timers[i], 0, 0);
    }
}

static void read_byte(weft_watch *watch, uint32_t events, void *arg) {
    char byte;
    (void)events;
    if (read(weft_watch_fd(watch), &byte, 1) == 1)
        (*(_Atomic unsigned *)arg)++;
}

static _Atomic unsigned bytes;

static void watch_pipe(void *arg) {
    if (weft_watch_start(worker, *(int *)arg, WEFT_READ, read_byte, &bytes, NULL) != 0)
        abort();
}

static void spin(void *arg) {
    uint64_t until = now_ns() + *(uint64_t *)arg;
    while (now_ns() < until)
        ;
}

WTEST(worker, counts_what_it_does) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    begin();
    rt_call(worker, watch_pipe, &ends[0]);
    rt_turns(worker, 1);
    rt_await_armed(worker);
    weft_stats before = rt_stats(worker);
    rt_call(worker, start_timers, NULL);
    rt_await(&fires, 10);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(write(ends[1], "x", 1), 1);
        rt_await(&bytes, i + 1);
    }
    uint64_t busy_ns = WEFT_MSEC(30);
    rt_call(worker, spin, &busy_ns);
    rt_turns(worker, 1);
    rt_await_armed(worker);
    weft_stats after = rt_stats(worker);
    CHECK_EQ(after.tasks - before.tasks, 3);
    CHECK_EQ(after.timers - before.timers, 10);
    CHECK(after.events - before.events >= 5);
    CHECK(after.iterations - before.iterations >= 5);
    CHECK(after.waits > before.waits);
    CHECK(after.wakeups_sent > before.wakeups_sent);
    CHECK_MSG(after.busy_ns - before.busy_ns >= WEFT_MSEC(25), "%u ns busy",
              (unsigned)(after.busy_ns - before.busy_ns));
    CHECK_EQ(after.streams_open, 0);
    CHECK_EQ(after.retired_waiting, 0);
    for (size_t i = 0; i < array_length(after.reserved); i++)
        CHECK_EQ(after.reserved[i], 0);
    rt_end(rt);
    close(ends[0]);
    close(ends[1]);
}

WTEST(worker, counters_fit_smaller_and_larger_structs) {
    struct {
        weft_stats stats;
        uint64_t future[8];
        uint64_t beyond;
    } large;
    struct {
        uint64_t iterations, waits, beyond;
    } small;
    begin();
    rt_turns(worker, 3);
    rt_await_armed(worker);
    rt_turns(worker, 1);
    memset(&large, 0xa5, sizeof large);
    CHECK_EQ(
        weft_worker_stats(worker, (weft_stats *)&large, sizeof large.stats + sizeof large.future),
        0);
    CHECK(large.stats.iterations >= 3);
    for (size_t i = 0; i < array_length(large.future); i++)
        CHECK_EQ(large.future[i], 0);
    CHECK(large.beyond == UINT64_C(0xa5a5a5a5a5a5a5a5));

    memset(&small, 0xa5, sizeof small);
    CHECK_EQ(weft_worker_stats(worker, (weft_stats *)(void *)&small, 16), 0);
    CHECK(small.iterations >= 3);
    CHECK(small.waits > 0 && small.waits <= small.iterations);
    CHECK(small.beyond == UINT64_C(0xa5a5a5a5a5a5a5a5));

    CHECK_EQ(weft_worker_stats(worker, (weft_stats *)(void *)&small, 0), 0);
    CHECK_EQ(weft_worker_stats(worker, NULL, sizeof(weft_stats)),
             0); /* a ret_ that is not wanted */
    CHECK_EQ(weft_worker_stats(NULL, &large.stats, sizeof large.stats), -EINVAL);
    rt_end(rt);
}

WTEST(worker, counters_are_zero_before_start_and_stay_after_the_end) {
    rt = weft_runtime_ref(rt_create(1));
    worker = weft_runtime_worker(rt, 0);
    weft_stats stats = rt_stats(worker), zero = {0};
    CHECK(memcmp(&stats, &zero, sizeof stats) == 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_turns(worker, 5);
    rt_end(rt);
    CHECK(rt_stats(worker).tasks >= 5);
    weft_runtime_unref(rt);
}

static _Atomic bool reading_over;

static void *read_stats(void *arg) {
    uint64_t last = 0;
    while (!reading_over) {
        weft_stats stats;
        if (weft_worker_stats(worker, &stats, sizeof stats) != 0 || stats.iterations < last)
            return arg;
        last = stats.iterations;
    }
    return NULL;
}

WTEST(worker, counters_may_be_read_while_it_starts_works_and_ends) {
    void *wrong;
    rt = weft_runtime_ref(rt_create(1));
    worker = weft_runtime_worker(rt, 0);
    pthread_t thread = thread_begin(read_stats, rt);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_turns(worker, 500);
    rt_end(rt);
    reading_over = true;
    pthread_join(thread, &wrong);
    CHECK(wrong == NULL);
    weft_runtime_unref(rt);
}

/* --- the selector --- */

WTEST(worker, selector_is_for_looking_at) {
    int ends[2];
    void *data = NULL;
    weft_ready ready;
    weft_event *event = NULL;
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(weft_event_create(&event), 0);
    begin();
    weft_selector *s = weft_worker_selector(worker);
    size_t count = weft_selector_count(s);
    rt_call(worker, watch_pipe, &ends[0]);
    CHECK_EQ(weft_selector_count(s), count + 1);
    CHECK(weft_selector_contains(s, ends[0]));
    CHECK(!weft_selector_contains(s, ends[1]));
    CHECK_EQ(weft_selector_get_data(s, ends[0], &data), 0);

    CHECK_EQ(weft_selector_register(s, ends[1], WEFT_WRITE, NULL), -EPERM);
    CHECK_EQ(weft_selector_update(s, ends[0], 0), -EPERM);
    CHECK_EQ(weft_selector_unregister(s, ends[0]), -EPERM);
    CHECK_EQ(weft_selector_register_timer(s, 1, WEFT_ONESHOT, NULL), -EPERM);
    CHECK_EQ(weft_selector_register_signal(s, SIGUSR1, NULL), -EPERM);
    CHECK_EQ(weft_selector_register_process(s, getpid(), NULL), -EPERM);
    CHECK_EQ(weft_selector_register_event(s, event, NULL), -EPERM);
    CHECK_EQ(weft_selector_unregister_event(s, event), -EPERM);
    CHECK_EQ(weft_selector_set_data(s, ends[0], NULL), -EPERM);
    CHECK(weft_selector_data(s, ends[0]) == NULL);
    CHECK_EQ(weft_selector_select(s, 0, &ready, 1), -EPERM);
    weft_selector_destroy(s); /* logged, and ignored */
    CHECK(!is_blocked(SIGUSR1));
    CHECK_EQ(weft_selector_count(s), count + 1);

    CHECK_EQ(write(ends[1], "x", 1), 1);
    rt_await(&bytes, 1); /* nothing of it did harm */
    rt_end(rt);
    weft_event_destroy(event);
    close(ends[0]);
    close(ends[1]);
}

WTEST(worker, selector_nests_by_its_fd) {
    weft_selector *outer = NULL;
    begin();
    int fd = weft_selector_fd(weft_worker_selector(worker));
    CHECK(fd >= 0);
    CHECK_EQ(weft_selector_create(&outer), 0);
    CHECK_EQ(weft_selector_register(outer, fd, WEFT_READ, NULL), 0);
    CHECK_EQ(weft_selector_unregister(outer, fd), 0);
    weft_selector_destroy(outer);
    rt_end(rt);
}
