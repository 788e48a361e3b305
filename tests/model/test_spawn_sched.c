/* Children that are spawned while the runtime stops, under the deterministic scheduler: each that
 * weft_spawn() accepted is told of once, with its status or, when the runtime stops first, without;
 * or its handle was stopped. A child ends only when a thread of the schedule ends it and waits
 * until it is dead, so that a seed says all. */
#include "runtime/processes.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 2, CHILDREN = 2, SCHEDULES = 500 };

static struct child {
    weft_task spawn, stop, kill;
    weft_process *handle;
    pid_t pid;
    int end; /* of the pipe that keeps it alive */
    unsigned calls, nulls;
    bool was_tried, is_spawned, is_stopped, is_refused;
} children[CHILDREN];

static weft_runtime *rt;
static bool stop_was_asked;

static bool is_mine(const struct child *c) {
    return c->is_spawned && c->calls == 0 && !c->is_stopped;
}

static void child_seen(weft_process *process, const siginfo_t *info, void *arg) {
    struct child *c = arg;
    SCHED_CHECK(is_mine(c) && process == c->handle);
    SCHED_CHECK(info || stop_was_asked);
    SCHED_CHECK(!info || info->si_pid == c->pid);
    SCHED_CHECK(weft_process_kill(process, SIGKILL) == -ESRCH || !info);
    c->calls++;
    c->nulls += info == NULL;
}

static void spawn(weft_task *task) {
    static char *const argv[] = {(char *)(uintptr_t) "cat", NULL};
    const weft_spawn_options options = {
        .file = "/bin/cat", .argv = argv, .stdio = {WEFT_STDIO_PIPE, 0, 0}};
    struct child *c = WEFT_CONTAINER_OF(task, struct child, spawn);
    int r = weft_spawn(weft_worker_current(), &options, child_seen, c, &c->handle);
    SCHED_CHECK(r == 0 || (r == -ESHUTDOWN && stop_was_asked));
    if (r == 0) {
        c->pid = weft_process_pid(c->handle);
        c->end = weft_process_stdio(c->handle, 0);
        c->is_spawned = true;
    }
    c->was_tried = true;
}

static void stop_handle(weft_task *task) {
    struct child *c = WEFT_CONTAINER_OF(task, struct child, stop);
    if (!is_mine(c))
        return;
    weft_process_stop(c->handle);
    c->is_stopped = true;
}

static void await_death(const struct child *c) {
    siginfo_t info;
    while (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
}

static void kill_child(weft_task *task) {
    struct child *c = WEFT_CONTAINER_OF(task, struct child, kill);
    if (is_mine(c) && weft_process_kill(c->handle, SIGKILL) == 0)
        await_death(c);
}

static bool post_to(unsigned worker, weft_task *task, void (*run)(weft_task *task)) {
    task->run = run;
    int r = weft_post(weft_runtime_worker(rt, worker), task);
    SCHED_CHECK(r == 0 || r == -ESHUTDOWN);
    return r == 0;
}

static bool all_were_tried(void) {
    for (int i = 0; i < CHILDREN; i++)
        if (!children[i].was_tried && !children[i].is_refused)
            return false;
    return true;
}

static void pause_for(uint64_t limit) {
    for (uint64_t steps = sched_random(limit); steps > 0; steps--)
        sched_step();
}

/* The second may come at any time of the stop. */
static void run_spawner(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < CHILDREN; i++) {
        pause_for(i == 0 ? 16 : 256);
        children[i].is_refused = !post_to(i, &children[i].spawn, spawn);
    }
}

static void run_stopper(void *arg) {
    (void)arg;
    pause_for(128);
    stop_was_asked = true;
    weft_runtime_stop(rt);
}

/* Ends the children, one way or the other, and stops the handle of one. */
static void run_ender(void *arg) {
    (void)arg;
    sched_await(all_were_tried);
    for (unsigned i = 0; i < CHILDREN; i++) {
        struct child *c = &children[i];
        if (!c->is_spawned || sched_random(4) == 0)
            continue;
        if (sched_random(2)) {
            (void)post_to(i, &c->kill, kill_child);
        } else {
            close(c->end);
            c->end = -1;
            await_death(c);
        }
        if (sched_random(2))
            (void)post_to(i, &c->stop, stop_handle);
    }
}

static void setup(uint64_t seed) {
    (void)seed;
    memset(children, 0, sizeof children);
    stop_was_asked = false;
    for (int i = 0; i < CHILDREN; i++)
        children[i].end = -1;
    rt = sched_runtime_create(&(const weft_runtime_options){.workers = WORKERS});
    sched_spawn("spawner", run_spawner, NULL);
    sched_spawn("stopper", run_stopper, NULL);
    sched_spawn("ender", run_ender, NULL);
}

static const char *verdict_of(const struct child *c) {
    close(c->end);
    if (!c->is_spawned)
        return c->calls ? "a child that was refused was told of" : NULL;
    bool has_status = c->calls > c->nulls, is_ours = waitpid(c->pid, NULL, 0) == c->pid;
    if (c->calls != (c->is_stopped ? 0u : 1u))
        return "a child was not told of once";
    if (!c->is_stopped && has_status == is_ours)
        return "a child was reaped twice or not at all";
    return NULL;
}

static const char *verdict(void) {
    const char *wrong = sched_runtime_destroy(rt, NULL);
    for (int i = 0; i < CHILDREN; i++) {
        const char *of_child = verdict_of(&children[i]);
        wrong = wrong ? wrong : of_child;
    }
    return wrong;
}

WTEST(spawn_sched, what_is_spawned_is_told_of_once_through_any_stop) {
    static const struct sched_test test = {"spawn and stop", setup, verdict};
    CHECK(sched_explore(&test, SCHEDULES));
}
