/* Children that are watched: each end is told once, with the status, on the worker that asked. */
#include "process_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

WTEST(process, tells_status_of_an_exit_and_of_a_signal_once) {
    static const int endings[] = {0, 1, 7, 255, -SIGKILL, -SIGTERM, -SIGUSR1, -SIGALRM};
    begin();
    for (size_t i = 0; i < array_length(endings); i++) {
        struct child c;
        struct watched seen = {0};
        child_make(&c, endings[i]);
        watched_begin(&seen, worker, c.pid);
        CHECK_EQ(seen.calls, 0);
        child_let_go(&c);
        watched_expect(&seen, endings[i] < 0 ? CLD_KILLED : CLD_EXITED, abs(endings[i]));
        CHECK(!is_ours(c.pid)); /* it was reaped */
        rt_turns(worker, 2);
        CHECK_EQ(seen.calls, 1);
    }
    rt_end(rt);
}

static pid_t told_pid;

static void tell_pid(weft_process *process, const siginfo_t *info, void *arg) {
    if (info)
        told_pid = weft_process_pid(process);
    atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

static _Atomic unsigned tellings;

static void watch_without_handle(void *arg) {
    if (weft_process_watch(worker, *(pid_t *)arg, tell_pid, &tellings, NULL) != 0)
        abort();
}

WTEST(process, fn_gets_the_handle_that_nobody_asked_for) {
    struct child c;
    begin();
    child_make(&c, 0);
    rt_call(worker, watch_without_handle, &c.pid);
    child_let_go(&c);
    rt_await(&tellings, 1);
    CHECK_EQ(told_pid, c.pid);
    rt_end(rt);
    CHECK_EQ(tellings, 1);
}

/* What waitid(2) says of the same end of another: whether there is a core depends on the system. */
WTEST(process, tells_of_a_core) {
    char directory[] = "/tmp/weft-core-XXXXXX", command[64];
    struct watched seen = {0};
    siginfo_t info;
    skip_where_spawn_is_impossible();
    CHECK(mkdtemp(directory) != NULL);
    const weft_spawn_options options = {SHELL("ulimit -c unlimited; kill -QUIT $$"),
                                        .cwd = directory};
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(directory) == 0)
            execv("/bin/sh", options.argv);
        _exit(99);
    }
    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED), 0);
    CHECK(info.si_code != CLD_EXITED);
    begin();
    watched_spawn(&seen, worker, &options);
    watched_expect(&seen, info.si_code, SIGQUIT);
    rt_end(rt);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    CHECK_EQ(system(command), 0);
}

WTEST(process, child_dead_before_the_watch) {
    struct child c;
    struct watched seen = {0};
    begin();
    child_make(&c, 3);
    child_let_go(&c);
    await_dead(c.pid);
    watched_begin(&seen, worker, c.pid);
    watched_expect(&seen, CLD_EXITED, 3);
    rt_end(rt);
    no_children_left();
}

/* fn looks at this: it runs on the same thread. */
static struct watched dead_one;

static void watch_and_linger(void *arg) {
    pid_t pid = *(pid_t *)arg;
    if (watched_try_here(&dead_one, pid) != 0)
        abort();
    dead_one.in_call = true;
    await_reaped(pid); /* the status is on its way */
    for (int i = 0; i < 100; i++)
        sched_yield();
    dead_one.in_call = false;
}

WTEST(process, is_told_of_in_a_later_iteration) {
    struct child c;
    begin();
    child_make(&c, 3);
    child_let_go(&c);
    await_dead(c.pid);
    rt_call(worker, watch_and_linger, &c.pid);
    watched_expect(&dead_one, CLD_EXITED, 3);
    rt_end(rt);
}

WTEST(process, pid_is_told_to_any_thread) {
    struct child c;
    struct watched seen = {0};
    begin();
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    CHECK_EQ(weft_process_pid(seen.process), c.pid);
    CHECK_EQ(weft_process_pid(NULL), -EINVAL);
    rt_turns(worker, 1); /* so that all may see: the handle ends behind this */
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0);
    rt_end(rt);
}

WTEST(process, four_workers_each_learn_of_their_own) {
    enum { WORKERS = 4, EACH = 200 };
    static struct child children[WORKERS * EACH];
    static struct watched seen[WORKERS * EACH];
    const int count = WORKERS * EACH / (wtest_slowdown() > 1 ? 4 : 1);
    rt = rt_start(WORKERS);
    for (int i = 0; i < count; i++) {
        child_make(&children[i], i % 200);
        watched_begin(&seen[i], weft_runtime_worker(rt, (unsigned)i % WORKERS), children[i].pid);
    }
    for (int i = 0; i < count; i++)
        child_let_go(&children[i]);
    for (int i = 0; i < count; i++) {
        watched_expect(&seen[i], CLD_EXITED, i % 200);
        CHECK(seen[i].worker == weft_runtime_worker(rt, (unsigned)i % WORKERS));
    }
    no_children_left();
    rt_end(rt);
}

WTEST(process, exits_while_the_sentinel_stands_still_are_not_lost) {
    skip_without_pidfds();
    enum { COUNT = 500 };
    static struct child children[COUNT];
    static struct watched seen[COUNT];
    struct sentinel_hold hold;
    const int count = wtest_slowdown() > 1 ? COUNT / 4 : COUNT;
    begin();
    int fds = open_fd_count();
    for (int i = 0; i < count; i++) {
        child_make(&children[i], i % 256);
        watched_begin(&seen[i], worker, children[i].pid);
    }
    CHECK_EQ(open_fd_count(), fds + 2 * count); /* the gate, the pidfd */
    sentinel_hold_begin(&hold, rt);
    for (int i = 0; i < count; i++)
        child_let_go(&children[i]);
    for (int i = 0; i < count; i++)
        await_dead(children[i].pid);
    for (int i = 0; i < count; i++)
        CHECK_EQ(seen[i].calls, 0);
    sentinel_hold_end(&hold);
    for (int i = 0; i < count; i++)
        watched_expect(&seen[i], CLD_EXITED, i % 256);
    rt_turns(worker, 1); /* out of the last fn, whose handle goes after it */
    CHECK_EQ(open_fd_count(), fds);
    no_children_left();
    rt_end(rt);
}

/* Each has the memory, and sooner or later the place among the pids, of one before it. */
WTEST(process, hundreds_one_after_the_other) {
    begin();
    for (int i = 0; i < 300; i++) {
        struct child c;
        struct watched seen = {0};
        child_make(&c, i % 256);
        watched_begin(&seen, worker, c.pid);
        child_let_go(&c);
        watched_expect(&seen, CLD_EXITED, i % 256);
        rt_turns(worker, 1);
    }
    rt_end(rt);
}

WTEST(process, pidfd_goes_with_the_handle) {
    skip_without_pidfds();
    struct child c;
    struct watched seen = {0};
    begin();
    int fds = open_fd_count();
    child_make(&c, 0);
    CHECK_EQ(open_fd_count(), fds + 1);
    watched_begin(&seen, worker, c.pid);
    CHECK_EQ(open_fd_count(), fds + 2);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0);
    rt_turns(worker, 1);
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
}

/* --- inside fn --- */

static struct watched next_one;
static struct child next_child;

static void watch_the_next(struct watched *c) {
    (void)c;
    if (watched_try_here(&next_one, next_child.pid) != 0)
        abort();
}

WTEST(process, fn_may_watch_the_next) {
    struct child c;
    struct watched seen = {.then = watch_the_next};
    begin();
    child_make(&c, 1);
    child_make(&next_child, 2);
    child_let_go(&next_child);
    await_dead(next_child.pid);
    watched_begin(&seen, worker, c.pid);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 1);
    watched_expect(&next_one, CLD_EXITED, 2);
    rt_end(rt);
}

/* --- kill --- */

WTEST(process, kill_sends_a_signal_and_says_what_is_wrong) {
    struct child c;
    struct watched seen = {0};
    begin();
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    CHECK_EQ(watched_kill(&seen, 0), 0);
    CHECK_EQ(watched_kill(&seen, -1), -EINVAL);
    CHECK_EQ(watched_kill(&seen, 65), -EINVAL);
    CHECK_EQ(watched_kill(&seen, 1000), -EINVAL);
    CHECK_EQ(weft_process_kill(NULL, SIGTERM), -EINVAL);
    CHECK(!is_dead(c.pid));
    CHECK_EQ(watched_kill(&seen, SIGTERM), 0);
    watched_expect(&seen, CLD_KILLED, SIGTERM);
    rt_end(rt);
}

WTEST(process, kill_of_a_zombie_succeeds) {
    struct child c;
    struct watched seen = {0};
    struct sentinel_hold hold;
    begin();
    child_make(&c, 5);
    watched_begin(&seen, worker, c.pid);
    sentinel_hold_begin(&hold, rt);
    child_let_go(&c);
    await_dead(c.pid);
    CHECK_EQ(watched_kill(&seen, SIGTERM), 0);
    sentinel_hold_end(&hold);
    watched_expect(&seen, CLD_EXITED, 5);
    rt_end(rt);
}

static struct child reaped_child;
static int kill_when_reaped;

static void kill_the_reaped(void *arg) {
    struct watched *c = arg;
    child_let_go_and_await_reaped(&reaped_child);
    kill_when_reaped = weft_process_kill(c->process, SIGTERM);
}

WTEST(process, kill_after_the_reap_finds_nobody) {
    struct watched seen = {0};
    begin();
    child_make(&reaped_child, 5);
    watched_begin(&seen, worker, reaped_child.pid);
    rt_call(worker, kill_the_reaped, &seen);
    CHECK_EQ(kill_when_reaped, -ESRCH);
    watched_expect(&seen, CLD_EXITED, 5);
    rt_end(rt);
}

/* The child stays root, its parent becomes nobody. */
WTEST(process, kill_without_permission) {
    struct child c;
    struct watched seen = {0};
    if (geteuid() != 0)
        wtest_skip("only root can have a child of another user");
    begin();
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    CHECK_EQ(setresuid(65534, 65534, 65534), 0);
    CHECK_EQ(watched_kill(&seen, SIGTERM), -EPERM);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0); /* to learn of its end needs none */
    rt_end(rt);
}
