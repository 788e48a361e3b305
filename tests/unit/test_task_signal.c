/* Posting from a signal handler, while the interrupted thread is in the middle of posting and
 * allocating. */
#include "rt.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { SLOTS = 4096 };

struct slot {
    weft_task task;
    _Atomic bool queued;
};

static weft_worker *target;
static struct slot slots[SLOTS];
static _Atomic unsigned handled, posted_there, posted_here, ran, errno_lost;

static void slot_run(weft_task *task) {
    atomic_store(&WEFT_CONTAINER_OF(task, struct slot, task)->queued, false);
    ran++;
}

static void plain_run(weft_task *task) {
    free(task);
    ran++;
}

static void on_signal(int signo) {
    unsigned n = handled++;
    struct slot *slot = &slots[n % SLOTS];
    (void)signo;
    int before = errno;
    errno = ENOTNAM;
    if (!atomic_exchange(&slot->queued, true)) {
        slot->task.run = slot_run;
        if (weft_post(target, &slot->task) == 0)
            posted_there++;
        else
            atomic_store(&slot->queued, false);
    }
    weft_runtime_ref(NULL);
    if (errno != ENOTNAM)
        errno_lost++;
    errno = before;
}

/* SIGEV_SIGNAL goes to the process: weft's threads block it, so this one takes it. */
static timer_t signal_timer(uint64_t period_ns) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    struct itimerspec when = {.it_value.tv_nsec = (long)period_ns,
                              .it_interval.tv_nsec = (long)period_ns};
    CHECK_EQ(timer_settime(timer, 0, &when, NULL), 0);
    return timer;
}

WTEST(task_signal, handler_posts_while_main_posts_and_allocates) {
    weft_runtime *rt = rt_start(1);
    target = weft_runtime_worker(rt, 0);
    timer_t timer = signal_timer(WEFT_MSEC(1));
    while (handled < 300 / (wtest_slowdown() > 4 ? 4 : 1)) {
        weft_task *task = malloc(sizeof *task + posted_here % 512);
        task->run = plain_run;
        CHECK_EQ(weft_post(target, task), 0);
        posted_here++;
        if (posted_here - ran > 100000)
            rt_turns(target, 1);
    }
    timer_delete(timer);
    signal(SIGUSR1, SIG_IGN);
    rt_end(rt);
    CHECK_EQ(ran, posted_here + posted_there);
    CHECK(posted_there > 0);
    CHECK_EQ(errno_lost, 0);
}

static weft_runtime *to_stop;

static void stop_by_signal(int signo) {
    (void)signo;
    errno = ENOTNAM;
    weft_runtime_stop(to_stop);
    if (errno != ENOTNAM)
        errno_lost++;
}

WTEST(task_signal, handler_stops_the_runtime) {
    struct sigaction action = {.sa_handler = stop_by_signal};
    to_stop = rt_start(2);
    rt_await_armed(weft_runtime_worker(to_stop, 0));
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    CHECK_EQ(weft_runtime_join(to_stop), 0);
    CHECK_EQ(errno_lost, 0);
    weft_runtime_destroy(to_stop);
}
