/* weft/process.h: children that cannot be started or watched, and ends that are seen although calls
 * fail; also on kernels that refuse pidfds. Not here, as they make no call: pid, stdio. */
#include "process_fixture.h"
#include "runtime_world.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the world: a child that waits, or is to be started -------------------------------------- */

static struct {
    struct child child;
    struct watched watched;
    bool is_watched;
    int status; /* that the watched one ends with */
} w;

static const weft_runtime_options *runtime_options;

static void *open_childless(void) {
    memset(&w, 0, sizeof w);
    w.child.gate = -1;
    struct world *world = world_create(runtime_options);
    world_start(world);
    return world;
}

static void *open_child(void) {
    struct world *world = open_childless();
    w.status = 7;
    child_make(&w.child, w.status);
    return world;
}

static int watch_here(struct world *world) {
    (void)world;
    int r = watched_try_here(&w.watched, w.child.pid);
    w.is_watched = r == 0;
    return r;
}

static int watch(void *arg) {
    return world_on_worker(arg, watch_here);
}

static void *open_watched(void) {
    void *world = open_child();
    CHECK_EQ(watch(world), 0);
    return world;
}

/* Whatever failed: the end of a child that is watched is seen, and nothing of it stays. */
static void close_children(void *world) {
    if (w.is_watched) {
        if (w.child.gate >= 0)
            child_let_go(&w.child);
        watched_expect(&w.watched, CLD_EXITED, w.status);
    } else if (w.child.gate >= 0) {
        child_kill(&w.child);
    }
    world_close(world);
    no_children_left();
}

static size_t snapshot(void *arg, void *buffer, size_t size) {
    const struct world *world = arg;
    size_t length = selector_snapshot(world->rt->sentinel.selector, buffer, size - 1);
    ((char *)buffer)[length] = (char)is_ours(w.child.pid);
    return length + 1;
}

/* --- kernels --------------------------------------------------------------------------------- */

static int refuse_pidfds(enum os_call call) {
    return call == OS_PIDFD_OPEN ? -ENOSYS : 0;
}

static int refuse_all_that_is_new(enum os_call call) {
    return call == OS_PIDFD_OPEN || call == OS_CLOSE_RANGE ? -ENOSYS : 0;
}

static const int sigchld[] = {SIGCHLD, 0};
static const weft_runtime_options by_sigchld = {
    .workers = 2, .stall_ns = WEFT_FOREVER, .signals = sigchld};

/* --- watches --------------------------------------------------------------------------------- */

static bool is_refusal(int error) {
    return error == -ENOSYS || error == -EPERM;
}

/* Without pidfds SIGCHLD or the clock does their work. */
static bool answer_of_watch(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    if (fault->call == OS_PIDFD_OPEN && is_refusal(fault->error))
        return r == 0;
    return is_answer_of_add(fault, r);
}

/* Whether it is our child is asked once; all the rest is how its end will be seen. */
static bool answer_without_pidfds(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    if (r == 0)
        return fault->call != OS_ALLOC && fault->call != OS_SIGACTION;
    return fault->call == OS_WAITID ? r == -ECHILD : r == fault->error;
}

WTEST(fault_processes, watch) {
    struct sweep sweep = {.name = "process watch",
                          .scope = SWEEP_MARKED,
                          .least = 5,
                          .open = open_child,
                          .operate = watch,
                          .close = close_children,
                          .is_answer = answer_of_watch,
                          .snapshot = snapshot};
    sweep_run(&sweep);
    sweep.name = "process watch, by the clock";
    sweep.kernel = refuse_pidfds;
    sweep.is_answer = answer_without_pidfds;
    sweep_run(&sweep);
    sweep.name = "process watch, by SIGCHLD";
    runtime_options = &by_sigchld;
    sweep_run(&sweep);
}

static int kill_here(struct world *world) {
    (void)world;
    return weft_process_kill(w.watched.process, 0);
}

static int kill_it(void *arg) {
    return world_on_worker(arg, kill_here);
}

/* Its end may be told to nobody, but then the child is ours again. */
static int stop(void *arg) {
    const struct world *world = arg;
    watched_stop(&w.watched);
    sentinel_turn(world->rt);
    w.is_watched = false;
    return 0;
}

static bool answer_of_stop(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return r == 0 && (is_loop_call(fault->call) || fault->call == OS_EPOLL_CTL ||
                      fault->call == OS_KILL); /* what fn itself asks */
}

static int stop_runtime(void *arg) {
    struct world *world = arg;
    weft_runtime_stop(world->rt);
    int r = weft_runtime_join(world->rt);
    watched_check_abandoned(&w.watched);
    w.is_watched = false;
    return r;
}

WTEST(fault_processes, kill_and_stop) {
    static const struct sweep sweeps[] = {
        {"process kill", SWEEP_MARKED, 1, open_watched, kill_it, close_children,
         .snapshot = snapshot},
        {"process stop", SWEEP_EVERYONE, 2, open_watched, stop, close_children,
         .is_answer = answer_of_stop},
        {"runtime stop, with a child", SWEEP_EVERYONE, 4, open_watched, stop_runtime,
         close_children, .is_answer = answer_of_stop},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        sweep_run(&sweeps[i]);
}

/* --- ends ------------------------------------------------------------------------------------ */

static int end(void *arg) {
    (void)arg;
    child_let_go(&w.child);
    watched_await(&w.watched);
    return 0;
}

/* A status that cannot be had is taken for stolen: si_code 0. Then the child stays for whoever
 * waits for it. */
static bool answer_of_end(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    if (fault->call == OS_WAITID && w.watched.info.si_pid == 0) {
        watched_check_stolen(&w.watched);
        child_reap(&w.child, w.status << 8);
        w.is_watched = false;
        return r == 0;
    }
    bool is_batch = fault->call == OS_ALLOC; /* of signals */
    return r == 0 && (is_loop_call(fault->call) || is_batch || fault->call == OS_EPOLL_CTL ||
                      fault->call == OS_WAITID);
}

WTEST(fault_processes, ends_are_seen) {
    struct sweep sweep = {.name = "a child ends",
                          .scope = SWEEP_EVERYONE,
                          .least = 2,
                          .open = open_watched,
                          .operate = end,
                          .close = close_children,
                          .is_answer = answer_of_end,
                          .once_only = true};
    sweep_run(&sweep);
    sweep.name = "a child ends, by SIGCHLD";
    sweep.kernel = refuse_pidfds;
    runtime_options = &by_sigchld;
    sweep_run(&sweep);
}

/* --- spawn ----------------------------------------------------------------------------------- */

static const weft_spawn_options *spawn_options;

static int spawn_here(struct world *world) {
    (void)world;
    int r = watched_spawn_here(&w.watched, spawn_options);
    w.is_watched = r == 0;
    return r;
}

static int spawn(void *arg) {
    return world_on_worker(arg, spawn_here);
}

/* What the parent has not open is /dev/null; a pidfd that cannot be had, or not be waited on, is
 * done without; so is close_range(). */
static bool answer_of_spawn(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    bool is_inherited = spawn_options->stdio[0] == WEFT_STDIO_INHERIT;
    switch (fault->call) {
    case OS_FCNTL:
        if (r == 0)
            return is_inherited && fault->error == -EBADF;
        break;
    case OS_PIDFD_OPEN:
    case OS_CLOSE_RANGE:
    case OS_EPOLL_CTL:
    case OS_SIGNALFD:
    case OS_WAITID:
    case OS_OPEN:
    case OS_WRITE: return r == 0;
    default: break;
    }
    return r == fault->error;
}

static void sweep_spawn(const char *name, const weft_spawn_options *options, unsigned least,
                        int (*kernel)(enum os_call call)) {
    const struct sweep sweep = {.name = name,
                                .scope = SWEEP_MARKED,
                                .least = least,
                                .open = open_childless,
                                .operate = spawn,
                                .close = close_children,
                                .is_answer = answer_of_spawn,
                                .kernel = kernel};
    spawn_options = options;
    sweep_run(&sweep);
}

WTEST(fault_processes, spawn) {
    static const int fds[] = {1, 2};
    static const weft_spawn_options plain = {.file = "true"};
    static const weft_spawn_options pipes = {
        .file = "true", .stdio = {WEFT_STDIO_PIPE, WEFT_STDIO_PIPE, WEFT_STDIO_PIPE}};
    static const weft_spawn_options inherited = {
        .file = "true", .stdio = {WEFT_STDIO_INHERIT, WEFT_STDIO_INHERIT, WEFT_STDIO_INHERIT}};
    static const weft_spawn_options every = {
        .file = "true",
        .cwd = "/",
        .stdio = {WEFT_STDIO_PIPE, WEFT_STDIO_FD(1), WEFT_STDIO_NULL},
        .fds = fds,
        .fd_count = 2,
        .flags = WEFT_SPAWN_SETSID};
    skip_where_spawn_is_impossible();
    sweep_spawn("spawn", &plain, 8, NULL);
    sweep_spawn("spawn, pipes", &pipes, 14, NULL);
    sweep_spawn("spawn, inherited", &inherited, 11, NULL);
    sweep_spawn("spawn, every option", &every, 13, NULL);
    sweep_spawn("spawn, old kernel, by the clock", &pipes, 12, refuse_all_that_is_new);
    runtime_options = &by_sigchld;
    sweep_spawn("spawn, old kernel, by SIGCHLD", &plain, 8, refuse_all_that_is_new);
}
