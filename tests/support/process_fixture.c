#include "process_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- a child that somebody else started ------------------------------------------------------ */

_Noreturn static void child_main(int gate, int ending) {
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(gate, &byte, 1) != 1)
        _exit(99);
    if (ending < 0) {
        signal(-ending, SIG_DFL);
        kill(getpid(), -ending);
    }
    _exit(ending);
}

void child_make(struct child *c, int ending) {
    int gate[2];
    CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
    c->pid = fork();
    CHECK(c->pid >= 0);
    if (c->pid == 0)
        child_main(gate[0], ending);
    close(gate[0]);
    c->gate = gate[1];
}

void child_let_go(struct child *c) {
    CHECK_EQ(write(c->gate, "", 1), 1);
    close(c->gate);
    c->gate = -1;
}

void child_let_go_and_await_reaped(struct child *c) {
    if (write(c->gate, "", 1) != 1)
        abort();
    await_reaped(c->pid);
    close(c->gate);
}

void child_kill(struct child *c) {
    if (!is_ours(c->pid))
        return;
    CHECK_EQ(kill(c->pid, SIGKILL), 0);
    CHECK_EQ(waitpid(c->pid, NULL, 0), c->pid);
    close(c->gate);
}

void child_reap(struct child *c, int status) {
    int got = -1;
    CHECK_EQ(waitpid(c->pid, &got, 0), c->pid);
    CHECK_EQ(got, status);
}

/* 1: dead, 0: alive, -1: none of ours. */
static int look_at(pid_t pid) {
    siginfo_t info;
    info.si_pid = 0;
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        return -1;
    return info.si_pid != 0;
}

bool is_dead(pid_t pid) {
    return look_at(pid) != 0;
}

bool is_ours(pid_t pid) {
    return look_at(pid) >= 0;
}

void await_dead(pid_t pid) {
    while (!is_dead(pid))
        sched_yield();
}

void await_reaped(pid_t pid) {
    while (is_ours(pid))
        sched_yield();
}

bool has_children(void) {
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

void no_children_left(void) {
    CHECK(!has_children());
}

/* --- what a worker is told ------------------------------------------------------------------- */

void watched_ended(weft_process *process, const siginfo_t *info, void *arg) {
    struct watched *c = arg;
    c->is_early |= c->in_call;
    c->is_elsewhere |= weft_worker_current() != c->worker;
    c->is_another |= process != c->process || weft_process_pid(process) != c->pid;
    c->has_info = info != NULL;
    if (info)
        c->info = *info;
    c->kill_result = weft_process_kill(process, 0);
    if (c->then)
        c->then(c);
    atomic_fetch_add(&c->calls, 1);
}

int watched_try_here(struct watched *c, pid_t pid) {
    weft_process *const untouched = (weft_process *)(uintptr_t)8;
    c->worker = weft_worker_current();
    c->process = untouched;
    c->in_call = true;
    int r = weft_process_watch(c->worker, pid, watched_ended, c, &c->process);
    c->in_call = false;
    c->pid = pid;
    return r < 0 && c->process != untouched ? 1 : r;
}

int watched_spawn_here(struct watched *c, const weft_spawn_options *options) {
    weft_process *const untouched = (weft_process *)(uintptr_t)8;
    c->worker = weft_worker_current();
    c->process = untouched;
    c->in_call = true;
    int r = weft_spawn(c->worker, options, watched_ended, c, &c->process);
    c->in_call = false;
    if (r == 0)
        c->pid = weft_process_pid(c->process);
    return r < 0 && c->process != untouched ? 1 : r;
}

struct request {
    struct watched *watched;
    const weft_spawn_options *options;
    pid_t pid;
    int number, result;
};

static void run_watch(void *arg) {
    struct request *r = arg;
    r->result = watched_try_here(r->watched, r->pid);
}

int watched_try(struct watched *c, weft_worker *w, pid_t pid) {
    struct request r = {.watched = c, .pid = pid};
    rt_call(w, run_watch, &r);
    return r.result;
}

void watched_begin(struct watched *c, weft_worker *w, pid_t pid) {
    CHECK_EQ(watched_try(c, w, pid), 0);
}

void skip_where_spawn_is_impossible(void) {
    if (wtest_under_valgrind())
        wtest_skip("valgrind cannot follow weft_spawn()");
}

void skip_without_pidfds(void) {
    int fd = os_pidfd_open(getpid());
    if (fd < 0)
        wtest_skip("there are no pidfds here");
    close(fd);
}

static void run_spawn(void *arg) {
    struct request *r = arg;
    r->result = watched_spawn_here(r->watched, r->options);
}

int watched_try_spawn(struct watched *c, weft_worker *w, const weft_spawn_options *options) {
    struct request r = {.watched = c, .options = options};
    skip_where_spawn_is_impossible();
    rt_call(w, run_spawn, &r);
    return r.result;
}

void watched_spawn(struct watched *c, weft_worker *w, const weft_spawn_options *options) {
    CHECK_EQ(watched_try_spawn(c, w, options), 0);
    CHECK(c->pid > 0);
}

static void run_stop(void *arg) {
    struct request *r = arg;
    weft_process_stop(r->watched->process);
}

void watched_stop(struct watched *c) {
    struct request r = {.watched = c};
    rt_call(c->worker, run_stop, &r);
}

static void run_kill(void *arg) {
    struct request *r = arg;
    r->result = weft_process_kill(r->watched->process, r->number);
}

int watched_kill(struct watched *c, int signo) {
    struct request r = {.watched = c, .number = signo};
    rt_call(c->worker, run_kill, &r);
    return r.result;
}

static void run_stdio(void *arg) {
    struct request *r = arg;
    r->result = weft_process_stdio(r->watched->process, r->number);
}

int watched_stdio(struct watched *c, int fd) {
    struct request r = {.watched = c, .number = fd};
    rt_call(c->worker, run_stdio, &r);
    return r.result;
}

void watched_await(struct watched *c) {
    rt_await(&c->calls, 1);
}

static void check_call(struct watched *c) {
    CHECK_EQ(c->calls, 1);
    CHECK(!c->is_early);
    CHECK(!c->is_elsewhere);
    CHECK(!c->is_another);
}

void watched_check(struct watched *c, int code, int status) {
    check_call(c);
    CHECK(c->has_info);
    CHECK_EQ(c->info.si_pid, c->pid);
    CHECK_EQ(c->info.si_code, code);
    CHECK_EQ(c->info.si_status, status);
    CHECK_EQ(c->info.si_signo, SIGCHLD);
    CHECK_EQ(c->kill_result, -ESRCH);
}

void watched_expect(struct watched *c, int code, int status) {
    watched_await(c);
    watched_check(c, code, status);
}

void watched_check_stolen(struct watched *c) {
    check_call(c);
    CHECK(c->has_info);
    CHECK_EQ(c->info.si_pid, 0);
    CHECK_EQ(c->info.si_code, 0);
    CHECK_EQ(c->kill_result, -ESRCH);
}

void watched_check_abandoned(struct watched *c) {
    check_call(c);
    CHECK(!c->has_info);
}

static void read_all(int fd, char *buffer, size_t size) {
    size_t length = 0;
    ssize_t n;
    CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
    while ((n = read(fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)n;
    CHECK_EQ(n, 0);
    CHECK(length < size - 1);
    buffer[length] = 0;
    close(fd);
}

/* In one go, since the handle may end before the next. */
static void run_spawn_piped(void *arg) {
    struct request *r = arg;
    run_spawn(r);
    r->number = r->result == 0 ? weft_process_stdio(r->watched->process, 1) : -1;
}

void program_output(weft_worker *w, const weft_spawn_options *options, char *buffer, size_t size) {
    struct watched c = {0};
    weft_spawn_options piped = *options;
    piped.stdio[1] = WEFT_STDIO_PIPE;
    struct request r = {.watched = &c, .options = &piped};
    skip_where_spawn_is_impossible();
    rt_call(w, run_spawn_piped, &r);
    CHECK_EQ(r.result, 0);
    CHECK(r.number >= 0);
    read_all(r.number, buffer, size);
    watched_expect(&c, CLD_EXITED, 0);
}

/* --- the sentinel ---------------------------------------------------------------------------- */

static void sentinel_hold_run(weft_task *task) {
    struct sentinel_hold *hold = WEFT_CONTAINER_OF(task, struct sentinel_hold, task);
    sem_post(&hold->entered);
    sem_await(&hold->release);
    sem_post(&hold->left);
}

void sentinel_hold_begin(struct sentinel_hold *hold, weft_runtime *rt) {
    *hold = (struct sentinel_hold){0};
    sem_make(&hold->entered);
    sem_make(&hold->release);
    sem_make(&hold->left);
    sentinel_tell(rt, &hold->task, sentinel_hold_run);
    sem_await(&hold->entered);
}

void sentinel_hold_end(struct sentinel_hold *hold) {
    sem_post(&hold->release);
    sem_await(&hold->left);
}

/* What comes while it runs messages is looked at before it runs the next. */
void sentinel_turn(weft_runtime *rt) {
    for (int i = 0; i < 2; i++) {
        struct sentinel_hold hold;
        sentinel_hold_begin(&hold, rt);
        sentinel_hold_end(&hold);
    }
}

/* --- the kernel ------------------------------------------------------------------------------ */

int refused_calls[OS_CALL_COUNT];

static int refuse(enum os_call call) {
    return refused_calls[call];
}

void refuse_calls(void) {
    seam_call_fn = refuse;
}
