/* weft/signal.h: watches that cannot be had, and signals that come while the calls of those who
 * pass them on fail: none is lost. weft_signal_stop() makes no call that can fail. Then the
 * watchdog, which is the sentinel's, too. */
#include "log_keeper.h"
#include "runtime_world.h"
#include "signal_fixture.h"

#include "runtime/runtime.h"

#include <string.h>

/* Two numbers: the signalfd is made with the first watch, and changed with the second. */
static const int numbers[] = {SIGUSR1, SIGUSR2, 0};

static void *open_signals(void) {
    static const weft_runtime_options options = {
        .workers = 2, .stall_ns = WEFT_FOREVER, .signals = numbers};
    struct world *world = world_create(&options);
    world_start(world);
    return world;
}

static void seen(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    world_count(arg);
}

static int watch_number(struct world *world, int signo) {
    weft_signal *signal = NULL;
    int r = weft_signal_watch(world->w, signo, seen, world, &signal);
    CHECK((r == 0) == (signal != NULL));
    return r;
}

static int watch_first(struct world *world) {
    return watch_number(world, SIGUSR1);
}

static int watch_second(struct world *world) {
    return watch_number(world, SIGUSR2);
}

static void *open_watched(void) {
    struct world *world = open_signals();
    CHECK_EQ(world_on_worker(world, watch_first), 0);
    return world;
}

static int operate_first(void *arg) {
    return world_on_worker(arg, watch_first);
}

static int operate_second(void *arg) {
    return world_on_worker(arg, watch_second);
}

/* Whether the creator blocks the number is asked of /proc if there is one, and so is who else lets
 * it in; neither is an error. */
static bool answer_of_watch(void *arg, const struct sweep_fault *fault, int r) {
    struct world *world = arg;
    if (r < 0)
        return fault->call != OS_OPEN && is_answer_of_add(fault, r);
    send_signal(SIGUSR1);
    rt_await(&world->ran, 1);
    return fault->call == OS_OPEN;
}

static bool answer_of_second(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return fault->call == OS_OPEN ? r == 0 : is_answer_of_add(fault, r);
}

WTEST(fault_signals, watch) {
    struct sweep sweep = {.name = "signal watch",
                          .scope = SWEEP_MARKED,
                          .least = 4,
                          .open = open_signals,
                          .operate = operate_first,
                          .close = world_close,
                          .is_answer = answer_of_watch};
    sweep_run(&sweep);
    sweep.name = "signal watch, the second";
    sweep.least = 2;
    sweep.open = open_watched;
    sweep.operate = operate_second;
    sweep.is_answer = answer_of_second;
    sweep_run(&sweep);
}

/* The second is sent when the first has come, so that the kernel does not make one of them. */
static int receive(void *arg) {
    struct world *world = arg;
    for (unsigned n = 1; n <= 2; n++) {
        send_signal(SIGUSR1);
        rt_await(&world->ran, n);
    }
    rt_turns(world->w, 1);
    CHECK_EQ(world->ran, 2);
    return 0;
}

/* What cannot be read yet stays with the kernel, which says so again; without memory it is asked
 * again after a while. */
static bool answer_of_receive(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    bool is_batch = fault->call == OS_ALLOC || fault->call == OS_SIGNALFD;
    return r == 0 && (is_loop_call(fault->call) || is_batch);
}

WTEST(fault_signals, none_is_lost) {
    static const struct sweep sweep = {.name = "signals come",
                                       .scope = SWEEP_EVERYONE,
                                       .least = 4,
                                       .open = open_watched,
                                       .operate = receive,
                                       .close = world_close,
                                       .is_answer = answer_of_receive,
                                       .once_only = true};
    sweep_run(&sweep);
}

static _Atomic bool no_memory;
static pthread_t test_thread;

static int refuse_memory(enum os_call call) {
    bool is_sentinel = !weft_worker_current() && !pthread_equal(pthread_self(), test_thread);
    return call == OS_ALLOC && no_memory && is_sentinel ? -ENOMEM : 0;
}

static bool is_held_back(weft_runtime *rt) {
    lock_take(&rt->lock);
    bool held_back = rt->signals.held_back;
    lock_drop(&rt->lock);
    return held_back;
}

static int receive_without_memory(void *arg) {
    struct world *world = arg;
    no_memory = true;
    send_signal(SIGUSR1);
    while (!is_held_back(world->rt))
        sched_yield();
    no_memory = false;
    rt_await(&world->ran, 1);
    return 0;
}

WTEST(fault_signals, none_is_lost_without_memory) {
    static const struct sweep sweep = {.name = "signals come, without memory",
                                       .scope = SWEEP_EVERYONE,
                                       .least = 5,
                                       .open = open_watched,
                                       .operate = receive_without_memory,
                                       .close = world_close,
                                       .is_answer = answer_of_receive,
                                       .kernel = refuse_memory,
                                       .once_only = true};
    test_thread = pthread_self();
    sweep_run(&sweep);
}

static void *open_stopped_by_signal(void) {
    struct world *world = open_signals();
    CHECK_EQ(weft_runtime_stop_on(world->rt, SIGTERM), 0);
    return world;
}

static int stop_by_signal(void *arg) {
    const struct world *world = arg;
    send_signal(SIGTERM);
    return weft_runtime_join(world->rt);
}

/* One that stops needs no memory. */
WTEST(fault_signals, stop) {
    static const struct sweep sweep = {.name = "a signal stops",
                                       .scope = SWEEP_EVERYONE,
                                       .least = 4,
                                       .open = open_stopped_by_signal,
                                       .operate = stop_by_signal,
                                       .close = world_close,
                                       .is_answer = answer_of_receive};
    sweep_run(&sweep);
}

/* --- the watchdog ---------------------------------------------------------------------------- */

static void *open_watchdog(void) {
    static const weft_runtime_options options = {.workers = 1, .stall_ns = WEFT_MSEC(2)};
    struct world *world = world_create(&options);
    CHECK_EQ(weft_runtime_start(world->rt), 0);
    rt_await_asleep(world->rt);
    return world;
}

/* A worker that slept stays in a callback until it has been seen there. */
static int stall(void *arg) {
    struct world *world = arg;
    struct hold hold;
    hold_begin(&hold, world->w);
    while (rt_stats(world->w).stalls == 0)
        sched_yield();
    log_await("has been in one callback", 1);
    hold_end(&hold, world->w);
    return 0;
}

/* What the thread is doing is said where /proc tells. */
static bool answer_of_stall(void *arg, const struct sweep_fault *fault, int r) {
    (void)arg;
    return r == 0 && (is_loop_call(fault->call) || fault->call == OS_OPEN);
}

WTEST(fault_signals, stalls_are_seen) {
    static const struct sweep sweep = {.name = "a stall",
                                       .scope = SWEEP_EVERYONE,
                                       .least = 3,
                                       .open = open_watchdog,
                                       .operate = stall,
                                       .close = world_close,
                                       .is_answer = answer_of_stall};
    sweep_run(&sweep);
}
