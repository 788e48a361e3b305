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
