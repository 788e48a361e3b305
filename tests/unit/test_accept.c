/* Accepting: what can go wrong with it, its limits, and where connections end up. */
#include "net_fixture.h"

#include "base/clock.h"

static const weft_protocol echo = {
    .on_open = note_open, .on_data = note_echo, .on_close = note_close};

static void expect_echo(int fd) {
    net_put(fd, "hello", 5);
    net_expect(fd, "hello");
}

static unsigned logged;

static void count_log(int level, const char *message, void *arg) {
    (void)arg;
    if (level == WEFT_LOG_WARNING && strstr(message, "accept"))
        logged++;
}

/* --- no file descriptors ---------------------------------------------------------------------- */

static _Atomic int accept_error, accept_failures;
static _Atomic unsigned accept_calls;

/* The error as often as accept_failures says. */
static int fail_accept(enum os_call call) {
    if (call != OS_ACCEPT)
        return 0;
    accept_calls++;
    return atomic_fetch_sub(&accept_failures, 1) > 0 ? accept_error : 0;
}

static void pauses_and_recovers(int error) {
    weft_set_log(count_log, NULL);
    accept_error = error;
    accept_failures = INT32_MAX / 2;
    seam_call_fn = fail_accept;
    struct net n = net_start(2, &echo);
    int fds[5];
    for (int i = 0; i < 5; i++)
        fds[i] = net_dial(&n);
    uint64_t until_ns = now_ns() + WEFT_MSEC(500);
    while (now_ns() < until_ns) /* a stretch of time to spin in: nothing is waited for */
        poll(NULL, 0, 10);
    CHECK(net_stats(&n).accept_pauses > 0);
    CHECK_MSG(accept_calls < 50, "%u calls of accept in half a second", accept_calls);
    CHECK_EQ(note_count(NOTE_OPEN), 0);
    accept_failures = 0;
    for (int i = 0; i < 5; i++) {
        expect_echo(fds[i]);
        close(fds[i]);
    }
    net_await_open(&n, 0);
    net_end(&n);
    CHECK_EQ(logged, 1);
}

WTEST(accept, without_fds_it_pauses_and_recovers_by_itself) {
    pauses_and_recovers(-EMFILE);
}

WTEST(accept, without_fds_in_the_system_it_pauses_and_recovers) {
    pauses_and_recovers(-ENFILE);
}

WTEST(accept, without_memory_it_pauses_and_recovers) {
    pauses_and_recovers(-ENOBUFS);
}

WTEST(accept, at_the_real_limit_of_fds_the_backlog_is_served_when_some_are_freed) {
    enum { CLIENTS = 8 };
    if (wtest_under_valgrind())
        wtest_skip("valgrind lets the kernel accept, and closes what is above the limit");
    weft_set_log(count_log, NULL);
    struct net n = net_start(2, &echo);
    struct rlimit limit, low;
    int fds[CLIENTS], fillers[4096], filled = 0;
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)net_port(n.listener)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = (rlim_t)fds[CLIENTS - 1] + 20, .rlim_max = limit.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    while ((fillers[filled] = dup(fds[0])) >= 0)
        filled++;
    CHECK_EQ(errno, EMFILE);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_EQ(connect(fds[i], (const struct sockaddr *)&to, sizeof to), 0);
    while (net_stats(&n).accept_pauses == 0)
        sched_yield();
    CHECK_EQ(note_count(NOTE_OPEN), 0);
    while (filled > 0)
        close(fillers[--filled]);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < CLIENTS; i++) {
        expect_echo(fds[i]);
        close(fds[i]);
    }
    net_end(&n);
}

WTEST(accept, after_the_error_of_one_connection_the_next_is_served) {
    static const int errors[] = {-ECONNABORTED, -EPROTO,      -EPERM,  -ENETDOWN,
                                 -ENOPROTOOPT,  -EHOSTDOWN,   -ENONET, -EHOSTUNREACH,
                                 -EOPNOTSUPP,   -ENETUNREACH, -EAGAIN};
    seam_call_fn = fail_accept;
    struct net n = net_start(2, &echo);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        accept_error = errors[i];
        accept_failures = 3;
        int fd = net_dial(&n);
        expect_echo(fd);
        close(fd);
    }
    CHECK_EQ(net_stats(&n).accept_pauses, 0);
    net_end(&n);
}

/* No memory for the stream, or no place in the selector: this connection is reset, not the server.
 */
static _Atomic int stream_failures;
static enum os_call failing_call;

static int fail_stream(enum os_call call) {
    return call == failing_call && atomic_fetch_sub(&stream_failures, 1) > 0 ? -ENOMEM : 0;
}

static void survives_failure(enum os_call call) {
    const weft_listen_options one_at_a_time = {.max_streams = 1};
    failing_call = call;
    seam_call_fn = fail_stream;
    struct net n = net_start_with(&(weft_runtime_options){.workers = 1}, &one_at_a_time, &echo);
    rt_await_armed(net_worker_at(&n, 0));
    for (int i = 0; i < 5; i++) {
        stream_failures = 1;
        int fd = net_dial(&n);
        net_expect_reset(fd);
        close(fd);
        CHECK(stream_failures <= 0);
        stream_failures = 0;
        fd = net_dial(&n);
        expect_echo(fd);
        close(fd);
        net_await_open(&n, 0);
    }
    CHECK_EQ(net_stats(&n).streams_accepted, 5);
    net_end(&n);
}

WTEST(accept, a_stream_that_finds_no_memory_is_reset) {
    survives_failure(OS_ALLOC);
}

WTEST(accept, a_stream_that_cannot_be_watched_is_reset) {
    survives_failure(OS_EPOLL_CTL);
}

/* --- max_streams ------------------------------------------------------------------------------ */

static _Atomic int open_now, most_open;

static void count_open(weft_stream *s) {
    int now = atomic_fetch_add(&open_now, 1) + 1, most = most_open;
    while (now > most && !atomic_compare_exchange_weak(&most_open, &most, now))
        ;
    note_open(s);
}

static void count_close(weft_stream *s, int error) {
    open_now--;
    note_close(s, error);
}

static const weft_protocol counting = {
    .on_open = count_open, .on_data = note_echo, .on_close = count_close};

WTEST(accept, at_max_streams_others_wait_in_the_backlog) {
    enum { CLIENTS = 6, LIMIT = 2 };
    const weft_listen_options limited = {.max_streams = LIMIT};
    struct net n = net_start_with(&(weft_runtime_options){.workers = 2}, &limited, &counting);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = net_dial(&n);
    note_await(NOTE_OPEN, LIMIT);
    rt_turns(net_worker_at(&n, 0), 5);
    rt_turns(net_worker_at(&n, 1), 5);
    CHECK_EQ(note_count(NOTE_OPEN), LIMIT);
    uint64_t before = net_stats(&n).iterations;
    poll(NULL, 0, 50); /* a stretch of time to spin in: nothing is waited for */
    CHECK(net_stats(&n).iterations - before < 20);
    for (int i = 0; i < CLIENTS; i++) {
        expect_echo(fds[i]);
        close(fds[i]);
    }
    net_await_open(&n, 0);
    CHECK_EQ(most_open, LIMIT);
    net_end(&n);
}

static _Atomic bool over;

static void *ask_and_leave(void *arg) {
    const struct net *n = arg;
    char byte;
    while (!over) {
        int fd = net_dial_port(net_port(n->listener));
        if (fd < 0)
            continue;
        (void)!send(fd, "x", 1, MSG_NOSIGNAL);
        (void)!recv(fd, &byte, 1, 0);
        close(fd);
    }
    return NULL;
}

WTEST(accept, max_streams_holds_under_a_storm) {
    const unsigned enough = wtest_slowdown() > 4 ? 200 : 2000;
    const weft_listen_options limited = {.max_streams = 2};
    struct net n = net_start_with(&(weft_runtime_options){.workers = 2}, &limited, &counting);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = thread_begin(ask_and_leave, &n);
    note_await(NOTE_CLOSE, enough);
    over = true;
    for (int i = 0; i < 4; i++)
        thread_end(threads[i]);
    CHECK_EQ(most_open, 2);
    net_end(&n);
}

/* --- where they end up ------------------------------------------------------------------------ */

/* A worker that gets no CPU for 50 ms counts as stuck: what was handed over to it is taken back,
 * and the others get more. On a busy machine this happens, and is right, but it is not what the
 * tests of even spreading are about: they let no time pass. Before the workers begin. */
static void stop_the_clock(void) {
    clock_test_ns = WEFT_SEC(1000);
}

/* Whoever accepts, and in whatever order: with 2, 4, 8 workers, one connection at a time never ends
 * up further apart than this (0, 2, 4, by a search of the orders). */
enum { SPREAD = 64, A_FEW = 4 };
static const unsigned worker_counts[] = {2, 4, 8};

static void expect_even(const struct net *n, unsigned apart) {
    unsigned workers = weft_runtime_worker_count(n->runtime);
    uint64_t most = 0, fewest = UINT64_MAX, all = 0;
    for (unsigned i = 0; i < workers; i++) {
        weft_stats stats = rt_stats(net_worker_at(n, i));
        most = stats.streams_open > most ? stats.streams_open : most;
        fewest = stats.streams_open < fewest ? stats.streams_open : fewest;
        all += stats.streams_open;
    }
    CHECK_EQ(all, SPREAD);
    CHECK_MSG(most - fewest <= apart, "of %d the fullest of %u workers has %u, the emptiest %u",
              SPREAD, workers, (unsigned)most, (unsigned)fewest);
}

static void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static void spread_one_by_one(unsigned workers) {
    struct net n = net_start(workers, &echo);
    int fds[SPREAD];
    for (int i = 0; i < SPREAD; i++) {
        fds[i] = net_dial(&n);
        expect_echo(fds[i]);
    }
    expect_even(&n, A_FEW);
    CHECK_EQ(net_stats(&n).streams_accepted, SPREAD);
    close_all(fds, SPREAD);
    net_end(&n);
}

WTEST(accept, one_after_the_other_they_spread_evenly) {
    stop_the_clock();
    for (size_t i = 0; i < sizeof worker_counts / sizeof worker_counts[0]; i++)
        spread_one_by_one(worker_counts[i]);
}

/* Several accept at the same time, and each may be about to place one by what it saw before. */
static void spread_at_once(unsigned workers) {
    struct net n = net_start(workers, &echo);
    int fds[SPREAD];
    for (int i = 0; i < SPREAD; i++)
        fds[i] = net_dial(&n);
    net_await_open(&n, SPREAD);
    expect_even(&n, A_FEW + workers - 1);
    close_all(fds, SPREAD);
    net_end(&n);
}

WTEST(accept, all_at_once_they_spread_evenly) {
    stop_the_clock();
    for (size_t i = 0; i < sizeof worker_counts / sizeof worker_counts[0]; i++)
        spread_at_once(worker_counts[i]);
}

/* All but worker 0 are in a callback. What it hands over counts as the others' from then on: no one
 * gets more because nothing has arrived there yet. */
static void deal_out(unsigned workers) {
    const unsigned share = SPREAD / workers;
    struct net n = net_start(workers, &echo);
    struct hold holds[8];
    int fds[SPREAD];
    for (unsigned i = 1; i < workers; i++)
        hold_begin(&holds[i], net_worker_at(&n, i));
    for (int i = 0; i < SPREAD; i++)
        fds[i] = net_dial(&n);
    weft_stats first;
    do {
        sched_yield();
        first = rt_stats(net_worker_at(&n, 0));
    } while (first.streams_open + first.streams_handed_over < SPREAD);
    CHECK_EQ(first.streams_open, share);
    CHECK_EQ(first.streams_handed_over, SPREAD - share);
    for (unsigned i = 1; i < workers; i++)
        hold_end(&holds[i], net_worker_at(&n, i));
    net_await_open(&n, SPREAD);
    for (unsigned i = 0; i < workers; i++) {
        weft_stats stats = rt_stats(net_worker_at(&n, i));
        CHECK_EQ(stats.streams_open, share);
        CHECK_EQ(stats.streams_accepted, share);
        CHECK_EQ(stats.streams_handed_over, i == 0 ? SPREAD - share : 0);
    }
    close_all(fds, SPREAD);
    net_end(&n);
}

WTEST(accept, what_one_worker_accepts_is_dealt_out_to_all) {
    stop_the_clock();
    for (size_t i = 0; i < sizeof worker_counts / sizeof worker_counts[0]; i++)
        deal_out(worker_counts[i]);
}

/* The streams of two of four workers go, and as many come: they even it out, but not wholly, since
 * both of the two that are looked at may be full ones. */
WTEST(accept, they_even_out_what_left) {
    enum { EVENED_OUT = 9 }; /* at most, from 16 16 0 0, whoever accepts */
    stop_the_clock();
    struct net n = net_start(4, &echo);
    int fds[SPREAD], kept[SPREAD], count = 0;
    for (unsigned i = 0; i < SPREAD; i++) {
        fds[i] = net_dial(&n);
        note_await(NOTE_OPEN, i + 1);
    }
    for (unsigned i = 0; i < SPREAD; i++) {
        if (note_value(NOTE_OPEN, i) < 2)
            kept[count++] = fds[i];
        else
            close(fds[i]);
    }
    net_await_open(&n, (uint64_t)count);
    for (unsigned opened = SPREAD; count < SPREAD; opened++) {
        kept[count++] = net_dial(&n);
        note_await(NOTE_OPEN, opened + 1);
    }
    net_await_open(&n, SPREAD);
    expect_even(&n, EVENED_OUT);
    close_all(kept, SPREAD);
    net_end(&n);
}

/* --- a worker that is stuck in a callback ----------------------------------------------------- */

static void serve_beside(struct net *n, unsigned held, int clients) {
    int fds[60];
    for (int i = 0; i < clients; i++) {
        fds[i] = net_dial(n);
        expect_echo(fds[i]);
    }
    CHECK_EQ(rt_stats(net_worker_at(n, held)).streams_open, 0);
    close_all(fds, clients);
}

static void each_is_stuck_once(unsigned workers) {
    struct net n = net_start(workers, &echo);
    for (unsigned held = 0; held < workers; held++) {
        struct hold hold;
        net_await_open(&n, 0);
        hold_begin(&hold, net_worker_at(&n, held));
        serve_beside(&n, held, 60);
        hold_end(&hold, net_worker_at(&n, held));
    }
    net_end(&n);
}

WTEST(accept, a_stuck_worker_holds_no_connection_hostage) {
    each_is_stuck_once(2);
    each_is_stuck_once(4);
}

/* The only one that is handed over is the first for which the stuck worker looks emptier. */
WTEST(accept, a_stuck_worker_is_handed_one_and_no_more_until_it_runs) {
    struct net n = net_start(2, &echo);
    struct hold hold;
    hold_begin(&hold, net_worker_at(&n, 1));
    serve_beside(&n, 1, 20);
    CHECK_EQ(rt_stats(net_worker_at(&n, 0)).streams_handed_over, 1);
    CHECK_EQ(rt_stats(net_worker_at(&n, 0)).streams_accepted, 20);
    hold_end(&hold, net_worker_at(&n, 1));
    net_end(&n);
}

WTEST(accept, a_worker_that_was_stuck_gets_its_share_again) {
    enum { CLIENTS = 20 };
    struct net n = net_start(2, &echo);
    struct hold hold;
    int fds[CLIENTS];
    hold_begin(&hold, net_worker_at(&n, 1));
    serve_beside(&n, 1, CLIENTS);
    hold_end(&hold, net_worker_at(&n, 1));
    net_await_open(&n, 0);
    /* Held again, so that it accepts nothing by itself; what it is handed it finds afterwards. */
    uint64_t before = rt_stats(net_worker_at(&n, 0)).streams_handed_over;
    hold_begin(&hold, net_worker_at(&n, 1));
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_dial(&n);
        expect_echo(fds[i]);
    }
    CHECK(rt_stats(net_worker_at(&n, 0)).streams_handed_over > before);
    hold_end(&hold, net_worker_at(&n, 1));
    close_all(fds, CLIENTS);
    net_end(&n);
}
