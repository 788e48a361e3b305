/* A stream from its opening to its end: the order of callbacks, close, abort, adoption. */
#include "net_fixture.h"

#include <stddef.h>

static void do_close(void *s) {
    weft_stream_close(s);
}

static void do_abort(void *s) {
    weft_stream_abort(s);
}

static const weft_protocol noting = {.on_open = note_open,
                                     .on_data = note_data,
                                     .on_drain = note_drain,
                                     .on_eof = note_eof_close,
                                     .on_timeout = note_timeout,
                                     .on_stop = note_stop,
                                     .on_close = note_close};
static const weft_protocol echo = {
    .on_open = note_open, .on_data = note_echo, .on_close = note_close};

/* --- order ------------------------------------------------------------------------------------ */

WTEST(stream_life, callbacks_come_in_their_order_and_close_once) {
    struct net n = net_start(2, &noting);
    int fd = net_dial(&n);
    net_put(fd, "abc", 3);
    note_await(NOTE_DATA, 1);
    net_end_output(fd);
    net_expect_end(fd);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    net_end(&n);
    CHECK_STR(note_order(), "odec");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
}

WTEST(stream_life, without_on_eof_the_end_flushes_and_closes) {
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    static uint8_t data[100000], back[100000];
    net_fill(data, sizeof data, 0);
    net_put(fd, data, sizeof data);
    net_end_output(fd);
    net_get(fd, back, sizeof back);
    CHECK(memcmp(data, back, sizeof data) == 0);
    net_expect_end(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    close(fd);
    net_end(&n);
}

static size_t close_and_go_on(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_DATA, (int64_t)len);
    weft_stream_close(s);
    note(NOTE_USER, weft_stream_write(s, "x", 1));
    note(NOTE_USER, weft_stream_shutdown(s));
    weft_stream_close(s);
    weft_stream_pause(s);
    weft_stream_resume(s);
    weft_stream_flush(s);
    return 0;
}

WTEST(stream_life, after_a_close_only_on_close_follows) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = close_and_go_on,
                                           .on_drain = note_drain,
                                           .on_eof = note_eof,
                                           .on_timeout = note_timeout,
                                           .on_stop = note_stop,
                                           .on_close = note_close,
                                           .idle_timeout_ns = 1};
    struct net n = net_start(1, &protocol);
    struct hold hold;
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    hold_begin(&hold, net_worker_at(&n, 0));
    net_put(fd, "abc", 3);
    net_end_output(fd);
    hold_end(&hold, net_worker_at(&n, 0));
    net_expect_end(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), -EPIPE);
    CHECK_EQ(note_value(NOTE_USER, 1), -EPIPE);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    CHECK_EQ(note_count(NOTE_DATA), 1);
    CHECK_EQ(note_count(NOTE_EOF) + note_count(NOTE_STOP) + note_count(NOTE_DRAIN), 0);
    CHECK(strstr(note_order(), "duuc")); /* timeouts may have come before */
    close(fd);
    net_end(&n);
}

/* --- adopting --------------------------------------------------------------------------------- */

struct adopting {
    struct net *net;
    int fd;
    void (*then)(void *stream);
};

static void adopt_and_note(void *arg) {
    struct adopting *a = arg;
    weft_stream *s = NULL;
    int r = weft_adopt(net_worker_at(a->net, 0), a->fd, &noting, NULL, &s);
    if (r == 0 && a->then)
        a->then(s);
    note(NOTE_USER, r);
}

/* The hang-up and the bytes wait in the socket before on_open had its turn. */
WTEST(stream_life, adopted_ones_open_after_the_call_and_before_their_data) {
    struct net n = net_start(1, &noting);
    int fds[2];
    net_pair(fds);
    net_put(fds[0], "early", 5);
    net_end_output(fds[0]);
    struct adopting a = {.net = &n, .fd = fds[1]};
    rt_call(net_worker_at(&n, 0), adopt_and_note, &a);
    note_await(NOTE_EOF, 1);
    net_expect_end(fds[0]);
    close(fds[0]);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "uodec");
    net_end(&n);
    CHECK(fcntl(fds[1], F_GETFD) < 0);
}

WTEST(stream_life, adopted_and_given_up_at_once_they_only_close) {
    struct net n = net_start(1, &noting);
    int fds[2], others[2];
    net_pair(fds);
    net_pair(others);
    struct adopting a = {.net = &n, .fd = fds[1], .then = do_close};
    rt_call(net_worker_at(&n, 0), adopt_and_note, &a);
    net_expect_end(fds[0]);
    close(fds[0]);
    note_await(NOTE_CLOSE, 1);
    struct adopting b = {.net = &n, .fd = others[1], .then = do_abort};
    rt_call(net_worker_at(&n, 0), adopt_and_note, &b);
    note_await(NOTE_CLOSE, 2);
    net_expect_reset(others[0]);
    CHECK_STR(note_order(), "ucuc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0) | note_value(NOTE_CLOSE, 1), 0);
    net_end(&n);
}

static void check_unix_peer(void *s) {
    char name[80] = "";
    NOTE_EQ(weft_stream_peer(s, name, sizeof name), 0);
    NOTE_EQ(strcmp(name, "unix:"), 0);
}

WTEST(stream_life, a_unix_socket_pair_may_be_adopted) {
    struct net n = net_start(1, &echo);
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    weft_stream *s = net_adopt(&n, fds[1], &echo);
    CHECK(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
    net_put(fds[0], "hello", 5);
    net_expect(fds[0], "hello");
    rt_call(net_worker_at(&n, 0), check_unix_peer, s);
    net_end_output(fds[0]);
    net_expect_end(fds[0]);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    net_end(&n);
}

/* Numbers come back at once: what is adopted next has the fd of what was aborted before. */
WTEST(stream_life, a_reused_fd_number_is_a_new_stream) {
    struct net n = net_start(1, &echo);
    unsigned same = 0;
    int last = -1;
    for (unsigned i = 1; i <= 300; i++) {
        int fds[2];
        char text[16];
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        same += fds[1] == last;
        last = fds[1];
        net_adopt(&n, fds[1], &echo);
        snprintf(text, sizeof text, "round %u", i);
        net_put(fds[0], text, strlen(text));
        net_expect(fds[0], text);
        net_put(fds[0], "unread", 6);
        rt_call(net_worker_at(&n, 0), i % 2 ? do_abort : do_close, note_stream());
        close(fds[0]);
        net_await_open(&n, 0);
    }
    CHECK(same > 200);
    net_end(&n);
}

/* --- close ------------------------------------------------------------------------------------ */

enum { REPLY = 400000 };
static uint8_t reply[REPLY];

static size_t reply_and_close(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_write(s, reply, sizeof reply));
    weft_stream_close(s);
    return len;
}

/* The client has sent more than the server read: a close() now would answer with a reset, and take
 * along what is still on its way. */
WTEST(stream_life, a_close_does_not_destroy_the_last_reply) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = reply_and_close, .on_close = note_close};
    static uint8_t back[REPLY];
    struct net n = net_start(1, &protocol);
    net_fill(reply, REPLY, 0);
    int fd = net_dial_small(&n, 8192);
    net_put(fd, "request", 7);
    note_await(NOTE_USER, 1);
    net_put(fd, "more", 4);
    rt_turns(net_worker_at(&n, 0), 5);
    net_get(fd, back, REPLY);
    CHECK_EQ(net_check(back, REPLY, 0), REPLY);
    net_expect_end(fd);
    CHECK_EQ(note_count(NOTE_CLOSE), 0); /* not before the peer's end */
    net_put(fd, "still", 5);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    net_end(&n);
    CHECK_STR(note_order(), "ouc");
}

WTEST(stream_life, a_late_reset_does_not_turn_a_close_into_a_failure) {
    struct net n = net_start(1, &echo);
    for (unsigned i = 1; i <= 20; i++) {
        int fd = net_dial(&n);
        note_await(NOTE_OPEN, i);
        rt_call(net_worker_at(&n, 0), do_close, note_stream());
        net_expect_end(fd);
        net_reset(fd);
        note_await(NOTE_CLOSE, i);
        CHECK_EQ(note_value(NOTE_CLOSE, i - 1), 0);
    }
    net_end(&n);
}

WTEST(stream_life, a_close_waits_a_second_for_a_silent_peer) {
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    uint64_t start_ns = now_ns();
    rt_call(net_worker_at(&n, 0), do_close, note_stream());
    net_expect_end(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK(now_ns() - start_ns >= NSEC_PER_SEC);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    close(fd);
    net_end(&n);
}

static size_t write_much_and_close(weft_stream *s, const uint8_t *data, size_t len) {
    static const uint8_t much[12 << 20];
    (void)data;
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    weft_stream_close(s);
    return len;
}

WTEST(stream_life, a_close_gives_up_on_a_peer_that_does_not_read) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = write_much_and_close,
                                           .on_close = note_close,
                                           .close_timeout_ns = WEFT_MSEC(50)};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    uint64_t start_ns = now_ns();
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK(now_ns() - start_ns >= WEFT_MSEC(50));
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ETIMEDOUT);
    net_expect_reset(fd);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
}

/* --- abort ------------------------------------------------------------------------------------ */

static size_t write_and_abort(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    (void)weft_stream_write(s, "lost", 4);
    weft_stream_abort(s);
    weft_stream_abort(s);
    weft_stream_close(s);
    note(NOTE_USER, (int64_t)weft_stream_pending(s));
    note(NOTE_USER, weft_stream_write(s, "x", 1));
    return len;
}

WTEST(stream_life, an_abort_resets_and_is_no_failure) {
    static const weft_protocol protocol = {.on_data = write_and_abort, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    char byte;
    CHECK_EQ(net_get_some(fd, &byte, 1), -ECONNRESET);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "uuc");
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), -EPIPE);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    close(fd);
    net_end(&n);
}

WTEST(stream_life, an_abort_cuts_a_close_short) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = write_much_and_close, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 1);
    rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    net_expect_reset(fd);
    close(fd);
    net_end(&n);
}

/* --- resets ----------------------------------------------------------------------------------- */

static void write_a_lot(weft_stream *s) {
    static const uint8_t much[12 << 20];
    note_open(s);
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
}

static void close_and_pending(weft_stream *s, int error) {
    note(NOTE_USER, (int64_t)weft_stream_pending(s));
    note(NOTE_USER, weft_stream_write(s, "x", 1));
    note_close(s, error);
}

WTEST(stream_life, a_reset_with_output_queued_closes_once) {
    static const weft_protocol protocol = {
        .on_open = write_a_lot, .on_data = note_data, .on_close = close_and_pending};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    note_await(NOTE_USER, 1);
    net_reset(fd);
    note_await(NOTE_CLOSE, 1);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
    CHECK_STR(note_order(), "ouuuc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_USER, 1), 0);
    CHECK_EQ(note_value(NOTE_USER, 2), -ECONNRESET);
}

WTEST(stream_life, a_reset_of_an_idle_stream_is_told) {
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    net_reset(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_end(&n);
}

static void close_and_call(weft_stream *s, int error) {
    note_close(s, error);
    weft_stream_pause(s);
    weft_stream_resume(s);
    weft_stream_set_protocol(s, &noting, NULL);
    weft_stream_flush(s);
    NOTE_EQ(weft_stream_shutdown(s), error);
    weft_stream_close(s);
    weft_stream_abort(s);
}

/* Of a stream that they leave on a list the memory is read again. */
WTEST(stream_life, calls_in_on_close_are_its_last) {
    static const weft_protocol protocol = {.on_data = note_data, .on_close = close_and_call};
    struct net n = net_start(1, &noting);
    for (unsigned i = 1; i <= 3; i++) {
        int fds[2];
        net_pair(fds);
        (void)net_adopt(&n, fds[0], &protocol);
        net_reset(fds[1]);
        note_await(NOTE_CLOSE, i);
        CHECK_EQ(note_value(NOTE_CLOSE, i - 1), -ECONNRESET);
    }
    net_await_open(&n, 0);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_CLOSE), 3);
}

/* --- several streams -------------------------------------------------------------------------- */

static weft_stream *both[2];
static _Atomic bool by_abort;

static void pair_open(weft_stream *s) {
    both[note_count(NOTE_OPEN)] = s;
    note_open(s);
}

static size_t end_the_other(weft_stream *s, const uint8_t *data, size_t len) {
    note_data(s, data, len);
    (by_abort ? weft_stream_abort : weft_stream_close)(both[s == both[0]]);
    return len;
}

static void end_in_one_batch(int first, bool abort) {
    static const weft_protocol protocol = {
        .on_open = pair_open, .on_data = end_the_other, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    struct hold hold;
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = net_dial(&n);
        note_await(NOTE_OPEN, (unsigned)i + 1);
    }
    by_abort = abort;
    hold_begin(&hold, net_worker_at(&n, 0));
    net_put(fds[first], "1", 1);
    net_put(fds[!first], "2", 1);
    hold_end(&hold, net_worker_at(&n, 0));
    if (abort)
        net_expect_reset(fds[!first]);
    else
        net_expect_end(fds[!first]);
    close(fds[!first]);
    note_await(NOTE_CLOSE, 1);
    net_end_output(fds[first]);
    net_expect_end(fds[first]);
    close(fds[first]);
    note_await(NOTE_CLOSE, 2);
    net_end(&n);
    CHECK_STR(note_order(), "oodcc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0) | note_value(NOTE_CLOSE, 1), 0);
}

WTEST(stream_life, closed_by_another_of_the_same_batch) {
    end_in_one_batch(0, false);
}

WTEST(stream_life, closed_by_another_of_the_same_batch_the_other_way_round) {
    end_in_one_batch(1, false);
}

WTEST(stream_life, aborted_by_another_of_the_same_batch) {
    end_in_one_batch(0, true);
}

WTEST(stream_life, aborted_by_another_of_the_same_batch_the_other_way_round) {
    end_in_one_batch(1, true);
}

/* --- state ------------------------------------------------------------------------------------ */

static _Atomic unsigned dirty_states, odd_states;
static size_t size_in_use;

static void state_open(weft_stream *s) {
    uint8_t *state = weft_stream_state(s);
    odd_states += (uintptr_t)state % _Alignof(max_align_t) != 0;
    for (size_t i = 0; i < size_in_use; i++)
        dirty_states += state[i] != 0;
    memset(state, 0xff, size_in_use);
    note_open(s);
}

WTEST(stream_life, state_is_zero_and_aligned_and_the_programs) {
    static const size_t sizes[] = {1, 24, 4096, 100000};
    unsigned opened = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        weft_protocol protocol = {
            .state_size = sizes[i], .on_open = state_open, .on_data = note_echo};
        size_in_use = sizes[i];
        struct net n = net_start(1, &protocol);
        for (int k = 0; k < 10; k++) {
            int fd = net_dial(&n);
            note_await(NOTE_OPEN, ++opened);
            close(fd);
            net_await_open(&n, 0);
        }
        net_end(&n);
    }
    CHECK_EQ(dirty_states, 0);
    CHECK_EQ(odd_states, 0);
}

static struct net visited_net;
static int visited_pair[2];

static void visit(weft_stream *s, void *arg) {
    note(NOTE_USER, *(int *)arg);
    if (visited_pair[1] >= 0)
        note(NOTE_USER, weft_adopt(weft_worker_current(), visited_pair[1], &echo, NULL, NULL));
    visited_pair[1] = -1;
    weft_stream_close(s);
}

static void visit_all(void *arg) {
    weft_worker_each_stream(weft_worker_current(), visit, arg);
    weft_worker_each_stream(weft_worker_current(), NULL, arg);
    weft_worker_each_stream(NULL, visit, arg);
}

WTEST(stream_life, each_stream_is_visited_and_may_be_closed) {
    enum { STREAMS = 20 };
    int fds[STREAMS], seven = 7;
    visited_net = net_start(1, &echo);
    net_pair(visited_pair);
    for (int i = 0; i < STREAMS; i++)
        fds[i] = net_dial(&visited_net);
    note_await(NOTE_OPEN, STREAMS);
    rt_call(net_worker_at(&visited_net, 0), visit_all, &seven);
    CHECK_EQ(note_count(NOTE_USER), STREAMS + 1); /* not the one that was adopted meanwhile */
    CHECK_EQ(note_value(NOTE_USER, 0), 7);
    for (int i = 0; i < STREAMS; i++) {
        net_expect_end(fds[i]);
        close(fds[i]);
    }
    note_await(NOTE_CLOSE, STREAMS);
    net_put(visited_pair[0], "x", 1);
    net_expect(visited_pair[0], "x");
    close(visited_pair[0]);
    net_end(&visited_net);
}

WTEST(stream_life, the_counters_come_back_to_nothing) {
    struct net n = net_start(2, &echo);
    static uint8_t data[300000], back[300000];
    net_fill(data, sizeof data, 0);
    for (int i = 0; i < 4; i++) {
        int fd = net_dial(&n);
        note_await(NOTE_OPEN, (unsigned)i + 1);
        CHECK_EQ(net_stats(&n).streams_open, 1);
        net_put(fd, data, 100);
        net_get(fd, back, 100);
        close(fd);
        net_await_open(&n, 0);
    }
    weft_stats stats = net_stats(&n);
    CHECK_EQ(stats.bytes_in, 400);
    CHECK_EQ(stats.bytes_out, 400);
    CHECK_EQ(stats.bytes_held, 0);
    CHECK_EQ(stats.streams_accepted, 4);
    net_end(&n);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(note_value(NOTE_CLOSE, i), 0);
}
