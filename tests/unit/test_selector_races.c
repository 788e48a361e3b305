/* What another thread can do between epoll_wait() and the table, done at exactly that point: the
 * yield points of the test build stand for the other thread. */
#include "test_selector.h"

#include "base/os.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

/* `act` runs at the countdown-th yield point after the wait of the select under test. */
static struct {
    void (*act)(void);
    int countdown;
    bool is_after_wait, has_acted;
    weft_selector *selector;
    int fd, other_fd, result;
} race;

static int after_wait(enum os_call call) {
    race.is_after_wait |= call == OS_EPOLL_WAIT;
    return 0;
}

static void maybe_act(void) {
    if (!race.is_after_wait || race.countdown-- > 0)
        return;
    seam_yield_fn = NULL; /* the act has yield points of its own */
    seam_call_fn = NULL;
    race.has_acted = true;
    race.act();
}

/* One look, with `act` at that point; what was seen. */
static int look_with(void (*act)(void), int countdown, weft_ready *ready, size_t capacity) {
    race.act = act;
    race.countdown = countdown;
    race.is_after_wait = race.has_acted = false;
    seam_call_fn = after_wait;
    seam_yield_fn = maybe_act;
    int n = look(race.selector, ready, capacity);
    seam_call_fn = NULL;
    seam_yield_fn = NULL;
    return n;
}

static void unregister_and_close(void) {
    race.result = weft_selector_unregister(race.selector, race.fd);
    close(race.fd);
}

/* The number passes to a file that has nothing to say. */
static void replace(void) {
    unregister_and_close();
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd != race.fd) {
        dup2(fd, race.fd);
        close(fd);
    }
    race.result |= weft_selector_register(race.selector, race.fd, WEFT_READ, tag(2));
}

/* Only the first: before the first look at the table, outside of any lock. */
WTEST(selector_races, unregistered_after_the_wait_is_not_shown) {
    int a[2];
    weft_ready r;
    make_pair(a);
    put_byte(a[1]);
    race.selector = make_selector();
    race.fd = a[0];
    CHECK_EQ(weft_selector_register(race.selector, a[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(look_with(unregister_and_close, 0, &r, 1), 0);
    CHECK(race.has_acted);
    CHECK_EQ(race.result, 0);
    CHECK_EQ(weft_selector_count(race.selector), 0);
    weft_selector_destroy(race.selector);
    close(a[1]);
}

/* At each point of the look-up: the old event with the old data, or nothing; never a mixture. */
WTEST(selector_races, replaced_after_the_wait_is_not_shown_as_the_new) {
    int shown = 0, points = 0;
    for (int countdown = 0; countdown < 8; countdown++) {
        int a[2];
        weft_ready r;
        make_pair(a);
        put_byte(a[1]);
        race.selector = make_selector();
        race.fd = a[0];
        CHECK_EQ(weft_selector_register(race.selector, a[0], WEFT_READ, tag(1)), 0);
        int n = look_with(replace, countdown, &r, 1);
        if (race.has_acted) {
            points++;
            CHECK_EQ(race.result, 0);
            CHECK(data_of(race.selector, a[0]) == tag(2));
            CHECK(n == 0 || !weft_selector_is_live(race.selector, &r));
        }
        CHECK(n == 0 || r.data == tag(1));
        shown += n;
        weft_selector_destroy(race.selector);
        close_both(a);
    }
    CHECK(points >= 3);
    CHECK(shown > 0); /* the last ones come too late to matter */
}

/* Its number may be anybody's by now: weft must not read from it. */
static void replace_timer(void) {
    race.result = weft_selector_unregister(race.selector, race.fd); /* closes it */
    int fd = eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd != race.fd) {
        dup2(fd, race.fd);
        close(fd);
    }
}

WTEST(selector_races, replaced_timer_is_not_read) {
    uint64_t value;
    weft_ready r;
    race.selector = make_selector();
    race.fd = weft_selector_register_timer(race.selector, 0, WEFT_ONESHOT, NULL);
    CHECK(race.fd >= 0);
    int dup_of_set = dup(weft_selector_fd(race.selector)); /* wait until it is due, unseen */
    struct epoll_event event;
    CHECK_EQ(epoll_wait(dup_of_set, &event, 1, 10000), 1);
    CHECK_EQ(look_with(replace_timer, 0, &r, 1), 0);
    CHECK(race.has_acted);
    CHECK_EQ(race.result, 0);
    CHECK_EQ(eventfd_read(race.fd, &value), 0);
    CHECK_EQ(value, 5);
    close(race.fd);
    close(dup_of_set);
    weft_selector_destroy(race.selector);
}

static void drain_and_rearm(void) {
    char byte;
    CHECK_EQ(read(race.fd, &byte, 1), 1);
    race.result = weft_selector_update(race.selector, race.fd, WEFT_READ | WEFT_ONESHOT);
}

/* The event of the first arming is in the batch when another thread, which has read the bytes, arms
 * again: it must not count as the one event of the second, or that one is lost. */
WTEST(selector_races, rearmed_oneshot_keeps_its_event) {
    int a[2];
    weft_ready r;
    make_pair(a);
    put_byte(a[1]);
    race.selector = make_selector();
    race.fd = a[0];
    CHECK_EQ(weft_selector_register(race.selector, a[0], WEFT_READ | WEFT_ONESHOT, NULL), 0);
    look_with(drain_and_rearm, 0, &r, 1);
    CHECK(race.has_acted);
    CHECK_EQ(race.result, 0);
    CHECK_EQ(weft_selector_count(race.selector), 1);
    expect_none(race.selector);
    put_byte(a[1]);
    CHECK_EQ(expect_one(race.selector).events, WEFT_READ);
    CHECK_EQ(weft_selector_count(race.selector), 0);
    expect_none(race.selector);
    /* In step with the kernel: fired there, fired here. */
    CHECK_EQ(tfd_events(race.selector, a[0]), EPOLLONESHOT);
    weft_selector_destroy(race.selector);
    close_both(a);
}

static void pause_it(void) {
    race.result = weft_selector_update(race.selector, race.fd, 0);
}

WTEST(selector_races, paused_after_the_wait_is_not_shown) {
    static const uint32_t interests[] = {WEFT_READ, WEFT_READ | WEFT_ONESHOT};
    for (int i = 0; i < 2; i++) {
        int a[2];
        weft_ready r;
        make_pair(a);
        put_byte(a[1]);
        race.selector = make_selector();
        race.fd = a[0];
        CHECK_EQ(weft_selector_register(race.selector, a[0], interests[i], NULL), 0);
        CHECK_EQ(look_with(pause_it, 0, &r, 1), 0);
        CHECK_EQ(race.result, 0);
        CHECK_EQ(weft_selector_count(race.selector), 0);
        CHECK_EQ(weft_selector_update(race.selector, a[0], interests[i]), 0);
        CHECK_EQ(expect_one(race.selector).events, WEFT_READ);
        weft_selector_destroy(race.selector);
        close_both(a);
    }
}

static void unregister_other(void) {
    race.result = weft_selector_unregister(race.selector, race.other_fd);
}

/* One batch, whose first delivery unregisters the second. */
WTEST(selector_races, unregistered_later_in_the_batch_is_not_shown) {
    int a[2], b[2];
    weft_ready r[2];
    make_pair(a);
    make_pair(b);
    put_byte(a[1]);
    put_byte(b[1]);
    race.selector = make_selector();
    CHECK_EQ(weft_selector_register(race.selector, a[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_register(race.selector, b[0], WEFT_READ, tag(2)), 0);
    race.other_fd = b[0];
    CHECK_EQ(look_with(unregister_other, 0, r, 2), 1);
    CHECK(r[0].data == tag(1));
    weft_selector_destroy(race.selector);
    close_both(a);
    close_both(b);
}

struct selecting {
    weft_selector *selector;
    _Atomic bool is_waiting;
    int result;
    weft_ready ready;
};

static void *select_one(void *arg) {
    struct selecting *t = arg;
    atomic_store(&t->is_waiting, true);
    t->result = weft_selector_select(t->selector, WEFT_SEC(10), &t->ready, 1);
    return NULL;
}

static _Thread_local bool dawdles;
static _Thread_local bool kernel_was_told;

static int note_epoll_ctl(enum os_call call) {
    kernel_was_told |= call == OS_EPOLL_CTL;
    return 0;
}

static void dawdle(void) {
    if (dawdles && kernel_was_told)
        usleep(30000);
}

/* The kernel has the fd and the selecting thread its one edge before the table knows it: the edge
 * must not be dropped as stale. */
WTEST(selector_races, edge_that_comes_before_the_table_knows_is_shown) {
    struct selecting t = {.selector = make_selector()};
    pthread_t thread;
    int a[2];
    make_pair(a);
    put_byte(a[1]);
    seam_call_fn = note_epoll_ctl;
    seam_yield_fn = dawdle;
    CHECK_EQ(pthread_create(&thread, NULL, select_one, &t), 0);
    while (!atomic_load(&t.is_waiting))
        usleep(1000);
    usleep(10000); /* into the wait; too short only makes the test miss its bug */
    dawdles = true;
    int r = weft_selector_register(t.selector, a[0], WEFT_READ | WEFT_EDGE, tag(1));
    dawdles = false;
    pthread_join(thread, NULL);
    seam_call_fn = NULL;
    seam_yield_fn = NULL;
    CHECK_EQ(r, 0);
    CHECK_EQ(t.result, 1);
    CHECK(t.ready.data == tag(1));
    weft_selector_destroy(t.selector);
    close_both(a);
}

WTEST(selector_races, second_selecting_thread_is_refused) {
    struct selecting t = {.selector = make_selector()};
    pthread_t thread;
    weft_event *ev = NULL;
    weft_ready r;
    CHECK_EQ(weft_event_create(&ev), 0);
    CHECK_EQ(weft_selector_register_event(t.selector, ev, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, select_one, &t), 0);
    while (!atomic_load(&t.is_waiting))
        usleep(1000);
    int refused;
    do {
        refused = look(t.selector, &r, 1); /* 0 while the thread is not quite there */
    } while (refused == 0);
    CHECK_EQ(refused, -EBUSY);
    CHECK_EQ(weft_event_trigger(ev), 0);
    pthread_join(thread, NULL);
    CHECK(t.result == 1 || t.result == -EBUSY);
    expect_none(t.selector);
    weft_selector_destroy(t.selector);
    weft_event_destroy(ev);
}
