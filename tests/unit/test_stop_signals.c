/* Stopping by signals, all of them sent to the process as a user's kill(1) does. */
#include "rt.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned stops_seen, expires_seen;

static void hold_until_expired(weft_worker *w) {
    worker_hold(w);
    stops_seen++;
}

static void release_expired(weft_worker *w) {
    expires_seen++;
    worker_release(w);
}

/* A runtime whose workers hold on until the grace time is over, which by itself is never. */
static weft_runtime *patient(unsigned workers) {
    probe_stop_fn = hold_until_expired;
    probe_expire_fn = release_expired;
    const weft_runtime_options options = {.workers = workers, .grace_ns = WEFT_FOREVER};
    return rt_create_with(&options);
}

static void send_signal(int signo) {
    CHECK_EQ(kill(getpid(), signo), 0);
}

static bool is_pending(int signo) {
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, signo) == 1;
}

/* --- one signal, two signals --- */

WTEST(stop_signals, first_one_stops) {
    const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGRTMIN + 3};
    for (unsigned i = 0; i < array_length(numbers); i++) {
        weft_runtime *rt = rt_create(2);
        for (unsigned j = 0; j < array_length(numbers); j++)
            CHECK_EQ(weft_runtime_stop_on(rt, numbers[j]), 0);
        CHECK_EQ(weft_runtime_start(rt), 0);
        rt_turns(weft_runtime_worker(rt, 0), 1);
        send_signal(numbers[i]);
        CHECK_EQ(weft_runtime_join(rt), 0);
        weft_runtime_destroy(rt);
        CHECK(!is_pending(numbers[i])); /* it was taken */
    }
}

WTEST(stop_signals, pending_before_start_stops_then) {
    weft_runtime *rt = rt_create(1);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_run(rt), 0);
    weft_runtime_destroy(rt);
}

WTEST(stop_signals, may_be_named_while_it_runs) {
    weft_runtime *rt = rt_start(1);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGUSR2), 0);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0); /* again is nothing new */
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
}

WTEST(stop_signals, second_one_ends_the_grace_time) {
    weft_runtime *rt = patient(2);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    send_signal(SIGTERM);
    rt_await(&stops_seen, 2);
    let_others_run();
    CHECK_EQ(expires_seen, 0); /* one is not enough */
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_EQ(stops_seen, 2);
    CHECK_EQ(expires_seen, 2);
    weft_runtime_destroy(rt);
}

WTEST(stop_signals, two_that_are_read_at_once_are_a_first_and_a_second) {
    weft_runtime *rt = patient(2);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGINT), 0);
    send_signal(SIGTERM);
    send_signal(SIGINT);
    CHECK_EQ(weft_runtime_run(rt), 0);
    CHECK_EQ(stops_seen, 2);
    CHECK_EQ(expires_seen, 2);
    weft_runtime_destroy(rt);
}

WTEST(stop_signals, one_after_the_programs_own_stop_ends_the_grace_time) {
    weft_runtime *rt = patient(1);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    weft_runtime_stop(rt);
    rt_await(&stops_seen, 1);
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_EQ(expires_seen, 1);
    weft_runtime_destroy(rt);
}

WTEST(stop_signals, many_more_do_no_harm) {
    for (unsigned i = 0; i < 20; i++) {
        weft_runtime *rt = rt_create(2);
        CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
        CHECK_EQ(weft_runtime_stop_on(rt, SIGRTMIN), 0);
        CHECK_EQ(weft_runtime_start(rt), 0);
        for (int j = 0; j < 30; j++)
            send_signal(j % 2 ? SIGTERM : SIGRTMIN);
        CHECK_EQ(weft_runtime_join(rt), 0);
        weft_runtime_destroy(rt);
    }
}

WTEST(stop_signals, ignored_ones_arrive_all_the_same) {
    signal(SIGHUP, SIG_IGN); /* what nohup(1) leaves to its child */
    weft_runtime *rt = rt_create(1);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGHUP), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    send_signal(SIGHUP);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
    struct sigaction now;
    CHECK_EQ(sigaction(SIGHUP, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_IGN); /* dispositions are the program's */
}

/* --- the mask --- */

static void check_mask(const int *blocked) {
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        bool expected = false;
        for (const int *b = blocked; *b; b++)
            expected |= *b == signo;
        if (signo < 32 || signo >= SIGRTMIN)
            CHECK_MSG(is_blocked(signo) == expected, "signal %d is %sblocked", signo,
                      expected ? "not " : "");
    }
}

WTEST(stop_signals, exactly_the_named_are_blocked_and_stay_so) {
    const int none[] = {0}, one[] = {SIGUSR1, SIGRTMIN + 1, 0},
              both[] = {SIGUSR1, SIGRTMIN + 1, SIGTERM, 0};
    const weft_runtime_options options = {.workers = 1, .signals = one};
    check_mask(none);
    weft_runtime *rt = rt_create_with(&options);
    check_mask(one);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    check_mask(both);
    CHECK_EQ(weft_runtime_start(rt), 0);
    check_mask(both);
    rt_end(rt);
    check_mask(both);
    send_signal(SIGTERM); /* late: it does not kill the process */
    CHECK(is_pending(SIGTERM));
}

WTEST(stop_signals, watched_but_not_stopping_does_not_stop) {
    const int numbers[] = {SIGUSR1, 0};
    const weft_runtime_options options = {.workers = 1, .signals = numbers};
    weft_runtime *rt = rt_create_with(&options);
    CHECK_EQ(weft_runtime_stop_on(rt, SIGTERM), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    send_signal(SIGUSR1);
    let_others_run();
    rt_turns(weft_runtime_worker(rt, 0), 2);
    CHECK(is_pending(SIGUSR1));                     /* nobody reads it */
    CHECK_EQ(weft_runtime_stop_on(rt, SIGUSR1), 0); /* now it does */
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
}

/* --- one runtime each --- */

WTEST(stop_signals, belong_to_one_runtime_at_a_time) {
    const int numbers[] = {SIGUSR1, SIGUSR2, 0}, overlapping[] = {SIGHUP, SIGUSR2, 0},
              twice[] = {SIGHUP, SIGHUP, 0};
    const weft_runtime_options owner = {.workers = 1, .signals = numbers},
                               other = {.workers = 1, .signals = overlapping},
                               doubled = {.workers = 1, .signals = twice};
    weft_runtime *a = rt_create_with(&owner), *b = NULL;
    CHECK_EQ(weft_runtime_create(&other, &b), -EBUSY);
    CHECK(b == NULL);
    CHECK(!is_blocked(SIGHUP)); /* nothing of the failed one is left */
    b = rt_create_with(&doubled);
    CHECK_EQ(weft_runtime_stop_on(b, SIGUSR1), -EBUSY);
    CHECK_EQ(weft_runtime_stop_on(a, SIGHUP), -EBUSY);
    CHECK_EQ(weft_runtime_stop_on(a, SIGUSR1), 0);
    CHECK_EQ(weft_runtime_stop_on(a, SIGTERM), 0);
    CHECK_EQ(weft_runtime_stop_on(b, SIGTERM), -EBUSY);
    CHECK_EQ(weft_runtime_start(b), 0);
    CHECK_EQ(weft_runtime_start(a), 0);
    weft_runtime_ref(a);
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(a), 0);
    weft_runtime_destroy(a);
    CHECK_EQ(weft_runtime_stop_on(b, SIGTERM), 0); /* free again, although a reference is left */
    rt_turns(weft_runtime_worker(b, 0), 1);
    send_signal(SIGTERM);
    CHECK_EQ(weft_runtime_join(b), 0);
    weft_runtime_destroy(b);
    weft_runtime_unref(a);
}

/* A number named to a runtime that has ended would never be free again. */
WTEST(stop_signals, ended_runtime_takes_none) {
    const int none[] = {0};
    weft_runtime *ended = rt_create(1), *next = rt_create(1);
    weft_runtime_ref(ended);
    weft_runtime_stop(ended);
    CHECK_EQ(weft_runtime_run(ended), 0);
    CHECK_EQ(weft_runtime_stop_on(ended, SIGTERM), -ESHUTDOWN);
    weft_runtime_destroy(ended);
    CHECK_EQ(weft_runtime_stop_on(ended, SIGTERM), -ESHUTDOWN);
    check_mask(none);
    CHECK_EQ(weft_runtime_stop_on(next, SIGTERM), 0);
    weft_runtime_destroy(next);
    weft_runtime_unref(ended);
}

/* --- failures --- */

WTEST(stop_signals, failed_stop_on_leaves_nothing) {
    const int none[] = {0};
    fault_begin();
    weft_runtime *rt = rt_create(1), *other = rt_create(1);
    int fds = open_fd_count();
    unsigned n = 1;
    for (;; n++) {
        fault_arm(n, false);
        int r = weft_runtime_stop_on(rt, SIGUSR1);
        int injected = fault_disarm();
        if (injected == 0)
            break;
        CHECK_EQ(r, injected);
        CHECK_EQ(open_fd_count(), fds);
        check_mask(none);
        CHECK_EQ(weft_runtime_stop_on(other, SIGUSR1), 0); /* not claimed by the first */
        weft_runtime_destroy(other);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        other = rt_create(1);
    }
    CHECK(n >= 4); /* the mask, the signalfd, its place in the selector */
    CHECK_EQ(weft_runtime_start(rt), 0);
    send_signal(SIGUSR1);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
    weft_runtime_destroy(other);
}
