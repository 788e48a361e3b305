/* Kernels and sandboxes that refuse pidfds: SIGCHLD does their work, or, where the program does not
 * let weft have it, the clock. Each test runs for each way to be refused and each stand-in. */
#include "log_keeper.h"
#include "process_fixture.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#define EACH_WAY(name)                                                                             \
    static void name(void);                                                                        \
    WTEST(process_by_sigchld, name) {                                                              \
        refuse_pidfds(-ENOSYS, true);                                                              \
        name();                                                                                    \
    }                                                                                              \
    WTEST(process_by_clock, name) {                                                                \
        refuse_pidfds(-EPERM, false);                                                              \
        name();                                                                                    \
    }                                                                                              \
    static void name(void)

static weft_runtime *rt;
static weft_worker *worker;
static bool by_signal;

static void refuse_pidfds(int error, bool sigchld) {
    refused_calls[OS_PIDFD_OPEN] = error;
    refuse_calls();
    by_signal = sigchld;
    log_keep();
}

static void begin_with(unsigned workers) {
    static const int numbers[] = {SIGCHLD, 0};
    const weft_runtime_options options = {.workers = workers,
                                          .signals = by_signal ? numbers : NULL};
    rt = rt_start_with(&options);
    worker = weft_runtime_worker(rt, 0);
}

static void begin(void) {
    begin_with(1);
}

/* It says so once, if it has to go by the clock. */
static void end(void) {
    rt_end(rt);
    CHECK_EQ(log_count("cannot be waited for by its pidfd"), by_signal ? 0 : 1);
}

EACH_WAY(one_after_the_other) {
    static const int endings[] = {0, 7, -SIGKILL, -SIGTERM};
    begin();
    for (size_t i = 0; i < array_length(endings); i++) {
        struct child c;
        struct watched seen = {0};
        int fds = open_fd_count();
        child_make(&c, endings[i]);
        watched_begin(&seen, worker, c.pid);
        /* The gate, and at first the signalfd: there is no pidfd. */
        CHECK_EQ(open_fd_count(), fds + 1 + (by_signal && i == 0));
        child_let_go(&c);
        watched_expect(&seen, endings[i] < 0 ? CLD_KILLED : CLD_EXITED, abs(endings[i]));
        CHECK(!is_ours(c.pid));
    }
    end();
}

EACH_WAY(dead_before_the_watch) {
    begin();
    for (int i = 0; i < 3; i++) {
        struct child c;
        struct watched seen = {0};
        child_make(&c, i);
        child_let_go(&c);
        await_dead(c.pid);
        sentinel_turn(rt); /* its SIGCHLD has come and gone */
        watched_begin(&seen, worker, c.pid);
        watched_expect(&seen, CLD_EXITED, i);
    }
    end();
}

EACH_WAY(many_at_once_on_four_workers) {
    enum { WORKERS = 4, COUNT = 200 };
    static struct child children[COUNT];
    static struct watched seen[COUNT];
    struct sentinel_hold hold;
    const int count = wtest_slowdown() > 1 ? COUNT / 4 : COUNT;
    begin_with(WORKERS);
    for (int i = 0; i < count; i++) {
        child_make(&children[i], i);
        watched_begin(&seen[i], weft_runtime_worker(rt, (unsigned)i % WORKERS), children[i].pid);
    }
    sentinel_hold_begin(&hold, rt);
    for (int i = 0; i < count; i++)
        child_let_go(&children[i]);
    for (int i = 0; i < count; i++)
        await_dead(children[i].pid);
    sentinel_hold_end(&hold);
    for (int i = 0; i < count; i++)
        watched_expect(&seen[i], CLD_EXITED, i);
    no_children_left();
    end();
}

EACH_WAY(spawned_ones) {
    struct watched seen[20] = {0}, failed = {0};
    const weft_spawn_options options = {.file = "true"}, missing = {.file = "/no/such/program"};
    skip_where_spawn_is_impossible();
    begin();
    int fds = open_fd_count();
    for (size_t i = 0; i < array_length(seen); i++) {
        watched_spawn(&seen[i], worker, &options);
        CHECK_EQ(watched_try_spawn(&failed, worker, &missing), -ENOENT);
    }
    CHECK_EQ(open_fd_count(), fds + by_signal); /* a signalfd for all of them */
    for (size_t i = 0; i < array_length(seen); i++)
        watched_expect(&seen[i], CLD_EXITED, 0);
    no_children_left();
    end();
}

EACH_WAY(stopped_ones_are_the_callers) {
    struct child children[3];
    struct watched seen[3] = {0};
    begin();
    for (int i = 0; i < 3; i++) {
        child_make(&children[i], i);
        watched_begin(&seen[i], worker, children[i].pid);
    }
    watched_stop(&seen[0]);
    for (int i = 0; i < 3; i++)
        child_let_go(&children[i]);
    watched_expect(&seen[1], CLD_EXITED, 1);
    watched_expect(&seen[2], CLD_EXITED, 2);
    sentinel_turn(rt);
    child_reap(&children[0], 0);
    CHECK_EQ(seen[0].calls, 0);
    end();
}

static struct child reaped_child;

static void stop_the_reaped(void *arg) {
    struct watched *c = arg;
    child_let_go_and_await_reaped(&reaped_child);
    c->kill_result = weft_process_kill(c->process, SIGTERM);
    weft_process_stop(c->process);
}

EACH_WAY(stopped_while_the_status_is_on_its_way) {
    struct watched seen = {0};
    begin();
    child_make(&reaped_child, 1);
    watched_begin(&seen, worker, reaped_child.pid);
    rt_call(worker, stop_the_reaped, &seen);
    CHECK_EQ(seen.kill_result, -ESRCH);
    sentinel_turn(rt);
    rt_turns(worker, 1);
    CHECK_EQ(seen.calls, 0);
    end();
}

EACH_WAY(killed_ones) {
    struct child c;
    struct watched seen = {0};
    begin();
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    CHECK_EQ(watched_kill(&seen, 0), 0);
    CHECK_EQ(watched_kill(&seen, 1000), -EINVAL);
    CHECK_EQ(watched_kill(&seen, SIGTERM), 0);
    watched_expect(&seen, CLD_KILLED, SIGTERM);
    end();
}

EACH_WAY(stolen_ones) {
    struct child children[5];
    struct watched seen[5] = {0};
    struct sentinel_hold hold;
    begin();
    for (int i = 0; i < 5; i++) {
        child_make(&children[i], i);
        watched_begin(&seen[i], worker, children[i].pid);
    }
    sentinel_hold_begin(&hold, rt);
    for (int i = 0; i < 5; i++) {
        child_let_go(&children[i]);
        if (i != 2)
            child_reap(&children[i], i << 8);
    }
    sentinel_hold_end(&hold);
    for (int i = 0; i < 5; i++) {
        watched_await(&seen[i]);
        if (i == 2)
            watched_check(&seen[i], CLD_EXITED, 2);
        else
            watched_check_stolen(&seen[i]);
    }
    CHECK_EQ(log_count("somebody else has waited"), 1);
    end();
}

EACH_WAY(others_children_are_left_alone) {
    struct child theirs[10], ours;
    struct watched seen = {0};
    begin();
    for (int i = 0; i < 10; i++)
        child_make(&theirs[i], i);
    child_make(&ours, 10);
    watched_begin(&seen, worker, ours.pid);
    for (int i = 0; i < 10; i++)
        child_let_go(&theirs[i]);
    child_let_go(&ours);
    watched_expect(&seen, CLD_EXITED, 10);
    for (int i = 0; i < 10; i++)
        child_reap(&theirs[i], i << 8);
    end();
}

EACH_WAY(left_ones_are_told_of_the_runtimes_end) {
    struct child children[4];
    struct watched seen[4] = {0};
    begin_with(2);
    for (unsigned i = 0; i < 4; i++) {
        child_make(&children[i], 0);
        watched_begin(&seen[i], weft_runtime_worker(rt, i % 2), children[i].pid);
    }
    end();
    for (int i = 0; i < 4; i++) {
        watched_check_abandoned(&seen[i]);
        CHECK(!is_dead(children[i].pid));
        child_let_go(&children[i]);
        child_reap(&children[i], 0);
    }
}

static void check_answer(pid_t pid, int expected) {
    struct watched seen = {0};
    CHECK_EQ(watched_try(&seen, worker, pid), expected);
}

static pid_t workers_thread;

static void find_thread(void *arg) {
    (void)arg;
    workers_thread = os_thread_id();
}

/* As with pidfds. */
EACH_WAY(refusals_are_the_same) {
    struct child c;
    struct watched seen = {0};
    by_signal = true; /* nothing is watched that would be worth a word */
    begin();
    child_make(&c, 0);
    child_let_go(&c);
    child_reap(&c, 0);
    check_answer(c.pid, -ESRCH);
    check_answer(1, -ECHILD);
    check_answer(getpid(), -ECHILD);
    check_answer(0, -EINVAL);
    rt_call(worker, find_thread, NULL);
    check_answer(workers_thread, -EINVAL);
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    check_answer(c.pid, -EEXIST);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0);
    end();
}

/* --- the clock --- */

static _Atomic bool clock_goes;
static sem_t looked;

/* On the sentinel's thread, whose the alarm is. */
static void look_at_clock(weft_task *task) {
    (void)task;
    clock_goes = !list_is_empty(&rt->children.sweep_alarm.link);
    sem_post(&looked);
}

static void await_stopped_clock(void) {
    static weft_task task;
    uint64_t deadline_ns = now_ns() + 20 * NSEC_PER_SEC;
    do {
        CHECK_MSG(now_ns() < deadline_ns, "the clock goes on without children");
        sentinel_tell(rt, &task, look_at_clock);
        sem_await(&looked);
    } while (clock_goes);
}

/* It stops with the last child, and goes on with the next. */
WTEST(process_by_clock, stands_still_without_children) {
    refuse_pidfds(-ENOSYS, false);
    sem_make(&looked);
    begin();
    for (int i = 0; i < 3; i++) {
        struct child c;
        struct watched seen = {0};
        child_make(&c, i);
        watched_begin(&seen, worker, c.pid);
        child_let_go(&c);
        watched_expect(&seen, CLD_EXITED, i);
        await_stopped_clock();
        rt_await_asleep(rt);
    }
    end();
}

/* Another runtime has it, or the program leaves it unblocked. */
WTEST(process_by_clock, goes_where_another_runtime_has_sigchld) {
    struct child c;
    struct watched seen = {0};
    const int numbers[] = {SIGCHLD, 0};
    const weft_runtime_options options = {.workers = 1, .signals = numbers};
    refuse_pidfds(-ENOSYS, false);
    weft_runtime *other = rt_start_with(&options);
    begin();
    child_make(&c, 3);
    watched_begin(&seen, worker, c.pid);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 3);
    end();
    rt_end(other);
}

/* The program watches it as well: both are told. */
static _Atomic unsigned sigchlds;
static weft_signal *watch_of_sigchld;

static void sigchld_came(const struct signalfd_siginfo *info, void *arg) {
    (void)arg;
    sigchlds += info->ssi_signo == SIGCHLD;
}

static void watch_sigchld(void *arg) {
    (void)arg;
    if (weft_signal_watch(worker, SIGCHLD, sigchld_came, NULL, &watch_of_sigchld) != 0)
        abort();
}

static void stop_watch_of_sigchld(void *arg) {
    (void)arg;
    weft_signal_stop(watch_of_sigchld);
}

WTEST(process_by_sigchld, shares_it_with_the_program) {
    refuse_pidfds(-ENOSYS, true);
    begin();
    for (int i = 0; i < 3; i++) {
        struct child c;
        struct watched seen = {0};
        if (i == 1)
            rt_call(worker, watch_sigchld, NULL);
        if (i == 2)
            rt_call(worker, stop_watch_of_sigchld, NULL);
        child_make(&c, i);
        watched_begin(&seen, worker, c.pid);
        child_let_go(&c);
        watched_expect(&seen, CLD_EXITED, i);
        if (i == 1)
            rt_await(&sigchlds, 1);
    }
    end();
}
