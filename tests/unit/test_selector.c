/* The table and the operations on plain fds: weft/selector.h row by row, and bad input. */
#include "test_selector.h"

#include "selector/selector.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

WTEST(selector, create_and_destroy) {
    int before = open_fds();
    weft_selector *s = make_selector();
    CHECK(weft_selector_is_empty(s));
    CHECK_EQ(weft_selector_count(s), 0);
    CHECK(weft_selector_fd(s) >= 0);
    CHECK(fcntl(weft_selector_fd(s), F_GETFD) & FD_CLOEXEC);
    weft_selector_destroy(s);
    weft_selector_destroy(NULL);
    CHECK_EQ(open_fds(), before);
}

WTEST(selector, null_is_invalid) {
    weft_ready ready;
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_create(NULL), -EINVAL);
    CHECK_EQ(weft_selector_register(NULL, 0, WEFT_READ, NULL), -EINVAL);
    CHECK_EQ(weft_selector_update(NULL, 0, WEFT_READ), -EINVAL);
    CHECK_EQ(weft_selector_unregister(NULL, 0), -EINVAL);
    CHECK_EQ(weft_selector_register_timer(NULL, 1, 0, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_signal(NULL, SIGUSR1, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_process(NULL, 1, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_event(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_event(s, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_selector_unregister_event(s, NULL), -EINVAL);
    CHECK_EQ(weft_selector_select(NULL, 0, &ready, 1), -EINVAL);
    CHECK_EQ(weft_selector_select(s, 0, NULL, 1), -EINVAL);
    CHECK_EQ(weft_selector_select(s, 0, &ready, 0), -EINVAL);
    CHECK_EQ(weft_selector_get_data(NULL, 0, NULL), -EINVAL);
    CHECK_EQ(weft_selector_set_data(NULL, 0, NULL), -EINVAL);
    CHECK_EQ(weft_selector_signal_info(NULL, 0, NULL), -EINVAL);
    CHECK_EQ(weft_selector_fd(NULL), -EINVAL);
    CHECK(weft_selector_data(NULL, 0) == NULL);
    CHECK(!weft_selector_contains(NULL, 0));
    CHECK(!weft_selector_is_live(NULL, &ready));
    CHECK(!weft_selector_is_live(s, NULL));
    CHECK_EQ(weft_selector_count(NULL), 0);
    CHECK(weft_selector_is_empty(NULL));
    CHECK_EQ(weft_event_create(NULL), -EINVAL);
    CHECK_EQ(weft_event_trigger(NULL), -EINVAL);
    weft_event_destroy(NULL);
    weft_selector_destroy(s);
}

WTEST(selector, reports_read_and_write_with_data) {
    int ends[2], value = 0;
    make_pair(ends);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ, &value), 0);
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLRDHUP);
    expect_none(s);
    put_byte(ends[1]);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.fd, ends[0]);
    CHECK_EQ(r.events, WEFT_READ);
    CHECK_EQ(r.error, 0);
    CHECK_EQ(r.value, 0);
    CHECK(r.data == &value);
    CHECK(weft_selector_is_live(s, &r));
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ | WEFT_WRITE), 0);
    CHECK_EQ(expect_one(s).events, WEFT_READ | WEFT_WRITE);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_WRITE), 0);
    CHECK_EQ(expect_one(s).events, WEFT_WRITE);
    CHECK_EQ(weft_selector_unregister(s, ends[0]), 0);
    CHECK(!weft_selector_is_live(s, &r));
    expect_none(s);
    CHECK_EQ(tfd_count(s), 0);
    CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC); /* never closes the program's fds */
    weft_selector_destroy(s);
    CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    close_both(ends);
}

WTEST(selector, refuses_bad_interest) {
    static const uint32_t bad[] = {
        WEFT_EDGE,
        WEFT_ONESHOT,
        WEFT_EXCLUSIVE,
        WEFT_READ | WEFT_ONESHOT | WEFT_EXCLUSIVE,
        WEFT_READ | WEFT_TIMER,
        WEFT_HANGUP,
        WEFT_ERROR,
        WEFT_FINISHED,
        WEFT_READ | 1u << 12,
        WEFT_READ | 1u << 31,
        WEFT_USER,
        WEFT_PROCESS,
        WEFT_SIGNAL,
        WEFT_EDGE | WEFT_ONESHOT,
    };
    int ends[2];
    make_pair(ends);
    weft_selector *s = make_selector();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(weft_selector_register(s, ends[0], bad[i], NULL), -EINVAL);
        CHECK(!weft_selector_contains(s, ends[0]));
    }
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(weft_selector_update(s, ends[0], bad[i]), -EINVAL);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLRDHUP);
    CHECK_EQ(weft_selector_count(s), 1);
    weft_selector_destroy(s);
    close_both(ends);
}

WTEST(selector, any_int_is_a_legal_question) {
    static const int numbers[] = {-1, INT32_MIN, INT32_MAX, 1023, 1024, 1 << 30, 70000};
    weft_selector *s = make_selector();
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        weft_ready r = {.fd = numbers[i]};
        CHECK(!weft_selector_contains(s, numbers[i]));
        CHECK(weft_selector_data(s, numbers[i]) == NULL);
        CHECK(!weft_selector_is_live(s, &r));
        CHECK_EQ(weft_selector_get_data(s, numbers[i], NULL), -ENOENT);
        CHECK_EQ(weft_selector_set_data(s, numbers[i], NULL), -ENOENT);
        CHECK_EQ(weft_selector_update(s, numbers[i], WEFT_READ), -ENOENT);
        CHECK_EQ(weft_selector_unregister(s, numbers[i]), -ENOENT);
        CHECK_EQ(weft_selector_signal_info(s, numbers[i], NULL), -ENOENT);
        CHECK_EQ(weft_selector_register(s, numbers[i], WEFT_READ, NULL), -EBADF);
        CHECK_EQ(weft_selector_register(s, numbers[i], 0, NULL), -EBADF);
        CHECK(!weft_selector_contains(s, numbers[i]));
    }
    CHECK_EQ(weft_selector_count(s), 0);
    weft_selector_destroy(s);
}

/* The seed left the key in the table when epoll_ctl() failed. */
WTEST(selector, failed_registration_leaves_no_key) {
    int file = memfd_create("regular", MFD_CLOEXEC); /* a file of tmpfs: nothing to poll */
    CHECK(file >= 0);
    weft_selector *s = make_selector();
    int before = open_fds();
    static const uint32_t interests[] = {WEFT_READ, 0};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(weft_selector_register(s, file, interests[i], tag(1)), -EPERM);
        CHECK(!weft_selector_contains(s, file));
        CHECK_EQ(weft_selector_get_data(s, file, NULL), -ENOENT);
        CHECK_EQ(weft_selector_unregister(s, file), -ENOENT);
        CHECK_EQ(weft_selector_count(s), 0);
        CHECK_EQ(open_fds(), before);
    }
    weft_selector_destroy(s);
    close(file);
}

WTEST(selector, second_registration_keeps_first_data) {
    static const uint32_t interests[] = {WEFT_READ, 0};
    int ends[2];
    make_pair(ends);
    weft_selector *s = make_selector();
    for (int first = 0; first < 2; first++) {
        CHECK_EQ(weft_selector_register(s, ends[0], interests[first], tag(1)), 0);
        for (int second = 0; second < 2; second++) {
            CHECK_EQ(weft_selector_register(s, ends[0], interests[second], tag(2)), -EEXIST);
            CHECK(data_of(s, ends[0]) == tag(1));
            CHECK_EQ(weft_selector_count(s), interests[first] != 0);
            CHECK_EQ(tfd_count(s), interests[first] != 0);
        }
        CHECK_EQ(weft_selector_unregister(s, ends[0]), 0);
    }
    weft_selector_destroy(s);
    close_both(ends);
}

WTEST(selector, paused_is_known_but_neither_counted_nor_reported) {
    int ends[2];
    make_pair(ends);
    put_byte(ends[1]);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, ends[0], 0, tag(1)), 0);
    CHECK(weft_selector_contains(s, ends[0]));
    CHECK_EQ(weft_selector_count(s), 0);
    CHECK(weft_selector_is_empty(s));
    CHECK_EQ(tfd_count(s), 0);
    expect_none(s);
    CHECK_EQ(weft_selector_update(s, ends[0], 0), 0);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ), 0);
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK(expect_one(s).data == tag(1));
    CHECK_EQ(weft_selector_update(s, ends[0], 0), 0);
    CHECK_EQ(weft_selector_count(s), 0);
    CHECK_EQ(tfd_count(s), 0);
    close(ends[1]); /* nor does a paused entry spin on the hang-up */
    expect_none(s);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ), 0);
    CHECK_EQ(expect_one(s).events, WEFT_READ | WEFT_HANGUP);
    CHECK_EQ(weft_selector_update(s, ends[0], 0), 0);
    CHECK_EQ(weft_selector_unregister(s, ends[0]), 0);
    CHECK_EQ(weft_selector_unregister(s, ends[0]), -ENOENT);
    weft_selector_destroy(s);
    close(ends[0]);
}

WTEST(selector, data_can_be_read_replaced_and_written_in_place) {
    int ends[2];
    make_pair(ends);
    put_byte(ends[1]);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_get_data(s, ends[0], NULL), 0);
    CHECK_EQ(weft_selector_set_data(s, ends[0], tag(2)), 0);
    CHECK(data_of(s, ends[0]) == tag(2));
    void **slot = weft_selector_data(s, ends[0]);
    CHECK(slot && *slot == tag(2));
    *slot = tag(3);
    CHECK(data_of(s, ends[0]) == tag(3));
    CHECK(expect_one(s).data == tag(3));
    CHECK_EQ(weft_selector_unregister(s, ends[0]), 0);
    CHECK(weft_selector_data(s, ends[0]) == NULL);
    CHECK_EQ(weft_selector_set_data(s, ends[0], NULL), -ENOENT);
    void *untouched = tag(7);
    CHECK_EQ(weft_selector_get_data(s, ends[0], &untouched), -ENOENT);
    CHECK(untouched == tag(7));
    weft_selector_destroy(s);
    close_both(ends);
}

WTEST(selector, oneshot_fires_once_until_updated) {
    int ends[2];
    make_pair(ends);
    put_byte(ends[1]);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ | WEFT_ONESHOT, NULL), 0);
    for (int round = 0; round < 300; round++) { /* past the end of the arm's 8 bits */
        CHECK_EQ(weft_selector_count(s), 1);
        weft_ready r = expect_one(s);
        CHECK_EQ(r.events, WEFT_READ);
        CHECK_EQ(weft_selector_count(s), 0);
        CHECK(weft_selector_contains(s, ends[0]));
        CHECK(weft_selector_is_live(s, &r));
        expect_none(s);
        CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ | WEFT_ONESHOT), 0);
        CHECK(weft_selector_is_live(s, &r));
    }
    CHECK_EQ(expect_one(s).events, WEFT_READ);
    CHECK_EQ(weft_selector_update(s, ends[0], 0), 0); /* paused after it fired */
    CHECK_EQ(weft_selector_count(s), 0);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ), 0); /* and for good */
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK_EQ(expect_one(s).events, WEFT_READ);
    CHECK_EQ(expect_one(s).events, WEFT_READ);
    CHECK_EQ(weft_selector_unregister(s, ends[0]), 0);
    CHECK_EQ(weft_selector_count(s), 0);
    weft_selector_destroy(s);
    close_both(ends);
}

WTEST(selector, update_with_edge_shows_the_edge_again) {
    int ends[2];
    make_pair(ends);
    put_byte(ends[1]);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ | WEFT_EDGE, NULL), 0);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLRDHUP | EPOLLET);
    CHECK_EQ(expect_one(s).events, WEFT_READ);
    expect_none(s);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ | WEFT_EDGE), 0);
    CHECK_EQ(expect_one(s).events, WEFT_READ);
    expect_none(s);
    weft_selector_destroy(s);
    close_both(ends);
}

WTEST(selector, exclusive_is_changed_by_replacing) {
    int ends[2];
    make_pair(ends);
    put_byte(ends[1]);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ | WEFT_EXCLUSIVE, tag(1)), 0);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLEXCLUSIVE); /* no EPOLLRDHUP */
    weft_ready r = expect_one(s);
    CHECK_EQ(r.events, WEFT_READ);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ | WEFT_WRITE | WEFT_EXCLUSIVE), 0);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLOUT | EPOLLEXCLUSIVE);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ), 0);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLRDHUP);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ | WEFT_EXCLUSIVE), 0);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLIN | EPOLLEXCLUSIVE);
    CHECK_EQ(weft_selector_update(s, ends[0], 0), 0);
    CHECK_EQ(weft_selector_update(s, ends[0], WEFT_READ | WEFT_EXCLUSIVE), 0);
    CHECK(weft_selector_is_live(s, &r));
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK(expect_one(s).data == tag(1));
    weft_selector_destroy(s);
    close_both(ends);
}

WTEST(selector, nests_and_refuses_itself_and_loops) {
    int ends[2];
    make_pair(ends);
    weft_selector *inner = make_selector(), *outer = make_selector();
    CHECK_EQ(weft_selector_register(inner, weft_selector_fd(inner), WEFT_READ, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register(inner, weft_selector_fd(inner), 0, NULL), -EINVAL);
    CHECK(!weft_selector_contains(inner, weft_selector_fd(inner)));
    CHECK_EQ(weft_selector_register(outer, weft_selector_fd(inner), WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_register(inner, weft_selector_fd(outer), WEFT_READ, NULL), -ELOOP);
    CHECK_EQ(weft_selector_register(inner, weft_selector_fd(outer), 0, NULL), 0);
    CHECK_EQ(weft_selector_update(inner, weft_selector_fd(outer), WEFT_READ), -ELOOP);
    CHECK_EQ(weft_selector_count(inner), 0);
    CHECK_EQ(weft_selector_unregister(inner, weft_selector_fd(outer)), 0);
    CHECK_EQ(weft_selector_register(inner, ends[0], WEFT_READ, NULL), 0);
    expect_none(outer);
    put_byte(ends[1]);
    CHECK(expect_one(outer).data == tag(1));
    CHECK_EQ(expect_one(inner).fd, ends[0]);
    weft_selector_destroy(outer);
    weft_selector_destroy(inner);
    close_both(ends);
}

WTEST(selector, fills_at_most_its_capacity) {
    enum { COUNT = 80 };
    int fds[COUNT];
    weft_ready ready[COUNT + 1];
    weft_selector *s = make_selector();
    for (int i = 0; i < COUNT; i++) {
        fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        CHECK_EQ(weft_selector_register(s, fds[i], WEFT_READ, tag((uintptr_t)i)), 0);
    }
    ready[3].fd = -7;
    CHECK_EQ(look(s, ready, 3), 3);
    CHECK_EQ(ready[3].fd, -7);
    CHECK(look(s, ready, COUNT + 1) >= 64);
    /* What did not fit is not lost, and the kernel takes turns. */
    bool seen[COUNT] = {false};
    for (int round = 0; round < COUNT; round++) {
        int n = look(s, ready, 7);
        CHECK_EQ(n, 7);
        for (int i = 0; i < n; i++)
            seen[(uintptr_t)ready[i].data >> 4] = true;
    }
    for (int i = 0; i < COUNT; i++)
        CHECK(seen[i]);
    weft_selector_destroy(s);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

WTEST(selector, timeout_is_never_early) {
    static const uint64_t timeouts[] = {WEFT_USEC(1), WEFT_USEC(300), WEFT_MSEC(1) + 1,
                                        WEFT_MSEC(20)};
    weft_ready ready;
    weft_selector *s = make_selector();
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        uint64_t start = now_ns();
        CHECK_EQ(weft_selector_select(s, timeouts[i], &ready, 1), 0);
        CHECK(now_ns() - start >= timeouts[i]);
    }
    weft_selector_destroy(s);
}

static void on_alarm(int signo) {
    (void)signo;
}

WTEST(selector, interrupted_wait_is_0) {
    struct sigaction action = {.sa_handler = on_alarm}, before;
    weft_ready ready;
    weft_selector *s = make_selector();
    sigaction(SIGALRM, &action, &before);
    struct timespec pause = {.tv_nsec = 20000000};
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    /* Repeated: the first could come before the wait. */
    timer_settime(timer, 0, &(struct itimerspec){.it_value = pause, .it_interval = pause}, NULL);
    CHECK_EQ(weft_selector_select(s, WEFT_FOREVER, &ready, 1), 0);
    CHECK_EQ(weft_selector_select(s, UINT64_MAX - 1, &ready, 1), 0); /* saturates */
    timer_delete(timer);
    sigaction(SIGALRM, &before, NULL);
    weft_selector_destroy(s);
}

WTEST(selector, private_selector_is_for_looking_only) {
    int ends[2], generation = 0;
    struct weft_selector *s = NULL;
    weft_ready ready;
    weft_event *ev = NULL;
    make_pair(ends);
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(selector_create(&s), 0);
    selector_set_private(s);
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ, NULL), -EPERM);
    CHECK_EQ(weft_selector_register_timer(s, 1, 0, NULL), -EPERM);
    CHECK_EQ(weft_selector_register_signal(s, SIGUSR1, NULL), -EPERM);
    CHECK_EQ(weft_selector_register_process(s, 1, NULL), -EPERM);
    CHECK_EQ(weft_selector_register_event(s, ev, NULL), -EPERM);
    CHECK_EQ(weft_selector_unregister_event(s, ev), -EPERM);
    CHECK_EQ(weft_selector_select(s, 0, &ready, 1), -EPERM);
    CHECK_EQ(selector_register(s, ends[0], WEFT_READ, tag(1), (uint32_t *)&generation), 0);
    CHECK(generation != 0);
    CHECK_EQ(weft_selector_update(s, ends[0], 0), -EPERM);
    CHECK_EQ(weft_selector_unregister(s, ends[0]), -EPERM);
    CHECK_EQ(weft_selector_set_data(s, ends[0], NULL), -EPERM);
    CHECK(weft_selector_contains(s, ends[0]));
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK(weft_selector_fd(s) >= 0);
    CHECK_EQ(selector_unregister(s, ends[0]), 0);
    selector_destroy(s);
    weft_event_destroy(ev);
    close_both(ends);
}

/* The worker's way: exact epoll bits, raw events, one look at the stamp. */
WTEST(selector, raw_events_are_live_until_unregistered) {
    int ends[2];
    struct epoll_event event;
    struct weft_selector *s = NULL;
    make_pair(ends);
    put_byte(ends[1]);
    CHECK_EQ(selector_create(&s), 0);
    CHECK_EQ(selector_register_raw(s, ends[0], EPOLLIN | EPOLLRDHUP, tag(1)), 0);
    CHECK_EQ(selector_register_raw(s, ends[0], EPOLLIN, tag(2)), -EEXIST);
    CHECK_EQ(selector_wait(s, &event, 1, WEFT_FOREVER), 1);
    CHECK(selector_live(s, &event, NULL) == tag(1));
    CHECK_EQ(selector_modify_raw(s, ends[0], EPOLLOUT), 0);
    CHECK_EQ(tfd_events(s, ends[0]), EPOLLOUT);
    CHECK_EQ(selector_modify_raw(s, ends[0], EPOLLIN), 0);
    CHECK_EQ(selector_modify_raw(s, ends[1], EPOLLIN), -ENOENT);
    CHECK_EQ(selector_wait(s, &event, 1, WEFT_FOREVER), 1);
    CHECK_EQ(selector_unregister(s, ends[0]), 0);
    CHECK(selector_live(s, &event, NULL) == NULL);
    CHECK_EQ(selector_register_raw(s, ends[0], EPOLLIN, tag(3)), 0);
    CHECK(selector_live(s, &event, NULL) == NULL); /* of the life before */
    CHECK_EQ(selector_wait(s, &event, 1, WEFT_FOREVER), 1);
    CHECK(selector_live(s, &event, NULL) == tag(3));
    CHECK_EQ(selector_unregister(s, ends[0]), 0);
    selector_destroy(s);
    close_both(ends);
}

/* -1: the child did not answer as it should. */
static int ask_forked_child(weft_selector *s, weft_event *ev, int fd) {
    pid_t pid = fork();
    if (pid == 0) {
        weft_ready ready = {.fd = fd};
        weft_selector *other = NULL;
        weft_event *event = NULL;
        bool is_refused =
            weft_selector_create(&other) == -EPERM && weft_event_create(&event) == -EPERM &&
            weft_event_trigger(ev) == -EPERM &&
            weft_selector_register(s, fd, WEFT_READ, 0) == -EPERM &&
            weft_selector_update(s, fd, 0) == -EPERM && weft_selector_unregister(s, fd) == -EPERM &&
            weft_selector_register_timer(s, 1, 0, NULL) == -EPERM &&
            weft_selector_register_signal(s, SIGUSR1, NULL) == -EPERM &&
            weft_selector_register_process(s, 1, NULL) == -EPERM &&
            weft_selector_register_event(s, ev, NULL) == -EPERM &&
            weft_selector_unregister_event(s, ev) == -EPERM &&
            weft_selector_select(s, 0, &ready, 1) == -EPERM && weft_selector_fd(s) == -EPERM &&
            weft_selector_get_data(s, fd, NULL) == -EPERM &&
            weft_selector_set_data(s, fd, NULL) == -EPERM &&
            weft_selector_signal_info(s, fd, NULL) == -EPERM && !weft_selector_data(s, fd) &&
            !weft_selector_contains(s, fd) && !weft_selector_is_live(s, &ready) &&
            weft_selector_count(s) == 0 && weft_selector_is_empty(s);
        weft_selector_destroy(s);
        weft_event_destroy(ev);
        _exit(is_refused ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

WTEST(selector, forked_child_is_refused) {
    int ends[2];
    weft_event *ev = NULL;
    make_pair(ends);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(weft_selector_register(s, ends[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(ask_forked_child(s, ev, ends[0]), 0);
    put_byte(ends[1]);
    CHECK(expect_one(s).data == tag(1)); /* the parent's is unharmed */
    weft_selector_destroy(s);
    weft_event_destroy(ev);
    close_both(ends);
}
