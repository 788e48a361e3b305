/* Accepting: what can go wrong with it, its limits, and where connections end up. */
#include "net_fixture.h"

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

enum { WORKERS = 4, SPREAD = 64 };

static void expect_even(const struct net *n) {
    for (unsigned i = 0; i < WORKERS; i++) {
        int64_t open = (int64_t)rt_stats(net_worker_at(n, i)).streams_open;
        CHECK_MSG(open >= SPREAD / WORKERS - 2 && open <= SPREAD / WORKERS + 2,
                  "worker %u has %d of %d", i, (int)open, SPREAD);
    }
}

WTEST(accept, one_after_the_other_they_spread_evenly) {
    struct net n = net_start(WORKERS, &echo);
    int fds[SPREAD];
    for (int i = 0; i < SPREAD; i++) {
        fds[i] = net_dial(&n);
        expect_echo(fds[i]);
    }
    expect_even(&n);
    for (int i = 0; i < SPREAD; i++)
        close(fds[i]);
    net_end(&n);
}

WTEST(accept, all_at_once_they_spread_evenly) {
    struct net n = net_start(WORKERS, &echo);
    int fds[SPREAD];
    for (int i = 0; i < SPREAD; i++)
        fds[i] = net_dial(&n);
    note_await(NOTE_OPEN, SPREAD);
    expect_even(&n);
    for (int i = 0; i < SPREAD; i++)
        close(fds[i]);
    net_end(&n);
}

/* Half of them go, all from two workers: those who come next even it out. */
WTEST(accept, they_even_out_what_left) {
    struct net n = net_start(WORKERS, &echo);
    int fds[SPREAD], kept[SPREAD];
    int count = 0;
    for (unsigned i = 0; i < SPREAD; i++) {
        fds[i] = net_dial(&n);
        note_await(NOTE_OPEN, i + 1);
        if (note_value(NOTE_OPEN, i) < 2)
            kept[count++] = fds[i];
        else
            close(fds[i]);
    }
    net_await_open(&n, (uint64_t)count);
    unsigned opened = SPREAD;
    while (count < SPREAD) {
        kept[count++] = net_dial(&n);
        note_await(NOTE_OPEN, ++opened);
    }
    expect_even(&n);
    for (int i = 0; i < SPREAD; i++)
        close(kept[i]);
    net_end(&n);
}

static void serve_beside(struct net *n, int held) {
    enum { CLIENTS = 60 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_dial(n);
        expect_echo(fds[i]);
    }
    CHECK_EQ(rt_stats(net_worker_at(n, (unsigned)held)).streams_open, 0);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

WTEST(accept, a_stuck_worker_holds_no_connection_hostage) {
    struct net n = net_start(2, &echo);
    for (int held = 0; held < 2; held++) {
        struct hold hold;
        net_await_open(&n, 0);
        hold_begin(&hold, net_worker_at(&n, (unsigned)held));
        serve_beside(&n, held);
        hold_end(&hold, net_worker_at(&n, (unsigned)held));
    }
    net_end(&n);
}

WTEST(accept, handed_over_connections_are_counted) {
    struct net n = net_start(2, &echo);
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = net_dial(&n);
        expect_echo(fds[i]);
    }
    weft_stats stats = net_stats(&n);
    CHECK_EQ(stats.streams_accepted, 20);
    CHECK(stats.streams_handed_over > 0 && stats.streams_handed_over < 20);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    net_end(&n);
}
