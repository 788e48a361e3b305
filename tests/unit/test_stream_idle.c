/* Idle timeouts. */
#include "net_fixture.h"

enum { IDLE_MS = 60 };
static _Atomic uint64_t last_byte_ns, opened_ns;

/* The iteration's, as weft reads it: a thread may stand still between the two. */
static uint64_t time_of(weft_stream *s) {
    return weft_worker_now_ns(weft_stream_worker(s));
}

static void idle_open(weft_stream *s) {
    opened_ns = last_byte_ns = time_of(s);
    note_open(s);
}

static size_t idle_data(weft_stream *s, const uint8_t *data, size_t len) {
    last_byte_ns = time_of(s);
    return note_data(s, data, len);
}

/* How long ago the last byte was. */
static void idle_timeout(weft_stream *s) {
    const uint64_t last_ns = last_byte_ns;
    last_byte_ns = time_of(s); /* it re-arms */
    note(NOTE_TIMEOUT, (int64_t)(now_ns() - last_ns));
}

static const weft_protocol protocol = {.on_open = idle_open,
                                       .on_data = idle_data,
                                       .on_timeout = idle_timeout,
                                       .on_close = note_close,
                                       .idle_timeout_ns = WEFT_MSEC(IDLE_MS)};

WTEST(stream_idle, without_on_timeout_it_closes) {
    static const weft_protocol closing = {.on_open = idle_open,
                                          .on_data = idle_data,
                                          .on_close = note_close,
                                          .idle_timeout_ns = WEFT_MSEC(IDLE_MS)};
    struct net n = net_start(1, &closing);
    int fd = net_dial(&n);
    note_await(NOTE_CLOSE, 1);
    CHECK(now_ns() - opened_ns >= WEFT_MSEC(IDLE_MS));
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ETIMEDOUT);
    net_expect_reset(fd);
    close(fd);
    net_end(&n);
}

/* The reading of the clock that re-arms it is the iteration's. */
enum { SLACK_NS = 1000000 };

WTEST(stream_idle, it_re_arms_and_is_never_early) {
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_TIMEOUT, 4);
    CHECK(note_value(NOTE_TIMEOUT, 0) >= (int64_t)WEFT_MSEC(IDLE_MS) - SLACK_NS);
    CHECK(now_ns() - opened_ns >= 4 * WEFT_MSEC(IDLE_MS));
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    net_end(&n);
}

/* Bytes come in the middle of the time: the end of it is counted from them. */
static void bytes_postpone(int fd, void (*byte)(int fd)) {
    for (int i = 0; i < 3; i++) {
        poll(NULL, 0, IDLE_MS / 2);
        byte(fd);
    }
    note_await(NOTE_TIMEOUT, note_count(NOTE_TIMEOUT) + 1);
    for (unsigned i = 0; i < note_count(NOTE_TIMEOUT); i++)
        CHECK(note_value(NOTE_TIMEOUT, i) >= (int64_t)WEFT_MSEC(IDLE_MS) - SLACK_NS);
}

static void byte_in(int fd) {
    unsigned before = note_count(NOTE_DATA);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, before + 1);
}

WTEST(stream_idle, bytes_in_postpone_it) {
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    bytes_postpone(fd, byte_in);
    close(fd);
    net_end(&n);
}

/* So often, and for so long, that the wheel comes to the stream at many of its slots. */
WTEST(stream_idle, many_bytes_postpone_it) {
    enum { SHORT_MS = 20, BYTES = 60 };
    static const weft_protocol hasty = {.on_open = idle_open,
                                        .on_data = idle_data,
                                        .on_timeout = idle_timeout,
                                        .on_close = note_close,
                                        .idle_timeout_ns = WEFT_MSEC(SHORT_MS)};
    struct net n = net_start(1, &hasty);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    for (unsigned i = 0; i < BYTES; i++) {
        poll(NULL, 0, 5);
        byte_in(fd);
    }
    for (unsigned i = 0; i < note_count(NOTE_TIMEOUT); i++)
        CHECK(note_value(NOTE_TIMEOUT, i) >= (int64_t)WEFT_MSEC(SHORT_MS) / 2);
    close(fd);
    net_end(&n);
}

static weft_worker *worker;

static void write_byte(void *s) {
    last_byte_ns = time_of(s);
    (void)weft_stream_write(s, "x", 1);
}

static void byte_out(int fd) {
    rt_call(worker, write_byte, note_stream());
    net_expect(fd, "x");
}

WTEST(stream_idle, bytes_out_postpone_it) {
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    worker = net_worker_at(&n, 0);
    note_await(NOTE_OPEN, 1);
    bytes_postpone(fd, byte_out);
    close(fd);
    net_end(&n);
}

/* The output cannot leave, so nothing moves, however often it is written to. */
static void write_much(void *s) {
    static const uint8_t much[1 << 20];
    (void)weft_stream_write(s, much, sizeof much);
}

static int eagain(enum os_call call) {
    return call == OS_SEND || call == OS_SENDMSG ? -EAGAIN : 0;
}

WTEST(stream_idle, bytes_that_cannot_leave_do_not_postpone_it) {
    static const weft_protocol closing = {.on_open = note_open,
                                          .on_data = note_data,
                                          .on_close = note_close,
                                          .idle_timeout_ns = WEFT_MSEC(IDLE_MS)};
    seam_call_fn = eagain;
    struct net n = net_start(1, &closing);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), write_much, note_stream());
    note_await(NOTE_CLOSE, 1); /* EPOLLOUT all the time, EAGAIN all the time */
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ETIMEDOUT);
    close(fd);
    net_end(&n);
}

static void set_short(void *s) {
    weft_stream_set_idle_timeout(s, WEFT_MSEC(5));
}

static void set_none(void *s) {
    weft_stream_set_idle_timeout(s, 0);
}

static void set_for_ever(void *s) {
    weft_stream_set_idle_timeout(s, WEFT_FOREVER);
}

WTEST(stream_idle, it_may_be_set_changed_and_taken_away) {
    static const weft_protocol plain = {.on_open = idle_open,
                                        .on_data = idle_data,
                                        .on_timeout = note_timeout,
                                        .on_close = note_close};
    struct net n = net_start(1, &plain);
    weft_worker *w = net_worker_at(&n, 0);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(w, set_none, note_stream());
    rt_call(w, set_short, note_stream());
    note_await(NOTE_TIMEOUT, 3);
    for (int i = 0; i < 2; i++) {
        rt_call(w, i ? set_for_ever : set_none, note_stream());
        unsigned seen = note_count(NOTE_TIMEOUT);
        poll(NULL, 0, 30); /* a stretch of time to fire in: nothing is waited for */
        CHECK_EQ(note_count(NOTE_TIMEOUT), seen);
        rt_call(w, set_short, note_stream());
        note_await(NOTE_TIMEOUT, seen + 1);
    }
    close(fd);
    net_end(&n);
}

/* While the loop stands at one stream, the others get their timeouts. */
static weft_stream *stood_at;
static unsigned visited;

static void shorten_others(weft_stream *s, void *arg) {
    (void)arg;
    if (s != stood_at)
        set_short(s);
}

static void visit(weft_stream *s, void *arg) {
    visited++;
    if (stood_at)
        return;
    stood_at = s;
    weft_worker_each_stream(arg, shorten_others, NULL);
}

static void visit_all(void *w) {
    weft_worker_each_stream(w, visit, w);
}

WTEST(stream_idle, a_loop_over_all_streams_may_shorten_it) {
    static const weft_protocol patient = {.on_open = note_open,
                                          .on_data = note_data,
                                          .on_close = note_close,
                                          .idle_timeout_ns = WEFT_SEC(3600)};
    struct net n = net_start(1, &patient);
    int fds[4];
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = net_dial(&n);
        note_await(NOTE_OPEN, i + 1);
    }
    rt_call(net_worker_at(&n, 0), visit_all, net_worker_at(&n, 0));
    CHECK_EQ(visited, 4);
    note_await(NOTE_CLOSE, 3);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(note_value(NOTE_CLOSE, i), -ETIMEDOUT);
    for (unsigned i = 0; i < 4; i++)
        close(fds[i]);
    net_end(&n);
}

static void close_from_timeout(weft_stream *s) {
    note(NOTE_TIMEOUT, 0);
    weft_stream_close(s);
}

static void abort_from_timeout(weft_stream *s) {
    note(NOTE_TIMEOUT, 0);
    weft_stream_abort(s);
}

static void end_from_timeout(void (*on_timeout)(weft_stream *s)) {
    weft_protocol ending = {.on_data = note_data,
                            .on_timeout = on_timeout,
                            .on_close = note_close,
                            .idle_timeout_ns = WEFT_MSEC(1)};
    struct net n = net_start(1, &ending);
    int fd = net_dial(&n);
    char byte;
    (void)net_get_some(fd, &byte, 1);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    CHECK_STR(note_order(), "tc");
    net_end(&n);
}

WTEST(stream_idle, on_timeout_may_close) {
    end_from_timeout(close_from_timeout);
}

WTEST(stream_idle, on_timeout_may_abort) {
    end_from_timeout(abort_from_timeout);
}

/* The timer is due, and a task of that very iteration closes before it fires. */
static void close_stream(void *s) {
    weft_stream_close(s);
}

static sem_t set, go_on;

/* Set where the worker already stands still: it cannot pass before the close is posted. */
static void set_short_and_wait(void *s) {
    set_short(s);
    sem_post(&set);
    sem_await(&go_on);
}

WTEST(stream_idle, a_close_is_not_a_timeout) {
    static const weft_protocol closing = {
        .on_open = note_open, .on_data = note_data, .on_close = note_close};
    struct net n = net_start(1, &closing);
    weft_worker *w = net_worker_at(&n, 0);
    sem_make(&set);
    sem_make(&go_on);
    for (unsigned i = 1; i <= 5; i++) {
        int fd = net_dial(&n);
        note_await(NOTE_OPEN, i);
        CHECK_EQ(weft_post_fn(w, set_short_and_wait, note_stream()), 0);
        sem_await(&set);
        CHECK_EQ(weft_post_fn(w, close_stream, note_stream()), 0);
        poll(NULL, 0, 10);
        sem_post(&go_on);
        char byte;
        (void)net_get_some(fd, &byte, 1);
        close(fd);
        note_await(NOTE_CLOSE, i);
        CHECK_EQ(note_value(NOTE_CLOSE, i - 1), 0);
    }
    net_end(&n);
}
