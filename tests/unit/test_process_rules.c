/* What may not be watched, by whom, and when; and what a refusal leaves: nothing. */
#include "process_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* Refused with that, and nothing of it is left. */
static void check_refused(pid_t pid, int expected) {
    struct watched seen = {0};
    int fds = open_fd_count();
    CHECK_EQ(watched_try(&seen, worker, pid), expected);
    CHECK_EQ(open_fd_count(), fds);
}

/* --- bad input --- */

static void watch_without_fn(void *arg) {
    int *result = arg;
    *result = weft_process_watch(worker, getpid(), NULL, NULL, NULL);
}

WTEST(process_rules, bad_input) {
    int result = 0;
    begin();
    check_refused(0, -EINVAL);
    check_refused(-1, -EINVAL);
    check_refused(INT_MIN, -EINVAL);
    rt_call(worker, watch_without_fn, &result);
    CHECK_EQ(result, -EINVAL);
    CHECK_EQ(weft_process_watch(NULL, 1, watched_ended, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_process_pid(NULL), -EINVAL);
    CHECK_EQ(weft_process_kill(NULL, SIGTERM), -EINVAL);
    CHECK_EQ(weft_process_stdio(NULL, 0), -EINVAL);
    weft_process_stop(NULL);
    rt_end(rt);
}

static void *tell_thread_id(void *arg) {
    pid_t *tid = arg;
    *tid = (pid_t)syscall(SYS_gettid);
    return NULL;
}

static void find_own_thread_id(void *arg) {
    (void)tell_thread_id(arg);
}

WTEST(process_rules, thread_is_no_process) {
    pid_t tid = 0;
    begin();
    rt_call(worker, find_own_thread_id, &tid);
    CHECK(tid != getpid());
    check_refused(tid, -EINVAL);
    rt_end(rt);
}

/* --- whose child --- */

WTEST(process_rules, only_children_of_this_process) {
    begin();
    check_refused(getpid(), -ECHILD);
    check_refused(getppid(), -ECHILD);
    check_refused(1, -ECHILD);
    rt_end(rt);
}

WTEST(process_rules, grandchild_is_no_child) {
    int tell[2], gate[2];
    pid_t grandchild = 0;
    char byte;
    CHECK_EQ(pipe2(tell, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t pid = fork();
        close(gate[1]);
        if (pid > 0 && write(tell[1], &pid, sizeof pid) == sizeof pid)
            _exit(0);
        _exit(read(gate[0], &byte, 1) == 0 ? 3 : 99);
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(read(tell[0], &grandchild, sizeof grandchild), sizeof grandchild);
    begin();
    check_refused(grandchild, -ECHILD);
    rt_end(rt);
    close(gate[1]);
}

WTEST(process_rules, who_was_reaped_is_nobody) {
    struct child c;
    begin();
    child_make(&c, 0);
    child_let_go(&c);
    child_reap(&c, 0);
    check_refused(c.pid, -ESRCH);
    check_refused(INT_MAX, -ESRCH);
    rt_end(rt);
}

/* --- one watch, one runtime --- */

WTEST(process_rules, watched_once_in_all_runtimes) {
    struct child c;
    struct watched seen = {0}, other = {0};
    weft_runtime *rt2 = rt_start(1);
    rt = rt_start(2);
    worker = weft_runtime_worker(rt, 0);
    child_make(&c, 4);
    watched_begin(&seen, worker, c.pid);
    check_refused(c.pid, -EEXIST);
    CHECK_EQ(watched_try(&other, weft_runtime_worker(rt, 1), c.pid), -EEXIST);
    CHECK_EQ(watched_try(&other, weft_runtime_worker(rt2, 0), c.pid), -EBUSY);
    watched_stop(&seen);
    sentinel_turn(rt); /* the pidfd is closed */
    watched_begin(&other, weft_runtime_worker(rt2, 0), c.pid);
    check_refused(c.pid, -EBUSY);
    child_let_go(&c);
    watched_expect(&other, CLD_EXITED, 4);
    CHECK_EQ(seen.calls, 0);
    rt_end(rt);
    rt_end(rt2);
}

WTEST(process_rules, watched_by_a_runtime_that_ended_is_free) {
    struct child c;
    struct watched seen = {0}, other = {0};
    begin();
    child_make(&c, 4);
    watched_begin(&seen, worker, c.pid);
    rt_end(rt);
    watched_check_abandoned(&seen);
    begin();
    watched_begin(&other, worker, c.pid);
    child_let_go(&c);
    watched_expect(&other, CLD_EXITED, 4);
    rt_end(rt);
}

/* --- SIGCHLD --- */

static const weft_spawn_options run_true = {.file = "true"};

static void check_no_status_is_kept(int expected) {
    struct child c;
    struct watched seen = {0};
    struct sigaction by_default = {.sa_handler = SIG_DFL}, now;
    CHECK_EQ(sigaction(SIGCHLD, NULL, &now), 0);
    child_make(&c, 0);
    check_refused(c.pid, expected);
    int fds = open_fd_count();
    CHECK_EQ(watched_try_spawn(&seen, worker, &run_true), expected);
    CHECK_EQ(open_fd_count(), fds);
    struct sigaction after;
    CHECK_EQ(sigaction(SIGCHLD, &by_default, &after), 0);
    CHECK(after.sa_handler == now.sa_handler && after.sa_flags == now.sa_flags);
    watched_begin(&seen, worker, c.pid);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0);
}

WTEST(process_rules, ignored_sigchld_keeps_no_status) {
    begin();
    signal(SIGCHLD, SIG_IGN);
    check_no_status_is_kept(-EBUSY);
    rt_end(rt);
}

WTEST(process_rules, sa_nocldwait_keeps_no_status) {
    const struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    begin();
    CHECK_EQ(sigaction(SIGCHLD, &action, NULL), 0);
    check_no_status_is_kept(-EBUSY);
    rt_end(rt);
}

static void take_note(int signo) {
    (void)signo;
}

WTEST(process_rules, handler_for_sigchld_is_no_hindrance) {
    struct child c;
    struct watched seen = {0}, spawned = {0};
    begin();
    signal(SIGCHLD, take_note);
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    watched_spawn(&spawned, worker, &run_true);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0);
    watched_expect(&spawned, CLD_EXITED, 0);
    rt_end(rt);
}

/* --- fds --- */

static void take_all_fds(void) {
    const struct rlimit few = {.rlim_cur = 64, .rlim_max = 64};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        ;
    CHECK_EQ(errno, EMFILE);
}

WTEST(process_rules, without_fds_nothing_begins) {
    skip_where_spawn_is_impossible();
    struct child children[2];
    struct watched seen[3] = {0};
    weft_spawn_options piped = {.file = "true", .stdio = {[1] = WEFT_STDIO_PIPE}};
    begin();
    child_make(&children[0], 0);
    child_make(&children[1], 0);
    take_all_fds();
    CHECK_EQ(watched_try(&seen[0], worker, children[0].pid), -EMFILE);
    CHECK_EQ(watched_try_spawn(&seen[1], worker, &run_true), -EMFILE);
    CHECK_EQ(watched_try_spawn(&seen[1], worker, &piped), -EMFILE);
    close(60); /* now there is one */
    watched_begin(&seen[0], worker, children[0].pid);
    CHECK_EQ(watched_try(&seen[1], worker, children[1].pid), -EMFILE);
    close(61);
    CHECK_EQ(watched_try_spawn(&seen[2], worker, &piped), -EMFILE);
    close(62); /* a pipe needs two, the child one of them and a pidfd */
    CHECK_EQ(watched_try_spawn(&seen[2], worker, &piped), -EMFILE);
    watched_spawn(&seen[2], worker, &run_true);
    for (int i = 0; i < 2; i++)
        child_let_go(&children[i]);
    watched_expect(&seen[0], CLD_EXITED, 0);
    watched_expect(&seen[2], CLD_EXITED, 0);
    rt_turns(worker, 1);
    watched_begin(&seen[1], worker, children[1].pid);
    watched_expect(&seen[1], CLD_EXITED, 0);
    rt_end(rt);
    no_children_left();
}

/* --- threads and forks --- */

static void check_owner_calls(struct watched *seen, pid_t pid) {
    CHECK_EQ(weft_process_watch(worker, pid, watched_ended, seen, NULL), -EPERM);
    CHECK_EQ(weft_spawn(worker, &run_true, watched_ended, seen, NULL), -EPERM);
    CHECK_EQ(weft_process_kill(seen->process, SIGKILL), -EPERM);
    CHECK_EQ(weft_process_stdio(seen->process, 1), -EPERM);
    weft_process_stop(seen->process);
}

static void ignore_log(int level, const char *message, void *arg) {
    (void)level;
    (void)message;
    (*(_Atomic unsigned *)arg)++;
}

WTEST(process_rules, owner_calls_on_another_thread) {
    _Atomic unsigned lines = 0;
    struct child c;
    struct watched seen = {0};
    begin();
    child_make(&c, 6);
    watched_begin(&seen, worker, c.pid);
    weft_set_log(ignore_log, &lines);
    check_owner_calls(&seen, c.pid);
    CHECK_EQ(lines, 1); /* the stop, which cannot answer */
    weft_set_log(NULL, NULL);
    CHECK(!is_dead(c.pid));
    rt_turns(worker, 1); /* so that all may see: the handle ends behind this */
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 6);
    rt_end(rt);
    no_children_left();
}

static int calls_that_answer_otherwise(struct watched *seen) {
    int wrong = 0;
    wrong += weft_process_watch(worker, getppid(), watched_ended, seen, NULL) != -EPERM;
    wrong += weft_spawn(worker, &run_true, watched_ended, seen, NULL) != -EPERM;
    wrong += weft_process_pid(seen->process) != -EPERM;
    wrong += weft_process_kill(seen->process, SIGKILL) != -EPERM;
    wrong += weft_process_stdio(seen->process, 1) != -EPERM;
    weft_process_stop(seen->process);
    return wrong;
}

static int wrong_answers = -1;

static void fork_and_ask(void *arg) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(calls_that_answer_otherwise(arg));
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
        wrong_answers = WEXITSTATUS(status);
}

WTEST(process_rules, forked_child_is_refused_and_parent_goes_on) {
    struct child c;
    struct watched seen = {0}, spawned = {0};
    begin();
    child_make(&c, 6);
    watched_begin(&seen, worker, c.pid);
    rt_call(worker, fork_and_ask, &seen);
    CHECK_EQ(wrong_answers, 0);
    CHECK(!is_dead(c.pid));
    watched_spawn(&spawned, worker, &run_true);
    watched_expect(&spawned, CLD_EXITED, 0);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 6);
    rt_end(rt);
    no_children_left();
}

/* --- faults --- */

static struct {
    struct watched *watched;
    pid_t pid;
    enum os_call call;
    unsigned n;
    int result, injected;
} attempt;

static void watch_with_fault(void *arg) {
    (void)arg;
    fault_arm_call(attempt.call, attempt.n);
    attempt.result = watched_try_here(attempt.watched, attempt.pid);
    attempt.injected = fault_disarm();
}

WTEST(process_rules, failed_watch_leaves_nothing) {
    skip_without_pidfds();
    static const enum os_call calls[] = {OS_ALLOC, OS_PIDFD_OPEN, OS_EPOLL_CTL};
    fault_begin();
    begin();
    for (size_t i = 0; i < array_length(calls); i++) {
        struct child c;
        struct watched seen = {0};
        child_make(&c, 3);
        int fds = open_fd_count();
        attempt.watched = &seen;
        attempt.pid = c.pid;
        attempt.call = calls[i];
        for (attempt.n = 1;; attempt.n++) {
            rt_call(worker, watch_with_fault, NULL);
            if (attempt.injected == 0)
                break;
            CHECK_EQ(attempt.result, attempt.injected);
            CHECK_EQ(open_fd_count(), fds);
        }
        CHECK(attempt.n > 1);
        CHECK_EQ(attempt.result, 0);
        child_let_go(&c);
        watched_expect(&seen, CLD_EXITED, 3);
    }
    rt_end(rt);
}
