/* Bytes in: what on_data is shown, when again, and the end of input. */
#include "net_fixture.h"

static void do_resume(void *s) {
    weft_stream_resume(s);
}

static void do_abort(void *s) {
    weft_stream_abort(s);
}

static void do_pause(void *s) {
    weft_stream_pause(s);
    weft_stream_pause(s);
}

/* Consumes whole words of four bytes. */
static size_t words(weft_stream *s, const uint8_t *data, size_t len) {
    note_data(s, data, len & ~(size_t)3);
    note(NOTE_USER, (int64_t)len);
    return len & ~(size_t)3;
}

static const weft_protocol word_protocol = {
    .on_open = note_open, .on_data = words, .on_eof = note_eof_close, .on_close = note_close};

/* --- left-over input -------------------------------------------------------------------------- */

WTEST(stream_input, what_was_left_comes_in_front_of_the_next_bytes) {
    struct net n = net_start(1, &word_protocol);
    int fd = net_dial(&n);
    static const char *const parts[] = {"ab", "cdef", "ghijk", "l"};
    static const int64_t shown[] = {2, 6, 7, 4};
    for (unsigned i = 0; i < 4; i++) {
        net_put(fd, parts[i], strlen(parts[i]));
        note_await(NOTE_USER, i + 1);
        CHECK_EQ(note_value(NOTE_USER, i), shown[i]);
    }
    const uint8_t *bytes;
    CHECK_EQ(note_bytes(&bytes), 12);
    CHECK(memcmp(bytes, "abcdefghijkl", 12) == 0);
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    close(fd);
    net_end(&n);
}

WTEST(stream_input, random_pieces_are_seen_whole_and_in_order) {
    enum { TOTAL = 1 << 20 };
    static uint8_t data[TOTAL];
    struct net n = net_start(1, &word_protocol);
    int fd = net_dial(&n);
    net_fill(data, TOTAL, 0);
    for (size_t i = 0, part = 1; i < TOTAL; i += part) {
        part = 1 + (i * 7919 % 30011);
        if (part > TOTAL - i)
            part = TOTAL - i;
        net_put(fd, data + i, part);
    }
    note_await_bytes(TOTAL);
    const uint8_t *bytes;
    CHECK_EQ(note_bytes(&bytes), TOTAL);
    CHECK_EQ(net_check(bytes, TOTAL, 0), TOTAL);
    close(fd);
    net_end(&n);
}

/* One long message, a byte at a time. */
static size_t message_length;
static _Atomic unsigned long_moves;
static const uint8_t *long_seen_at;

static size_t one_message(weft_stream *s, const uint8_t *data, size_t len) {
    if (len > 8192 && data != long_seen_at)
        long_moves++;
    long_seen_at = data;
    return len < message_length ? 0 : note_data(s, data, len);
}

static size_t one_byte(enum os_call call, size_t length) {
    return call == OS_RECV && length > 1 ? 1 : length;
}

WTEST(stream_input, a_long_message_that_comes_bytewise_is_not_copied_again_and_again) {
    static const weft_protocol protocol = {.on_data = one_message, .on_close = note_close};
    static uint8_t data[1 << 20];
    message_length = sizeof data / wtest_slowdown();
    seam_length_fn = one_byte;
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_fill(data, message_length, 0);
    net_put(fd, data, message_length);
    note_await_bytes(message_length);
    const uint8_t *bytes;
    note_bytes(&bytes);
    CHECK_EQ(net_check(bytes, message_length, 0), message_length);
    CHECK_EQ(note_count(NOTE_DATA), 1);
    CHECK_MSG(long_moves < 40, "moved %u times", long_moves);
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    close(fd);
    net_end(&n);
}

static size_t leave_all(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s, (void)data;
    note(NOTE_DATA, (int64_t)len);
    return 0;
}

WTEST(stream_input, too_much_left_closes) {
    static const weft_protocol protocol = {
        .on_data = leave_all, .on_close = note_close, .max_unconsumed = 1000};
    static const uint8_t data[1000];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, data, 400);
    note_await(NOTE_DATA, 1);
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(net_stats(&n).bytes_held, 400);
    net_put(fd, data, 600);
    note_await(NOTE_DATA, 2);
    rt_turns(net_worker_at(&n, 0), 2);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    net_put(fd, data, 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -EMSGSIZE);
    net_expect_reset(fd);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    close(fd);
    net_end(&n);
}

static size_t too_much(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    (void)weft_stream_write(s, "lost", 4);
    return len + 1;
}

WTEST(stream_input, consuming_more_than_there_was_closes) {
    static const weft_protocol protocol = {.on_data = too_much, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    char byte;
    CHECK_EQ(net_get_some(fd, &byte, 1), -ECONNRESET);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -EINVAL);
    close(fd);
    net_end(&n);
}

/* --- pause and resume ------------------------------------------------------------------------- */

static _Atomic unsigned pauses_left = 1;

static size_t pause_first(weft_stream *s, const uint8_t *data, size_t len) {
    if (pauses_left) {
        pauses_left--;
        weft_stream_pause(s);
        return leave_all(s, data, len);
    }
    return note_data(s, data, len);
}

WTEST(stream_input, a_resume_shows_what_was_left_without_new_bytes) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = pause_first, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "abc", 3);
    note_await(NOTE_DATA, 1);
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(note_count(NOTE_DATA), 1);
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await(NOTE_DATA, 2);
    CHECK_EQ(note_bytes(NULL), 3);
    close(fd);
    net_end(&n);
}

WTEST(stream_input, a_resume_shows_what_was_left_with_new_bytes_once) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = pause_first, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "abc", 3);
    note_await(NOTE_DATA, 1);
    net_put(fd, "def", 3);
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await_bytes(6);
    const uint8_t *bytes;
    note_bytes(&bytes);
    CHECK(memcmp(bytes, "abcdef", 6) == 0);
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(note_bytes(NULL), 6);
    close(fd);
    net_end(&n);
}

WTEST(stream_input, a_paused_stream_is_not_read) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = note_data,
                                           .on_eof = note_eof_close,
                                           .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    net_put(fd, "abc", 3);
    net_end_output(fd);
    rt_turns(net_worker_at(&n, 0), 5);
    CHECK_STR(note_order(), "o");
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "odec");
    close(fd);
    net_end(&n);
}

/* Paused in the middle of a message, and the peer's end is in the socket already. */
WTEST(stream_input, after_a_resume_left_over_bytes_come_before_the_end) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = pause_first,
                                           .on_eof = note_eof_close,
                                           .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "abc", 3);
    note_await(NOTE_DATA, 1);
    net_end_output(fd);
    rt_turns(net_worker_at(&n, 0), 5);
    CHECK_EQ(note_count(NOTE_EOF), 0);
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await(NOTE_EOF, 1);
    CHECK(strncmp(note_order(), "odde", 4) == 0);
    CHECK_EQ(note_value(NOTE_EOF, 0), 0);
    CHECK_EQ(note_bytes(NULL), 3);
    close(fd);
    net_end(&n);
}

/* The default end of input must not lose them either. */
WTEST(stream_input, after_a_resume_left_over_bytes_come_before_the_automatic_close) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = pause_first, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "abc", 3);
    note_await(NOTE_DATA, 1);
    net_end_output(fd);
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "oddc");
    close(fd);
    net_end(&n);
}

/* A byte a time, and 200 KB for each, to a peer that reads them only later: what was left has no
 * new bytes in front of which it could be shown. */
static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

enum { ANSWER = 200000 };

static size_t byte_for_much(weft_stream *s, const uint8_t *data, size_t len) {
    static const uint8_t much[ANSWER];
    (void)data, (void)len;
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    return 1;
}

WTEST(stream_input, the_end_of_the_automatic_pause_shows_what_was_left) {
    static const weft_protocol protocol = {.on_open = small_open,
                                           .on_data = byte_for_much,
                                           .on_eof = note_eof_close,
                                           .on_close = note_close,
                                           .high_water = 10000};
    static uint8_t back[ANSWER];
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "abcd", 4);
    net_end_output(fd);
    for (unsigned i = 1; i <= 4; i++) {
        note_await(NOTE_USER, i);
        rt_turns(net_worker_at(&n, 0), 3);
        CHECK_EQ(note_count(NOTE_USER), i); /* choked */
        CHECK_EQ(note_count(NOTE_EOF), 0);
        net_get(fd, back, sizeof back);
    }
    net_expect_end(fd);
    CHECK_EQ(note_count(NOTE_USER), 4);
    CHECK_EQ(note_value(NOTE_EOF, 0), 0);
    close(fd);
    net_end(&n);
}

/* --- the end of input, and hang-ups ----------------------------------------------------------- */

static const weft_protocol noting = {
    .on_open = note_open, .on_data = note_data, .on_eof = note_eof_close, .on_close = note_close};

WTEST(stream_input, data_and_the_end_queued_together) {
    struct net n = net_start(1, &noting);
    struct hold hold;
    for (unsigned i = 1; i <= 10; i++) {
        int fd = net_dial(&n);
        note_await(NOTE_OPEN, i);
        hold_begin(&hold, net_worker_at(&n, 0));
        net_put(fd, "last words", 10);
        net_end_output(fd);
        if (i % 2) /* the peer is gone for good: hang-up, and bytes unread */
            close(fd);
        hold_end(&hold, net_worker_at(&n, 0));
        note_await(NOTE_EOF, i);
        CHECK_EQ(note_bytes(NULL), 10 * i);
        if (i % 2 == 0)
            close(fd);
        note_await(NOTE_CLOSE, i);
        CHECK_EQ(note_value(NOTE_CLOSE, i - 1), 0);
    }
    net_end(&n);
}

WTEST(stream_input, every_byte_before_the_end_on_a_unix_socket) {
    static uint8_t data[150000];
    struct net n = net_start(1, &noting);
    struct hold hold;
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    net_adopt(&n, fds[1], &noting);
    note_await(NOTE_OPEN, 1);
    hold_begin(&hold, net_worker_at(&n, 0));
    net_fill(data, sizeof data, 0);
    net_put(fds[0], data, sizeof data);
    close(fds[0]);
    hold_end(&hold, net_worker_at(&n, 0));
    note_await(NOTE_EOF, 1);
    const uint8_t *bytes;
    CHECK_EQ(note_bytes(&bytes), sizeof data);
    CHECK_EQ(net_check(bytes, sizeof data, 0), sizeof data);
    net_end(&n);
}

WTEST(stream_input, a_paused_stream_that_was_hung_up_does_not_spin) {
    struct net n = net_start(1, &noting);
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    net_adopt(&n, fds[1], &noting);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    net_put(fds[0], "abc", 3);
    close(fds[0]);
    uint64_t before = net_stats(&n).iterations;
    poll(NULL, 0, 100); /* a stretch of time to spin in: nothing is waited for */
    CHECK(net_stats(&n).iterations - before < 20);
    CHECK_STR(note_order(), "o");
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "odec");
    net_end(&n);
}

static void half_close(void *s) {
    note(NOTE_USER, weft_stream_shutdown(s));
    note(NOTE_USER, weft_stream_shutdown(s));
    note(NOTE_USER, weft_stream_write(s, "x", 1));
}

WTEST(stream_input, a_stream_that_ended_both_ways_does_not_spin) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = note_data, .on_eof = note_eof, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), half_close, note_stream());
    net_expect_end(fd);
    close(fd);
    note_await(NOTE_EOF, 1);
    uint64_t before = net_stats(&n).iterations;
    poll(NULL, 0, 100);
    CHECK(net_stats(&n).iterations - before < 20);
    rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    note_await(NOTE_CLOSE, 1);
    net_end(&n);
}

WTEST(stream_input, a_reset_is_noticed_while_paused) {
    struct net n = net_start(1, &noting);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    net_put(fd, "abc", 3);
    net_reset(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    CHECK_STR(note_order(), "oc");
    net_end(&n);
}

static _Atomic bool hidden;

static int hides_options(enum os_call call) {
    return call == OS_GETSOCKOPT && atomic_load(&hidden) ? -ENOMEM : 0;
}

WTEST(stream_input, a_reset_is_noticed_while_paused_also_where_its_error_cannot_be_read) {
    seam_call_fn = hides_options;
    struct net n = net_start(1, &noting);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    atomic_store(&hidden, true);
    net_reset(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOMEM);
    net_end(&n);
}

static _Atomic int options_set;

static int count_options(enum os_call call) {
    options_set += call == OS_SETSOCKOPT;
    return 0;
}

WTEST(stream_input, a_connection_that_was_reset_is_closed_without_another_call) {
    seam_call_fn = count_options;
    struct net n = net_start(1, &noting);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    int before = options_set;
    net_reset(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_end(&n);
    CHECK_EQ(options_set, before);
}

static void eof_answer(weft_stream *s) {
    static uint8_t much[1 << 20];
    net_fill(much, sizeof much, 0);
    note_eof(s);
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    weft_stream_close(s);
}

WTEST(stream_input, after_the_peers_half_close_a_megabyte_goes_the_other_way) {
    static const weft_protocol protocol = {
        .on_data = note_data, .on_eof = eof_answer, .on_close = note_close};
    static uint8_t back[1 << 20];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "request", 7);
    net_end_output(fd);
    net_get(fd, back, sizeof back);
    CHECK_EQ(net_check(back, sizeof back, 0), sizeof back);
    net_expect_end(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    close(fd);
    net_end(&n);
}

WTEST(stream_input, after_our_half_close_a_megabyte_comes_in) {
    static uint8_t data[1 << 20];
    struct net n = net_start(1, &noting);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), half_close, note_stream());
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), 0);
    CHECK_EQ(note_value(NOTE_USER, 2), -EPIPE);
    net_expect_end(fd);
    net_put(fd, data, sizeof data);
    note_await_bytes(sizeof data);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    net_end(&n);
}

static void eof_looks(weft_stream *s) {
    const uint8_t *data = NULL;
    size_t length = weft_stream_unconsumed(s, &data);
    note_data(s, data, length);
    note_eof_close(s);
}

WTEST(stream_input, at_the_end_what_was_left_may_be_looked_at) {
    static const weft_protocol protocol = {
        .on_data = leave_all, .on_eof = eof_looks, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "unfinished", 10);
    note_await(NOTE_DATA, 1);
    net_end_output(fd);
    note_await(NOTE_CLOSE, 1);
    const uint8_t *bytes;
    CHECK_EQ(note_bytes(&bytes), 10);
    CHECK(memcmp(bytes, "unfinished", 10) == 0);
    close(fd);
    net_end(&n);
    CHECK_EQ(weft_stream_unconsumed(NULL, NULL), 0);
}

/* Consumes what it left before, and gives up. */
static size_t leave_then_abort(weft_stream *s, const uint8_t *data, size_t len) {
    note_data(s, data, len);
    if (len < 6)
        return 0;
    weft_stream_abort(s);
    return len;
}

static void close_looks(weft_stream *s, int error) {
    note(NOTE_USER, (int64_t)weft_stream_unconsumed(s, NULL));
    note_close(s, error);
}

WTEST(stream_input, what_was_consumed_with_an_abort_is_not_found_again) {
    static const weft_protocol protocol = {.on_data = leave_then_abort, .on_close = close_looks};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "abc", 3);
    note_await(NOTE_DATA, 1);
    net_put(fd, "def", 3);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    close(fd);
    net_end(&n);
}

static void resume_at_end(weft_stream *s) {
    note_eof(s);
    weft_stream_pause(s);
    weft_stream_resume(s);
}

WTEST(stream_input, no_data_comes_after_the_end_also_after_a_resume) {
    static const weft_protocol protocol = {
        .on_open = note_open,
        .on_data = leave_all,
        .on_eof = resume_at_end,
        .on_close = note_close,
    };
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "unfinished", 10);
    net_end_output(fd);
    note_await(NOTE_EOF, 1);
    int64_t shown = note_count(NOTE_DATA);
    rt_turns(net_worker_at(&n, 0), 3);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(note_count(NOTE_DATA), shown);
    CHECK_EQ(note_count(NOTE_EOF), 1);
    rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    note_await(NOTE_CLOSE, 1);
    close(fd);
    net_end(&n);
}

/* --- many ------------------------------------------------------------------------------------- */

WTEST(stream_input, five_hundred_clients_that_never_finish_a_message) {
    enum { SLOW = 500 };
    static int fds[SLOW];
    struct net n = net_start(2, &word_protocol);
    for (int i = 0; i < SLOW; i++) {
        fds[i] = net_dial(&n);
        net_put(fds[i], "x", 1);
    }
    note_await(NOTE_USER, SLOW);
    int fd = net_dial(&n);
    for (unsigned i = 1; i <= 100; i++) {
        net_put(fd, "word", 4);
        note_await_bytes(4 * i);
        if (i % 10 == 0)
            net_put(fds[i], "y", 1);
    }
    CHECK_EQ(net_stats(&n).streams_open, SLOW + 1);
    for (int i = 0; i < SLOW; i++)
        close(fds[i]);
    close(fd);
    net_await_open(&n, 0);
    net_end(&n);
}

/* Both are ready in one batch, the flood first; the other's turn comes after one read of it. */
static _Atomic size_t flooded, flooded_before_the_other;

static size_t count_flood(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s;
    if (len == 1 && data[0] == '!')
        flooded_before_the_other = flooded;
    else
        flooded += len;
    return len;
}

WTEST(stream_input, a_flood_does_not_starve_another) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = count_flood, .on_close = note_close};
    static const uint8_t flood[1 << 20];
    struct net n = net_start(1, &protocol);
    struct hold hold;
    int loud = net_dial(&n), quiet = net_dial(&n);
    note_await(NOTE_OPEN, 2);
    hold_begin(&hold, net_worker_at(&n, 0));
    size_t queued = 0;
    for (ssize_t sent; (sent = send(loud, flood, sizeof flood, MSG_DONTWAIT)) > 0;)
        queued += (size_t)sent;
    net_put(quiet, "!", 1);
    hold_end(&hold, net_worker_at(&n, 0));
    close(quiet);
    note_await(NOTE_CLOSE, 1);
    CHECK(queued > 4 * 65536);
    CHECK(flooded_before_the_other > 0 && flooded_before_the_other <= 65536);
    close(loud);
    net_await_open(&n, 0);
    CHECK_EQ(flooded, queued);
    net_end(&n);
}
