/* Many threads on one selector. Under ThreadSanitizer this is also what shows the data races. */
#include "test_selector.h"

#include <pthread.h>

enum { THREADS = 4, FDS = 8 };

struct shared {
    weft_selector *selector;
    int ends[FDS][2];
    int rounds;
    _Atomic bool is_over;
    _Atomic uint64_t unexpected, reported, bad_data;
    _Atomic unsigned next_thread;
};

static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static bool is_one_of(int r, const int *legal) {
    for (; *legal != 1; legal++)
        if (r == *legal)
            return true;
    return false;
}

#define LEGAL(...) ((const int[]){__VA_ARGS__, 1})

static void change_something(struct shared *sh, uint64_t *random) {
    static const uint32_t interests[] = {WEFT_READ,
                                         WEFT_WRITE,
                                         WEFT_READ | WEFT_WRITE,
                                         WEFT_READ | WEFT_ONESHOT,
                                         WEFT_READ | WEFT_EDGE,
                                         0,
                                         WEFT_READ | WEFT_EXCLUSIVE};
    unsigned i = (unsigned)(random_next(random) % FDS);
    int fd = sh->ends[i][0], r = 0;
    uint32_t interest = interests[random_next(random) % (sizeof interests / sizeof interests[0])];
    void *data = NULL;
    bool is_expected = true;
    switch (random_next(random) % 7) {
    case 0:
    case 1:
        r = weft_selector_register(sh->selector, fd, interest, tag(i + 1));
        is_expected = is_one_of(r, LEGAL(0, -EEXIST));
        break;
    case 2:
        r = weft_selector_unregister(sh->selector, fd);
        is_expected = is_one_of(r, LEGAL(0, -ENOENT));
        break;
    case 3:
    case 4:
        r = weft_selector_update(sh->selector, fd, interest);
        is_expected = is_one_of(r, LEGAL(0, -ENOENT));
        break;
    case 5:
        r = weft_selector_get_data(sh->selector, fd, &data);
        is_expected = r == -ENOENT || (r == 0 && data == tag(i + 1));
        break;
    default:
        r = weft_selector_set_data(sh->selector, fd, tag(i + 1));
        is_expected = is_one_of(r, LEGAL(0, -ENOENT)) && weft_selector_count(sh->selector) <= FDS;
        break;
    }
    if (!is_expected)
        atomic_fetch_add(&sh->unexpected, 1);
}

static void *change_all_the_time(void *arg) {
    struct shared *sh = arg;
    uint64_t random = 0x9e3779b97f4a7c15u * (atomic_fetch_add(&sh->next_thread, 1) + 1);
    for (int i = 0; i < sh->rounds; i++)
        change_something(sh, &random);
    return NULL;
}

static void *select_all_the_time(void *arg) {
    struct shared *sh = arg;
    weft_ready ready[FDS];
    while (!atomic_load(&sh->is_over)) {
        int n = weft_selector_select(sh->selector, WEFT_USEC(200), ready, FDS);
        if (n < 0)
            atomic_fetch_add(&sh->unexpected, 1);
        for (int i = 0; i < n; i++) {
            uintptr_t which = (uintptr_t)ready[i].data >> 4;
            if (which < 1 || which > FDS || sh->ends[which - 1][0] != ready[i].fd)
                atomic_fetch_add(&sh->bad_data, 1);
            atomic_fetch_add(&sh->reported, 1);
        }
    }
    return NULL;
}

/* All threads on the same fds: afterwards table, count and kernel agree. */
WTEST(selector_threads, same_fds_changed_by_all_while_one_selects) {
    static struct shared sh;
    pthread_t changers[THREADS], selecting;
    sh.selector = make_selector();
    sh.rounds = 60000 / (int)wtest_slowdown();
    for (int i = 0; i < FDS; i++) {
        make_pair(sh.ends[i]);
        put_byte(sh.ends[i][1]);
    }
    CHECK_EQ(pthread_create(&selecting, NULL, select_all_the_time, &sh), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&changers[i], NULL, change_all_the_time, &sh), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(changers[i], NULL);
    atomic_store(&sh.is_over, true);
    pthread_join(selecting, NULL);
    CHECK_EQ(atomic_load(&sh.unexpected), 0);
    CHECK_EQ(atomic_load(&sh.bad_data), 0);
    CHECK(atomic_load(&sh.reported) > 0);

    size_t counted = 0;
    for (int i = 0; i < FDS; i++) {
        int64_t events = tfd_events(sh.selector, sh.ends[i][0]);
        counted += events >= 0 && events != EPOLLONESHOT;
        CHECK(events < 0 || weft_selector_contains(sh.selector, sh.ends[i][0]));
    }
    CHECK_EQ(weft_selector_count(sh.selector), counted);
    for (int i = 0; i < FDS; i++)
        weft_selector_unregister(sh.selector, sh.ends[i][0]);
    CHECK_EQ(tfd_count(sh.selector), 0);
    CHECK(weft_selector_is_empty(sh.selector));
    weft_selector_destroy(sh.selector);
    for (int i = 0; i < FDS; i++)
        close_both(sh.ends[i]);
}

/* Each thread its own fds, which it opens, registers, closes: numbers pass from thread to thread,
 * and every event carries the data of the life that it belongs to. */
struct life {
    _Atomic int fd;
    _Atomic bool is_unregistered;
};

enum { LIVES = 4000 };

struct churn {
    weft_selector *selector;
    struct life lives[THREADS][LIVES];
    int rounds;
    _Atomic unsigned next_thread;
    _Atomic bool is_over;
    _Atomic uint64_t failures, wrong_fd, wrongly_live;
};

static void live(struct churn *c, struct life *life) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) {
        atomic_fetch_add(&c->failures, 1);
        return;
    }
    atomic_store(&life->fd, ends[0]);
    int r = weft_selector_register(c->selector, ends[0], WEFT_READ, life);
    r |= write(ends[1], "x", 1) != 1;
    r |= weft_selector_unregister(c->selector, ends[0]);
    atomic_store(&life->is_unregistered, true);
    if (r != 0)
        atomic_fetch_add(&c->failures, 1);
    close_both(ends);
}

static void *live_many_lives(void *arg) {
    struct churn *c = arg;
    unsigned thread = atomic_fetch_add(&c->next_thread, 1);
    for (int i = 0; i < c->rounds; i++)
        live(c, &c->lives[thread][i]);
    return NULL;
}

static void *watch_lives(void *arg) {
    struct churn *c = arg;
    weft_ready ready[16];
    while (!atomic_load(&c->is_over)) {
        int n = weft_selector_select(c->selector, WEFT_USEC(100), ready, 16);
        for (int i = 0; i < n; i++) {
            struct life *life = ready[i].data;
            if (atomic_load(&life->fd) != ready[i].fd)
                atomic_fetch_add(&c->wrong_fd, 1);
            /* Unregistered before we look: then it is not live, whoever has the number now. */
            if (atomic_load(&life->is_unregistered) &&
                weft_selector_is_live(c->selector, &ready[i]))
                atomic_fetch_add(&c->wrongly_live, 1);
        }
    }
    return NULL;
}

WTEST(selector_threads, numbers_pass_from_thread_to_thread) {
    static struct churn c;
    pthread_t threads[THREADS], watcher;
    c.selector = make_selector();
    c.rounds = LIVES / (int)wtest_slowdown();
    CHECK_EQ(pthread_create(&watcher, NULL, watch_lives, &c), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, live_many_lives, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&c.is_over, true);
    pthread_join(watcher, NULL);
    CHECK_EQ(atomic_load(&c.failures), 0);
    CHECK_EQ(atomic_load(&c.wrong_fd), 0);
    CHECK_EQ(atomic_load(&c.wrongly_live), 0);
    CHECK(weft_selector_is_empty(c.selector));
    CHECK_EQ(tfd_count(c.selector), 0);
    weft_selector_destroy(c.selector);
}

/* Sources too: timers that fire while others come and go. */
static void *churn_timers(void *arg) {
    struct shared *sh = arg;
    for (int i = 0; i < sh->rounds; i++) {
        int fd = weft_selector_register_timer(sh->selector, 0, i % 2 ? WEFT_ONESHOT : 0, tag(1));
        if (i % 2 == 0) {
            if (fd != -EINVAL)
                atomic_fetch_add(&sh->unexpected, 1);
            continue;
        }
        if (fd < 0 || weft_selector_unregister(sh->selector, fd) != 0)
            atomic_fetch_add(&sh->unexpected, 1);
    }
    return NULL;
}

static void *select_timers(void *arg) {
    struct shared *sh = arg;
    weft_ready ready[8];
    while (!atomic_load(&sh->is_over)) {
        int n = weft_selector_select(sh->selector, WEFT_USEC(100), ready, 8);
        for (int i = 0; i < n; i++) {
            bool is_right = ready[i].events == (WEFT_TIMER | WEFT_ONESHOT | WEFT_FINISHED) &&
                            ready[i].value == 1 && ready[i].data == tag(1);
            atomic_fetch_add(is_right ? &sh->reported : &sh->bad_data, 1);
        }
        if (n < 0)
            atomic_fetch_add(&sh->unexpected, 1);
    }
    return NULL;
}

WTEST(selector_threads, timers_come_and_go_while_one_selects) {
    static struct shared sh;
    pthread_t threads[THREADS], selecting;
    int before = open_fds();
    sh.selector = make_selector();
    sh.rounds = 20000 / (int)wtest_slowdown();
    CHECK_EQ(pthread_create(&selecting, NULL, select_timers, &sh), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, churn_timers, &sh), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&sh.is_over, true);
    pthread_join(selecting, NULL);
    CHECK_EQ(atomic_load(&sh.unexpected), 0);
    CHECK_EQ(atomic_load(&sh.bad_data), 0);
    CHECK(weft_selector_is_empty(sh.selector));
    weft_selector_destroy(sh.selector);
    CHECK_EQ(open_fds(), before);
}
