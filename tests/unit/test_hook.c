/* Hooks: where in the iteration they sit, in which order they run, and that none keeps the worker
 * awake. */
#include "rt.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* What happened, one letter each; the worker's, read after its end or in a call. */
static char trace[4096];
static size_t traced;

static void note(char letter) {
    if (traced < sizeof trace - 1)
        trace[traced++] = letter;
}

static void note_hook(void *arg) {
    note(*(const char *)arg);
}

static weft_hook *hook(uint32_t phase, void (*fn)(void *arg), void *arg) {
    weft_hook *h = NULL;
    if (weft_hook_start(worker, phase, fn, arg, &h) != 0)
        abort();
    return h;
}

static void clear_trace(void *arg) {
    (void)arg;
    memset(trace, 0, sizeof trace);
    traced = 0;
}

/* --- phases --- */

static void on_watch(weft_watch *watch, uint32_t events, void *arg) {
    char byte;
    (void)events;
    (void)arg;
    if (read(weft_watch_fd(watch), &byte, 1) == 1)
        note('w');
}

static void on_timer(weft_timer *timer) {
    (void)timer;
    note('m');
}

static void on_task(void *arg) {
    (void)arg;
    note('t');
}

static int ends[2];

static void all_sources(void *arg) {
    static weft_timer timer = {.fn = on_timer};
    (void)arg;
    weft_timer_start(worker, &timer, 0, 0);
    if (weft_post_fn(worker, on_task, NULL) != 0 || write(ends[1], "x", 1) != 1)
        abort();
    clear_trace(NULL);
}

static void all_phases(void *arg) {
    (void)arg;
    hook(WEFT_IDLE, note_hook, text("i"));
    hook(WEFT_BEFORE_WAIT, note_hook, text("b"));
    hook(WEFT_AFTER_WAIT, note_hook, text("a"));
    if (weft_watch_start(worker, ends[0], WEFT_READ, on_watch, NULL, NULL) != 0)
        abort();
}

WTEST(hook, phases_enclose_the_iteration) {
    CHECK_EQ(pipe(ends), 0);
    begin();
    rt_call(worker, all_phases, NULL);
    rt_call(worker, all_sources, NULL);
    rt_await_armed(worker);
    rt_turns(worker, 1);
    rt_end(rt);
    /* The rest of the iteration that set it up, the one that has everything, and the sleep. */
    CHECK_MSG(strncmp(trace, "bawtmbia", 8) == 0, "%s", trace);
    close(ends[0]);
    close(ends[1]);
}

/* --- order --- */

static void start_abc(void *arg) {
    uint32_t phase = *(uint32_t *)arg;
    hook(phase, note_hook, text("1"));
    hook(phase, note_hook, text("2"));
    hook(phase, note_hook, text("3"));
}

static const uint32_t phases[] = {WEFT_BEFORE_WAIT, WEFT_AFTER_WAIT, WEFT_IDLE};

static void check_repeats(const char *pattern) {
    size_t length = strlen(pattern), rounds = 0;
    const char *p = trace;
    for (; strncmp(p, pattern, length) == 0; p += length)
        rounds++;
    CHECK_MSG(*p == 0 && rounds > 0, "not \"%s\" again and again: %s", pattern, trace);
}

WTEST(hook, run_in_start_order_in_every_phase) {
    for (unsigned i = 0; i < array_length(phases); i++) {
        uint32_t phase = phases[i];
        begin();
        rt_call(worker, start_abc, &phase);
        for (int turns = 0; turns < 5; turns++) {
            rt_await_armed(worker);
            rt_turns(worker, 1);
        }
        rt_end(rt);
        check_repeats("123");
        clear_trace(NULL);
    }
}

static bool added;

static void add_another(void *arg) {
    note_hook(arg);
    if (!added)
        hook(WEFT_BEFORE_WAIT, note_hook, text("+"));
    added = true;
}

static void start_adding(void *arg) {
    (void)arg;
    hook(WEFT_BEFORE_WAIT, note_hook, text("1"));
    hook(WEFT_BEFORE_WAIT, add_another, text("2"));
    hook(WEFT_BEFORE_WAIT, note_hook, text("3"));
}

WTEST(hook, added_by_a_hook_runs_from_the_next_iteration_on_and_last) {
    begin();
    rt_call(worker, start_adding, NULL);
    rt_turns(worker, 5);
    rt_end(rt);
    CHECK_MSG(strncmp(trace, "123123+123+", 11) == 0, "%s", trace);
}

/* --- stop --- */

static weft_hook *hooks[4];

static void stop_self(void *arg) {
    note_hook(arg);
    weft_hook_stop(hooks[1]);
}

static void start_stopping_self(void *arg) {
    (void)arg;
    hooks[0] = hook(WEFT_AFTER_WAIT, note_hook, text("1"));
    hooks[1] = hook(WEFT_AFTER_WAIT, stop_self, text("2"));
    hooks[2] = hook(WEFT_AFTER_WAIT, note_hook, text("3"));
}

WTEST(hook, may_stop_itself) {
    begin();
    rt_call(worker, start_stopping_self, NULL);
    rt_turns(worker, 4);
    rt_end(rt);
    CHECK_MSG(strncmp(trace, "123131313", 7) == 0, "%s", trace);
}

static void stop_neighbours(void *arg) {
    note_hook(arg);
    weft_hook_stop(hooks[0]);
    weft_hook_stop(hooks[2]);
    hooks[0] = hooks[2] = NULL; /* from now on: nothing, which is ignored */
}

static void start_stopping_neighbours(void *arg) {
    (void)arg;
    hooks[0] = hook(WEFT_BEFORE_WAIT, note_hook, text("1"));
    hooks[1] = hook(WEFT_BEFORE_WAIT, stop_neighbours, text("2"));
    hooks[2] = hook(WEFT_BEFORE_WAIT, note_hook, text("3"));
    hooks[3] = hook(WEFT_BEFORE_WAIT, note_hook, text("4"));
}

WTEST(hook, may_stop_those_before_and_behind_it) {
    begin();
    rt_call(worker, start_stopping_neighbours, NULL);
    rt_turns(worker, 3);
    rt_end(rt);
    CHECK_MSG(strncmp(trace, "1242424", 7) == 0, "%s", trace);
}

static void stop_from_task(void *arg) {
    (void)arg;
    for (int i = 0; i < 3; i++)
        weft_hook_stop(hooks[i]);
    clear_trace(NULL);
}

static void start_three_phases(void *arg) {
    (void)arg;
    for (int i = 0; i < 3; i++)
        hooks[i] = hook(phases[i], note_hook, text("x"));
}

WTEST(hook, stopped_from_outside_a_hook_is_not_called_again) {
    begin();
    rt_call(worker, start_three_phases, NULL);
    rt_turns(worker, 3);
    rt_call(worker, stop_from_task, NULL);
    rt_turns(worker, 3);
    rt_end(rt);
    CHECK_STR(trace, "");
}

/* --- sleep --- */

static _Atomic unsigned idles;

static void count_idle(void *arg) {
    (void)arg;
    idles++;
}

static void start_everything(void *arg) {
    (void)arg;
    hook(WEFT_BEFORE_WAIT, note_hook, text("b"));
    hook(WEFT_AFTER_WAIT, note_hook, text("a"));
    hook(WEFT_IDLE, count_idle, NULL);
}

WTEST(hook, keeps_no_worker_awake) {
    begin();
    rt_call(worker, start_everything, NULL);
    rt_turns(worker, 2);
    uint64_t before = rt_stats(worker).iterations;
    rt_turns(worker, 10);
    rt_await_armed(worker);
    CHECK(rt_stats(worker).iterations - before <= 11);
    rt_end(rt);
}

static _Atomic bool busy_over;
static _Atomic unsigned busy_turns;
static unsigned idles_before_busy, idles_after_busy;

static void stay_busy(weft_timer *timer) {
    if (busy_turns++ == 0)
        idles_before_busy = idles;
    idles_after_busy = idles;
    if (!busy_over)
        weft_timer_start(worker, timer, 0, 0);
}

static void start_busy(void *arg) {
    static weft_timer timer = {.fn = stay_busy};
    (void)arg;
    hook(WEFT_IDLE, count_idle, NULL);
    weft_timer_start(worker, &timer, 0, 0);
}

WTEST(hook, idle_runs_only_before_a_wait_that_may_block) {
    begin();
    rt_call(worker, start_busy, NULL);
    rt_await(&busy_turns, 500);
    busy_over = true;
    rt_turns(worker, 2);
    rt_await_armed(worker);
    CHECK_EQ(idles_after_busy, idles_before_busy);
    CHECK(idles > idles_after_busy);
    rt_end(rt);
}

static unsigned idle_posts;
static _Atomic unsigned idle_tasks;

static void idle_task(void *arg) {
    (void)arg;
    idle_tasks++;
}

static void post_when_idle(void *arg) {
    (void)arg;
    if (idle_posts < 100 && weft_post_fn(worker, idle_task, NULL) == 0)
        idle_posts++;
}

static void start_posting(void *arg) {
    (void)arg;
    hook(WEFT_IDLE, post_when_idle, NULL);
}

WTEST(hook, work_made_by_an_idle_hook_is_done_before_the_sleep) {
    begin();
    rt_call(worker, start_posting, NULL);
    rt_await(&idle_tasks, 100); /* nobody else wakes the worker */
    rt_end(rt);
}

static void fail_start(void *arg) {
    weft_hook *untouched = (weft_hook *)arg;
    fault_arm_call(OS_ALLOC, 1);
    int r = weft_hook_start(worker, WEFT_IDLE, note_hook, text("x"), &untouched);
    if (fault_disarm() != -ENOMEM || r != -ENOMEM || untouched != (weft_hook *)arg)
        abort();
}

WTEST(hook, without_memory_nothing_is_started) {
    int here;
    fault_begin();
    begin();
    rt_call(worker, fail_start, &here);
    rt_turns(worker, 2);
    rt_end(rt);
    CHECK_STR(trace, "");
}
