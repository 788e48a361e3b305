/* Bytes out: one send per callback, the order of writes, short and refused sends, flush. */
#include "net_fixture.h"

static void do_abort(void *s) {
    weft_stream_abort(s);
}

static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

static const weft_protocol noting = {
    .on_open = note_open, .on_data = note_data, .on_close = note_close};

/* --- one send --------------------------------------------------------------------------------- */

static size_t sixteen(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    if (len < 2)
        return 0;
    for (int i = 0; i < 16; i++)
        note(NOTE_USER, weft_stream_write(s, "0123456789", 10));
    return len;
}

static uint64_t sends(void) {
    return calls_of(OS_SEND) + calls_of(OS_SENDMSG);
}

static void sixteen_writes(const weft_protocol *protocol, bool in_two_pieces) {
    char back[160];
    calls_watch();
    struct net n = net_start(1, protocol);
    int fd = net_dial(&n);
    for (int i = 1; i <= 5; i++) {
        if (in_two_pieces) {
            net_put(fd, "x", 1);
            while (net_stats(&n).bytes_held == 0)
                sched_yield();
            net_put(fd, "y", 1);
        } else {
            net_put(fd, "xy", 2);
        }
        net_get(fd, back, sizeof back);
        CHECK_EQ(sends(), i);
    }
    close(fd);
    net_end(&n);
}

WTEST(stream_output, sixteen_writes_of_a_callback_are_one_send) {
    static const weft_protocol protocol = {.on_data = sixteen};
    sixteen_writes(&protocol, false);
}

WTEST(stream_output, also_with_an_idle_timeout) {
    static const weft_protocol protocol = {.on_data = sixteen, .idle_timeout_ns = WEFT_SEC(100)};
    sixteen_writes(&protocol, false);
}

WTEST(stream_output, also_behind_left_over_input) {
    static const weft_protocol protocol = {.on_data = sixteen};
    sixteen_writes(&protocol, true);
}

WTEST(stream_output, also_with_tight_limits) {
    static const weft_protocol protocol = {
        .on_data = sixteen, .high_water = 1000, .max_pending = 2000};
    sixteen_writes(&protocol, false);
}

/* --- when output leaves ----------------------------------------------------------------------- */

static struct hold in_callback;
static size_t answer_length;

/* One byte asks for an answer; another one makes the worker stand still. */
static size_t answer_or_stand(weft_stream *s, const uint8_t *data, size_t len) {
    static uint8_t answer[200000];
    if (data[0] == '!') {
        sem_post(&in_callback.entered);
        sem_await(&in_callback.release);
    } else {
        note(NOTE_USER, weft_stream_write(s, answer, answer_length));
    }
    return len;
}

static void leaves_with_the_callback(size_t length) {
    static const weft_protocol protocol = {.on_open = note_open, .on_data = answer_or_stand};
    static uint8_t back[200000];
    struct net n = net_start(1, &protocol);
    struct hold hold;
    answer_length = length;
    sem_make(&in_callback.entered);
    sem_make(&in_callback.release);
    int asks = net_dial(&n), stands = net_dial(&n);
    note_await(NOTE_OPEN, 2);
    hold_begin(&hold, net_worker_at(&n, 0));
    net_put(asks, "?", 1);
    net_put(stands, "!", 1); /* in the same batch, and after it */
    sem_post(&hold.release);
    sem_await(&in_callback.entered);
    net_get(asks, back, length);
    sem_post(&in_callback.release);
    close(asks);
    close(stands);
    net_end(&n);
}

WTEST(stream_output, leaves_when_the_callback_returns) {
    leaves_with_the_callback(100);
}

WTEST(stream_output, leaves_when_the_callback_returns_also_what_is_larger_than_the_buffer) {
    leaves_with_the_callback(200000);
}

static size_t flush_and_stand(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    (void)weft_stream_write(s, "now", 3);
    note(NOTE_USER, (int64_t)weft_stream_pending(s));
    weft_stream_flush(s);
    note(NOTE_USER, (int64_t)weft_stream_pending(s));
    (void)weft_stream_write(s, "then", 4);
    sem_post(&in_callback.entered);
    sem_await(&in_callback.release);
    return len;
}

WTEST(stream_output, flush_sends_now) {
    static const weft_protocol protocol = {.on_data = flush_and_stand};
    struct net n = net_start(1, &protocol);
    sem_make(&in_callback.entered);
    sem_make(&in_callback.release);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    sem_await(&in_callback.entered);
    net_expect(fd, "now");
    char byte;
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) < 0);
    sem_post(&in_callback.release);
    net_expect(fd, "then");
    CHECK_EQ(note_value(NOTE_USER, 0), 3);
    CHECK_EQ(note_value(NOTE_USER, 1), 0);
    close(fd);
    net_end(&n);
}

/* Writes from elsewhere, and a hook at the end of the iteration that looks whether they have left.
 */
static weft_stream *target;
static _Atomic uint64_t most_pending;
static weft_timer timer;

static void look_at_pending(void *arg) {
    (void)arg;
    if (target && weft_stream_pending(target) > most_pending)
        most_pending = weft_stream_pending(target);
}

static void start_looking(void *arg) {
    target = arg;
    note(NOTE_USER,
         weft_hook_start(weft_worker_current(), WEFT_BEFORE_WAIT, look_at_pending, NULL, NULL));
}

static void write_from_task(void *arg) {
    (void)arg;
    note(NOTE_USER, weft_stream_write(target, "task ", 5));
}

static void timer_writes(weft_timer *t) {
    (void)t;
    note(NOTE_USER, weft_stream_write(target, "timer ", 6));
}

static void start_timer(void *arg) {
    (void)arg;
    timer.fn = timer_writes;
    weft_timer_start(weft_worker_current(), &timer, 0, 0);
}

static size_t write_to_target(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s, (void)data;
    note(NOTE_USER, weft_stream_write(target, "other ", 6));
    return len;
}

static void last_words(weft_stream *s, int error) {
    (void)error;
    if (s != target)
        note(NOTE_USER, weft_stream_write(target, "closed ", 7));
    target = s == target ? NULL : target;
}

static void write_later(void *arg) {
    (void)arg;
    note(NOTE_USER, weft_stream_write(target, "idle ", 5));
    weft_hook_stop(*(weft_hook **)arg);
}

static void start_idle_hook(void *arg) {
    note(NOTE_USER, weft_hook_start(weft_worker_current(), WEFT_IDLE, write_later, arg, arg));
}

WTEST(stream_output, what_is_written_from_elsewhere_leaves_by_the_end_of_the_iteration) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = write_to_target, .on_close = last_words};
    struct net n = net_start(1, &protocol);
    weft_hook *hook = NULL;
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    weft_worker *w = net_worker_at(&n, 0);
    rt_call(w, start_looking, note_stream());
    rt_call(w, write_from_task, NULL);
    net_expect(fd, "task ");
    rt_call(w, start_timer, NULL);
    net_expect(fd, "timer ");
    rt_call(w, start_idle_hook, &hook);
    net_expect(fd, "idle ");
    int other = net_dial(&n);
    net_put(other, "x", 1);
    net_expect(fd, "other ");
    net_reset(other);
    net_expect(fd, "closed ");
    rt_turns(w, 2);
    CHECK_EQ(most_pending, 0);
    for (unsigned i = 0; i < note_count(NOTE_USER); i++)
        CHECK_EQ(note_value(NOTE_USER, i), 0);
    close(fd);
    net_end(&n);
}

/* Two streams wait for their first turn; the first one's callback writes to the second, which has
 * nothing else to do in it. */
static weft_stream *second;

static void open_first(weft_stream *s) {
    (void)s;
    note(NOTE_USER, weft_stream_write(second, "hello", 5));
}

static void adopt_two(void *arg) {
    static const weft_protocol first = {.on_open = open_first, .on_data = note_data};
    static const weft_protocol plain = {.on_data = note_data};
    const int *fds = arg;
    note(NOTE_USER, weft_adopt(weft_worker_current(), fds[0], &first, NULL, NULL));
    note(NOTE_USER, weft_adopt(weft_worker_current(), fds[1], &plain, NULL, &second));
}

WTEST(stream_output, what_is_written_to_a_stream_that_waits_for_its_turn_leaves) {
    struct net n = net_start(1, &noting);
    int a[2], b[2];
    net_pair(a);
    net_pair(b);
    rt_call(net_worker_at(&n, 0), adopt_two, (int[]){a[1], b[1]});
    net_expect(b[0], "hello");
    close(a[0]);
    close(b[0]);
    net_await_open(&n, 0);
    net_end(&n);
}

/* --- order ------------------------------------------------------------------------------------ */

enum { WRITES = 10000 };
static size_t written;

static void write_some(weft_stream *s, unsigned count) {
    uint8_t piece[64];
    for (unsigned i = 0; i < count; i++) {
        size_t length = 1 + written % 40;
        net_fill(piece, length, written);
        if (weft_stream_write(s, piece, length) < 0)
            note(NOTE_USER, -1);
        written += length;
    }
}

static size_t write_in_callback(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    write_some(s, WRITES / 10);
    note(NOTE_USER, 0);
    return len;
}

static void write_in_task(void *s) {
    write_some(s, WRITES / 10);
}

static size_t short_sends(enum os_call call, size_t length) {
    return (call == OS_SEND || call == OS_SENDMSG) && length > 1 ? 1 : length;
}

static _Atomic unsigned storm;

static int stormy(enum os_call call) {
    if (call != OS_SEND && call != OS_SENDMSG && call != OS_RECV)
        return 0;
    return atomic_fetch_add(&storm, 1) % 4 ? -EAGAIN : 0;
}

/* Half of the writes inside the stream's callbacks, half from tasks, against what the socket takes.
 */
static void keeps_order(void) {
    static const weft_protocol protocol = {
        .on_open = small_open, .on_data = write_in_callback, .on_close = note_close};
    static uint8_t back[WRITES * 40];
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    note_await(NOTE_OPEN, 1);
    for (unsigned i = 1; i <= 5; i++) {
        net_put(fd, "x", 1);
        note_await(NOTE_USER, i);
        rt_call(net_worker_at(&n, 0), write_in_task, note_stream());
    }
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(note_value(NOTE_USER, i), 0);
    net_get(fd, back, written);
    CHECK_EQ(net_check(back, written, 0), written);
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    CHECK_EQ(net_stats(&n).bytes_out, written);
    close(fd);
    net_end(&n);
}

WTEST(stream_output, ten_thousand_writes_keep_their_order_in_a_small_buffer) {
    keeps_order();
}

WTEST(stream_output, ten_thousand_writes_keep_their_order_in_sends_of_one_byte) {
    seam_length_fn = short_sends;
    keeps_order();
}

WTEST(stream_output, ten_thousand_writes_keep_their_order_in_a_storm_of_eagain) {
    seam_call_fn = stormy;
    keeps_order();
}

WTEST(stream_output, an_echo_is_exact_in_a_storm_of_eagain_and_short_sends) {
    static const weft_protocol echo = {.on_data = note_echo};
    static uint8_t data[50000], back[50000];
    seam_call_fn = stormy;
    seam_length_fn = short_sends;
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    net_fill(data, sizeof data, 0);
    net_put(fd, data, sizeof data);
    net_get(fd, back, sizeof back);
    CHECK(memcmp(data, back, sizeof data) == 0);
    close(fd);
    net_end(&n);
}

static size_t pieces(weft_stream *s, const uint8_t *data, size_t len) {
    static uint8_t large[100000];
    struct iovec iov[] = {{.iov_base = (void *)(uintptr_t) "one", .iov_len = 3},
                          {.iov_base = NULL, .iov_len = 0},
                          {.iov_base = large, .iov_len = data[0] == 'l' ? sizeof large : 2},
                          {.iov_base = (void *)(uintptr_t) "end", .iov_len = 3}};
    net_fill(large, sizeof large, 0);
    note(NOTE_USER, weft_stream_writev(s, iov, 4));
    note(NOTE_USER, weft_stream_writev(s, iov, 0));
    note(NOTE_USER, weft_stream_writev(s, NULL, 0));
    note(NOTE_USER, weft_stream_write(s, NULL, 0));
    return len;
}

WTEST(stream_output, writev_is_one_write_of_all_pieces) {
    static const weft_protocol protocol = {.on_data = pieces};
    static uint8_t back[100000];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    for (int i = 0; i < 2; i++) {
        size_t length = i ? sizeof back : 2;
        net_put(fd, i ? "l" : "s", 1);
        net_expect(fd, "one");
        net_get(fd, back, length);
        CHECK_EQ(net_check(back, length, 0), length);
        net_expect(fd, "end");
    }
    note_await(NOTE_USER, 8);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(note_value(NOTE_USER, i), 0);
    close(fd);
    net_end(&n);
}

/* More pieces than go into one call, and more bytes than the worker's buffer holds. */
enum { PIECES = 200, PIECE = 1000 };

static size_t many_pieces(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    static uint8_t bytes[PIECES * PIECE];
    struct iovec iov[PIECES + 1] = {{NULL, 0}};
    net_fill(bytes, sizeof bytes, 0);
    for (size_t i = 0; i < PIECES; i++)
        iov[i + (i > 0)] = (struct iovec){bytes + i * PIECE, PIECE}; /* the second one is empty */
    NOTE_EQ(weft_stream_writev(s, iov, PIECES + 1), 0);
    return len;
}

static void expect_many_pieces(void) {
    static const weft_protocol protocol = {.on_data = many_pieces};
    static uint8_t back[PIECES * PIECE];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_get(fd, back, sizeof back);
    CHECK_EQ(net_check(back, sizeof back, 0), sizeof back);
    close(fd);
    net_end(&n);
}

WTEST(stream_output, many_pieces_of_which_the_kernel_takes_the_first_ones_whole) {
    expect_many_pieces();
}

static size_t part_of_piece(enum os_call call, size_t length) {
    return call == OS_SENDMSG && length > 300 ? 300 : length;
}

WTEST(stream_output, many_pieces_of_which_the_kernel_takes_a_part_of_one) {
    seam_length_fn = part_of_piece;
    expect_many_pieces();
}

static size_t write_bytes(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    int failed = 0;
    for (int i = 0; i < 100000; i++)
        failed |= weft_stream_write(s, "z", 1);
    note(NOTE_USER, failed);
    return len;
}

WTEST(stream_output, a_million_writes_from_callbacks) {
    static const weft_protocol protocol = {.on_data = write_bytes};
    static uint8_t back[100000];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    for (unsigned i = 0; i < 10; i++) {
        net_put(fd, "x", 1);
        net_get(fd, back, sizeof back);
        CHECK_EQ(note_value(NOTE_USER, i), 0);
    }
    close(fd);
    net_end(&n);
}

/* --- ends ------------------------------------------------------------------------------------- */

static size_t much_and_shutdown(weft_stream *s, const uint8_t *data, size_t len) {
    static uint8_t much[3 << 20];
    if (data[0] != '?')
        return note_data(s, data, len);
    net_fill(much, sizeof much, 0);
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    note(NOTE_USER, weft_stream_shutdown(s));
    note(NOTE_USER, weft_stream_write(s, "x", 1));
    return len;
}

WTEST(stream_output, a_shutdown_follows_all_output) {
    static const weft_protocol protocol = {
        .on_open = small_open, .on_data = much_and_shutdown, .on_close = note_close};
    static uint8_t back[3 << 20];
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 8192);
    net_put(fd, "?", 1);
    note_await(NOTE_USER, 3);
    net_get(fd, back, sizeof back);
    CHECK_EQ(net_check(back, sizeof back, 0), sizeof back);
    net_expect_end(fd);
    net_put(fd, "thanks", 6);
    note_await_bytes(6);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), 0);
    CHECK_EQ(note_value(NOTE_USER, 2), -EPIPE);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    net_end(&n);
}

/* SIGPIPE has its default here, and would end the test. */
static void write_to_reset(void *s) {
    for (int i = 0; i < 3; i++) {
        note(NOTE_USER, weft_stream_write(s, "x", 1));
        weft_stream_flush(s);
    }
}

WTEST(stream_output, a_write_to_a_peer_that_reset_is_an_error_and_no_signal) {
    struct net n = net_start(1, &noting);
    struct hold hold;
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    hold_begin(&hold, net_worker_at(&n, 0));
    net_reset(fd);
    CHECK_EQ(weft_post_fn(net_worker_at(&n, 0), write_to_reset, note_stream()), 0);
    hold_end(&hold, net_worker_at(&n, 0));
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_end(&n);
}

/* The kernel says EPIPE of a reset that follows the peer's end; that is what a write gets after the
 * program's own. */
WTEST(stream_output, a_reset_that_follows_the_peers_end_is_a_reset) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = note_data, .on_eof = note_eof, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    net_end_output(fd);
    note_await(NOTE_EOF, 1);
    net_reset(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_end(&n);
}

/* More than the worker's buffer: the send is made inside the write. */
static void write_much(weft_stream *s) {
    static const uint8_t much[100000];
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    note(NOTE_USER, weft_stream_write(s, much, 1));
}

WTEST(stream_output, a_large_write_to_a_peer_that_is_gone_gets_what_on_close_gets) {
    static const weft_protocol protocol = {
        .on_data = note_data, .on_eof = write_much, .on_close = note_close};
    struct net n = net_start(1, &noting);
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    (void)net_adopt(&n, fds[0], &protocol);
    close(fds[1]);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_USER, 1), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_end(&n);
}

/* The first send after the reset fails inside the call, and the stream must be there still. */
static size_t write_until_failure(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    sem_post(&in_callback.entered);
    sem_await(&in_callback.release);
    write_to_reset(s);
    return len;
}

WTEST(stream_output, a_failure_inside_a_callback_is_told_after_it) {
    static const weft_protocol protocol = {.on_data = write_until_failure, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    sem_make(&in_callback.entered);
    sem_make(&in_callback.release);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    sem_await(&in_callback.entered);
    net_reset(fd);
    sem_post(&in_callback.release);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "uuuc");
    CHECK_EQ(note_value(NOTE_USER, 0), 0); /* gathered */
    CHECK_EQ(note_value(NOTE_USER, 1), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_USER, 2), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_end(&n);
}

WTEST(stream_output, pending_is_what_the_kernel_has_not_taken) {
    static const weft_protocol protocol = {
        .on_open = small_open, .on_data = write_bytes, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 1);
    rt_turns(net_worker_at(&n, 0), 2);
    weft_stats stats = net_stats(&n);
    CHECK(stats.bytes_held > 0);
    CHECK_EQ(stats.bytes_held + stats.bytes_out, 100000);
    rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    CHECK_EQ(weft_stream_pending(NULL), 0);
    close(fd);
    net_end(&n);
}
