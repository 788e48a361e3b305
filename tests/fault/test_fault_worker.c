/* weft/task.h, timer.h, watch.h and hook.h: what is asked of a worker, and what its loop does when
 * its own calls fail. Not here, as they make no call: the getters of weft/worker.h, hook_stop,
 * watch_fd, and what starts and stops timers. */
#include "runtime_world.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static size_t world_snapshot(void *arg, void *buffer, size_t size) {
    struct world *world = arg;
    size_t length =
        selector_snapshot(weft_worker_selector(world->w), buffer, size - sizeof(unsigned));
    unsigned ran = world->ran;
    memcpy((char *)buffer + length, &ran, sizeof ran);
    return length + sizeof ran;
}

static void run_sweeps(const struct sweep *sweeps, size_t count) {
    for (size_t i = 0; i < count; i++)
        sweep_run(&sweeps[i]);
}

/* --- posts ----------------------------------------------------------------------------------- */

static void count_task(weft_task *task) {
    (void)task;
    world_count(weft_worker_data(weft_worker_current()));
}

static int post(void *arg) {
    static weft_task task;
    struct world *world = arg;
    task = (weft_task){.run = count_task};
    int r = weft_post(world->w, &task);
    if (r == 0)
        rt_await(&world->ran, 1);
    return r;
}

static int post_fn(void *arg) {
    struct world *world = arg;
    int r = weft_post_fn(world->w, world_count, world);
    if (r == 0)
        rt_await(&world->ran, 1);
    return r;
}

static int broadcast(void *arg) {
    struct world *world = arg;
    int r = weft_broadcast(world->rt, world_count, world);
    if (r == 0)
        rt_await(&world->ran, 2);
    return r;
}

static int call(void *arg) {
    struct world *world = arg;
    return weft_call(world->w, world_count, world);
}

/* The worker wakes, whatever becomes of the first try to wake it, and of its own wait. */
static bool answer_of_post(void *arg, const struct sweep_fault *fault, int r) {
    struct world *world = arg;
    if (fault->call == OS_ALLOC)
        return r == -ENOMEM && world->ran == 0;
    return r == 0 && is_loop_call(fault->call);
}

#define POST(name_, scope_, operate_, least_)                                                      \
    {                                                                                              \
        .name = name_, .scope = scope_, .least = least_, .open = open_with_data,                   \
        .operate = operate_, .close = world_close, .is_answer = answer_of_post,                    \
        .snapshot = world_snapshot                                                                 \
    }

static void set_data(void *arg) {
    const struct world *world = arg;
    weft_worker_set_data(world->w, arg);
}

static void *open_with_data(void) {
    struct world *world = world_open();
    rt_call(world->w, set_data, world);
    for (unsigned i = 0; i < 2; i++)
        rt_await_armed(weft_runtime_worker(world->rt, i));
    return world;
}

WTEST(fault_worker, posts) {
    static const struct sweep sweeps[] = {
        POST("post", SWEEP_CALLER, post, 1),
        POST("post, on every thread", SWEEP_EVERYONE, post, 1),
        POST("post fn", SWEEP_CALLER, post_fn, 2),
        POST("post fn, on every thread", SWEEP_EVERYONE, post_fn, 2),
        POST("broadcast", SWEEP_CALLER, broadcast, 4),
        POST("broadcast, on every thread", SWEEP_EVERYONE, broadcast, 4),
        POST("call", SWEEP_CALLER, call, 1),
        POST("call, on every thread", SWEEP_EVERYONE, call, 1),
    };
    run_sweeps(sweeps, sizeof sweeps / sizeof sweeps[0]);
}

/* --- timers ---------------------------------------------------------------------------------- */

static struct {
    weft_timer timer;
    struct world *world;
} alarm_;

static void timer_fired(weft_timer *timer) {
    (void)timer;
    world_count(alarm_.world);
}

static int start_timer(struct world *world) {
    alarm_.timer = (weft_timer){.fn = timer_fired};
    alarm_.world = world;
    weft_timer_start(world->w, &alarm_.timer, WEFT_USEC(100), 0);
    return 0;
}

static int timer_fires(void *arg) {
    struct world *world = arg;
    int r = world_on_worker(world, start_timer);
    rt_await(&world->ran, 1);
    return r;
}

static bool answer_of_loop(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return r == 0 && is_loop_call(fault->call);
}

WTEST(fault_worker, timer_fires_though_the_wait_fails) {
    static const struct sweep sweep = {"timer",
                                       SWEEP_EVERYONE,
                                       1,
                                       world_open,
                                       timer_fires,
                                       world_close,
                                       .is_answer = answer_of_loop};
    sweep_run(&sweep);
}

/* --- hooks ----------------------------------------------------------------------------------- */

static int start_hook(struct world *world) {
    return weft_hook_start(world->w, WEFT_AFTER_WAIT, world_count, world, NULL);
}

static int hook(void *arg) {
    struct world *world = arg;
    int r = world_on_worker(world, start_hook);
    rt_turns(world->w, 2);
    CHECK_EQ(world->ran > 0, r == 0);
    return r;
}

WTEST(fault_worker, hook) {
    static const struct sweep sweep = {
        "hook start", SWEEP_MARKED, 1, world_open, hook, world_close, .snapshot = world_snapshot};
    sweep_run(&sweep);
}

/* --- watches --------------------------------------------------------------------------------- */

static void seen(weft_watch *watch, uint32_t events, void *arg) {
    struct world *world = arg;
    char byte;
    (void)events;
    if (read(weft_watch_fd(watch), &byte, 1) == 1)
        world_count(world);
}

static int start_watch_for(struct world *world, int fd, uint32_t events) {
    weft_watch *watch = NULL;
    int r = weft_watch_start(world->w, fd, events, seen, world, &watch);
    CHECK((r == 0) == (watch != NULL));
    world->handle = watch;
    return r;
}

static int start_watch(struct world *world) {
    return start_watch_for(world, world->ends[0], WEFT_READ);
}

static int start_paused(struct world *world) {
    return start_watch_for(world, world->ends[0], 0);
}

static int start_far(struct world *world) {
    return start_watch_for(world, (int)world->number, WEFT_READ);
}

static int update_watch(struct world *world) {
    return weft_watch_update(world->handle, WEFT_READ | WEFT_WRITE | WEFT_EDGE);
}

static int pause_watch(struct world *world) {
    return weft_watch_update(world->handle, 0);
}

static int resume_watch(struct world *world) {
    return weft_watch_update(world->handle, WEFT_READ);
}

static int stop_watch(struct world *world) {
    weft_watch_stop(world->handle);
    return 0;
}

static int (*watch_operation)(struct world *world);

static int watch_operate(void *arg) {
    return world_on_worker(arg, watch_operation);
}

static void *open_far(void) {
    struct world *world = world_open();
    world->number = 1030; /* in a segment of its own */
    CHECK_EQ(dup3(world->ends[0], (int)world->number, O_CLOEXEC), (int)world->number);
    return world;
}

static void close_far(void *arg) {
    struct world *world = arg;
    int far = (int)world->number;
    world_close(world);
    close(far);
}

static void *open_watched(void) {
    struct world *world = world_open();
    CHECK_EQ(world_on_worker(world, start_watch), 0);
    return world;
}

static void *open_paused(void) {
    struct world *world = world_open();
    CHECK_EQ(world_on_worker(world, start_paused), 0);
    return world;
}

static bool answer_of_start(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return is_answer_of_add(fault, r);
}

static bool answer_of_change(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return is_answer_of_update(fault, r);
}

/* It has nobody to tell. What the kernel still reports is not shown, and goes with its first event;
 * the fd can be watched again. */
static bool answer_of_stop(void *arg, const struct sweep_fault *fault, int r) {
    struct world *world = arg;
    int fd = world->ends[0];
    CHECK(!weft_selector_contains(weft_worker_selector(world->w), fd));
    CHECK_EQ(write(world->ends[1], "x", 1), 1);
    rt_turns(world->w, 3);
    CHECK_EQ(world->ran, 0);
    CHECK_EQ(world_on_worker(world, start_watch), 0);
    rt_await(&world->ran, 1);
    return r == 0 && fault->call == OS_EPOLL_CTL;
}

WTEST(fault_worker, watches) {
    static const struct {
        const char *name;
        unsigned least;
        void *(*open)(void);
        int (*operate)(struct world *world);
        void (*close)(void *world);
        bool (*is_answer)(void *world, const struct sweep_fault *fault, int r);
    } watches[] = {
        {"watch start", 2, world_open, start_watch, world_close, answer_of_start},
        {"watch start, paused", 3, world_open, start_paused, world_close, answer_of_start},
        {"watch start, far", 4, open_far, start_far, close_far, answer_of_start},
        {"watch update", 1, open_watched, update_watch, world_close, answer_of_change},
        {"watch pause", 3, open_watched, pause_watch, world_close, answer_of_change},
        {"watch resume", 2, open_paused, resume_watch, world_close, answer_of_change},
        {"watch stop", 1, open_watched, stop_watch, world_close, answer_of_stop},
    };
    for (size_t i = 0; i < sizeof watches / sizeof watches[0]; i++) {
        const struct sweep sweep = {.name = watches[i].name,
                                    .scope = SWEEP_MARKED,
                                    .least = watches[i].least,
                                    .open = watches[i].open,
                                    .operate = watch_operate,
                                    .close = watches[i].close,
                                    .is_answer = watches[i].is_answer,
                                    .snapshot = world_snapshot,
                                    .keeps_memory = true};
        watch_operation = watches[i].operate;
        sweep_run(&sweep);
    }
}

/* --- retirement ------------------------------------------------------------------------------ */

static _Atomic unsigned retired;

static void count_retired(void *arg) {
    (void)arg;
    atomic_fetch_add(&retired, 1);
}

static void *open_nothing(void) {
    return &retired;
}

static int retire(void *world) {
    unsigned before = retired;
    (void)world;
    int r = weft_retire(count_retired, NULL);
    if (r == 0)
        rt_await(&retired, before + 1);
    return r;
}

static void close_nothing(void *world) {
    (void)world;
}

static int retire_with_failing(enum os_call call, unsigned n, int error) {
    static const struct sweep sweep = {.name = "retire", .scope = SWEEP_EVERYONE};
    sweep_arm(&sweep, &(struct sweep_fault){.call = call, .error = error, .n = n});
    int r = retire(NULL);
    CHECK(sweep_disarm());
    return r;
}

/* The reclaimer is made once in a process: first there is no mask and no thread for it, then the
 * caller's mask cannot be put back, which nobody is told of; then it is there. */
WTEST(fault_worker, retire) {
    static const struct sweep sweep = {.name = "retire",
                                       .least = 1,
                                       .open = open_nothing,
                                       .operate = retire,
                                       .close = close_nothing};
    weft_event *ev = NULL;
    sigset_t before;
    CHECK_EQ(weft_event_create(&ev), 0); /* what is made once by every constructor */
    weft_event_destroy(ev);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (const int *e = sweep_errnos(OS_SIGMASK); *e; e++)
        CHECK_EQ(retire_with_failing(OS_SIGMASK, 1, -*e), -ENOMEM);
    for (const int *e = sweep_errnos(OS_THREAD_CREATE); *e; e++)
        CHECK_EQ(retire_with_failing(OS_THREAD_CREATE, 1, -*e), -ENOMEM);
    CHECK_EQ(retire_with_failing(OS_SIGMASK, 2, -EINVAL), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sweep_run(&sweep);
}
