/* Streams when their runtime stops: on_stop, the grace time, and many ends at once. */
#include "net_fixture.h"

static uint8_t much[8 << 20];

static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

static void do_pause(void *s) {
    weft_stream_pause(s);
}

static void do_close(void *s) {
    weft_stream_close(s);
}

static const weft_protocol echo = {
    .on_open = note_open, .on_data = note_echo, .on_close = note_close};

static struct net start_graceful(uint64_t grace_ns, const weft_protocol *protocol) {
    const weft_runtime_options options = {.workers = 1, .grace_ns = grace_ns};
    return net_start_with(&options, NULL, protocol);
}

WTEST(stream_stop, without_on_stop_streams_flush_and_close) {
    static uint8_t back[300000];
    struct net n = net_start(1, &echo);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    net_expect(fd, "x");
    net_put(fd, much, 1000);
    while (net_stats(&n).bytes_in < 1001)
        sched_yield();
    weft_runtime_stop(n.runtime);
    net_get(fd, back, 1000);
    net_expect_end(fd);
    close(fd);
    net_end(&n);
    CHECK_STR(note_order(), "oc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
}

static void say_goodbye(weft_stream *s) {
    int fds[2];
    note_stop(s);
    (void)weft_stream_write(s, "goodbye", 7);
    net_pair(fds);
    note(NOTE_USER, weft_adopt(weft_worker_current(), fds[0], &echo, NULL, NULL));
    close(fds[0]);
    close(fds[1]);
    weft_stream_close(s);
}

WTEST(stream_stop, on_stop_may_say_goodbye) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = note_echo, .on_stop = say_goodbye, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    weft_runtime_stop(n.runtime);
    net_expect(fd, "goodbye");
    net_expect_end(fd);
    close(fd);
    net_end(&n);
    CHECK_STR(note_order(), "osuc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 0), -ESHUTDOWN);
}

WTEST(stream_stop, who_stays_is_ended_with_the_grace_time) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = note_echo, .on_stop = note_stop, .on_close = note_close};
    struct net n = start_graceful(WEFT_MSEC(100), &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    uint64_t start_ns = now_ns();
    weft_runtime_stop(n.runtime);
    note_await(NOTE_STOP, 1);
    net_put(fd, "still served", 12);
    net_expect(fd, "still served");
    net_expect_reset(fd);
    CHECK(now_ns() - start_ns >= WEFT_MSEC(100));
    net_end(&n);
    CHECK_STR(note_order(), "osc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ESHUTDOWN);
    close(fd);
}

WTEST(stream_stop, who_only_waits_for_the_peer_has_done_its_part) {
    struct net n = start_graceful(WEFT_MSEC(100), &echo);
    int by_stop = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    int by_program = net_dial(&n);
    note_await(NOTE_OPEN, 2);
    rt_call(net_worker_at(&n, 0), do_close, note_stream());
    net_expect_end(by_program);
    net_end(&n); /* neither client closes */
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    CHECK_EQ(note_value(NOTE_CLOSE, 1), 0);
    net_expect_end(by_stop);
    close(by_stop);
    close(by_program);
}

static size_t write_much(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    return len;
}

WTEST(stream_stop, who_cannot_flush_within_the_grace_time_is_ended) {
    static const weft_protocol protocol = {
        .on_open = small_open, .on_data = write_much, .on_close = note_close};
    struct net n = start_graceful(WEFT_MSEC(50), &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 1);
    net_end(&n);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ESHUTDOWN);
    net_expect_reset(fd);
    close(fd);
}

WTEST(stream_stop, output_that_leaves_in_time_arrives_whole) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = write_much, .on_close = note_close};
    static uint8_t back[sizeof much];
    struct net n = start_graceful(WEFT_SEC(20), &protocol);
    net_fill(much, sizeof much, 0);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 1);
    weft_runtime_stop(n.runtime);
    net_get(fd, back, sizeof back);
    CHECK_EQ(net_check(back, sizeof back, 0), sizeof back);
    net_expect_end(fd);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
}

static size_t leave_and_pause(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    weft_stream_pause(s);
    note(NOTE_DATA, (int64_t)len);
    return 0;
}

WTEST(stream_stop, a_paused_stream_stops_like_any_other) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = leave_and_pause, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int left = net_dial(&n);
    net_put(left, "left over", 9);
    note_await(NOTE_DATA, 1);
    net_put(left, "unread", 6);
    int idle = net_dial(&n);
    note_await(NOTE_OPEN, 2);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    weft_runtime_stop(n.runtime);
    net_expect_end(left);
    net_expect_end(idle);
    close(left);
    close(idle);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_CLOSE), 2);
    CHECK_EQ(note_value(NOTE_CLOSE, 0) | note_value(NOTE_CLOSE, 1), 0);
    CHECK_EQ(note_count(NOTE_DATA), 1);
}

/* The stop is a task of the very iteration that adopts: on_open has not had its turn. */
static const weft_protocol noting = {.on_open = note_open,
                                     .on_data = note_data,
                                     .on_stop = note_stop,
                                     .on_eof = note_eof_close,
                                     .on_close = note_close};

static int adoptees[2];

static size_t adopt_two_and_stop(weft_stream *s, const uint8_t *data, size_t len) {
    weft_worker *w = weft_stream_worker(s);
    (void)data;
    note(NOTE_USER, weft_adopt(w, adoptees[0], &noting, NULL, NULL));
    note(NOTE_USER, weft_adopt(w, adoptees[1], &echo, NULL, NULL));
    weft_runtime_stop(weft_worker_runtime(w));
    while (queue_looks_empty(&w->inbox.queue))
        sched_yield();
    weft_stream_abort(s);
    return len;
}

WTEST(stream_stop, an_adopted_stream_opens_before_it_is_told) {
    static const weft_protocol protocol = {.on_data = adopt_two_and_stop};
    struct net n = start_graceful(WEFT_MSEC(50), &protocol);
    int a[2], b[2], fd = net_dial(&n);
    net_pair(a);
    net_pair(b);
    adoptees[0] = a[1];
    adoptees[1] = b[1];
    net_put(fd, "x", 1);
    net_expect_end(b[0]);
    close(b[0]);
    net_expect_reset(a[0]);
    close(a[0]);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_value(NOTE_USER, 0) | note_value(NOTE_USER, 1), 0);
    CHECK_EQ(note_count(NOTE_OPEN), 2);
    CHECK_EQ(note_count(NOTE_STOP), 1);
    CHECK_EQ(note_count(NOTE_CLOSE), 2);
    const char *order = note_order();
    CHECK(strchr(order, 'o') < strchr(order, 's'));
    CHECK(strchr(order, 's') < strrchr(order, 'c'));
}

/* --- many ------------------------------------------------------------------------------------- */

static _Atomic bool over;
static _Atomic int port;

static void *dial_storm(void *arg) {
    unsigned turn = 0;
    (void)arg;
    while (!over) {
        int fd = port ? net_dial_port(port) : -1;
        if (fd < 0) {
            sched_yield();
            continue;
        }
        (void)!send(fd, "hello", 5, MSG_NOSIGNAL);
        if (turn++ % 2)
            net_reset(fd);
        else
            close(fd);
    }
    return NULL;
}

WTEST(stream_stop, connections_that_come_meanwhile_end_too) {
    const int rounds = wtest_slowdown() > 4 ? 10 : 40;
    int before = 0;
    pthread_t thread = thread_begin(dial_storm, NULL);
    for (int i = 0; i < rounds; i++) {
        struct net n = net_start(2, &echo);
        port = net_port(n.listener);
        note_await(NOTE_OPEN, note_count(NOTE_OPEN) + 5);
        net_end(&n);
        CHECK_EQ(note_count(NOTE_OPEN), note_count(NOTE_CLOSE));
        port = 0;
        if (i == 0)
            before = open_fd_count();
    }
    over = true;
    thread_end(thread);
    CHECK(open_fd_count() <= before);
}

static long resident_kb(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * 4;
}

WTEST(stream_stop, a_hundred_cycles_with_a_hundred_streams_leave_nothing) {
    enum { STREAMS = 100 };
    const int cycles = wtest_slowdown() > 1 ? 10 : 100;
    int fds[STREAMS], fds_before = 0;
    long kb_before = 0;
    for (int i = 0; i < cycles; i++) {
        struct net n = start_graceful(WEFT_SEC(20), &echo);
        for (int k = 0; k < STREAMS; k++) {
            fds[k] = net_dial(&n);
            net_put(fds[k], "x", 1);
        }
        for (int k = 0; k < STREAMS; k++)
            net_expect(fds[k], "x");
        weft_runtime_stop(n.runtime);
        for (int k = 0; k < STREAMS; k++) {
            net_expect_end(fds[k]);
            close(fds[k]);
        }
        net_end(&n);
        CHECK_EQ(note_count(NOTE_CLOSE), (unsigned)(i + 1) * STREAMS);
        if (i == cycles / 2) {
            fds_before = open_fd_count();
            kb_before = resident_kb();
        }
    }
    CHECK_EQ(open_fd_count(), fds_before);
    if (wtest_slowdown() == 1)
        CHECK_MSG(resident_kb() < kb_before + 2048, "grew from %ld to %ld KB", kb_before,
                  resident_kb());
}

/* Clients say what is to be done with their stream, and to others of its worker. */
static void abort_one(weft_stream *s, void *arg) {
    weft_stream *me = arg;
    if (s != me)
        weft_stream_abort(s);
}

static size_t obey(weft_stream *s, const uint8_t *data, size_t len) {
    (void)len;
    static const uint8_t text[30000];
    switch (data[0]) {
    case 'c': weft_stream_close(s); break;
    case 'a': weft_stream_abort(s); break;
    case 'p': weft_stream_pause(s); break;
    case 's': (void)weft_stream_shutdown(s); break;
    case 'w': (void)weft_stream_write(s, text, sizeof text); break;
    case 'i': weft_stream_set_idle_timeout(s, 1); break;
    case 'o': weft_worker_each_stream(weft_stream_worker(s), abort_one, s); break;
    case 'l': return 0;
    default: break;
    }
    return 1;
}

static void *command_storm(void *arg) {
    static const char commands[] = "capswilwxwxwxwlwpo";
    unsigned seed = (unsigned)(uintptr_t)arg;
    char byte[512];
    while (!over) {
        int fd = port ? net_dial_port(port) : -1;
        if (fd < 0) {
            sched_yield();
            continue;
        }
        for (int i = 0; i < 6; i++) {
            seed = seed * 1664525 + 1013904223;
            if (send(fd, &commands[(seed >> 16) % (sizeof commands - 1)], 1, MSG_NOSIGNAL) <= 0)
                break;
            (void)!recv(fd, byte, sizeof byte, MSG_DONTWAIT);
        }
        if (seed >> 31)
            net_reset(fd);
        else
            close(fd);
    }
    return NULL;
}

WTEST(stream_stop, every_stream_closes_once_whatever_races) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = obey,
                                           .on_drain = note_drain,
                                           .on_timeout = note_timeout,
                                           .on_close = note_close,
                                           .high_water = 20000,
                                           .max_pending = 100000,
                                           .max_unconsumed = 3,
                                           .close_timeout_ns = WEFT_MSEC(5)};
    const weft_runtime_options options = {
        .workers = 2, .grace_ns = WEFT_MSEC(20), .max_buffered = 300000};
    const int rounds = wtest_slowdown() > 4 ? 10 : 30;
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        threads[i] = thread_begin(command_storm, (void *)(i + 1));
    for (int i = 0; i < rounds; i++) {
        struct net n = net_start_with(&options, NULL, &protocol);
        port = net_port(n.listener);
        note_await(NOTE_CLOSE, note_count(NOTE_CLOSE) + 60);
        if (i % 2)
            weft_listener_close(n.listener);
        weft_runtime_stop(n.runtime);
        CHECK_EQ(weft_runtime_join(n.runtime), 0);
        weft_stats stats = net_stats(&n);
        CHECK_EQ(stats.bytes_held, 0);
        CHECK_EQ(stats.streams_open, 0);
        net_end(&n);
        CHECK_EQ(note_count(NOTE_OPEN), note_count(NOTE_CLOSE));
        port = 0;
    }
    over = true;
    for (int i = 0; i < 3; i++)
        thread_end(threads[i]);
}
