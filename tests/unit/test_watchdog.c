/* The watchdog: who stays in a callback is reported, who is only busy is not, and who sleeps is
 * left in peace. */
#include "log_keeper.h"
#include "rt.h"

#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- with a clock of our own: a runtime whose threads do not run, looked at by the test
 * ----------- */

enum { STALL_MS = 100, TICK_MS = STALL_MS / 4 };

static weft_runtime *rt;
static weft_worker *worker;

static void begin_by_hand(void) {
    const weft_runtime_options options = {.workers = 2, .stall_ns = WEFT_MSEC(STALL_MS)};
    log_keep();
    clock_test_ns = WEFT_SEC(1000);
    rt = rt_create_with(&options);
    worker = weft_runtime_worker(rt, 0);
    watchdog_start(rt);
}

static void end_by_hand(void) {
    weft_runtime_destroy(rt);
}

static void look_after_ms(unsigned ms) {
    clock_test_ns += WEFT_MSEC(ms);
    list_remove(&rt->watchdog.tick.link); /* as the sentinel does */
    watchdog_tick(rt);
}

static void callback_a(void) {}

/* Never called: an address that is not the other's. */
static void callback_b(void) {
    abort();
}

/* One call after the other, each for that many looks. */
static void worker_calls(void (*fn)(void), unsigned looks) {
    worker_enter(worker, fn);
    for (unsigned i = 0; i < looks; i++)
        look_after_ms(TICK_MS);
}

WTEST(watchdog, a_callback_is_reported_once_when_it_has_lasted_long_enough) {
    begin_by_hand();
    worker_calls(callback_a, 4); /* seen for 75 ms */
    CHECK_EQ(rt_stats(worker).stalls, 0);
    look_after_ms(TICK_MS);
    CHECK_EQ(rt_stats(worker).stalls, 1);
    CHECK_EQ(log_count("worker 0 has been in one callback for 100 ms"), 1);
    for (int i = 0; i < 100; i++)
        look_after_ms(TICK_MS);
    CHECK_EQ(rt_stats(worker).stalls, 1);
    CHECK_EQ(log_count(""), 1);
    CHECK_EQ(rt_stats(weft_runtime_worker(rt, 1)).stalls, 0);
    end_by_hand();
}

WTEST(watchdog, many_calls_of_the_same_function_are_no_stall) {
    begin_by_hand();
    for (int i = 0; i < 100; i++)
        worker_calls(callback_a, 1);
    for (int i = 0; i < 100; i++) { /* of those that move a counter of their own */
        worker_note_callback(worker, callback_a);
        stat_add(i % 2 ? &worker->stats.tasks : &worker->stats.timers, 1);
        look_after_ms(TICK_MS);
    }
    for (int i = 0; i < 100; i++) {
        worker_note_callback(worker, callback_a);
        stat_add(&worker->stats.bytes_in, 1);
        look_after_ms(TICK_MS);
    }
    CHECK_EQ(rt_stats(worker).stalls, 0);
    CHECK_EQ(log_count(""), 0);
    end_by_hand();
}

WTEST(watchdog, each_stall_is_counted_but_the_log_has_one_line_a_second) {
    begin_by_hand();
    for (int i = 0; i < 7; i++) { /* 150 ms each: 1 050 ms */
        worker_calls(callback_a, 3);
        worker_calls(callback_b, 6);
    }
    CHECK_EQ(rt_stats(worker).stalls, 7);
    CHECK_EQ(log_count(""), 2);
    CHECK_EQ(log_count("stall number 5 since the last report"), 1);
    end_by_hand();
}

WTEST(watchdog, says_where_the_function_is) {
    char line[512], module[256], command[512], found[256] = "";
    unsigned long offset = 0;
    begin_by_hand();
    worker_calls(callback_b, 5);
    log_last(line, sizeof line);
    const char *at = strstr(line, "addr2line -Cfpe ");
    CHECK(at != NULL);
    CHECK_EQ(sscanf(at, "addr2line -Cfpe %255s 0x%lx", module, &offset), 2);
    snprintf(command, sizeof command, "addr2line -Cfpe %s 0x%lx", module, offset);
    FILE *pipe = popen(command, "re");
    CHECK(pipe != NULL);
    size_t n = fread(found, 1, sizeof found - 1, pipe);
    found[n] = 0;
    CHECK_EQ(pclose(pipe), 0);
    CHECK_MSG(strstr(found, "callback_b"), "%s: %s", command, found);
    end_by_hand();
}

/* A worker whose queue is ARMED and who notes no function. */
static void put_to_sleep(weft_worker *w) {
    worker_note_callback(w, 0);
    (void)inbox_arm(&w->inbox);
}

WTEST(watchdog, sleeps_when_all_sleep_and_asks_to_be_told) {
    begin_by_hand();
    put_to_sleep(worker);
    look_after_ms(TICK_MS);
    look_after_ms(TICK_MS);
    CHECK_EQ(rt->watchdog.state, WATCHDOG_TICKING); /* the other one is awake */
    put_to_sleep(weft_runtime_worker(rt, 1));
    look_after_ms(TICK_MS);
    CHECK_EQ(rt->watchdog.state, WATCHDOG_ARMED);
    CHECK_EQ(atomic_load(&worker->tell_wake), 1);
    look_after_ms(TICK_MS);
    CHECK_EQ(rt->watchdog.state, WATCHDOG_ASLEEP);
    CHECK(list_is_empty(&rt->sentinel.alarms));
    CHECK_EQ(atomic_load(&worker->tell_wake), 1);
    end_by_hand();
}

WTEST(watchdog, whoever_was_up_between_two_looks_keeps_it_awake) {
    begin_by_hand();
    put_to_sleep(worker);
    put_to_sleep(weft_runtime_worker(rt, 1));
    look_after_ms(TICK_MS);
    CHECK_EQ(rt->watchdog.state, WATCHDOG_ARMED);
    stat_add(&worker->stats.iterations, 1);
    look_after_ms(TICK_MS);
    CHECK_EQ(rt->watchdog.state, WATCHDOG_TICKING);
    CHECK_EQ(atomic_load(&worker->tell_wake), 0); /* and nobody has to tell */
    end_by_hand();
}

/* --- with threads
 * ---------------------------------------------------------------------------------- */

static weft_runtime *started(unsigned workers, uint64_t stall_ns) {
    const weft_runtime_options options = {.workers = workers, .stall_ns = stall_ns};
    log_keep();
    return rt_start_with(&options);
}

static uint64_t stalls_of(weft_worker *w) {
    return rt_stats(w).stalls;
}

/* Ends when it has been noticed: the one event there is. */
static void stay_until_noticed(void *arg) {
    (void)arg;
    weft_worker *w = weft_worker_current();
    uint64_t before = stalls_of(w);
    while (stalls_of(w) == before)
        sched_yield();
}

static void stay_in_task(weft_task *task) {
    stay_until_noticed(task);
}

static void stay_in_timer(weft_timer *timer) {
    stay_until_noticed(timer);
}

static void stay_in_watch(weft_watch *watch, uint32_t events, void *arg) {
    (void)events;
    (void)arg;
    weft_watch_stop(watch);
    stay_until_noticed(NULL);
}

static weft_hook *hook;

static void stay_in_hook(void *arg) {
    weft_hook_stop(hook);
    stay_until_noticed(arg);
}

static int ends[2];

/* Not in the first call of a stream, which takes another way than all later ones. */
static size_t stay_in_data(weft_stream *s, const uint8_t *data, size_t len) {
    static unsigned calls;
    (void)data;
    if (++calls % 2 == 1) {
        if (write(ends[1], "y", 1) != 1)
            abort();
        return len;
    }
    weft_stream_close(s);
    stay_until_noticed(NULL);
    return len;
}

static void stay_in_close(weft_stream *s, int error) {
    (void)s;
    (void)error;
    stay_until_noticed(NULL);
}

static weft_task the_task = {.run = stay_in_task};
static weft_timer the_timer = {.fn = stay_in_timer};

static void start_task(weft_worker *w) {
    if (weft_post(w, &the_task) != 0)
        abort();
}

static void start_timer(weft_worker *w) {
    weft_timer_start(w, &the_timer, 0, 0);
}

static void start_watch(weft_worker *w) {
    if (weft_watch_start(w, ends[0], WEFT_WRITE, stay_in_watch, NULL, NULL) != 0)
        abort();
}

static void nothing(void *arg) {
    (void)arg;
}

/* A hook by itself makes no iteration. */
static void start_hook(weft_worker *w) {
    if (weft_hook_start(w, WEFT_AFTER_WAIT, stay_in_hook, NULL, &hook) != 0 ||
        weft_post_fn(w, nothing, NULL) != 0)
        abort();
}

static void start_stream(weft_worker *w) {
    static const weft_protocol protocol = {.on_data = stay_in_data, .on_close = stay_in_close};
    int fd = dup(ends[0]);
    if (weft_adopt(w, fd, &protocol, NULL, NULL) != 0 || write(ends[1], "x", 1) != 1)
        abort();
}

static void start_kind(void *arg) {
    void (**start)(weft_worker * w) = arg;
    (*start)(weft_worker_current());
}

/* Has it been logged with the text that symbol_describe() has for the function? */
static bool is_named(uintptr_t function) {
    char text[320];
    symbol_describe(function, text, sizeof text);
    return log_count(text) > 0;
}

/* Until one is named: on a busy machine any other callback may come to a stop for as long, and have
 * the second's only line. */
static void check_kind(void (*start)(weft_worker *w), uintptr_t function) {
    weft_runtime *own = started(1, WEFT_MSEC(20));
    weft_worker *w = weft_runtime_worker(own, 0);
    do {
        uint64_t before = stalls_of(w);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        rt_call(w, start_kind, &start);
        while (stalls_of(w) == before)
            sched_yield();
        rt_turns(w, 3);
        close(ends[0]);
        close(ends[1]);
    } while (!is_named(function));
    rt_end(own);
}

WTEST(watchdog, every_kind_of_callback_is_seen_and_named) {
    check_kind(start_task, (uintptr_t)stay_in_task);
    check_kind(start_timer, (uintptr_t)stay_in_timer);
    check_kind(start_watch, (uintptr_t)stay_in_watch);
    check_kind(start_hook, (uintptr_t)stay_in_hook);
}

WTEST(watchdog, the_functions_of_a_stream_are_seen_and_named) {
    check_kind(start_stream, (uintptr_t)stay_in_data);
    check_kind(start_stream, (uintptr_t)stay_in_close);
}

static void start_posted(weft_worker *w) {
    if (weft_post_fn(w, stay_until_noticed, NULL) != 0)
        abort();
}

WTEST(watchdog, a_function_posted_or_called_is_named_rather_than_what_carries_it) {
    check_kind(start_posted, (uintptr_t)stay_until_noticed);
    weft_runtime *own = started(1, WEFT_MSEC(20));
    do
        rt_call(weft_runtime_worker(own, 0), stay_until_noticed, NULL);
    while (!is_named((uintptr_t)stay_until_noticed));
    rt_end(own);
}

/* All asleep, the sentinel included: the first who wakes has to tell it, again and again. */
WTEST(watchdog, wakes_up_with_a_worker) {
    weft_runtime *own = started(2, WEFT_MSEC(8));
    for (unsigned i = 0; i < 5; i++) {
        rt_await_asleep(own);
        rt_call(weft_runtime_worker(own, i % 2), stay_until_noticed, NULL); /* it returns */
    }
    rt_end(own);
}

WTEST(watchdog, tells_computing_from_waiting) {
    weft_runtime *own = started(1, WEFT_MSEC(20));
    while (log_count("it waits in a system call") == 0) {
        struct hold hold;
        uint64_t before = stalls_of(weft_runtime_worker(own, 0));
        hold_begin(&hold, weft_runtime_worker(own, 0));
        while (stalls_of(weft_runtime_worker(own, 0)) == before)
            sched_yield();
        hold_end(&hold, weft_runtime_worker(own, 0));
    }
    rt_end(own);
}

WTEST(watchdog, off_means_off) {
    weft_runtime *own = started(2, WEFT_FOREVER);
    struct hold hold;
    rt_await_asleep(own);
    hold_begin(&hold, weft_runtime_worker(own, 0));
    for (int i = 0; i < 3; i++)
        let_others_run();
    CHECK_EQ(own->watchdog.state, WATCHDOG_ASLEEP);
    CHECK_EQ(atomic_load(&weft_runtime_worker(own, 0)->tell_wake), 0);
    hold_end(&hold, weft_runtime_worker(own, 0));
    CHECK_EQ(stalls_of(weft_runtime_worker(own, 0)), 0);
    rt_end(own);
}

static void start_slowly(weft_worker *w, void *arg) {
    (void)w;
    stay_until_noticed(arg);
}

WTEST(watchdog, the_start_of_a_worker_is_a_callback_too) {
    const weft_runtime_options options = {
        .workers = 2, .stall_ns = WEFT_MSEC(20), .on_worker_start = start_slowly};
    log_keep();
    weft_runtime *own = rt_start_with(&options);
    rt_turns(weft_runtime_worker(own, 0), 1);
    rt_turns(weft_runtime_worker(own, 1), 1);
    CHECK(is_named((uintptr_t)start_slowly)); /* the first that can be */
    rt_end(own);
}
