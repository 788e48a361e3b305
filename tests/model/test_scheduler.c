/* The deterministic scheduler itself: a tool that finds nothing would make every test pass. */
#include "scheduler.h"

#include "base/base.h"
#include "wtest.h"

#include <sys/eventfd.h>
#include <unistd.h>

static _Atomic int counter;
static int plain_fd;

static void increments_in_two_steps(void *arg) {
    (void)arg;
    int seen = atom_load(&counter, relaxed);
    atom_store(&counter, seen + 1, relaxed);
}

static void two_incrementers(uint64_t seed) {
    (void)seed;
    atomic_store(&counter, 0);
    sched_spawn("first", increments_in_two_steps, NULL);
    sched_spawn("second", increments_in_two_steps, NULL);
}

static bool loses_an_update(enum sched_strategy strategy) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        two_incrementers(seed);
        CHECK(sched_run(seed, strategy));
        if (atomic_load(&counter) == 1)
            return true;
    }
    return false;
}

WTEST(scheduler, every_strategy_finds_a_lost_update) {
    CHECK(loses_an_update(SCHED_RANDOM));
    CHECK(loses_an_update(SCHED_PCT));
    CHECK(loses_an_update(SCHED_ROUND_ROBIN));
}

WTEST(scheduler, same_seed_same_schedule) {
    for (int s = 0; s < SCHED_STRATEGIES; s++) {
        unsigned differing = 0;
        for (uint64_t seed = 1; seed <= 50; seed++) {
            two_incrementers(seed);
            CHECK(sched_run(seed, (enum sched_strategy)s));
            uint64_t hash = sched_trace_hash(), steps = sched_steps();
            two_incrementers(seed);
            CHECK(sched_run(seed, (enum sched_strategy)s));
            CHECK(sched_trace_hash() == hash);
            CHECK_EQ(sched_steps(), steps);
            two_incrementers(seed);
            CHECK(sched_run(seed + 1, (enum sched_strategy)s));
            differing += sched_trace_hash() != hash;
        }
        CHECK(differing > 0);
    }
}

static void waits_readable(void *arg) {
    uint64_t value = 0;
    (void)arg;
    while (os_read(plain_fd, &value, sizeof value) < 0)
        os_wait_readable(plain_fd);
}

static void writes_once(void *arg) {
    static const uint64_t one = 1;
    (void)arg;
    (void)os_write(plain_fd, &one, sizeof one);
}

WTEST(scheduler, waiting_thread_sees_the_write) {
    plain_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(plain_fd >= 0);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        sched_spawn("reader", waits_readable, NULL);
        sched_spawn("writer", writes_once, NULL);
        CHECK(sched_run(seed, (enum sched_strategy)(seed % SCHED_STRATEGIES)));
    }
    close(plain_fd);
}

/* Two readers, one write: one of them waits for ever. */
WTEST(scheduler, all_blocked_is_reported) {
    plain_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(plain_fd >= 0);
    for (int s = 0; s < SCHED_STRATEGIES; s++) {
        sched_spawn("reader", waits_readable, NULL);
        sched_spawn("other", waits_readable, NULL);
        sched_spawn("writer", writes_once, NULL);
        CHECK(!sched_run(1, (enum sched_strategy)s));
    }
}

static void fails(void *arg) {
    (void)arg;
    SCHED_CHECK(atom_load(&counter, relaxed) == 77);
}

WTEST(scheduler, failed_check_is_reported) {
    two_incrementers(1);
    sched_spawn("checker", fails, NULL);
    CHECK(!sched_run(1, SCHED_RANDOM));
    two_incrementers(1); /* and the next run is none the worse */
    CHECK(sched_run(1, SCHED_RANDOM));
}

static void spins_on_counter(void *arg) {
    (void)arg;
    while (atom_load(&counter, relaxed) < 2)
        cpu_relax();
}

/* A spinning thread of first priority starves nobody. */
WTEST(scheduler, spinning_is_fair) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        atomic_store(&counter, 1);
        sched_spawn("spinner", spins_on_counter, NULL);
        sched_spawn("first", increments_in_two_steps, NULL);
        CHECK(sched_run(seed, (enum sched_strategy)(seed % SCHED_STRATEGIES)));
    }
}

WTEST(scheduler, spinning_for_ever_is_reported) {
    atomic_store(&counter, 0);
    sched_spawn("spinner", spins_on_counter, NULL);
    sched_spawn("first", increments_in_two_steps, NULL);
    CHECK(!sched_run(1, SCHED_PCT));
}

static int waited;

static void waits_with_timeout(void *arg) {
    (void)arg;
    struct epoll_event event;
    int ep = os_epoll_create();
    sched_may_time_out(true);
    waited = os_epoll_wait(ep, &event, 1, 1000);
    os_close(ep);
}

WTEST(scheduler, wait_with_timeout_ends) {
    waited = -1;
    sched_spawn("waiter", waits_with_timeout, NULL);
    sched_spawn("first", increments_in_two_steps, NULL);
    CHECK(sched_run(1, SCHED_ROUND_ROBIN));
    CHECK_EQ(waited, 0);
}

static void *created_main(void *arg) {
    (void)arg;
    increments_in_two_steps(NULL);
    writes_once(NULL);
    return NULL;
}

static void creates(void *arg) {
    pthread_t thread;
    (void)arg;
    SCHED_CHECK(os_thread_create(&thread, created_main, NULL) == 0);
    increments_in_two_steps(NULL);
    waits_readable(NULL);
    pthread_detach(thread);
}

/* Threads made by the code under test take part: an update gets lost, the same for each seed. */
WTEST(scheduler, created_threads_take_part) {
    unsigned lost = 0;
    plain_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(plain_fd >= 0);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        uint64_t hash[2];
        int result[2];
        for (int i = 0; i < 2; i++) {
            atomic_store(&counter, 0);
            sched_spawn("creator", creates, NULL);
            CHECK(sched_run(seed, SCHED_RANDOM));
            hash[i] = sched_trace_hash();
            result[i] = atomic_load(&counter);
        }
        CHECK(hash[0] == hash[1]);
        CHECK_EQ(result[0], result[1]);
        lost += result[0] == 1;
    }
    CHECK(lost > 0);
}

/* Whatever makes them take turns, they are threads to the code that they run. */
static __thread unsigned own;

static void keeps_its_own(void *arg) {
    const pthread_t me = pthread_self();
    own = 0;
    for (unsigned i = 1; i <= 20; i++) {
        own++;
        errno = (int)(uintptr_t)arg;
        sched_step();
        SCHED_CHECK(own == i && errno == (int)(uintptr_t)arg && pthread_equal(me, pthread_self()));
    }
}

WTEST(scheduler, threads_keep_their_own_variables) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        for (uintptr_t i = 1; i <= 3; i++)
            sched_spawn("keeper", keeps_its_own, (void *)i);
        CHECK(sched_run(seed, (enum sched_strategy)(seed % SCHED_STRATEGIES)));
    }
}
