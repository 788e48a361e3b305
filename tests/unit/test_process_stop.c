/* The end of a watch: by its owner at any moment of the child's end, and by the runtime. */
#include "process_fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

static void check_exit(pid_t pid, int status) {
    int got = -1;
    CHECK_EQ(waitpid(pid, &got, 0), pid);
    CHECK_EQ(got, status << 8);
}

/* --- by the owner --- */

WTEST(process_stop, before_the_exit_leaves_the_child_to_the_caller) {
    struct child c;
    struct watched seen = {0};
    begin();
    int fds = open_fd_count();
    child_make(&c, 7);
    watched_begin(&seen, worker, c.pid);
    watched_stop(&seen);
    child_let_go(&c);
    await_dead(c.pid);
    sentinel_turn(rt);
    rt_turns(worker, 1);
    CHECK_EQ(seen.calls, 0);
    check_exit(c.pid, 7);
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
    CHECK_EQ(seen.calls, 0);
}

WTEST(process_stop, may_be_watched_again) {
    struct child c;
    struct watched seen[3] = {0};
    begin();
    child_make(&c, 7);
    for (int i = 0; i < 2; i++) {
        watched_begin(&seen[i], worker, c.pid);
        watched_stop(&seen[i]);
    }
    watched_begin(&seen[2], worker, c.pid);
    child_let_go(&c);
    watched_expect(&seen[2], CLD_EXITED, 7);
    CHECK_EQ(seen[0].calls + seen[1].calls, 0);
    rt_end(rt);
}

/* The sentinel finds the exit before the message that nobody wants it. */
WTEST(process_stop, of_a_zombie_nobody_has_seen_leaves_it_unreaped) {
    struct child c;
    struct watched seen = {0};
    struct sentinel_hold hold;
    begin();
    child_make(&c, 7);
    watched_begin(&seen, worker, c.pid);
    sentinel_hold_begin(&hold, rt);
    child_let_go(&c);
    await_dead(c.pid);
    watched_stop(&seen);
    sentinel_hold_end(&hold);
    sentinel_turn(rt);
    check_exit(c.pid, 7);
    rt_end(rt);
    CHECK_EQ(seen.calls, 0);
}

static struct child reaped_child;

static void stop_the_reaped(void *arg) {
    struct watched *c = arg;
    child_let_go_and_await_reaped(&reaped_child);
    weft_process_stop(c->process);
}

WTEST(process_stop, while_the_status_is_on_its_way) {
    struct watched seen = {0};
    begin();
    int fds = open_fd_count();
    child_make(&reaped_child, 7);
    watched_begin(&seen, worker, reaped_child.pid);
    rt_call(worker, stop_the_reaped, &seen);
    sentinel_turn(rt);
    rt_turns(worker, 1);
    CHECK_EQ(seen.calls, 0);
    CHECK_EQ(waitpid(reaped_child.pid, NULL, 0), -1); /* weft has done so already */
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
    CHECK_EQ(seen.calls, 0);
}

static void stop_self(struct watched *c) {
    weft_process_stop(c->process);
    weft_process_stop(c->process);
    c->is_another |= weft_process_pid(c->process) != c->pid; /* the handle lives on */
}

WTEST(process_stop, inside_fn_does_nothing) {
    struct child c;
    struct watched seen = {.then = stop_self};
    begin();
    int fds = open_fd_count();
    child_make(&c, 7);
    watched_begin(&seen, worker, c.pid);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 7);
    rt_turns(worker, 1);
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
}

static struct watched *victim;

static void stop_victim(struct watched *c) {
    (void)c;
    weft_process_stop(victim->process);
}

/* Both statuses are in the worker's queue, the first of them stops the second. */
WTEST(process_stop, of_another_inside_fn) {
    struct child pair[2];
    struct watched seen[2] = {{.then = stop_victim}, {.then = NULL}};
    victim = &seen[1];
    struct hold hold;
    begin();
    for (int i = 0; i < 2; i++) {
        child_make(&pair[i], i);
        watched_begin(&seen[i], worker, pair[i].pid);
    }
    hold_begin(&hold, worker);
    for (int i = 0; i < 2; i++) {
        child_let_go(&pair[i]);
        await_reaped(pair[i].pid);
    }
    hold_end(&hold, worker);
    watched_expect(&seen[0], CLD_EXITED, 0);
    sentinel_turn(rt);
    rt_turns(worker, 1);
    CHECK_EQ(seen[1].calls, 0);
    rt_end(rt);
}

WTEST(process_stop, of_a_living_one_inside_fn_of_another) {
    struct child pair[2];
    struct watched seen[2] = {{.then = stop_victim}, {.then = NULL}};
    victim = &seen[1];
    begin();
    for (int i = 0; i < 2; i++) {
        child_make(&pair[i], i);
        watched_begin(&seen[i], worker, pair[i].pid);
    }
    child_let_go(&pair[0]);
    watched_expect(&seen[0], CLD_EXITED, 0);
    child_let_go(&pair[1]);
    check_exit(pair[1].pid, 1);
    rt_end(rt);
    CHECK_EQ(seen[1].calls, 0);
}

static bool stopped;

static void stop_unless_told(void *arg) {
    struct watched *c = arg;
    stopped = c->calls == 0;
    if (stopped)
        weft_process_stop(c->process);
}

/* Whenever it comes, fn has run or never will; and the status is the program's, or gone. */
WTEST(process_stop, races_with_the_exit) {
    begin();
    for (unsigned i = 0; i < 20 + 280 / wtest_slowdown(); i++) {
        struct child c;
        struct watched seen = {0};
        int status = 7 << 8;
        child_make(&c, 7);
        watched_begin(&seen, worker, c.pid);
        child_let_go(&c);
        for (unsigned turn = 0; turn < i % 16; turn++)
            sched_yield();
        rt_call(worker, stop_unless_told, &seen);
        if (stopped) {
            CHECK(waitpid(c.pid, &status, 0) == c.pid || errno == ECHILD);
            CHECK_EQ(status, 7 << 8);
            sentinel_turn(rt);
            rt_turns(worker, 1);
            CHECK_EQ(seen.calls, 0);
        } else {
            watched_check(&seen, CLD_EXITED, 7);
        }
    }
    rt_end(rt);
    no_children_left();
}

/* --- by the runtime --- */

static void kill_it(struct watched *c) {
    c->kill_result = weft_process_kill(c->process, SIGKILL);
}

WTEST(process_stop, of_the_runtime_tells_and_leaves_the_child_alone) {
    enum { COUNT = 20 };
    struct child children[COUNT];
    struct watched seen[COUNT] = {0};
    rt = rt_start(2);
    int fds = open_fd_count();
    for (int i = 0; i < COUNT; i++) {
        child_make(&children[i], i);
        seen[i].then = i % 2 ? kill_it : NULL;
        watched_begin(&seen[i], weft_runtime_worker(rt, (unsigned)i / 2 % 2), children[i].pid);
    }
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    for (int i = 0; i < COUNT; i++) {
        watched_check_abandoned(&seen[i]);
        CHECK_EQ(seen[i].kill_result, 0);
        if (i % 2) {
            child_reap(&children[i], SIGKILL);
            close(children[i].gate);
        } else {
            CHECK(!is_dead(children[i].pid));
            child_let_go(&children[i]);
            check_exit(children[i].pid, i);
        }
    }
    CHECK_EQ(open_fd_count(), fds); /* no pidfd is left */
    weft_runtime_destroy(rt);
}

static void stop_self_and_victim(struct watched *c) {
    stop_self(c);
    c->kill_result = weft_process_kill(c->process, 0); /* which the handle is still there for */
    if (victim->calls == 0 && victim != c)
        stop_victim(c);
}

/* Of the three, the first that is told stops itself, in vain, and the last. */
WTEST(process_stop, of_the_runtime_may_be_answered_by_stops) {
    struct child children[3];
    struct watched seen[3] = {{.then = stop_self_and_victim}};
    victim = &seen[2];
    begin();
    for (int i = 0; i < 3; i++) {
        child_make(&children[i], i);
        watched_begin(&seen[i], worker, children[i].pid);
    }
    rt_end(rt);
    watched_check_abandoned(&seen[0]);
    CHECK_EQ(seen[0].kill_result, 0);
    watched_check_abandoned(&seen[1]);
    CHECK_EQ(seen[2].calls, 0);
    for (int i = 0; i < 3; i++) {
        child_let_go(&children[i]);
        check_exit(children[i].pid, i);
    }
}

static int late_watch, late_spawn, late_pid;
static const weft_spawn_options run_true = {.file = "true"};

static void try_both(struct watched *c) {
    struct watched other = {0};
    (void)c;
    late_watch = watched_try_here(&other, late_pid);
    late_spawn = watched_spawn_here(&other, &run_true);
}

WTEST(process_stop, nothing_begins_inside_the_fn_of_a_stop) {
    struct child children[2];
    struct watched seen = {.then = try_both};
    begin();
    child_make(&children[0], 0);
    child_make(&children[1], 0);
    late_pid = children[1].pid;
    watched_begin(&seen, worker, children[0].pid);
    rt_end(rt);
    watched_check_abandoned(&seen);
    CHECK_EQ(late_watch, -ESHUTDOWN);
    CHECK_EQ(late_spawn, -ESHUTDOWN);
    child_kill(&children[0]);
    child_kill(&children[1]);
    no_children_left();
}

static void on_stop(weft_worker *w, void *arg) {
    (void)w;
    try_both(arg);
}

WTEST(process_stop, nothing_begins_in_on_worker_stop) {
    struct child c;
    const weft_runtime_options options = {.workers = 1, .on_worker_stop = on_stop};
    rt = rt_start_with(&options);
    child_make(&c, 0);
    late_pid = c.pid;
    rt_end(rt);
    CHECK_EQ(late_watch, -ESHUTDOWN);
    CHECK_EQ(late_spawn, -ESHUTDOWN);
    child_kill(&c);
    no_children_left();
}

static void try_both_task(void *arg) {
    try_both(arg);
}

/* What it accepted runs on the thread that destroys it; there is no sentinel to wait. */
WTEST(process_stop, nothing_begins_on_a_runtime_that_never_ran) {
    struct child c;
    child_make(&c, 0);
    late_pid = c.pid;
    rt = rt_create(1);
    int fds = open_fd_count();
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), try_both_task, NULL), 0);
    weft_runtime_destroy(rt);
    CHECK_EQ(late_watch, -ESHUTDOWN);
    CHECK_EQ(late_spawn, -ESHUTDOWN);
    CHECK(open_fd_count() < fds);
    child_kill(&c);
    no_children_left();
}

/* --- between the sentinel's end and the worker's --- */

static struct watched left[3];
static struct hold late_hold;

static void do_late_things(weft_task *task) {
    (void)task;
    while (!(atomic_load(&rt->gate) & GATE_CLOSED)) /* the sentinel has said all it had to say */
        sched_yield();
    try_both(NULL);
    left[0].kill_result = weft_process_kill(left[0].process, SIGKILL);
    weft_process_stop(left[0].process);
}

/* Before the worker is quiet, and so before it is asked to finish. */
static void post_late_things(weft_worker *w) {
    late_hold.task.run = do_late_things;
    if (weft_post(w, &late_hold.task) != 0)
        abort();
}

WTEST(process_stop, after_the_sentinel_has_gone) {
    struct child children[4];
    probe_stop_fn = post_late_things;
    begin();
    int fds = open_fd_count();
    for (int i = 0; i < 4; i++)
        child_make(&children[i], i);
    for (int i = 0; i < 3; i++)
        watched_begin(&left[i], worker, children[i].pid);
    late_pid = children[3].pid;
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_EQ(late_watch, -ESHUTDOWN);
    CHECK_EQ(late_spawn, -ESHUTDOWN);
    CHECK_EQ(left[0].calls, 0);
    CHECK_EQ(left[0].kill_result, 0);
    child_reap(&children[0], SIGKILL);
    close(children[0].gate);
    watched_check_abandoned(&left[1]);
    watched_check_abandoned(&left[2]);
    for (int i = 1; i < 4; i++)
        child_kill(&children[i]);
    CHECK_EQ(open_fd_count(), fds);
    weft_runtime_destroy(rt);
    no_children_left();
}
