/* weft/runtime.h: create, start, stop, join, run, destroy and stop_on. Not here, as they make no
 * call that can fail: destroy of one that was never started, set_spin, ref, unref, worker_count,
 * worker, pick. What liburcu does for a thread of its own does not go through the seam. */
#include "log_keeper.h"
#include "runtime_world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- create ---------------------------------------------------------------------------------- */

static const weft_runtime_options *create_options;
static weft_runtime *created;
static sigset_t mask_before;

static void *open_none(void) {
    created = NULL;
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    return &created;
}

static int create(void *world) {
    (void)world;
    int r = weft_runtime_create(create_options, &created);
    CHECK((r == 0) == (created != NULL));
    return r;
}

static void close_created(void *world) {
    (void)world;
    weft_runtime_destroy(created);
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
}

/* Its numbers are nobody's: another one, elsewhere in memory, can have them. */
static void check_signals_free(void) {
    weft_runtime *elsewhere = NULL, *other = NULL;
    CHECK_EQ(weft_runtime_create(NULL, &elsewhere), 0);
    CHECK_EQ(weft_runtime_create(create_options, &other), 0);
    weft_runtime_destroy(other);
    weft_runtime_destroy(elsewhere);
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
}

/* A set of CPUs that is too small is tried again as a larger one, and without a word on the quota
 * of the control group no CPU counts as spare. */
static bool answer_of_create(void *world, const struct sweep_fault *fault, int r) {
    (void)world;
    if (is_fault(fault, OS_AFFINITY, -EINVAL) || fault->call == OS_OPEN)
        return r == 0;
    if (fault->call == OS_SIGMASK)
        check_signals_free();
    return is_answer_of_add(fault, r);
}

static void nothing(weft_worker *w, void *arg) {
    (void)w;
    (void)arg;
}

WTEST(fault_runtime, create) {
    static const int numbers[] = {SIGUSR1, SIGTERM, 0};
    static const weft_runtime_options every = {.workers = 2,
                                               .flags = WEFT_PIN_WORKERS,
                                               .signals = numbers,
                                               .stall_ns = WEFT_MSEC(10),
                                               .grace_ns = WEFT_MSEC(10),
                                               .max_buffered = 1 << 20,
                                               .on_worker_start = nothing,
                                               .on_worker_stop = nothing};
    static const weft_runtime_options least = {.workers = 1, .stall_ns = WEFT_FOREVER};
    struct sweep sweep = {.name = "runtime create, every option",
                          .least = 40,
                          .open = open_none,
                          .operate = create,
                          .close = close_created,
                          .is_answer = answer_of_create};
    create_options = &every;
    sweep_run(&sweep);
    sweep.name = "runtime create, least";
    sweep.least = 20;
    create_options = &least;
    sweep_run(&sweep);
}

/* --- start ----------------------------------------------------------------------------------- */

static uint32_t start_spin;

static void count_start(weft_worker *w, void *arg) {
    (void)w;
    world_count(arg);
}

static void *open_unstarted(void) {
    static weft_runtime_options options = {.workers = 2,
                                           .flags = WEFT_PIN_WORKERS,
                                           .stall_ns = WEFT_FOREVER,
                                           .on_worker_start = count_start,
                                           .on_worker_stop = count_start};
    struct world *world = world_create(NULL);
    weft_runtime_destroy(world->rt);
    options.arg = world;
    CHECK_EQ(weft_runtime_create(&options, &world->rt), 0);
    world->w = weft_runtime_worker(world->rt, 0);
    CHECK_EQ(weft_runtime_set_spin(world->rt, start_spin), 0);
    return world;
}

/* All threads have come to their first wait. */
static int start(void *arg) {
    struct world *world = arg;
    int r = weft_runtime_start(world->rt);
    if (r < 0)
        return r;
    rt_await(&world->ran, 2);
    for (unsigned i = 0; i < 2; i++)
        rt_turns(weft_runtime_worker(world->rt, i), 2);
    return 0;
}

/* Threads are there or not; a worker that cannot be pinned runs unpinned, and the log says so. */
static bool answer_of_start(void *arg, const struct sweep_fault *fault, int r) {
    struct world *world = arg;
    if (fault->call == OS_THREAD_CREATE || (fault->call == OS_SIGMASK && r < 0)) {
        CHECK_EQ(world->ran, 0);
        CHECK_EQ(weft_runtime_join(world->rt), -EINVAL); /* not started */
        return r == fault->error;
    }
    if (fault->call == OS_AFFINITY)
        CHECK_EQ(log_count("could not be pinned"), 1);
    return r == 0 &&
           (is_loop_call(fault->call) || fault->call == OS_AFFINITY || fault->call == OS_SIGMASK);
}

WTEST(fault_runtime, start) {
    struct sweep sweep = {.name = "runtime start",
                          .least = 5,
                          .open = open_unstarted,
                          .operate = start,
                          .close = world_close,
                          .is_answer = answer_of_start};
    start_spin = WEFT_SPIN_NEVER;
    sweep_run(&sweep);
    sweep.name = "runtime start, on every thread";
    sweep.scope = SWEEP_EVERYONE;
    sweep.least = 8;
    sweep_run(&sweep);
    sweep.name = "runtime start, spinning";
    start_spin = WEFT_SPIN_ALWAYS;
    sweep_run(&sweep);
}

/* --- stop, join, run, destroy ---------------------------------------------------------------- */

static int stop(void *arg) {
    struct world *world = arg;
    weft_runtime_stop(world->rt);
    return weft_runtime_join(world->rt);
}

static int destroy(void *arg) {
    struct world *world = arg;
    weft_runtime_destroy(world->rt);
    world->rt = NULL;
    return 0;
}

/* Nobody waits for an answer, and nobody waits in vain. */
static bool answer_of_stop(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return r == 0 && is_loop_call(fault->call);
}

static void *open_stopped(void) {
    struct world *world = open_unstarted();
    weft_runtime_stop(world->rt);
    return world;
}

static int run(void *arg) {
    struct world *world = arg;
    int r = weft_runtime_run(world->rt);
    CHECK_EQ(world->ran, r < 0 ? 0 : 4);
    return r;
}

static bool answer_of_run(void *arg, const struct sweep_fault *fault, int r) {
    return r == 0 ? answer_of_start(arg, fault, r) : r == fault->error;
}

WTEST(fault_runtime, end) {
    static const struct sweep sweeps[] = {
        {"runtime stop and join", SWEEP_EVERYONE, 5, world_open, stop, world_close,
         .is_answer = answer_of_stop},
        {"runtime destroy", SWEEP_EVERYONE, 5, world_open, destroy, world_close,
         .is_answer = answer_of_stop},
        {"runtime run, stopped before", SWEEP_EVERYONE, 8, open_stopped, run, world_close,
         .is_answer = answer_of_run},
    };
    start_spin = WEFT_SPIN_NEVER;
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        sweep_run(&sweeps[i]);
}

static void *open_created(void) {
    return world_create(NULL);
}

static int stop_on(void *arg) {
    const struct world *world = arg;
    return weft_runtime_stop_on(world->rt, SIGUSR2);
}

/* Who else lets the signal in is a matter for the log, as far as /proc can tell. */
static bool answer_of_stop_on(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return fault->call == OS_OPEN ? r == 0 : is_answer_of_add(fault, r);
}

WTEST(fault_runtime, stop_on) {
    static const struct sweep sweep = {.name = "runtime stop on",
                                       .least = 4,
                                       .open = open_created,
                                       .operate = stop_on,
                                       .close = world_close,
                                       .is_answer = answer_of_stop_on};
    sweep_run(&sweep);
}

/* --- fork ------------------------------------------------------------------------------------ */

/* What constructors answer in a child of the caller's. */
static int create_in_forked_child(void) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        weft_selector *s = NULL;
        _exit(-weft_selector_create(&s));
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

/* In a process that has not used weft yet; whether all is as it should be. */
static bool first_use(const struct sweep *sweep, const struct sweep_fault *fault) {
    weft_event *ev = NULL;
    log_keep();
    sweep_arm(sweep, fault);
    int r = weft_event_create(&ev);
    if (!sweep_disarm())
        return fault->n == 0 && r == 0 && create_in_forked_child() == -EPERM;
    bool is_about_fork = fault->call == OS_MMAP || fault->call == OS_MADVISE;
    if (!is_about_fork)
        return r == fault->error;
    bool is_told = log_count("calls in a forked child are not refused") == 1;
    return r == 0 && is_told && create_in_forked_child() == 0;
}

static void check_first_use(const struct sweep_fault *fault) {
    static const struct sweep sweep = {.name = "first use", .scope = SWEEP_EVERYONE};
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(first_use(&sweep, fault) ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s fails with %s",
              seam_call_name(fault->call), strerrorname_np(-fault->error));
}

/* Without MADV_WIPEONFORK weft works; only a forked child is not told that it must not. */
WTEST(fault_runtime, fork_check) {
    static const enum os_call calls[] = {OS_MMAP, OS_MADVISE, OS_ALLOC, OS_EVENTFD};
    unsigned faults = 0;
    check_first_use(&(struct sweep_fault){.n = 0});
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        for (const int *e = sweep_errnos(calls[i]); *e; e++, faults++)
            check_first_use(&(struct sweep_fault){.call = calls[i], .error = -*e, .n = 1});
    printf("first use: 4 calls; %u faults\n", faults);
}
