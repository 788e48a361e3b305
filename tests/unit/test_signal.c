/* Signals as callbacks: who gets which, in which order, and what becomes of those that nobody
 * wants.
 */
#include "signal_fixture.h"

#include "runtime/runtime.h"

#include <errno.h>

static struct sight a, b, c;

/* --- delivery --- */

WTEST(signal_watch, delivers_number_sender_and_payload) {
    const int numbers[] = {SIGRTMIN + 2, SIGUSR1, 0};
    weft_runtime *rt = signals_start(2, numbers);
    sight_begin(&a, weft_runtime_worker(rt, 1), SIGRTMIN + 2);
    sight_begin(&b, weft_runtime_worker(rt, 0), SIGUSR1);
    send_payload(SIGRTMIN + 2, 4711);
    send_signal(SIGUSR1);
    rt_await(&a.count, 1);
    rt_await(&b.count, 1);
    CHECK_EQ(a.signo[0], SIGRTMIN + 2);
    CHECK_EQ(a.data[0], 4711);
    CHECK_EQ(b.signo[0], SIGUSR1);
    CHECK_EQ(a.elsewhere + b.elsewhere, 0);
    rt_end(rt);
    CHECK_EQ(a.count, 1);
    CHECK_EQ(b.count, 1);
}

WTEST(signal_watch, each_of_several_watches_gets_each_signal_once) {
    enum { SIGNALS = 100 };
    static struct sight sights[6];
    const int number = SIGRTMIN, numbers[] = {number, 0};
    weft_runtime *rt = signals_start(3, numbers);
    for (unsigned i = 0; i < 6; i++)
        sight_begin(&sights[i], weft_runtime_worker(rt, i % 3), number);
    for (int i = 0; i < SIGNALS; i++)
        send_payload(number, i);
    for (unsigned i = 0; i < 6; i++)
        rt_await(&sights[i].count, SIGNALS);
    rt_end(rt);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQ(sights[i].count, SIGNALS);
        CHECK_EQ(sights[i].elsewhere, 0);
        for (int j = 0; j < SIGNALS; j++)
            CHECK_EQ(sights[i].data[j], j);
    }
}

static char order[8];
static _Atomic unsigned ordered;

static void note_order(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    order[ordered++] = *(const char *)arg;
}

static void watch_three(void *arg) {
    weft_worker *w = arg;
    static const char *const names[] = {"1", "2", "3"};
    for (int i = 0; i < 3; i++)
        if (weft_signal_watch(w, SIGUSR1, note_order, text(names[i]), NULL) != 0)
            abort();
}

WTEST(signal_watch, those_of_a_worker_are_called_in_the_order_of_their_start) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    rt_call(weft_runtime_worker(rt, 0), watch_three, weft_runtime_worker(rt, 0));
    send_signal(SIGUSR1);
    rt_await(&ordered, 3);
    send_signal(SIGUSR1);
    rt_await(&ordered, 6);
    rt_end(rt);
    CHECK_STR(order, "123123");
}

WTEST(signal_watch, queued_real_time_signals_arrive_in_order_and_none_is_lost) {
    enum { SIGNALS = 10000 };
    const int number = SIGRTMIN + 1, numbers[] = {number, SIGUSR2, 0};
    weft_runtime *rt = signals_start(2, numbers);
    sight_begin(&a, weft_runtime_worker(rt, 0), number);
    sight_begin(&b, weft_runtime_worker(rt, 1), number);
    sight_begin(&c, weft_runtime_worker(rt, 1), SIGUSR2);
    for (int i = 0; i < SIGNALS; i++) {
        send_payload(number, i);
        if (i % 64 == 0)
            send_signal(SIGUSR2); /* in between: these coalesce */
    }
    rt_await(&a.count, SIGNALS);
    rt_await(&b.count, SIGNALS);
    await_not_pending(SIGUSR2);
    rt_end(rt);
    CHECK_EQ(a.count, SIGNALS);
    CHECK_EQ(b.count, SIGNALS);
    CHECK(c.count >= 1);
    for (int i = 0; i < SIGNALS; i++) {
        CHECK_EQ(a.data[i], i);
        CHECK_EQ(b.data[i], i);
    }
}

WTEST(signal_watch, one_that_came_before_the_first_watch_is_for_it) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    send_signal(SIGUSR1);
    let_others_run();
    CHECK(is_pending(SIGUSR1));
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGUSR1);
    rt_await(&a.count, 1);
    rt_end(rt);
    CHECK_EQ(a.count, 1);
}

/* What nohup(1) leaves to its child. */
WTEST(signal_watch, numbers_that_are_ignored_arrive_all_the_same) {
    const int numbers[] = {SIGHUP, 0};
    signal(SIGHUP, SIG_IGN);
    weft_runtime *rt = signals_start(1, numbers);
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGHUP);
    send_signal(SIGHUP);
    rt_await(&a.count, 1);
    rt_end(rt);
    CHECK(signal(SIGHUP, SIG_DFL) == SIG_IGN); /* dispositions are the program's */
}

WTEST(signal_watch, what_is_sent_to_one_thread_never_comes) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGUSR1);
    raise(SIGUSR1);
    let_others_run();
    CHECK_EQ(a.count, 0);
    CHECK(is_pending(SIGUSR1)); /* with this thread */
    send_signal(SIGUSR1);
    rt_await(&a.count, 1);
    rt_end(rt);
    CHECK_EQ(a.count, 1);
}

WTEST(signal_watch, a_number_may_stop_the_runtime_and_be_watched) {
    const int numbers[] = {SIGTERM, 0};
    weft_runtime *rt = signals_start(1, numbers);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGTERM);
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
    CHECK_EQ(a.count, 1);
}

/* --- the end of a watch --- */

static void await_batch(weft_runtime *rt) {
    while (atomic_load(&rt->signals.batches) == 0)
        sched_yield();
}

static struct hold hold;

static void stop_and_note(void *arg) {
    struct sight *s = arg;
    weft_signal_stop(s->handle);
    s->handle = NULL;
}

/* Held in a callback, its worker gets the signal and, in front of it, the end of the watch. */
WTEST(signal_watch, no_call_after_the_stop_though_the_signal_is_on_its_way) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    weft_worker *w = weft_runtime_worker(rt, 0);
    sight_begin(&a, w, SIGUSR1);
    sight_begin(&b, w, SIGUSR1);
    hold_begin(&hold, w);
    CHECK_EQ(weft_post_fn(w, stop_and_note, &a), 0);
    send_signal(SIGUSR1);
    await_batch(rt);
    hold_end(&hold, w);
    rt_await(&b.count, 1);
    CHECK_EQ(a.count, 0);
    rt_end(rt);
}

WTEST(signal_watch, one_that_comes_after_the_last_watch_is_discarded_and_kills_nobody) {
    const int numbers[] = {SIGUSR1, SIGRTMIN, 0};
    weft_runtime *rt = signals_start(2, numbers);
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGUSR1);
    sight_begin(&b, weft_runtime_worker(rt, 1), SIGRTMIN);
    sight_end(&a);
    sight_end(&b);
    send_signal(SIGUSR1);
    for (int i = 0; i < 1000; i++)
        send_payload(SIGRTMIN, i);
    await_not_pending(SIGUSR1);
    await_not_pending(SIGRTMIN);
    sight_begin(&c, weft_runtime_worker(rt, 0), SIGUSR1); /* the number goes on to work */
    send_signal(SIGUSR1);
    rt_await(&c.count, 1);
    rt_end(rt);
    CHECK_EQ(a.count + b.count, 0);
}

static struct {
    weft_worker *worker;
    weft_signal *self, *other;
    _Atomic unsigned calls, other_calls, added_calls;
} game;

static void count_added(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    (void)arg;
    game.added_calls++;
}

static void count_other(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    (void)arg;
    game.other_calls++;
}

static void change_the_list(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    (void)arg;
    weft_signal_stop(game.other);
    weft_signal_stop(game.self);
    if (weft_signal_watch(game.worker, SIGUSR1, count_added, NULL, NULL) != 0)
        abort();
    game.calls++;
}

static void set_up_game(void *arg) {
    game.worker = arg;
    if (weft_signal_watch(arg, SIGUSR1, change_the_list, NULL, &game.self) != 0 ||
        weft_signal_watch(arg, SIGUSR1, count_other, NULL, &game.other) != 0)
        abort();
}

WTEST(signal_watch, a_callback_may_stop_itself_and_others_and_start_new_ones) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    rt_call(weft_runtime_worker(rt, 0), set_up_game, weft_runtime_worker(rt, 0));
    send_signal(SIGUSR1);
    rt_await(&game.calls, 1);
    rt_turns(game.worker, 2);
    CHECK_EQ(game.added_calls, 0); /* not for the signal that it was started by */
    send_signal(SIGUSR1);
    rt_await(&game.added_calls, 1);
    rt_end(rt);
    CHECK_EQ(game.calls, 1);
    CHECK_EQ(game.other_calls, 0);
    CHECK_EQ(game.added_calls, 1);
}

/* --- bounded memory --- */

/* One at a time, so that each makes a batch of its own. */
static void send_until_held_back(weft_runtime *rt, int signo, int *count) {
    bool held_back = false;
    while (!held_back && *count < SEEN_MAX / 2) {
        send_payload(signo, (*count)++);
        while (!held_back && is_pending(signo)) {
            lock_take(&rt->lock);
            held_back = rt->signals.held_back;
            lock_drop(&rt->lock);
        }
    }
    CHECK_MSG(held_back, "%d signals are on their way to a worker that stands still", *count);
}

WTEST(signal_watch, a_worker_that_stands_still_leaves_them_to_the_kernel_and_loses_none) {
    const int number = SIGRTMIN, numbers[] = {number, SIGTERM, 0};
    int count = 0;
    weft_runtime *rt = signals_start(2, numbers);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    sight_begin(&a, weft_runtime_worker(rt, 0), number);
    hold_begin(&hold, weft_runtime_worker(rt, 0));
    send_until_held_back(rt, number, &count);
    for (int i = 0; i < 1000; i++)
        send_payload(number, count++);
    CHECK(is_pending(number));
    hold_end(&hold, weft_runtime_worker(rt, 0));
    rt_await(&a.count, (unsigned)count);
    for (int i = 0; i < count; i++)
        CHECK_EQ(a.data[i], i);
    /* Once more: whoever was held back can be held back again. */
    int again = 0;
    hold_begin(&hold, weft_runtime_worker(rt, 0));
    send_until_held_back(rt, number, &again);
    send_signal(SIGTERM); /* and does not keep the runtime from stopping */
    while (!runtime_is_stopping(rt))
        sched_yield();
    sem_post(&hold.release);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
}

static _Atomic bool no_memory;
static pthread_t test_thread;

static int fail_sentinels_allocations(enum os_call call) {
    bool is_sentinel = !weft_worker_current() && !pthread_equal(pthread_self(), test_thread);
    return call == OS_ALLOC && no_memory && is_sentinel ? -ENOMEM : 0;
}

WTEST(signal_watch, without_memory_they_wait_and_the_runtime_still_stops) {
    const int number = SIGRTMIN, numbers[] = {number, 0};
    test_thread = pthread_self();
    seam_call_fn = fail_sentinels_allocations;
    weft_runtime *rt = signals_start(1, numbers);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    sight_begin(&a, weft_runtime_worker(rt, 0), number);
    no_memory = true;
    for (int i = 0; i < 200; i++)
        send_payload(number, i);
    let_others_run();
    CHECK(a.count <= 64); /* a batch that was there already */
    no_memory = false;
    rt_await(&a.count, 200);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(a.data[i], i);
    no_memory = true;
    send_payload(number, 200);
    send_payload(number, 201);
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
    seam_call_fn = NULL;
}
