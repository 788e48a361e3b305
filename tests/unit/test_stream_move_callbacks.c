/* The callback that would follow the one that moved its stream comes where the stream arrives: in
 * between it is for reading only, and what an echo wrote would be refused. */
#include "net_fixture.h"

static void move_from_callback(weft_stream *s) {
    NOTE_EQ(weft_stream_move(s, net_next_worker(s)), 0);
}

static size_t note_where_and_echo(weft_stream *s, const uint8_t *data, size_t len) {
    note(NOTE_DATA, weft_worker_index(weft_worker_current()));
    NOTE_EQ(weft_stream_write(s, data, len), 0);
    return len;
}

WTEST(stream_move, what_is_there_is_shown_where_it_arrives_when_on_open_moves_it) {
    static const weft_protocol protocol = {
        .on_open = move_from_callback, .on_data = note_where_and_echo, .on_close = note_close};
    struct net n = net_start(2, &protocol);
    int fds[2];
    net_pair(fds);
    net_put(fds[1], "ping", 4);
    (void)net_adopt(&n, fds[0], &protocol);
    note_await(NOTE_DATA, 1);
    CHECK_EQ(note_value(NOTE_DATA, 0), 1);
    net_expect(fds[1], "ping");
    close(fds[1]);
    net_await_open(&n, 0);
    net_end(&n);
}

/* Reaches high_water and leaves everything, which set_protocol() shows once more: an on_drain and
 * an on_data are due in the same iteration. */
static const weft_protocol drained_and_moved;

static size_t leave_and_owe(weft_stream *s, const uint8_t *data, size_t len) {
    if (note_count(NOTE_DATA) == 1)
        return note_where_and_echo(s, data, len);
    note(NOTE_DATA, weft_worker_index(weft_worker_current()));
    NOTE_EQ(weft_stream_write(s, "x", 1), 0);
    weft_stream_set_protocol(s, &drained_and_moved, NULL);
    return 0;
}

static const weft_protocol drained_and_moved = {.on_data = leave_and_owe,
                                                .on_drain = move_from_callback,
                                                .on_close = note_close,
                                                .high_water = 1};

WTEST(stream_move, what_was_left_is_shown_where_it_arrives_when_on_drain_moves_it) {
    struct net n = net_start(2, &drained_and_moved);
    int fds[2];
    net_pair(fds);
    (void)net_adopt(&n, fds[0], &drained_and_moved);
    net_put(fds[1], "ping", 4);
    note_await(NOTE_DATA, 2);
    CHECK_EQ(note_value(NOTE_DATA, 0), 0);
    CHECK_EQ(note_value(NOTE_DATA, 1), 1);
    net_expect(fds[1], "xping");
    close(fds[1]);
    net_await_open(&n, 0);
    net_end(&n);
}

/* --- what was lent ---------------------------------------------------------------------------- */

static const weft_protocol quiet = {.on_data = note_data, .on_open = note_open};
static bool moves_in_release;

static void flush_and_move(void *s) {
    NOTE_EQ(weft_stream_worker(s) == weft_worker_current(), true);
    weft_stream_flush(s);
    if (moves_in_release && note_count(NOTE_USER) == 0)
        NOTE_EQ(weft_stream_move(s, net_next_worker(s)), 0);
    note(NOTE_USER, 0);
}

/* The first piece is given back as the streams leave. */
static void lend_and_move(void *arg) {
    weft_stream **streams = arg, *s = streams[0];
    NOTE_EQ(weft_stream_write_ref(s, "first ", 6, flush_and_move, s), 0);
    weft_stream_flush(s);
    NOTE_EQ(weft_stream_write_ref(s, "second", 6, flush_and_move, s), 0);
    NOTE_EQ(weft_stream_move(streams[moves_in_release], net_next_worker(s)), 0);
}

static void lent_comes_back_where_it_lives(void) {
    int a[2], b[2];
    struct net n = net_start(2, &quiet);
    net_pair(a);
    net_pair(b);
    weft_stream *streams[2] = {net_adopt(&n, a[0], &quiet)};
    note_await(NOTE_OPEN, 1);
    streams[1] = net_adopt(&n, b[0], &quiet);
    note_await(NOTE_OPEN, 2);
    rt_call(net_worker_at(&n, 0), lend_and_move, streams);
    net_expect(a[1], "first second");
    note_await(NOTE_USER, 2);
    close(a[1]);
    close(b[1]);
    net_end(&n);
}

WTEST(stream_move, a_flush_on_the_way_leaves_nothing_lent_behind) {
    lent_comes_back_where_it_lives();
}

WTEST(stream_move, nor_does_a_move_in_a_release_that_has_flushed) {
    moves_in_release = true;
    lent_comes_back_where_it_lives();
}

/* --- a move that another stream's end asks for ------------------------------------------------ */

static void move_first(weft_stream *s, int error) {
    (void)error;
    NOTE_EQ(weft_stream_move(weft_stream_arg(s), net_next_worker(s)), 0);
}

static const weft_protocol moved = {
    .on_data = note_data, .on_open = note_open, .on_move = note_move};
static const weft_protocol moving = {
    .on_data = note_data, .on_open = note_open, .on_close = move_first};

static void adopt_and_abort(void *first) {
    weft_stream *s = NULL;
    int pair[2];
    net_pair(pair);
    NOTE_EQ(weft_adopt(weft_worker_current(), pair[0], &moving, first, &s), 0);
    weft_stream_abort(s);
    close(pair[1]);
}

WTEST(stream_move, an_on_close_may_move_another_stream) {
    int pair[2];
    struct net n = net_start(2, &moved);
    net_pair(pair);
    weft_stream *first = net_adopt(&n, pair[0], &moved);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), adopt_and_abort, first);
    note_await(NOTE_USER, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), 1);
    close(pair[1]);
    net_end(&n);
}
