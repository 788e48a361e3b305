/* Sizes at the ends of their types, which no buffer can have: each is an answer, nothing wraps, and
 * the stream goes on. */
#include "net_fixture.h"

static int file_fd;
static unsigned released;

static void release(void *arg) {
    (void)arg;
    released++;
}

static int write_all(weft_stream *s) {
    return weft_stream_write(s, "x", SIZE_MAX);
}

/* Plus what is written already it would be 0. */
static int write_that_wraps(weft_stream *s) {
    NOTE_EQ(weft_stream_write(s, "0123456789abcdef", 16), 0);
    return weft_stream_write(s, "x", SIZE_MAX - 15);
}

static int lend_all(weft_stream *s) {
    return weft_stream_write_ref(s, "x", SIZE_MAX, release, NULL);
}

static int write_two_halves(weft_stream *s) {
    const struct iovec iov[] = {{text("x"), SIZE_MAX / 2}, {text("x"), SIZE_MAX / 2}};
    return weft_stream_writev(s, iov, 2);
}

static int (*const refused[])(weft_stream *s) = {write_all, write_that_wraps, lend_all,
                                                 write_two_halves};

/* Each after the on_drain of the one before it, which would have it refused anyway. */
static void refuse_next(weft_stream *s) {
    size_t *next = weft_stream_state(s);
    if (*next == sizeof refused / sizeof refused[0])
        NOTE_EQ(weft_stream_write(s, "end", 3), 0);
    else
        NOTE_EQ(refused[(*next)++](s), -ENOBUFS);
}

static size_t refuse_first(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    const struct iovec iov[] = {{text("x"), SIZE_MAX}, {text("x"), 1}};
    NOTE_EQ(weft_stream_writev(s, iov, 2), -EINVAL);
    refuse_next(s);
    return len;
}

WTEST(sizes, writes_that_no_memory_holds_are_refused) {
    static const weft_protocol protocol = {
        .state_size = sizeof(size_t), .on_data = refuse_first, .on_drain = refuse_next};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "0123456789abcdefend");
    close(fd);
    net_end(&n);
    CHECK_EQ(released, 0);
}

static weft_stream_id id;

static void tell_id(weft_stream *s) {
    id = weft_stream_id_of(s);
    note_open(s);
}

static void send_by_id(size_t max_pending, int expected) {
    const weft_protocol protocol = {
        .on_open = tell_id, .on_data = note_echo, .max_pending = max_pending};
    struct net n = net_start(1, &protocol);
    unsigned before = note_count(NOTE_OPEN);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, before + 1);
    CHECK_EQ(weft_send(n.runtime, id, "x", SIZE_MAX), expected);
    CHECK_EQ(weft_send(n.runtime, id, "x", SIZE_MAX - 15), expected);
    CHECK_EQ(weft_send(n.runtime, id, "still here", 10), 0);
    net_expect(fd, "still here");
    close(fd);
    net_end(&n);
}

WTEST(sizes, a_send_by_id_that_no_memory_holds_is_refused) {
    send_by_id(0, -ENOBUFS);
    send_by_id(SIZE_MAX, -ENOMEM);
}

static size_t send_files(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_sendfile(s, file_fd, INT64_MAX, 1), -EINVAL);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, INT64_MAX), 0);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, 1), -ENOBUFS);
    NOTE_EQ(weft_stream_pending(s), INT64_MAX);
    weft_stream_abort(s);
    return len;
}

WTEST(sizes, files_on_their_way_add_up_to_no_more_than_an_offset) {
    static const weft_protocol protocol = {
        .on_data = send_files, .on_drain = note_drain, .on_close = note_close};
    file_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    close(fd);
    close(file_fd);
    net_await_open(&n, 0);
    net_end(&n);
}
