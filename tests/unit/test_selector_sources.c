/* Timers and events. */
#include "test_selector.h"

#include "base/os.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

WTEST(selector_timers, oneshot_fires_once_and_stays_as_finished) {
    weft_selector *s = make_selector();
    uint64_t start = now_ns();
    int fd = weft_selector_register_timer(s, WEFT_MSEC(5), WEFT_ONESHOT, tag(1));
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(weft_selector_count(s), 1);
    weft_ready r = expect_one(s);
    CHECK(now_ns() - start >= WEFT_MSEC(5));
    CHECK_EQ(r.fd, fd);
    CHECK_EQ(r.events, WEFT_TIMER | WEFT_ONESHOT | WEFT_FINISHED);
    CHECK_EQ(r.value, 1);
    CHECK(r.data == tag(1));
    CHECK(weft_selector_is_live(s, &r));
    CHECK_EQ(weft_selector_count(s), 0);
    CHECK(weft_selector_contains(s, fd));
    CHECK(data_of(s, fd) == tag(1));
    weft_ready none;
    CHECK_EQ(weft_selector_select(s, WEFT_MSEC(20), &none, 1), 0);
    CHECK_EQ(weft_selector_update(s, fd, WEFT_READ), -EINVAL);
    CHECK_EQ(weft_selector_unregister(s, fd), 0);
    CHECK_EQ(fcntl(fd, F_GETFD), -1); /* weft's own: closed */
    CHECK(!weft_selector_contains(s, fd));
    CHECK_EQ(weft_selector_count(s), 0);
    weft_selector_destroy(s);
}

/* A timerfd of 0 would be disarmed. */
WTEST(selector_timers, zero_fires_at_the_next_select) {
    weft_selector *s = make_selector();
    int fd = weft_selector_register_timer(s, 0, WEFT_ONESHOT, NULL);
    CHECK(fd >= 0);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.fd, fd);
    CHECK_EQ(r.value, 1);
    weft_selector_destroy(s);
}

WTEST(selector_timers, periodic_counts_what_was_missed) {
    weft_selector *s = make_selector();
    uint64_t start = now_ns(), expirations = 0;
    int fd = weft_selector_register_timer(s, WEFT_MSEC(2), 0, NULL);
    CHECK(fd >= 0);
    for (int i = 0; i < 3; i++) {
        weft_ready r = expect_one(s);
        CHECK_EQ(r.events, WEFT_TIMER);
        CHECK(r.value >= 1);
        expirations += r.value;
        CHECK(expirations <= (now_ns() - start) / WEFT_MSEC(2));
        CHECK_EQ(weft_selector_count(s), 1);
        usleep(7000);
    }
    CHECK(expect_one(s).value >= 2);
    weft_selector_destroy(s);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
}

WTEST(selector_timers, refuses_bad_arguments) {
    weft_selector *s = make_selector();
    int before = open_fds();
    CHECK_EQ(weft_selector_register_timer(s, 0, 0, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_timer(s, 1, WEFT_READ, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_timer(s, 1, WEFT_ONESHOT | WEFT_EDGE, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_timer(s, 1, UINT32_MAX, NULL), -EINVAL);
    CHECK_EQ(open_fds(), before);
    CHECK(weft_selector_is_empty(s));
    weft_selector_destroy(s);
}

WTEST(selector_timers, huge_timeouts_saturate) {
    static const uint64_t huge[] = {
        UINT64_MAX, UINT64_MAX - 1,          UINT64_C(1) << 63,
        INT64_MAX,  INT64_MAX - UINT64_C(1), WEFT_SEC(UINT64_C(1) << 33)};
    weft_selector *s = make_selector();
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++)
        for (uint32_t flags = 0; flags <= WEFT_ONESHOT; flags += WEFT_ONESHOT) {
            struct itimerspec when;
            int fd = weft_selector_register_timer(s, huge[i], flags, NULL);
            CHECK(fd >= 0);
            expect_none(s);
            CHECK_EQ(timerfd_gettime(fd, &when), 0);
            CHECK(when.it_value.tv_sec > 100L * 365 * 86400);
        }
    weft_selector_destroy(s);
}

/* The seed's close() leaked the fds it had made. */
WTEST(selector_timers, destroy_closes_owned_fds) {
    int before = open_fds();
    weft_selector *s = make_selector();
    for (int i = 0; i < 10; i++)
        CHECK(weft_selector_register_timer(s, WEFT_SEC(100), i % 2 ? WEFT_ONESHOT : 0, NULL) >= 0);
    CHECK(weft_selector_register_signal(s, SIGUSR1, NULL) >= 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    CHECK(weft_selector_register_process(s, pid, NULL) >= 0);
    CHECK_EQ(open_fds(), before + 13);
    weft_selector_destroy(s);
    CHECK_EQ(open_fds(), before);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

WTEST(selector_events, triggers_add_up_and_are_taken_once) {
    weft_event *ev = NULL;
    weft_selector *s = make_selector();
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(weft_selector_unregister_event(s, ev), -ENOENT);
    CHECK_EQ(weft_selector_register_event(s, ev, tag(1)), 0);
    CHECK_EQ(weft_selector_register_event(s, ev, tag(2)), -EEXIST);
    CHECK_EQ(weft_selector_count(s), 1);
    expect_none(s);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_event_trigger(ev), 0);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.events, WEFT_USER);
    CHECK_EQ(r.value, 3);
    CHECK(r.data == tag(1));
    expect_none(s);
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK_EQ(weft_selector_update(s, r.fd, WEFT_READ), -EINVAL);
    CHECK_EQ(weft_selector_unregister_event(s, ev), 0);
    CHECK_EQ(weft_event_trigger(ev), 0); /* still open, and keeps it */
    expect_none(s);
    CHECK_EQ(weft_selector_register_event(s, ev, tag(3)), 0);
    CHECK_EQ(expect_one(s).value, 1);
    CHECK_EQ(weft_selector_unregister(s, r.fd), 0); /* by its fd: does not close it either */
    CHECK_EQ(weft_event_trigger(ev), 0);
    weft_event_destroy(ev);
    CHECK_EQ(fcntl(r.fd, F_GETFD), -1);
    weft_selector_destroy(s);
}

/* An event is told from a plain fd of the same number. */
WTEST(selector_events, unregister_event_leaves_other_kinds_alone) {
    weft_event *ev = NULL;
    weft_selector *s = make_selector();
    int fd = eventfd(0, EFD_CLOEXEC); /* the number that the event will get */
    close(fd);
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(weft_selector_register(s, fd, WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_unregister_event(s, ev), -ENOENT);
    CHECK(weft_selector_contains(s, fd));
    CHECK_EQ(weft_selector_register_event(s, ev, NULL), -EEXIST);
    weft_selector_destroy(s);
    weft_event_destroy(ev);
}

/* The seed failed to trigger what was as triggered as can be. */
WTEST(selector_events, saturated_trigger_is_success) {
    weft_event *ev = NULL;
    weft_selector *s = make_selector();
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(weft_selector_register_event(s, ev, NULL), 0);
    CHECK_EQ(weft_event_trigger(ev), 0);
    int fd = expect_one(s).fd;
    CHECK_EQ(eventfd_write(fd, UINT64_MAX - 1), 0);
    errno = 4711;
    CHECK_EQ(weft_event_trigger(ev), 0);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(expect_one(s).value, INT64_MAX * UINT64_C(2));
    CHECK_EQ(weft_event_trigger(ev), 0);
    CHECK_EQ(expect_one(s).value, 1);
    weft_selector_destroy(s);
    weft_event_destroy(ev);
}

static weft_event *event_of_handler;

static void trigger_in_handler(int signo) {
    (void)signo;
    weft_event_trigger(event_of_handler);
}

WTEST(selector_events, triggered_from_a_signal_handler) {
    weft_selector *s = make_selector();
    struct sigaction action = {.sa_handler = trigger_in_handler}, before;
    CHECK_EQ(weft_event_create(&event_of_handler), 0);
    CHECK_EQ(weft_selector_register_event(s, event_of_handler, NULL), 0);
    sigaction(SIGUSR2, &action, &before);
    errno = 4711;
    raise(SIGUSR2);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(expect_one(s).events, WEFT_USER);
    sigaction(SIGUSR2, &before, NULL);
    weft_selector_destroy(s);
    weft_event_destroy(event_of_handler);
}

struct taker {
    weft_selector *selector;
    pthread_t thread;
    _Atomic uint64_t triggers, takes;
    _Atomic bool is_over, returned_early;
};

static void *take_events(void *arg) {
    struct taker *t = arg;
    while (!atomic_load(&t->is_over)) {
        weft_ready r;
        uint64_t start = now_ns();
        int n = weft_selector_select(t->selector, WEFT_MSEC(500), &r, 1);
        if (n == 1 && r.events == WEFT_USER) {
            atomic_fetch_add(&t->triggers, r.value);
            atomic_fetch_add(&t->takes, 1);
        }
        if (n != 1 && now_ns() - start < WEFT_MSEC(500))
            atomic_store(&t->returned_early, true);
    }
    return NULL;
}

/* One event in two selectors, a thread on each: every trigger is taken exactly once, and whoever
 * loses a race for one goes on waiting. */
WTEST(selector_events, one_trigger_has_one_taker) {
    enum { TRIGGERS = 20000 };
    weft_event *ev = NULL;
    struct taker takers[2] = {{0}};
    CHECK_EQ(weft_event_create(&ev), 0);
    for (int i = 0; i < 2; i++) {
        takers[i].selector = make_selector();
        CHECK_EQ(weft_selector_register_event(takers[i].selector, ev, NULL), 0);
        CHECK_EQ(pthread_create(&takers[i].thread, NULL, take_events, &takers[i]), 0);
    }
    uint64_t count = TRIGGERS / wtest_slowdown(), taken = 0;
    for (uint64_t i = 1; i <= count; i++) {
        CHECK_EQ(weft_event_trigger(ev), 0);
        do {
            taken = atomic_load(&takers[0].triggers) + atomic_load(&takers[1].triggers);
        } while (taken < i);
    }
    /* One at a time: as many takes as triggers. */
    CHECK_EQ(taken, count);
    for (int i = 0; i < 2; i++)
        atomic_store(&takers[i].is_over, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(takers[i].thread, NULL);
        weft_selector_destroy(takers[i].selector);
        CHECK(!atomic_load(&takers[i].returned_early));
    }
    CHECK_EQ(atomic_load(&takers[0].takes) + atomic_load(&takers[1].takes), count);
    weft_event_destroy(ev);
}

static int event_fd;
static bool has_stolen;

/* The other taker comes between the wake and the read. */
static int steal_before_read(enum os_call call) {
    uint64_t value;
    if (call == OS_READ && !has_stolen)
        has_stolen = read(event_fd, &value, sizeof value) == sizeof value;
    return 0;
}

WTEST(selector_events, loser_of_a_race_waits_its_remaining_time) {
    weft_event *ev = NULL;
    weft_ready r;
    weft_selector *s = make_selector();
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(weft_selector_register_event(s, ev, NULL), 0);
    CHECK_EQ(weft_event_trigger(ev), 0);
    event_fd = expect_one(s).fd;
    CHECK_EQ(weft_event_trigger(ev), 0);
    uint64_t start = now_ns();
    seam_call_fn = steal_before_read;
    CHECK_EQ(weft_selector_select(s, WEFT_MSEC(60), &r, 1), 0);
    seam_call_fn = NULL;
    CHECK(has_stolen);
    CHECK(now_ns() - start >= WEFT_MSEC(60));
    weft_selector_destroy(s);
    weft_event_destroy(ev);
}
