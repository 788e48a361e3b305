/* A stream that goes on by another protocol: what it sees, what holds from then on, and what
 * stays. */
#include "net_fixture.h"

#include "log_keeper.h"

static struct net net;
static _Atomic unsigned old_closes;

static void old_closed(weft_stream *s, int error) {
    (void)s;
    (void)error;
    old_closes++;
}

/* --- the new one: notes everything
 * ---------------------------------------------------------------- */

struct large {
    char bytes[1 << 16]; /* never allocated: the state stays what it was */
};

static size_t new_data(weft_stream *s, const uint8_t *data, size_t len) {
    CHECK_STR(weft_stream_arg(s), "new");
    CHECK_EQ(*(int *)weft_stream_state(s), 4711);
    note_data(s, data, len);
    return len;
}

static const weft_protocol new_protocol = {.state_size = sizeof(struct large),
                                           .on_open = note_open, /* never: it is open */
                                           .on_data = new_data,
                                           .on_timeout = note_timeout,
                                           .on_close = note_close,
                                           .max_pending = 10};

/* --- the old one: changes at the end of a line
 * ----------------------------------------------------- */

static const weft_protocol *next_protocol;

static size_t first_line(weft_stream *s, const uint8_t *data, size_t len) {
    const uint8_t *end = memchr(data, '\n', len);
    if (!end)
        return 0;
    *(int *)weft_stream_state(s) = 4711;
    weft_stream_set_protocol(s, next_protocol, text("new"));
    return (size_t)(end - data) + 1;
}

static const weft_protocol old_protocol = {
    .state_size = sizeof(int), .on_data = first_line, .on_close = old_closed};

static int begin(const weft_protocol *next) {
    next_protocol = next;
    net = net_start(1, &old_protocol);
    return net_dial(&net);
}

static void end(void) {
    net_end(&net);
    CHECK_EQ(old_closes, 0);
}

static void check_bytes(const char *expected) {
    const uint8_t *bytes = NULL;
    CHECK_EQ(note_bytes(&bytes), strlen(expected));
    CHECK_EQ(memcmp(bytes, expected, strlen(expected)), 0);
}

WTEST(stream_protocol, what_the_old_one_left_is_the_new_ones) {
    int fd = begin(&new_protocol);
    net_put(fd, "upgrade\nhello", 13); /* in one piece */
    note_await_bytes(5);
    check_bytes("hello");
    net_put(fd, " and more", 9);
    note_await_bytes(14);
    check_bytes("hello and more");
    close(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_count(NOTE_OPEN), 0);
    end();
}

WTEST(stream_protocol, it_may_change_when_nothing_is_left) {
    int fd = begin(&new_protocol);
    net_put(fd, "upgr", 4);
    net_put(fd, "ade\n", 4);
    net_put(fd, "x", 1);
    note_await_bytes(1);
    check_bytes("x");
    close(fd);
    note_await(NOTE_CLOSE, 1);
    end();
}

/* The bytes, then the end, though both came with the line. */
WTEST(stream_protocol, the_end_comes_after_what_was_left) {
    static const weft_protocol with_eof = {
        .on_data = new_data, .on_eof = note_eof_close, .on_close = note_close};
    int fd = begin(&with_eof);
    net_put(fd, "upgrade\nlast", 12);
    net_end_output(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "dec");
    check_bytes("last");
    close(fd);
    end();
}

static _Atomic int written[2];

static size_t write_much(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    written[0] = weft_stream_write(s, "0123456789", 10);
    written[1] = weft_stream_write(s, "0123456789x", 11);
    return len;
}

WTEST(stream_protocol, its_limits_hold) {
    static const weft_protocol narrow = {
        .on_data = write_much, .on_drain = note_drain, .on_close = note_close, .max_pending = 10};
    int fd = begin(&narrow);
    net_put(fd, "upgrade\nx", 9);
    net_expect(fd, "0123456789");
    CHECK_EQ(written[0], 0);
    CHECK_EQ(written[1], -ENOBUFS);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    end();
}

WTEST(stream_protocol, its_idle_timeout_begins) {
    static const weft_protocol idle = {.on_data = new_data,
                                       .on_timeout = note_timeout,
                                       .on_close = note_close,
                                       .idle_timeout_ns = WEFT_MSEC(1)};
    int fd = begin(&idle);
    net_put(fd, "upgrade\n", 8);
    note_await(NOTE_TIMEOUT, 2);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    end();
}

WTEST(stream_protocol, one_that_is_none_changes_nothing) {
    static const weft_protocol empty = {0};
    log_keep();
    int fd = begin(&empty);
    for (unsigned i = 1; i <= 2; i++) { /* it goes on */
        net_put(fd, "upgrade\n", 8);
        log_await("weft_stream_set_protocol", i);
    }
    close(fd);
    while (old_closes == 0)
        sched_yield();
    old_closes = 0;
    weft_stream_set_protocol(NULL, &new_protocol, NULL);
    end();
}
