/* Others who wait for children: they get their own, and what they take of ours is told. */
#include "log_keeper.h"
#include "process_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* It dies while nobody of weft looks, and another takes the status. */
static void steal(struct child *c, int status) {
    struct sentinel_hold hold;
    sentinel_hold_begin(&hold, rt);
    child_let_go(c);
    child_reap(c, status);
    sentinel_hold_end(&hold);
}

WTEST(process_stolen, library_gets_its_own_children) {
    enum { COUNT = 60 };
    struct child theirs[COUNT], ours[COUNT];
    struct watched seen[COUNT] = {0};
    begin();
    for (int i = 0; i < COUNT; i++) {
        child_make(&theirs[i], i);
        child_make(&ours[i], 100 + i);
        watched_begin(&seen[i], worker, ours[i].pid);
    }
    for (int i = 0; i < COUNT; i++) {
        child_let_go(&theirs[i]);
        child_let_go(&ours[i]);
    }
    for (int i = 0; i < COUNT; i++)
        watched_expect(&seen[i], CLD_EXITED, 100 + i);
    for (int i = 0; i < COUNT; i++)
        child_reap(&theirs[i], i << 8);
    rt_end(rt);
    no_children_left();
}

WTEST(process_stolen, status_is_told_as_lost) {
    struct child c;
    struct watched seen = {0};
    log_keep();
    begin();
    int fds = open_fd_count();
    child_make(&c, 7);
    watched_begin(&seen, worker, c.pid);
    steal(&c, 7 << 8);
    watched_await(&seen);
    watched_check_stolen(&seen);
    rt_turns(worker, 1);
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
}

/* With a thread that waits for any child all the time, whoever comes first has it. */
static _Atomic bool is_over;
static _Atomic unsigned taken;

static void *wait_for_any(void *arg) {
    (void)arg;
    while (!atomic_load(&is_over)) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            atomic_fetch_add(&taken, 1);
        else
            sched_yield();
    }
    return NULL;
}

WTEST(process_stolen, thread_that_takes_any_child_hangs_nobody) {
    enum { COUNT = 100 };
    static struct child children[COUNT];
    static struct watched seen[COUNT];
    unsigned lost = 0;
    log_keep();
    begin();
    for (int i = 0; i < COUNT; i++) {
        child_make(&children[i], i);
        watched_begin(&seen[i], worker, children[i].pid);
    }
    pthread_t thief = thread_begin(wait_for_any, NULL);
    for (int i = 0; i < COUNT; i++)
        child_let_go(&children[i]);
    for (int i = 0; i < COUNT; i++) {
        watched_await(&seen[i]);
        if (seen[i].info.si_pid)
            watched_check(&seen[i], CLD_EXITED, i);
        else
            watched_check_stolen(&seen[i]);
        lost += seen[i].info.si_pid == 0;
    }
    no_children_left();
    atomic_store(&is_over, true);
    thread_end(thief);
    CHECK_EQ(taken, lost);
    CHECK_EQ(log_count("somebody else has waited"), lost > 0);
    rt_end(rt);
}

WTEST(process_stolen, is_logged_once_however_many_are) {
    enum { COUNT = 10 };
    struct child children[COUNT];
    struct watched seen[COUNT] = {0};
    log_keep();
    begin();
    for (int i = 0; i < COUNT; i++) {
        child_make(&children[i], i);
        watched_begin(&seen[i], worker, children[i].pid);
    }
    for (int i = 0; i < COUNT; i++) {
        char who[32];
        steal(&children[i], i << 8);
        watched_await(&seen[i]);
        watched_check_stolen(&seen[i]);
        CHECK_EQ(log_count("somebody else has waited"), 1);
        snprintf(who, sizeof who, "for child %d,", (int)children[i].pid);
        CHECK_EQ(log_count(who), i == 0);
    }
    rt_end(rt);
}

WTEST(process_stolen, may_be_stopped_while_it_is_told) {
    struct child c;
    struct watched seen = {0};
    struct sentinel_hold hold;
    begin();
    child_make(&c, 7);
    watched_begin(&seen, worker, c.pid);
    sentinel_hold_begin(&hold, rt);
    child_let_go(&c);
    child_reap(&c, 7 << 8);
    CHECK_EQ(watched_kill(&seen, SIGTERM), -ESRCH);
    watched_stop(&seen);
    sentinel_hold_end(&hold);
    rt_end(rt);
    CHECK_EQ(seen.calls, 0);
}

/* --- a pid that was given away --- */

/* The next child gets that pid, if nobody else does. */
static bool ask_for_pid(pid_t pid) {
    FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "w");
    if (!file)
        return false;
    bool ok = fprintf(file, "%d", (int)pid - 1) > 0;
    return fclose(file) == 0 && ok;
}

static void make_with_pid(struct child *c, pid_t pid, int ending) {
    for (int i = 0; i < 100; i++) {
        if (!ask_for_pid(pid))
            wtest_skip("the kernel does not let us choose a pid");
        child_make(c, ending);
        if (c->pid == pid)
            return;
        child_kill(c);
    }
    wtest_skip("somebody else takes the pid all the time");
}

static const weft_spawn_options run_cat = {.file = "cat", .stdio = {[0] = WEFT_STDIO_PIPE}};

static void spawn_with_pid(struct watched *c, pid_t pid) {
    for (int i = 0; i < 100; i++) {
        if (!ask_for_pid(pid))
            wtest_skip("the kernel does not let us choose a pid");
        *c = (struct watched){0};
        watched_spawn(c, worker, &run_cat);
        if (c->pid == pid)
            return;
        watched_stop(c);
        CHECK_EQ(kill(c->pid, SIGKILL), 0);
        CHECK_EQ(waitpid(c->pid, NULL, 0), c->pid);
    }
    wtest_skip("somebody else takes the pid all the time");
}

WTEST(process_stolen, pid_is_another_childs_that_may_be_watched) {
    skip_without_pidfds();
    struct child first, second;
    struct watched lost = {0}, seen = {0};
    struct sentinel_hold hold;
    log_keep();
    begin();
    child_make(&first, 1);
    watched_begin(&lost, worker, first.pid);
    sentinel_hold_begin(&hold, rt);
    child_let_go(&first);
    child_reap(&first, 1 << 8);
    make_with_pid(&second, first.pid, 2);
    watched_begin(&seen, worker, second.pid);
    CHECK_EQ(watched_kill(&lost, SIGKILL), -ESRCH);
    CHECK_EQ(lost.calls, 0);
    sentinel_hold_end(&hold);
    watched_await(&lost);
    watched_check_stolen(&lost);
    CHECK(!is_dead(second.pid));
    child_let_go(&second);
    watched_expect(&seen, CLD_EXITED, 2);
    rt_end(rt);
}

static void check_spawn_with_stolen_pid(void) {
    struct child first;
    struct watched lost = {0}, seen = {0};
    struct sentinel_hold hold;
    log_keep();
    begin();
    child_make(&first, 1);
    watched_begin(&lost, worker, first.pid);
    sentinel_hold_begin(&hold, rt);
    child_let_go(&first);
    child_reap(&first, 1 << 8);
    spawn_with_pid(&seen, first.pid);
    CHECK_EQ(watched_kill(&lost, SIGKILL), -ESRCH); /* not to the new one */
    CHECK_EQ(lost.calls, 0);
    sentinel_hold_end(&hold);
    watched_await(&lost);
    watched_check_stolen(&lost);
    CHECK(!is_dead(seen.pid));
    CHECK_EQ(watched_kill(&seen, SIGTERM), 0);
    watched_expect(&seen, CLD_KILLED, SIGTERM);
    rt_end(rt);
    no_children_left();
}

WTEST(process_stolen, pid_is_another_childs_that_was_spawned) {
    check_spawn_with_stolen_pid();
}

WTEST(process_stolen, pid_is_another_childs_and_pidfds_are_refused) {
    refused_calls[OS_PIDFD_OPEN] = -ENOSYS;
    refuse_calls();
    log_keep();
    check_spawn_with_stolen_pid();
}
