/* Peers that make it hard: slow ones, ones that send as much as they are sent, and callbacks whose
 * writes complete at once. */
#include "net_fixture.h"

#include <signal.h>

/* Small buffers, so that what is under way is in weft's hands. */
static void set_buffers(weft_stream *s, int size) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* --- the end of input ------------------------------------------------------------------------- */

/* A byte a time, each answer reaching the mark and leaving at once: the automatic pause is over
 * when on_data returns, and what it left is due. */
static size_t byte_for_byte(weft_stream *s, const uint8_t *data, size_t len) {
    (void)len;
    (void)weft_stream_write(s, data, 1);
    return 1;
}

WTEST(stream_hostile, the_end_comes_after_what_an_automatic_pause_left) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = byte_for_byte,
                                           .on_eof = note_eof_close,
                                           .on_close = note_close,
                                           .high_water = 1};
    struct net n = net_start(1, &protocol);
    struct hold hold;
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    hold_begin(&hold, net_worker_at(&n, 0));
    net_put(fd, "every byte", 10);
    net_end_output(fd);
    hold_end(&hold, net_worker_at(&n, 0));
    net_expect(fd, "every byte");
    net_expect_end(fd);
    CHECK_EQ(note_value(NOTE_EOF, 0), 0); /* nothing is left */
    close(fd);
    net_end(&n);
}

/* --- the peer is gone ------------------------------------------------------------------------- */

/* Weft's threads block every signal; a program's library may see to it that they do not. */
static void unblock_sigpipe(weft_worker *w, void *arg) {
    sigset_t set;
    (void)w, (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* Stands still until the peer has gone. */
static sem_t stands, goes_on;

static void stand_and_write(void *s) {
    sem_post(&stands);
    sem_await(&goes_on);
    for (int i = 0; i < 3; i++) {
        note(NOTE_USER, weft_stream_write(s, "x", 1));
        weft_stream_flush(s);
    }
}

static size_t stand_on_data(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    stand_and_write(s);
    return len;
}

/* In a callback by send(2), elsewhere by sendmsg(2). The end comes first, then the reset: that is
 * what the kernel answers by EPIPE. */
static void write_after_reset(bool in_callback) {
    static const weft_protocol protocol = {
        .on_open = note_open, .on_data = stand_on_data, .on_eof = note_eof, .on_close = note_close};
    const weft_runtime_options options = {.workers = 1, .on_worker_start = unblock_sigpipe};
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    sem_make(&stands);
    sem_make(&goes_on);
    struct net n = net_start_with(&options, NULL, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    if (in_callback)
        net_put(fd, "x", 1);
    else
        CHECK_EQ(weft_post_fn(net_worker_at(&n, 0), stand_and_write, note_stream()), 0);
    sem_await(&stands);
    net_end_output(fd);
    net_reset(fd);
    sem_post(&goes_on);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_USER, 2), -ECONNRESET);
    net_end(&n);
}

WTEST(stream_hostile, a_send_to_who_has_gone_raises_no_signal) {
    write_after_reset(true);
}

WTEST(stream_hostile, nor_does_one_from_elsewhere) {
    write_after_reset(false);
}

/* --- writes that complete at once ------------------------------------------------------------- */

enum { WRITES = 1000000, WRITES_EACH = 10, STACK = 64 << 10 };

static unsigned writes_left, depth, deepest;
static size_t stack_size;

static void note_stack_size(void) {
    pthread_attr_t attributes;
    stack_size = SIZE_MAX;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    (void)pthread_attr_getstacksize(&attributes, &stack_size);
    pthread_attr_destroy(&attributes);
}

static void write_on(weft_stream *s) {
    depth++;
    deepest = depth > deepest ? depth : deepest;
    for (int i = 0; i < WRITES_EACH; i++)
        if (weft_stream_write(s, "z", 1) != 0)
            abort();
    weft_stream_flush(s); /* they are out: on_drain is owed already */
    writes_left -= WRITES_EACH;
    if (writes_left == 0)
        weft_stream_close(s);
    depth--;
}

static void write_first(weft_stream *s) {
    note_stack_size();
    write_on(s);
}

/* Each on_drain leads to the next. If one came inside the write or the flush that it follows, or
 * inside the one before, they would stand upon each other. */
WTEST(stream_hostile, a_million_writes_that_complete_at_once_fit_on_a_small_stack) {
    static const weft_protocol protocol = {
        .on_open = write_first, .on_data = note_data, .on_drain = write_on, .high_water = 1};
    const size_t stack = STACK * (wtest_slowdown() > 1 ? 16 : 1);
    pthread_attr_t attributes;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, stack), 0);
    CHECK_EQ(pthread_setattr_default_np(&attributes), 0);
    writes_left = WRITES / wtest_slowdown();
    size_t expected = writes_left;
    struct net n = net_start(1, &protocol);
    static uint8_t back[WRITES];
    int fd = net_dial(&n);
    net_get(fd, back, expected);
    net_expect_end(fd);
    CHECK_EQ(deepest, 1);
    CHECK(stack_size <= stack);
    close(fd);
    net_end(&n);
    pthread_attr_destroy(&attributes);
}

/* --- messages that do not get done ------------------------------------------------------------ */

enum { SLOW = 500, MESSAGE = 64 };

static _Atomic unsigned shown, done;

/* One byte each: an answer to a whole message, or at once to a '!'. */
static size_t whole_messages(weft_stream *s, const uint8_t *data, size_t len) {
    if (data[0] == '!') {
        (void)weft_stream_write(s, "!", 1);
        return 1;
    }
    shown++;
    if (len < MESSAGE)
        return 0;
    done++;
    (void)weft_stream_write(s, "k", 1);
    return MESSAGE;
}

static void await_shown(unsigned count) {
    uint64_t until_ns = now_ns() + 60 * NSEC_PER_SEC;
    while (shown < count && now_ns() < until_ns)
        sched_yield();
    CHECK_EQ(shown, count);
}

/* What a byte costs does not grow with those before it: it is shown once, keeping it allocates
 * nothing, and what is held is what has come. */
WTEST(stream_hostile, five_hundred_slow_ones_cost_what_they_send) {
    static const weft_protocol protocol = {.on_data = whole_messages};
    static int fds[SLOW];
    calls_watch();
    struct net n = net_start(2, &protocol);
    int quick = net_dial(&n);
    uint64_t allocations = 0;
    for (int i = 0; i < SLOW; i++)
        fds[i] = net_dial(&n);
    for (unsigned round = 1; round <= MESSAGE; round++) {
        for (int i = 0; i < SLOW; i++)
            net_put(fds[i], "x", 1);
        net_put(quick, "!", 1);
        net_expect(quick, "!");
        await_shown(round * SLOW);
        rt_turns(net_worker_at(&n, 0), 2);
        rt_turns(net_worker_at(&n, 1), 2);
        CHECK_EQ(shown, round * SLOW);
        CHECK_EQ(net_stats(&n).bytes_held, round < MESSAGE ? round * SLOW : 0);
        if (round == 1)
            allocations = calls_of(OS_ALLOC);
        if (round == MESSAGE - 1)
            CHECK(calls_of(OS_ALLOC) - allocations < SLOW / 10);
    }
    CHECK_EQ(done, SLOW);
    for (int i = 0; i < SLOW; i++) {
        net_expect(fds[i], "k");
        close(fds[i]);
    }
    close(quick);
    net_await_open(&n, 0);
    net_end(&n);
}

/* --- as much there as back -------------------------------------------------------------------- */

/* Each side sends frames of its own and sends back those of the other: four times 16 MiB, through
 * buffers of 64 KiB. If both stopped reading while their own output is stuck, both would wait. */
enum { FRAME = 4096, FRAMES = 4096, BUFFERS = 64 << 10 };

struct peer {
    weft_stream *stream;
    unsigned sent, echoed, returned;
    bool in_order;
};

static struct peer peers[2];
static unsigned frames; /* fewer where everything is slow */
static _Atomic unsigned moved, peers_done;
static bool at_once;

static void fill_frame(uint8_t *frame, char tag, unsigned peer, unsigned number) {
    net_fill(frame, FRAME, (size_t)number * FRAME + peer);
    frame[0] = (uint8_t)tag;
    frame[1] = (uint8_t)peer;
}

static unsigned index_of(const struct peer *p) {
    return (unsigned)(p - peers);
}

/* All of them, or as many as the mark allows. */
static void send_own(struct peer *p) {
    uint8_t frame[FRAME];
    while (p->sent < frames && (at_once || weft_stream_pending(p->stream) < BUFFERS)) {
        fill_frame(frame, 'o', index_of(p), p->sent++);
        p->in_order &= weft_stream_write(p->stream, frame, FRAME) == 0;
    }
}

/* The streams of the listener are the first peer, the other one is the program's arg. */
static struct peer *peer_of(weft_stream *s) {
    struct peer *p = weft_stream_arg(s);
    return p ? p : &peers[0];
}

static void peer_open(weft_stream *s) {
    struct peer *p = peer_of(s);
    p->stream = s;
    p->in_order = true;
    set_buffers(s, BUFFERS);
    note(NOTE_OPEN, index_of(p));
    send_own(p);
}

static void take_frame(struct peer *p, const uint8_t *frame) {
    uint8_t expected[FRAME];
    bool is_own = frame[0] == 'e';
    unsigned number = is_own ? p->returned++ : p->echoed++;
    fill_frame(expected, is_own ? 'e' : 'o', is_own ? index_of(p) : !index_of(p), number);
    p->in_order &= memcmp(expected, frame, FRAME) == 0;
    if (!is_own) {
        expected[0] = 'e';
        p->in_order &= weft_stream_write(p->stream, expected, FRAME) == 0;
    }
    moved++;
    if (p->returned == frames && p->echoed == frames)
        peers_done++;
}

static size_t peer_data(weft_stream *s, const uint8_t *data, size_t len) {
    size_t used = 0;
    for (; len - used >= FRAME; used += FRAME)
        take_frame(peer_of(s), data + used);
    return used;
}

static void peer_drain(weft_stream *s) {
    send_own(peer_of(s));
}

#define PEER_PROTOCOL                                                                              \
    .on_open = peer_open, .on_data = peer_data, .on_drain = peer_drain, .on_close = note_close,    \
    .high_water = BUFFERS, .max_pending = 64 << 20

static const weft_protocol peer = {PEER_PROTOCOL};
static const weft_protocol pausing_peer = {PEER_PROTOCOL, .flags = WEFT_STREAM_PAUSE};

struct call_to {
    const char *address;
    const weft_protocol *protocol;
    int result;
};

static void connect_peer(void *arg) {
    struct call_to *to = arg;
    to->result = weft_connect(weft_worker_current(), to->address, to->protocol, &peers[1], NULL);
}

static void begin_peers(struct net *server, weft_worker *caller, const weft_protocol *protocol) {
    struct call_to to = {.address = weft_listener_address(server->listener), .protocol = protocol};
    memset(peers, 0, sizeof peers);
    moved = peers_done = 0;
    frames = FRAMES / (wtest_slowdown() > 4 ? 8u : 1u);
    rt_call(caller, connect_peer, &to);
    CHECK_EQ(to.result, 0);
}

static void abort_all(weft_stream *s, void *arg) {
    (void)arg;
    weft_stream_abort(s);
}

static void abort_streams(void *arg) {
    (void)arg;
    weft_worker_each_stream(weft_worker_current(), abort_all, NULL);
}

/* As long as something moves there is hope. */
static void await_peers(void) {
    uint64_t since_ns = now_ns();
    for (unsigned seen = 0; peers_done < 2; poll(NULL, 0, 1)) {
        if (moved != seen)
            since_ns = now_ns();
        seen = moved;
        CHECK_MSG(now_ns() - since_ns < 20 * NSEC_PER_SEC,
                  "nothing moves: peer 0 echoed %u, got back %u; peer 1 %u, %u; of %u each",
                  peers[0].echoed, peers[0].returned, peers[1].echoed, peers[1].returned, frames);
    }
}

static void echo_at_each_other(bool in_one_worker, bool all_at_once) {
    struct net server = net_start(1, &peer), other = {0};
    if (!in_one_worker)
        other = net_start(1, &peer);
    weft_worker *caller = net_worker_at(in_one_worker ? &server : &other, 0);
    unsigned closed = note_count(NOTE_CLOSE);
    at_once = all_at_once;
    begin_peers(&server, caller, &peer);
    await_peers();
    CHECK_EQ(note_count(NOTE_CLOSE), closed);
    rt_call(caller, abort_streams, NULL);
    note_await(NOTE_CLOSE, closed + 2);
    net_await_open(&server, 0);
    CHECK_EQ(net_stats(&server).bytes_held, 0);
    CHECK(peers[0].in_order && peers[1].in_order);
    net_end(&server);
    if (!in_one_worker)
        net_end(&other);
}

WTEST(stream_hostile, two_programs_that_echo_sixteen_megabytes_at_each_other_go_on) {
    echo_at_each_other(false, true);
    echo_at_each_other(false, false);
}

WTEST(stream_hostile, so_do_two_streams_of_one_worker) {
    echo_at_each_other(true, true);
    echo_at_each_other(true, false);
}

/* What WEFT_STREAM_PAUSE asks for: where the accepting side pauses as well, nobody reads. */
WTEST(stream_hostile, two_that_both_pause_wait_for_each_other) {
    struct net n = net_start(1, &peer);
    weft_worker *w = net_worker_at(&n, 0);
    at_once = true;
    begin_peers(&n, w, &pausing_peer);
    note_await(NOTE_OPEN, 2);
    for (int i = 0; i < 3; i++)
        let_others_run();
    rt_turns(w, 20);
    CHECK_EQ(moved, 0);
    CHECK(net_stats(&n).bytes_held > frames * FRAME);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    rt_call(w, abort_streams, NULL);
    note_await(NOTE_CLOSE, 2);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
}
