/* What the sentinel hands to workers, under the deterministic scheduler: signals on their way to a
 * watch that is stopped, children that end while their handle is stopped and while the runtime
 * stops, and the watchdog that falls asleep while a worker wakes. The threads of a runtime are
 * threads of the schedule; signals and children are the kernel's, but both are ready before anybody
 * looks, so that a seed says all. */
#include "runtime/processes.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <weft.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 2, SIGNALS = 5, CHILDREN = 3, SCHEDULES = 3400 };

static weft_runtime *rt;

static void post_to(unsigned index, weft_task *task) {
    SCHED_CHECK(weft_post(weft_runtime_worker(rt, index), task) == 0);
}

/* --- signals -------------------------------------------------------------------------------------
 */

static struct {
    weft_task start[WORKERS], stop;
    weft_signal *handles[WORKERS];
    unsigned started;
    int seen[WORKERS][SIGNALS];
    unsigned count[WORKERS];
    bool stopped; /* that of worker 0 */
    unsigned after_stop;
} sig;

/* The runtime stops when the watch that goes on has had all of them. */
static void signal_seen(const struct signalfd_siginfo *info, void *arg) {
    unsigned i = weft_worker_index(weft_worker_current());
    (void)arg;
    sig.after_stop += i == 0 && sig.stopped;
    SCHED_CHECK(sig.count[i] < SIGNALS);
    sig.seen[i][sig.count[i]++] = info->ssi_int;
    if (sig.count[1] == SIGNALS)
        weft_runtime_stop(rt);
}

static void stop_watch(weft_task *task) {
    (void)task;
    weft_signal_stop(sig.handles[0]);
    sig.stopped = true;
}

/* Whoever starts the second watch sends, and somewhere in between has the first one stopped. */
static void send_signals(void) {
    uint64_t stop_at = sched_random(SIGNALS + 1);
    sig.stop.run = stop_watch;
    for (unsigned i = 0; i <= SIGNALS; i++) {
        if (i == stop_at)
            post_to(0, &sig.stop);
        sched_step();
        const union sigval value = {.sival_int = (int)i};
        if (i < SIGNALS)
            SCHED_CHECK(sigqueue(getpid(), SIGRTMIN, value) == 0);
    }
}

static void start_watch(weft_task *task) {
    unsigned i = weft_worker_index(weft_worker_current());
    (void)task;
    SCHED_CHECK(weft_signal_watch(weft_worker_current(), SIGRTMIN, signal_seen, NULL,
                                  &sig.handles[i]) == 0);
    if (++sig.started == WORKERS)
        send_signals();
}

static void play_signals(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < WORKERS; i++) {
        sig.start[i].run = start_watch;
        post_to(i, &sig.start[i]);
    }
}

static void setup_signals(uint64_t seed) {
    (void)seed;
    const int numbers[] = {SIGRTMIN, 0};
    memset(&sig, 0, sizeof sig);
    rt =
        sched_runtime_create(&(const weft_runtime_options){.workers = WORKERS, .signals = numbers});
    sched_spawn("player", play_signals, NULL);
}

static const char *verdict_signals(void) {
    const char *wrong = NULL;
    for (int i = 0; i < SIGNALS; i++)
        if (sig.seen[1][i] != i)
            wrong = "a signal was lost, doubled or overtaken";
    if (sig.after_stop)
        wrong = "a watch was called after its stop";
    return sched_runtime_destroy(rt, wrong);
}

WTEST(sentinel_sched, a_stopped_watch_is_not_called_and_the_other_has_every_signal) {
    static const struct sched_test test = {"signals", setup_signals, verdict_signals};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- children ------------------------------------------------------------------------------------
 */

static struct {
    pid_t pids[CHILDREN];
    weft_process *handles[CHILDREN];
    weft_task watch, stop;
    unsigned calls[CHILDREN], nulls[CHILDREN];
    bool stopped; /* the handle of child 0 */
    unsigned after_stop;
} kin;

static void child_seen(weft_process *process, const siginfo_t *info, void *arg) {
    unsigned i = (unsigned)(uintptr_t)arg;
    SCHED_CHECK(weft_process_pid(process) == kin.pids[i]);
    SCHED_CHECK(!info || (info->si_pid == kin.pids[i] && info->si_status == (int)i));
    kin.calls[i]++;
    kin.nulls[i] += info == NULL;
    kin.after_stop += i == 0 && kin.stopped;
}

static void watch_children(weft_task *task) {
    (void)task;
    for (uintptr_t i = 0; i < CHILDREN; i++)
        SCHED_CHECK(weft_process_watch(weft_worker_current(), kin.pids[i], child_seen, (void *)i,
                                       &kin.handles[i]) == 0);
}

static void stop_child(weft_task *task) {
    (void)task;
    if (kin.calls[0] > 0)
        return; /* its handle has ended */
    weft_process_stop(kin.handles[0]);
    kin.stopped = true;
}

/* The last two race with the sentinel's end, whichever way it goes. */
static void play_children(void *arg) {
    (void)arg;
    kin.watch.run = watch_children;
    kin.stop.run = stop_child;
    post_to(0, &kin.watch);
    if (weft_post(weft_runtime_worker(rt, 0), &kin.stop) < 0)
        sched_fail("refused before the stop");
    sched_step();
    weft_runtime_stop(rt);
}

static void setup_children(uint64_t seed) {
    (void)seed;
    memset(&kin, 0, sizeof kin);
    for (int i = 0; i < CHILDREN; i++) {
        kin.pids[i] = vfork();
        if (kin.pids[i] == 0)
            _exit(i);
        siginfo_t info; /* dead, and not reaped */
        if (kin.pids[i] < 0 || waitid(P_PID, (id_t)kin.pids[i], &info, WEXITED | WNOWAIT) < 0)
            abort();
    }
    rt = sched_runtime_create(&(const weft_runtime_options){.workers = WORKERS});
    sched_spawn("player", play_children, NULL);
}

/* Whoever's it is: reaped by weft if fn had a status or the stop came too late for that, else by us
 * now; never by both. */
static const char *verdict_children(void) {
    const char *wrong = NULL;
    for (int i = 0; i < CHILDREN; i++) {
        bool has_status = kin.calls[i] > kin.nulls[i], stopped = i == 0 && kin.stopped;
        bool ours = waitpid(kin.pids[i], NULL, WNOHANG) == kin.pids[i];
        if (kin.calls[i] != (stopped ? 0u : 1u))
            wrong = "a child's function was not called once";
        else if (!stopped && has_status == ours)
            wrong = "a child was reaped twice or not at all";
    }
    if (kin.after_stop)
        wrong = "a handle was called after its stop";
    return sched_runtime_destroy(rt, wrong);
}

WTEST(sentinel_sched, a_child_is_told_of_once_or_was_stopped_through_any_stop) {
    static const struct sched_test test = {"children", setup_children, verdict_children};
    CHECK(sched_explore(&test, SCHEDULES / 2));
}

/* --- the watchdog --------------------------------------------------------------------------------
 */

enum { STALLS = 8 };

static struct {
    weft_task start[WORKERS], tasks[STALLS];
    int fds[WORKERS]; /* eventfds, watched */
    unsigned started, noticed;
    uint64_t stalls; /* of the worker who is to stall next, before */
} dog;

/* Time passes for the sentinel whenever it waits, also while others stand still half-way. */
static int let_time_pass(enum os_call call) {
    if (call != OS_EPOLL_WAIT || strcmp(sched_self(), "sentinel") != 0)
        return 0;
    clock_test_ns += WEFT_MSEC(1);
    return sched_random(16) ? -EINTR : 0;
}

static void post_stall(void);

/* Does not end until it was noticed; then there is another, or the stop. */
static void stall(void) {
    const weft_worker *w = weft_worker_current();
    _Atomic uint32_t nobody = 0;
    while (stat_read(&w->stalls) == dog.stalls)
        (void)os_futex_wait(&nobody, 0);
    if (++dog.noticed < STALLS)
        post_stall();
    else
        weft_runtime_stop(rt);
}

static void stall_in_task(weft_task *task) {
    (void)task;
    stall();
}

static void stall_in_watch(weft_watch *watch, uint32_t events, void *arg) {
    uint64_t count;
    (void)events;
    (void)arg;
    if (os_read(weft_watch_fd(watch), &count, sizeof count) == sizeof count)
        stall();
}

/* A task, which takes ARMED from the queue, or an fd, which leaves it. All of them may have fallen
 * asleep by then, or be about to. */
static void post_stall(void) {
    static const uint64_t one = 1;
    unsigned to = (unsigned)sched_random(WORKERS);
    weft_task *task = &dog.tasks[dog.noticed];
    dog.stalls = stat_read(&weft_runtime_worker(rt, to)->stalls);
    task->run = stall_in_task;
    if (sched_random(4) == 0)
        post_to(to, task);
    else
        SCHED_CHECK(os_write(dog.fds[to], &one, sizeof one) == sizeof one);
}

static void start_watching(weft_task *task) {
    weft_worker *w = weft_worker_current();
    (void)task;
    SCHED_CHECK(weft_watch_start(w, dog.fds[weft_worker_index(w)], WEFT_READ, stall_in_watch, NULL,
                                 NULL) == 0);
    dog.started++;
}

static void play_stalls(void *arg) {
    _Atomic uint32_t nobody = 0;
    (void)arg;
    for (unsigned i = 0; i < WORKERS; i++) {
        dog.start[i].run = start_watching;
        post_to(i, &dog.start[i]);
    }
    while (dog.started < WORKERS)
        (void)os_futex_wait(&nobody, 0);
    for (uint64_t pause = sched_random(200); pause > 0; pause--)
        sched_step();
    post_stall();
}

static void run_timely_sentinel(void *arg) {
    sched_may_time_out(true);
    sentinel_run(arg);
}

static void setup_watchdog(uint64_t seed) {
    (void)seed;
    memset(&dog, 0, sizeof dog);
    clock_test_ns = WEFT_SEC(1);
    for (unsigned i = 0; i < WORKERS; i++)
        dog.fds[i] = os_eventfd();
    sched_on_call(let_time_pass);
    rt = sched_runtime_make(&(const weft_runtime_options){
        .workers = WORKERS, .stall_ns = WEFT_MSEC(4)}); /* a look each millisecond */
    sched_runtime_spawn_workers(rt);
    sched_spawn("sentinel", run_timely_sentinel, rt);
    sched_spawn("player", play_stalls, NULL);
}

static const char *verdict_watchdog(void) {
    const char *wrong = dog.noticed == STALLS ? NULL : "a stall was not noticed";
    sched_on_call(NULL);
    clock_test_ns = 0;
    wrong = sched_runtime_destroy(rt, wrong);
    for (unsigned i = 0; i < WORKERS; i++)
        os_close(dog.fds[i]);
    return wrong;
}

static void hush(int level, const char *message, void *arg) {
    (void)level;
    (void)message;
    (void)arg;
}

WTEST(sentinel_sched, whoever_wakes_while_the_watchdog_falls_asleep_is_seen) {
    static const struct sched_test test = {"watchdog", setup_watchdog, verdict_watchdog};
    weft_set_log(hush, NULL);
    CHECK(sched_explore(&test, SCHEDULES / 3));
}
