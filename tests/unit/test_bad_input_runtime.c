/* What nobody should pass, and what it gets: the answer, and nothing changed. */
#include "rt.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;
static _Atomic unsigned runs;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

static void count(void *arg) {
    (void)arg;
    runs++;
}

static void count_task(weft_task *task) {
    (void)task;
    runs++;
}

static void count_timer(weft_timer *timer) {
    (void)timer;
    runs++;
}

static void count_watch(weft_watch *watch, uint32_t events, void *arg) {
    (void)watch;
    (void)events;
    (void)arg;
    runs++;
}

static char logged[512];
static _Atomic unsigned lines;

static void keep_log(int level, const char *message, void *arg) {
    (void)level;
    (void)arg;
    snprintf(logged, sizeof logged, "%s", message);
    lines++;
}

/* --- NULL --- */

WTEST(bad_input, null_objects_and_functions) {
    weft_task task = {.run = count_task}, empty = {.run = NULL};
    weft_stats stats;
    begin();
    CHECK_EQ(weft_runtime_create(NULL, NULL), -EINVAL);
    CHECK_EQ(weft_runtime_start(NULL), -EINVAL);
    CHECK_EQ(weft_runtime_join(NULL), -EINVAL);
    CHECK_EQ(weft_runtime_run(NULL), -EINVAL);
    CHECK_EQ(weft_runtime_stop_on(NULL, SIGTERM), -EINVAL);
    CHECK(!is_blocked(SIGTERM));
    CHECK_EQ(weft_post(NULL, &task), -EINVAL);
    CHECK_EQ(weft_post(worker, NULL), -EINVAL);
    CHECK_EQ(weft_post(worker, &empty), -EINVAL);
    CHECK_EQ(weft_post_fn(NULL, count, NULL), -EINVAL);
    CHECK_EQ(weft_post_fn(worker, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_broadcast(NULL, count, NULL), -EINVAL);
    CHECK_EQ(weft_broadcast(rt, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_call(NULL, count, NULL), -EINVAL);
    CHECK_EQ(weft_call(worker, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_retire(NULL, NULL), -EINVAL);
    CHECK_EQ(weft_worker_stats(NULL, &stats, sizeof stats), -EINVAL);
    CHECK_EQ(weft_watch_start(NULL, 0, WEFT_READ, count_watch, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_watch_update(NULL, WEFT_READ), -EINVAL);
    CHECK_EQ(weft_watch_fd(NULL), -EINVAL);
    CHECK_EQ(weft_hook_start(NULL, WEFT_IDLE, count, NULL, NULL), -EINVAL);
    rt_turns(worker, 2);
    rt_end(rt);
    CHECK_EQ(runs, 0);
}

WTEST(bad_input, null_where_nothing_can_be_answered) {
    weft_runtime_destroy(NULL);
    weft_runtime_stop(NULL);
    weft_runtime_unref(NULL);
    weft_watch_stop(NULL);
    weft_hook_stop(NULL);
    weft_set_log(keep_log, NULL);
    weft_timer_start(NULL, NULL, 0, 0);
    weft_timer_start_at(NULL, NULL, 0);
    weft_set_log(NULL, NULL);
    weft_worker_set_data(NULL, &runs);
    CHECK(weft_runtime_ref(NULL) == NULL);
    CHECK_EQ(weft_runtime_worker_count(NULL), 0);
    CHECK(weft_runtime_worker(NULL, 0) == NULL);
    CHECK(weft_runtime_pick(NULL) == NULL);
    CHECK(weft_worker_runtime(NULL) == NULL);
    CHECK(weft_worker_selector(NULL) == NULL);
    CHECK_EQ(weft_worker_index(NULL), 0);
    CHECK_EQ(weft_worker_now_ns(NULL), 0);
    CHECK(weft_worker_data(NULL) == NULL);
    CHECK(!weft_timer_stop(NULL));
    CHECK(!weft_timer_is_pending(NULL));
    CHECK_EQ(weft_timer_remaining_ns(NULL), 0);
}

/* --- options --- */

static void check_refused(const weft_runtime_options *options) {
    weft_runtime *const untouched = (weft_runtime *)(uintptr_t)8;
    weft_runtime *created = untouched;
    int fds = open_fd_count();
    CHECK_EQ(weft_runtime_create(options, &created), -EINVAL);
    CHECK(created == untouched);
    CHECK_EQ(open_fd_count(), fds);
}

WTEST(bad_input, options_of_create) {
    const unsigned counts[] = {1025, 5000, UINT_MAX};
    for (unsigned i = 0; i < array_length(counts); i++)
        check_refused(&(weft_runtime_options){.workers = counts[i]});
    for (unsigned bit = 1; bit < 32; bit++)
        check_refused(&(weft_runtime_options){.workers = 1, .flags = 1u << bit});
    for (unsigned i = 0; i < 8; i++) {
        weft_runtime_options options = {.workers = 1};
        options.reserved[i] = UINT64_C(1) << (i * 8);
        check_refused(&options);
    }
}

/* 32 is the C library's own, SIGRTMAX + 1 is none. */
static const int unwatchable[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                  -1,      32,      33,      65,     1000};

WTEST(bad_input, signals_that_cannot_be_watched) {
    begin();
    for (unsigned i = 0; i < array_length(unwatchable); i++) {
        const int numbers[] = {SIGUSR1, unwatchable[i], 0};
        check_refused(&(weft_runtime_options){.workers = 1, .signals = numbers});
        CHECK(!is_blocked(SIGUSR1)); /* nor is the good one of a bad list */
        CHECK_EQ(weft_runtime_stop_on(rt, unwatchable[i]), -EINVAL);
    }
    CHECK_EQ(weft_runtime_stop_on(rt, 0), -EINVAL);
    CHECK_EQ(weft_runtime_stop_on(rt, INT_MIN), -EINVAL);
    CHECK_EQ(weft_runtime_stop_on(rt, INT_MAX), -EINVAL);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGUSR1), 0); /* its claim went with the failure */
    rt_end(rt);
}

/* --- order of life --- */

WTEST(bad_input, start_twice_and_join_before_start) {
    rt = rt_create(1);
    CHECK_EQ(weft_runtime_join(rt), -EINVAL);
    CHECK_EQ(weft_runtime_start(rt), 0);
    CHECK_EQ(weft_runtime_start(rt), -EALREADY);
    CHECK_EQ(weft_runtime_run(rt), -EALREADY);
    rt_turns(weft_runtime_worker(rt, 0), 1); /* unimpressed */
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_EQ(weft_runtime_start(rt), -EALREADY);
    weft_runtime_destroy(rt);
}

/* --- watches and hooks --- */

static struct {
    int ends[2], file, result[32];
    unsigned count;
} answers;

static int watch_start(int fd, uint32_t events) {
    weft_watch *const untouched = (weft_watch *)&answers;
    weft_watch *watch = untouched;
    int r = weft_watch_start(worker, fd, events, count_watch, NULL, &watch);
    if (r < 0 && watch != untouched)
        abort();
    return r;
}

static void ask(int result) {
    answers.result[answers.count++] = result;
}

static void ask_watch(void *arg) {
    weft_watch *watch = NULL;
    (void)arg;
    ask(watch_start(-1, WEFT_READ));
    ask(watch_start(INT_MIN, 0));
    ask(watch_start(100000, WEFT_READ));
    ask(watch_start(100000, 0));
    ask(watch_start(answers.file, WEFT_READ));
    ask(watch_start(answers.file, 0));
    ask(watch_start(answers.ends[0], WEFT_TIMER));
    ask(watch_start(answers.ends[0], WEFT_READ | 1u << 20));
    ask(watch_start(answers.ends[0], WEFT_EDGE));
    ask(watch_start(answers.ends[0], WEFT_READ | WEFT_ONESHOT | WEFT_EXCLUSIVE));
    ask(weft_watch_start(worker, answers.ends[0], WEFT_READ, NULL, NULL, NULL));
    ask(watch_start(weft_selector_fd(weft_worker_selector(worker)), WEFT_READ));
    ask(weft_watch_start(worker, answers.ends[0], WEFT_READ, count_watch, NULL, &watch));
    ask(watch_start(answers.ends[0], WEFT_READ));
    ask(watch_start(answers.ends[0], 0));
    ask(weft_watch_update(watch, WEFT_USER));
    ask(weft_watch_update(watch, WEFT_ONESHOT));
    weft_watch_stop(watch);
}

WTEST(bad_input, watches) {
    const int expected[] = {-EBADF,  -EBADF,  -EBADF,  -EBADF,  -EPERM,  -EPERM,
                            -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
                            0,       -EEXIST, -EEXIST, -EINVAL, -EINVAL};
    begin();
    CHECK_EQ(pipe(answers.ends), 0);
    FILE *file = tmpfile();
    CHECK(file != NULL);
    answers.file = fileno(file);
    size_t entries = weft_selector_count(weft_worker_selector(worker));
    rt_call(worker, ask_watch, NULL);
    for (unsigned i = 0; i < array_length(expected); i++)
        CHECK_MSG(answers.result[i] == expected[i], "answer %u is %d, not %d", i, answers.result[i],
                  expected[i]);
    CHECK_EQ(answers.count, array_length(expected));
    CHECK_EQ(weft_selector_count(weft_worker_selector(worker)), entries);
    rt_end(rt);
    CHECK_EQ(runs, 0);
    fclose(file);
    close(answers.ends[0]);
    close(answers.ends[1]);
}

static void ask_hook(void *arg) {
    (void)arg;
    const uint32_t phases[] = {0, 8, WEFT_BEFORE_WAIT | WEFT_IDLE, UINT32_MAX};
    for (unsigned i = 0; i < array_length(phases); i++)
        ask(weft_hook_start(worker, phases[i], count, NULL, NULL));
    ask(weft_hook_start(worker, WEFT_IDLE, NULL, NULL, NULL));
}

WTEST(bad_input, hooks) {
    begin();
    rt_call(worker, ask_hook, NULL);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(answers.result[i], -EINVAL);
    rt_turns(worker, 2);
    rt_end(rt);
    CHECK_EQ(runs, 0);
}

/* --- on the wrong thread --- */

static void start_handles(void *arg) {
    void **handles = arg;
    weft_watch *watch = NULL;
    weft_hook *hook = NULL;
    if (weft_watch_start(worker, answers.ends[1], 0, count_watch, NULL, &watch) != 0 ||
        weft_hook_start(worker, WEFT_BEFORE_WAIT, count, NULL, &hook) != 0)
        abort();
    handles[0] = watch;
    handles[1] = hook;
}

/* Owner calls that can answer give -EPERM and log nothing; the others log both names. */
static void check_wrong_thread(weft_watch *watch, weft_hook *hook) {
    weft_timer timer = {.fn = count_timer};
    unsigned before = lines;
    CHECK_EQ(weft_watch_start(worker, answers.ends[0], WEFT_READ, count_watch, NULL, NULL), -EPERM);
    CHECK_EQ(weft_hook_start(worker, WEFT_IDLE, count, NULL, NULL), -EPERM);
    if (watch)
        CHECK_EQ(weft_watch_update(watch, WEFT_WRITE), -EPERM);
    CHECK_EQ(lines, before);
    weft_timer_start(worker, &timer, 0, 0);
    CHECK_EQ(lines, before + 1);
    CHECK(strstr(logged, "weft_timer_start") && strstr(logged, "weft-0"));
    weft_timer_start_at(worker, &timer, 1);
    CHECK(!weft_timer_is_pending(&timer));
    CHECK_EQ(lines, before + 2);
    if (watch) {
        weft_worker_set_data(worker, &timer); /* before start it is anybody's */
        CHECK(weft_worker_data(worker) == NULL);
        weft_watch_stop(watch);
        weft_hook_stop(hook);
        CHECK_EQ(lines, before + 5);
    }
}

WTEST(bad_input, owner_calls_on_another_thread) {
    void *handles[2];
    weft_set_log(keep_log, NULL);
    CHECK_EQ(pipe(answers.ends), 0);
    rt = rt_create(1);
    worker = weft_runtime_worker(rt, 0);
    check_wrong_thread(NULL, NULL); /* before start nobody is the owner */
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_call(worker, start_handles, handles);
    check_wrong_thread(handles[0], handles[1]);
    unsigned before = runs;
    rt_turns(worker, 3); /* the hook runs on, the watch is still there */
    CHECK(runs > before);
    CHECK(weft_selector_contains(weft_worker_selector(worker), answers.ends[1]));
    rt_end(rt);
    weft_set_log(NULL, NULL);
    close(answers.ends[0]);
    close(answers.ends[1]);
}

static void start_without_fn(void *arg) {
    weft_timer *timer = arg;
    weft_timer_start(worker, timer, 0, 0);
    weft_timer_start_at(worker, timer, 0);
    weft_timer_start(worker, NULL, 0, 0);
}

WTEST(bad_input, timer_without_function) {
    weft_timer timer = {0};
    weft_set_log(keep_log, NULL);
    begin();
    rt_call(worker, start_without_fn, &timer);
    rt_end(rt);
    CHECK_EQ(lines, 3);
    CHECK(!weft_timer_is_pending(&timer));
    weft_set_log(NULL, NULL);
}
