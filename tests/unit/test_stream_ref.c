/* weft_stream_write_ref(): nothing is copied, the order is kept, and what was lent comes back
 * exactly once, before on_close, however the stream ends. */
#include "net_fixture.h"

static uint8_t large[1 << 20];

static void give_back(void *arg) {
    note(NOTE_USER, (int64_t)(intptr_t)arg);
}

static void *number(int n) {
    return (void *)(intptr_t)n;
}

static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

/* --- order ------------------------------------------------------------------------------------ */

static size_t mix(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    size_t at = 0;
    for (int i = 0; i < 10; i++) {
        size_t lent = (size_t)i * 7919 % 30000 + 1;
        NOTE_EQ(weft_stream_write(s, large + at, 5), 0);
        NOTE_EQ(weft_stream_write_ref(s, large + at + 5, lent, give_back, number(i)), 0);
        NOTE_EQ(weft_stream_write(s, large + at + 5 + lent, 3), 0);
        at += 8 + lent;
    }
    note(NOTE_DATA, (int64_t)at);
    return len;
}

static void expect_mix(void) {
    static const weft_protocol protocol = {.on_data = mix, .on_close = note_close};
    static uint8_t back[sizeof large];
    net_fill(large, sizeof large, 0);
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    size_t length = (size_t)note_value(NOTE_DATA, 0);
    net_get(fd, back, length);
    CHECK_EQ(net_check(back, length, 0), length);
    note_await(NOTE_USER, 10);
    for (unsigned i = 0; i < 10; i++)
        CHECK_EQ(note_value(NOTE_USER, i), i);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 10);
}

WTEST(stream_ref, lent_and_copied_bytes_keep_their_order) {
    expect_mix();
}

static size_t one_byte(enum os_call call, size_t length) {
    return (call == OS_SEND || call == OS_SENDMSG) && length > 1 ? 1 + length / 2 : length;
}

WTEST(stream_ref, also_when_the_kernel_takes_half_of_each_piece) {
    seam_length_fn = one_byte;
    expect_mix();
}

static size_t header_and_body(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_write(s, "header", 6), 0);
    NOTE_EQ(weft_stream_write_ref(s, large, 1000, give_back, NULL), 0);
    NOTE_EQ(weft_stream_write(s, "end", 3), 0);
    return len;
}

WTEST(stream_ref, header_body_and_trailer_are_one_send) {
    static const weft_protocol protocol = {.on_data = header_and_body};
    char back[1009];
    calls_watch();
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_get(fd, back, sizeof back);
    CHECK_EQ(calls_of(OS_SEND) + calls_of(OS_SENDMSG), 1);
    CHECK_EQ(memcmp(back, "header", 6), 0);
    CHECK_EQ(memcmp(back + 1006, "end", 3), 0);
    close(fd);
    net_end(&n);
}

/* What the program changes afterwards is what the peer sees: nothing was copied. */
static size_t lend_and_change(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    large[0] = 'a';
    NOTE_EQ(weft_stream_write_ref(s, large, 1, give_back, NULL), 0);
    large[0] = 'b';
    return len;
}

WTEST(stream_ref, nothing_is_copied) {
    static const weft_protocol protocol = {.on_data = lend_and_change};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "b");
    close(fd);
    net_end(&n);
}

/* --- every ending ----------------------------------------------------------------------------- */

static size_t lend_much(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    for (int i = 0; i < 4; i++)
        NOTE_EQ(weft_stream_write_ref(s, large, sizeof large, give_back, number(i)), 0);
    note(NOTE_DATA, (int64_t)len);
    return len;
}

static const weft_protocol lending = {.on_open = small_open,
                                      .on_data = lend_much,
                                      .on_close = note_close,
                                      .close_timeout_ns = WEFT_MSEC(50)};

static int client_owed(const struct net *n) {
    int fd = net_dial_small(n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    return fd;
}

static void expect_four_and_then(int error) {
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "oduuuuc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), error);
}

static void do_abort(void *s) {
    weft_stream_abort(s);
}

WTEST(stream_ref, an_abort_gives_everything_back_before_on_close) {
    struct net n = net_start(1, &lending);
    int fd = client_owed(&n);
    rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    expect_four_and_then(0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 4);
}

WTEST(stream_ref, so_does_a_reset_by_the_peer) {
    struct net n = net_start(1, &lending);
    net_reset(client_owed(&n));
    expect_four_and_then(-ECONNRESET);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 4);
}

static void do_close(void *s) {
    weft_stream_close(s);
}

WTEST(stream_ref, so_does_a_close_that_is_never_flushed) {
    struct net n = net_start(1, &lending);
    int fd = client_owed(&n);
    rt_call(net_worker_at(&n, 0), do_close, note_stream());
    expect_four_and_then(-ETIMEDOUT);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 4);
}

WTEST(stream_ref, so_does_a_close_that_is_flushed) {
    static uint8_t back[4 * sizeof large];
    static const weft_protocol patient = {
        .on_open = small_open, .on_data = lend_much, .on_close = note_close};
    net_fill(large, sizeof large, 0);
    struct net n = net_start(1, &patient);
    int fd = client_owed(&n);
    rt_call(net_worker_at(&n, 0), do_close, note_stream());
    net_get(fd, back, sizeof back);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(net_check(back + i * sizeof large, sizeof large, 0), sizeof large);
    net_expect_end(fd);
    close(fd);
    expect_four_and_then(0);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 4);
}

WTEST(stream_ref, so_does_the_end_of_the_grace_time) {
    const weft_runtime_options options = {.workers = 1, .grace_ns = WEFT_MSEC(20)};
    static const weft_protocol patient = {
        .on_open = small_open, .on_data = lend_much, .on_close = note_close};
    struct net n = net_start_with(&options, NULL, &patient);
    int fd = client_owed(&n);
    weft_runtime_stop(n.runtime);
    expect_four_and_then(-ESHUTDOWN);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 4);
}

static size_t lend_and_abort(weft_stream *s, const uint8_t *data, size_t len) {
    (void)lend_much(s, data, len);
    weft_stream_abort(s);
    NOTE_EQ(note_count(NOTE_USER), 0);
    return len;
}

WTEST(stream_ref, an_abort_in_the_same_callback_sends_nothing_and_gives_back) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = lend_and_abort, .on_close = note_close};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect_reset(fd);
    expect_four_and_then(0);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 4);
}

/* --- release ---------------------------------------------------------------------------------- */

static bool in_call;

static void check_not_in_call(void *arg) {
    NOTE_EQ(!in_call, true);
    NOTE_EQ(weft_worker_current() != NULL, true);
    give_back(arg);
}

static size_t lend_and_flush(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    in_call = true;
    NOTE_EQ(weft_stream_write_ref(s, large, 10, check_not_in_call, NULL), 0);
    weft_stream_flush(s);
    NOTE_EQ(weft_stream_write_ref(s, large, 0, check_not_in_call, NULL), 0);
    NOTE_EQ(weft_stream_pending(s), 0);
    NOTE_EQ(note_count(NOTE_USER), 0);
    in_call = false;
    return len;
}

WTEST(stream_ref, a_release_never_runs_inside_a_write_or_a_flush) {
    static const weft_protocol protocol = {.on_data = lend_and_flush};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 2);
    close(fd);
    net_end(&n);
}

static uint64_t first_iteration;

static void lend_again(void *arg) {
    weft_stream *s = arg;
    weft_stats stats = rt_stats(weft_worker_current());
    unsigned so_far = note_count(NOTE_USER);
    if (so_far == 0)
        first_iteration = stats.iterations;
    else
        NOTE_EQ(stats.iterations >= first_iteration + so_far, true); /* others had their turn */
    note(NOTE_USER, 0);
    if (so_far < 999)
        NOTE_EQ(weft_stream_write_ref(s, large, 10, lend_again, s), 0);
}

static size_t lend_first(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_write_ref(s, large, 10, lend_again, s), 0);
    return len;
}

WTEST(stream_ref, lending_again_in_each_release_starves_nobody) {
    static const weft_protocol protocol = {.on_data = lend_first};
    static uint8_t back[10000];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_get(fd, back, sizeof back);
    note_await(NOTE_USER, 1000);
    close(fd);
    net_end(&n);
}

/* --- refusals --------------------------------------------------------------------------------- */

static _Thread_local bool no_memory;

static int fail_allocations(enum os_call call) {
    return call == OS_ALLOC && no_memory ? -ENOMEM : 0;
}

static size_t lend_in_vain(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_write_ref(NULL, large, 1, give_back, NULL), -EINVAL);
    NOTE_EQ(weft_stream_write_ref(s, NULL, 1, give_back, NULL), -EINVAL);
    NOTE_EQ(weft_stream_write_ref(s, large, 1, NULL, NULL), -EINVAL);
    NOTE_EQ(weft_stream_write_ref(s, large, 1001, give_back, NULL), -ENOBUFS);
    NOTE_EQ(weft_stream_write_ref(s, large, 1, give_back, NULL), -ENOBUFS);
    note(NOTE_DATA, 0);
    return len;
}

static void lend_without_memory(weft_stream *s) {
    note_drain(s);
    if (note_count(NOTE_DRAIN) == 1) {
        no_memory = true;
        NOTE_EQ(weft_stream_write_ref(s, large, 1, give_back, NULL), -ENOMEM);
        no_memory = false;
        NOTE_EQ(weft_stream_write_ref(s, large, 1, give_back, NULL), -ENOBUFS);
        return;
    }
    NOTE_EQ(weft_stream_write_ref(s, "good", 4, give_back, NULL), 0);
    NOTE_EQ(weft_stream_shutdown(s), 0);
    NOTE_EQ(weft_stream_write_ref(s, large, 1, give_back, NULL), -EPIPE);
}

WTEST(stream_ref, what_is_refused_stays_the_callers) {
    static const weft_protocol protocol = {
        .on_data = lend_in_vain, .on_drain = lend_without_memory, .max_pending = 1000};
    seam_call_fn = fail_allocations;
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "good");
    net_expect_end(fd);
    note_await(NOTE_USER, 1);
    close(fd);
    net_await_open(&n, 0);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 1);
    CHECK_EQ(note_count(NOTE_DRAIN), 2);
}

/* --- no allocation per write ------------------------------------------------------------------ */

static int file_fd;

static void write_everything(void *arg) {
    weft_stream *s = arg;
    NOTE_EQ(weft_stream_write(s, large, 100), 0);
    NOTE_EQ(weft_stream_write_ref(s, large, 100, give_back, NULL), 0);
    NOTE_EQ(weft_stream_write(s, large, 3000), 0);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, 100), 0);
}

static uint64_t allocations_of_rounds(const struct net *n, int fd, unsigned rounds) {
    char back[3300];
    uint64_t before = calls_of(OS_ALLOC);
    for (unsigned i = 0; i < rounds; i++) {
        rt_call(net_worker_at(n, 0), write_everything, note_stream());
        net_get(fd, back, sizeof back);
    }
    return calls_of(OS_ALLOC) - before;
}

WTEST(stream_ref, writing_from_outside_of_a_callback_allocates_nothing_in_the_steady_state) {
    static const weft_protocol protocol = {.on_open = note_open, .on_data = note_data};
    file_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    calls_watch();
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    (void)allocations_of_rounds(&n, fd, 10);
    CHECK_EQ(allocations_of_rounds(&n, fd, 100), 0);
    close(fd);
    close(file_fd);
    net_end(&n);
}
