/* Listening: before and after the start, from any thread, and its end. */
#include "net_fixture.h"

static const weft_protocol echo = {
    .on_open = note_open, .on_data = note_echo, .on_close = note_close};

static void expect_echo(int fd) {
    net_put(fd, "hello", 5);
    net_expect(fd, "hello");
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

WTEST(listener, port_0_becomes_a_real_one) {
    struct net n = net_start(2, &echo);
    CHECK(strncmp(weft_listener_address(n.listener), "127.0.0.1:", 10) == 0);
    CHECK(net_port(n.listener) > 0);
    int fd = net_dial(&n);
    expect_echo(fd);
    close(fd);
    net_end(&n);
}

WTEST(listener, before_the_start_connections_wait_in_the_backlog) {
    weft_runtime *rt = rt_create(2);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l), 0);
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = net_dial_port(net_port(l));
        CHECK(fds[i] >= 0);
        net_put(fds[i], "early", 5);
    }
    CHECK_EQ(weft_runtime_start(rt), 0);
    for (int i = 0; i < 8; i++) {
        net_expect(fds[i], "early");
        close(fds[i]);
    }
    rt_end(rt);
}

static void listen_here(void *arg) {
    struct net *n = arg;
    note(NOTE_USER, weft_listen(n->runtime, "127.0.0.1:0", &echo, NULL, &n->listener));
}

WTEST(listener, may_be_made_on_a_worker_while_all_run) {
    struct net n = {.runtime = rt_start(3)};
    rt_call(net_worker_at(&n, 1), listen_here, &n);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    int fd = net_dial(&n);
    expect_echo(fd);
    close(fd);
    net_end(&n);
}

WTEST(listener, a_second_server_finds_the_address_in_use) {
    struct net n = net_start(2, &echo);
    weft_runtime *other = rt_start(1);
    weft_listener *l = (weft_listener *)&n;
    CHECK_EQ(weft_listen(other, weft_listener_address(n.listener), &echo, NULL, &l), -EADDRINUSE);
    CHECK_EQ(weft_listen(n.runtime, weft_listener_address(n.listener), &echo, NULL, &l),
             -EADDRINUSE);
    CHECK(l == (weft_listener *)&n);
    rt_end(other);
    net_end(&n);
}

WTEST(listener, after_a_close_the_port_is_free_at_once) {
    struct net n = net_start(2, &echo);
    int served = net_dial(&n);
    expect_echo(served);
    for (int i = 0; i < 20; i++) {
        char address[80];
        snprintf(address, sizeof address, "%s", weft_listener_address(n.listener));
        weft_listener_close(n.listener);
        weft_listener_close(n.listener);
        CHECK_STR(weft_listener_address(n.listener), address);
        CHECK_EQ(net_dial_port(net_port(n.listener)), -ECONNREFUSED);
        CHECK_EQ(weft_listen(n.runtime, address, &echo, NULL, &n.listener), 0);
        int fd = net_dial(&n);
        expect_echo(fd);
        close(fd);
    }
    expect_echo(served); /* streams outlive their listener */
    close(served);
    net_end(&n);
}

WTEST(listener, closing_gives_the_fd_back) {
    const weft_runtime_options options = {.workers = 2};
    weft_runtime *rt = rt_start_with(&options);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l), 0);
    weft_listener_close(l);
    CHECK_EQ(weft_retire(free, NULL), 0); /* the reclaimer has its own fds, if any */
    rt_end(rt);
    int before = open_fd_count();
    rt = rt_start_with(&options);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l), 0);
        weft_listener_close(l);
    }
    rt_end(rt);
    CHECK_EQ(open_fd_count(), before);
}

WTEST(listener, after_a_stop_there_is_no_listening) {
    struct net n = net_start(1, &echo);
    weft_runtime_stop(n.runtime);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(n.runtime, "127.0.0.1:0", &echo, NULL, &l), -ESHUTDOWN);
    CHECK(l == NULL);
    net_end(&n);
}

WTEST(listener, one_that_never_ran_leaves_nothing) {
    int before = open_fd_count();
    weft_runtime *rt = rt_create(2);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l), 0);
    int fd = net_dial_port(net_port(l));
    CHECK(fd >= 0);
    weft_runtime_destroy(rt);
    net_expect_reset(fd);
    close(fd);
    CHECK_EQ(open_fd_count(), before);
}

static _Atomic bool is_its_own;

static void arg_open(weft_stream *s) {
    is_its_own =
        weft_stream_arg(s) == &is_its_own && weft_stream_worker(s) == weft_worker_current();
}

WTEST(listener, the_argument_is_passed_through) {
    static const weft_protocol protocol = {.on_open = arg_open, .on_data = note_echo};
    weft_runtime *rt = rt_start(1);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &protocol, &is_its_own, &l), 0);
    int fd = net_dial_port(net_port(l));
    expect_echo(fd);
    CHECK(is_its_own);
    close(fd);
    rt_end(rt);
}

WTEST(listener, deferred_ones_accept_when_bytes_are_there) {
    const weft_listen_options deferred = {.flags = WEFT_LISTEN_DEFER_ACCEPT, .backlog = 16};
    struct net n = net_start_with(&(weft_runtime_options){.workers = 1}, &deferred, &echo);
    int fd = net_dial(&n);
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(note_count(NOTE_OPEN), 0);
    expect_echo(fd);
    close(fd);
    net_end(&n);
}

/* --- a socket that the program made ------------------------------------------------------------
 */

static int listening_socket(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    CHECK_EQ(listen(fd, 16), 0);
    return fd;
}

static _Atomic int nodelay;

static void look_at_nodelay(weft_stream *s) {
    int value = -1;
    socklen_t size = sizeof value;
    (void)getsockopt(weft_stream_fd(s), IPPROTO_TCP, TCP_NODELAY, &value, &size);
    nodelay = value;
}

WTEST(listener, takes_over_a_listening_fd) {
    static const weft_protocol protocol = {.on_open = look_at_nodelay, .on_data = note_echo};
    struct net n = {.runtime = rt_start(2)};
    int fd = listening_socket();
    CHECK_EQ(weft_listen_fd(n.runtime, fd, &protocol, NULL, &n.listener), 0);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    int client = net_dial(&n);
    expect_echo(client);
    CHECK_EQ(nodelay, 1);
    close(client);
    weft_listener_close(n.listener);
    net_end(&n);
    CHECK(!is_open(fd));
}

WTEST(listener, streams_send_without_delay) {
    static const weft_protocol protocol = {.on_open = look_at_nodelay, .on_data = note_echo};
    struct net n = net_start(1, &protocol);
    int client = net_dial(&n);
    expect_echo(client);
    CHECK_EQ(nodelay, 1);
    close(client);
    net_end(&n);
}

WTEST(listener, an_fd_that_is_refused_is_unchanged) {
    weft_runtime *rt = rt_start(1);
    weft_listener *l = NULL;
    int not_listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int pipe_fds[2];
    CHECK_EQ(pipe(pipe_fds), 0);
    CHECK_EQ(weft_listen_fd(rt, -1, &echo, NULL, &l), -EBADF);
    CHECK_EQ(weft_listen_fd(rt, 10000, &echo, NULL, &l), -EBADF);
    CHECK_EQ(weft_listen_fd(rt, pipe_fds[0], &echo, NULL, &l), -ENOTSOCK);
    CHECK_EQ(weft_listen_fd(rt, not_listening, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen_fd(rt, datagram, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(fcntl(not_listening, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(pipe_fds[0], F_GETFL) & O_NONBLOCK, 0);
    int listening = listening_socket();
    weft_runtime_stop(rt);
    CHECK_EQ(weft_listen_fd(rt, listening, &echo, NULL, &l), -ESHUTDOWN);
    CHECK(l == NULL);
    CHECK_EQ(fcntl(listening, F_GETFL) & O_NONBLOCK, 0);
    rt_end(rt);
    CHECK(is_open(listening) && is_open(not_listening) && is_open(datagram) &&
          is_open(pipe_fds[0]));
}

/* The third worker cannot watch: the first two have to forget the fd again. */
static _Atomic int adds_until_failure = INT32_MAX;

static int fail_add(enum os_call call) {
    return call == OS_EPOLL_CTL && atomic_fetch_sub(&adds_until_failure, 1) == 1 ? -ENOSPC : 0;
}

WTEST(listener, one_that_cannot_be_watched_everywhere_is_watched_nowhere) {
    seam_call_fn = fail_add;
    weft_runtime *rt = rt_start(3);
    int fd = listening_socket();
    for (int i = 1; i <= 3; i++) {
        weft_listener *l = NULL;
        adds_until_failure = i;
        CHECK_EQ(weft_listen_fd(rt, fd, &echo, NULL, &l), -ENOSPC);
        CHECK(l == NULL);
        CHECK(is_open(fd));
        CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        adds_until_failure = i;
        CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l), -ENOSPC);
        CHECK(l == NULL);
        for (unsigned w = 0; w < 3; w++)
            CHECK(!weft_selector_contains(weft_worker_selector(weft_runtime_worker(rt, w)), fd));
    }
    adds_until_failure = INT32_MAX;
    struct net n = {.runtime = rt};
    CHECK_EQ(weft_listen_fd(rt, fd, &echo, NULL, &n.listener), 0);
    int client = net_dial(&n);
    expect_echo(client);
    close(client);
    net_end(&n);
}

WTEST(listener, one_that_another_process_shut_down_does_not_spin) {
    struct net n = {.runtime = rt_start(1)};
    int fd = listening_socket();
    CHECK_EQ(weft_listen_fd(n.runtime, fd, &echo, NULL, &n.listener), 0);
    CHECK_EQ(shutdown(fd, SHUT_RDWR), 0);
    while (net_stats(&n).accept_pauses == 0)
        sched_yield();
    uint64_t before = net_stats(&n).iterations;
    poll(NULL, 0, 100); /* a stretch of time to spin in: nothing is waited for */
    CHECK(net_stats(&n).iterations - before < 20);
    net_end(&n);
}

/* --- races ------------------------------------------------------------------------------------ */

static _Atomic bool over;

static void *dial_for_ever(void *arg) {
    int port = (int)(intptr_t)arg;
    while (!over) {
        int fd = net_dial_port(port);
        if (fd >= 0)
            net_reset(fd);
    }
    return NULL;
}

WTEST(listener, closes_under_a_storm_of_connections) {
    const int rounds = 60 / (int)(1 + wtest_slowdown() / 4);
    struct net n = net_start(2, &echo);
    int port = net_port(n.listener);
    pthread_t thread = thread_begin(dial_for_ever, (void *)(intptr_t)port);
    char address[80];
    snprintf(address, sizeof address, "%s", weft_listener_address(n.listener));
    for (int i = 0; i < rounds; i++) {
        unsigned opened = note_count(NOTE_OPEN);
        note_await(NOTE_OPEN, opened + 3);
        weft_listener_close(n.listener);
        CHECK_EQ(weft_listen(n.runtime, address, &echo, NULL, &n.listener), 0);
    }
    over = true;
    thread_end(thread);
    net_await_open(&n, 0);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_OPEN), note_count(NOTE_CLOSE));
}

static void *listen_for_ever(void *arg) {
    weft_runtime *rt = arg;
    int r;
    do {
        weft_listener *l = NULL;
        r = weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l);
        if (r == 0 && net_port(l) % 2)
            weft_listener_close(l);
    } while (r == 0);
    note(NOTE_USER, r);
    return NULL;
}

WTEST(listener, listening_races_the_stop) {
    int before = -1;
    for (unsigned i = 0; i < 40; i++) {
        weft_runtime *rt = rt_start(2);
        pthread_t thread = thread_begin(listen_for_ever, rt);
        rt_turns(weft_runtime_worker(rt, 0), i % 8);
        weft_runtime_stop(rt);
        thread_end(thread);
        rt_end(rt);
        CHECK_EQ(note_value(NOTE_USER, i), -ESHUTDOWN);
        if (i == 1) /* the first made what lasts */
            before = open_fd_count();
    }
    CHECK_EQ(open_fd_count(), before);
}
