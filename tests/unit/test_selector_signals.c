/* Signals: what is reported, and whose mask is what afterwards. */
#include "test_selector.h"

#include <pthread.h>

static bool is_blocked(int signo) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, signo) == 1;
}

static bool is_pending(int signo) {
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, signo) == 1;
}

static void set_blocked(int signo, int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(how, &set, NULL);
}

WTEST(selector_signals, reports_number_and_info) {
    weft_selector *s = make_selector();
    struct signalfd_siginfo info = {.ssi_signo = 4711};
    int fd = weft_selector_register_signal(s, SIGUSR1, tag(1));
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(is_blocked(SIGUSR1));
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK_EQ(weft_selector_signal_info(s, fd, &info), -ENODATA);
    CHECK_EQ(info.ssi_signo, 4711);
    kill(getpid(), SIGUSR1);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.fd, fd);
    CHECK_EQ(r.events, WEFT_SIGNAL);
    CHECK_EQ(r.value, SIGUSR1);
    CHECK(r.data == tag(1));
    CHECK_EQ(weft_selector_signal_info(s, fd, &info), 0);
    CHECK_EQ(weft_selector_signal_info(s, fd, NULL), 0);
    CHECK_EQ(info.ssi_signo, SIGUSR1);
    CHECK_EQ(info.ssi_pid, getpid());
    expect_none(s);
    CHECK_EQ(weft_selector_update(s, fd, WEFT_READ), -EINVAL);
    CHECK_EQ(weft_selector_unregister(s, fd), 0);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
    CHECK(!is_blocked(SIGUSR1));
    CHECK_EQ(weft_selector_signal_info(s, fd, NULL), -ENOENT);
    weft_selector_destroy(s);
}

WTEST(selector_signals, queued_ones_come_one_per_select_in_order) {
    weft_selector *s = make_selector();
    int fd = weft_selector_register_signal(s, SIGRTMIN + 3, NULL);
    CHECK(fd >= 0);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i}), 0);
    for (int i = 0; i < 50; i++) {
        struct signalfd_siginfo info;
        CHECK_EQ(expect_one(s).value, SIGRTMIN + 3);
        CHECK_EQ(weft_selector_signal_info(s, fd, &info), 0);
        CHECK_EQ(info.ssi_int, i);
    }
    expect_none(s);
    weft_selector_destroy(s);
}

WTEST(selector_signals, refuses_what_cannot_be_watched) {
    static const int bad[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,  SIGILL,   0,
                              -1,      32,      33,      65,     1 << 20, INT32_MIN};
    weft_selector *s = make_selector();
    int before = open_fds();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(weft_selector_register_signal(s, bad[i], NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_signal(s, SIGRTMAX + 1, NULL), -EINVAL);
    CHECK_EQ(weft_selector_signal_info(s, weft_selector_fd(s), NULL), -ENOENT);
    CHECK_EQ(open_fds(), before);
    int fd = weft_selector_register_signal(s, SIGRTMAX, tag(1));
    CHECK(fd >= 0);
    CHECK_EQ(weft_selector_register_signal(s, SIGRTMAX, tag(2)), -EEXIST);
    CHECK(data_of(s, fd) == tag(1));
    int timer = weft_selector_register_timer(s, 1, WEFT_ONESHOT, NULL);
    CHECK_EQ(weft_selector_signal_info(s, timer, NULL), -EINVAL);
    CHECK_EQ(weft_selector_count(s), 2);
    weft_selector_destroy(s);
    CHECK(!is_blocked(SIGRTMAX));
}

/* The seed unblocked what the program itself had blocked. */
WTEST(selector_signals, unregister_restores_the_mask_it_found) {
    for (int before = 0; before < 2; before++)
        for (int by_destroy = 0; by_destroy < 2; by_destroy++) {
            set_blocked(SIGUSR1, before ? SIG_BLOCK : SIG_UNBLOCK);
            weft_selector *s = make_selector();
            int fd = weft_selector_register_signal(s, SIGUSR1, NULL);
            CHECK(is_blocked(SIGUSR1));
            if (!by_destroy)
                CHECK_EQ(weft_selector_unregister(s, fd), 0);
            weft_selector_destroy(s);
            CHECK_EQ(is_blocked(SIGUSR1), before);
        }
    CHECK(!is_blocked(SIGUSR2));
}

/* SIGUSR1's disposition is the default one: it kills. */
WTEST(selector_signals, what_is_pending_at_unregister_does_not_kill) {
    for (int by_destroy = 0; by_destroy < 2; by_destroy++) {
        weft_selector *s = make_selector();
        int first = weft_selector_register_signal(s, SIGUSR1, NULL);
        CHECK(weft_selector_register_signal(s, SIGRTMIN + 1, NULL) >= 0);
        kill(getpid(), SIGUSR1);
        for (int i = 0; i < 5; i++)
            kill(getpid(), SIGRTMIN + 1);
        raise(SIGRTMIN + 1);
        if (!by_destroy)
            CHECK_EQ(weft_selector_unregister(s, first), 0);
        weft_selector_destroy(s);
        CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGRTMIN + 1));
        CHECK(!is_pending(SIGUSR1));
    }
}

WTEST(selector_signals, counted_over_the_selectors_of_a_thread) {
    weft_selector *a = make_selector(), *b = make_selector();
    int fd_a = weft_selector_register_signal(a, SIGUSR1, NULL);
    int fd_b = weft_selector_register_signal(b, SIGUSR1, NULL);
    CHECK(fd_a >= 0 && fd_b >= 0);
    CHECK_EQ(weft_selector_unregister(a, fd_a), 0);
    CHECK(is_blocked(SIGUSR1));
    kill(getpid(), SIGUSR1);
    CHECK_EQ(expect_one(b).value, SIGUSR1);
    CHECK_EQ(weft_selector_unregister(b, fd_b), 0);
    CHECK(!is_blocked(SIGUSR1));
    weft_selector_destroy(a);
    weft_selector_destroy(b);
}

/* Where the number stays blocked anyway, another selector's signal is not swallowed. */
WTEST(selector_signals, pending_is_left_to_another_selector_that_waits_for_it) {
    set_blocked(SIGUSR1, SIG_BLOCK);
    weft_selector *a = make_selector(), *b = make_selector();
    int fd_a = weft_selector_register_signal(a, SIGUSR1, NULL);
    CHECK(weft_selector_register_signal(b, SIGUSR1, NULL) >= 0);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(weft_selector_unregister(a, fd_a), 0);
    CHECK_EQ(expect_one(b).value, SIGUSR1);
    weft_selector_destroy(a);
    weft_selector_destroy(b);
    CHECK(is_blocked(SIGUSR1));
    set_blocked(SIGUSR1, SIG_UNBLOCK);
}

struct other_thread {
    weft_selector *selector;
    int fd;
    int result;
    bool blocked_before, blocked_after;
};

static void *unregister_elsewhere(void *arg) {
    struct other_thread *o = arg;
    o->blocked_before = is_blocked(SIGUSR1);
    o->result = weft_selector_unregister(o->selector, o->fd);
    o->blocked_after = is_blocked(SIGUSR1);
    return NULL;
}

WTEST(selector_signals, another_thread_unregisters_without_touching_masks) {
    pthread_t thread;
    weft_selector *s = make_selector();
    struct other_thread o = {.selector = s, .fd = weft_selector_register_signal(s, SIGUSR1, NULL)};
    CHECK(o.fd >= 0);
    set_blocked(SIGUSR1, SIG_UNBLOCK);
    CHECK_EQ(pthread_create(&thread, NULL, unregister_elsewhere, &o), 0);
    set_blocked(SIGUSR1, SIG_BLOCK);
    pthread_join(thread, NULL);
    CHECK_EQ(o.result, 0);
    CHECK_EQ(o.blocked_before, o.blocked_after);
    CHECK(is_blocked(SIGUSR1)); /* this thread's mask is nobody else's to change */
    /* It is still known to be weft's doing. */
    int fd = weft_selector_register_signal(s, SIGUSR1, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(weft_selector_unregister(s, fd), 0);
    CHECK(!is_blocked(SIGUSR1));
    weft_selector_destroy(s);
}

static void *register_and_end(void *arg) {
    struct other_thread *o = arg;
    o->fd = weft_selector_register_signal(o->selector, SIGUSR2, tag(2));
    o->blocked_after = is_blocked(SIGUSR2);
    return NULL;
}

/* The record of a thread outlives it for as long as an entry needs it. */
WTEST(selector_signals, entry_outlives_the_thread_that_registered_it) {
    pthread_t thread;
    weft_selector *s = make_selector();
    struct other_thread o = {.selector = s};
    CHECK_EQ(pthread_create(&thread, NULL, register_and_end, &o), 0);
    pthread_join(thread, NULL);
    CHECK(o.fd >= 0);
    CHECK(o.blocked_after);
    CHECK(!is_blocked(SIGUSR2));
    CHECK(data_of(s, o.fd) == tag(2));
    CHECK_EQ(weft_selector_unregister(s, o.fd), 0);
    CHECK(!is_blocked(SIGUSR2));
    weft_selector_destroy(s);
}
