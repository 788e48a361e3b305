/* Streams that move: what goes along, and what is refused. */
#include "net_fixture.h"

static weft_runtime *runtime;

static void move_on(weft_stream *s, void *arg) {
    (void)arg;
    if (s)
        NOTE_EQ(weft_stream_move(s, net_next_worker(s)), 0);
}

static struct net start(unsigned workers, const weft_protocol *protocol) {
    const weft_runtime_options options = {.workers = workers, .grace_ns = WEFT_SEC(60)};
    struct net n = net_start_with(&options, NULL, protocol);
    runtime = n.runtime;
    return n;
}

static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

/* --- what goes along -------------------------------------------------------------------------- */

struct carried {
    weft_stream *address;
    weft_stream_id id;
    unsigned moves;
};

static void carry(weft_stream *s) {
    struct carried *c = weft_stream_state(s);
    *c = (struct carried){.address = s, .id = weft_stream_id_of(s)};
    note_open(s);
}

static void check_carried(weft_stream *s) {
    struct carried *c = weft_stream_state(s);
    weft_stream_id id = weft_stream_id_of(s);
    NOTE_EQ(c->address == s, true);
    NOTE_EQ(c->id.value[0] == id.value[0] && c->id.value[1] == id.value[1], true);
    c->moves++;
    note_move(s);
}

static size_t echo_and_move(weft_stream *s, const uint8_t *data, size_t len) {
    NOTE_EQ(weft_stream_write(s, data, len), 0);
    move_on(s, NULL);
    NOTE_EQ(weft_stream_write(s, data, len), -EBUSY); /* for reading only now */
    NOTE_EQ(weft_stream_shutdown(s), -EBUSY);
    NOTE_EQ(weft_stream_move(s, net_next_worker(s)), -EBUSY);
    return len;
}

static const weft_protocol moving = {.state_size = sizeof(struct carried),
                                     .on_open = carry,
                                     .on_data = echo_and_move,
                                     .on_move = check_carried,
                                     .on_close = note_close};

WTEST(stream_move, address_state_and_id_stay) {
    struct net n = start(3, &moving);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    int64_t first = weft_worker_index(weft_stream_worker(note_stream()));
    for (unsigned i = 1; i <= 10; i++) {
        net_put(fd, "ping", 4);
        net_expect(fd, "ping");
        note_await(NOTE_USER, i);
        CHECK_EQ(note_value(NOTE_USER, i - 1), (first + i) % 3);
        CHECK_EQ(net_stats(&n).streams_open, 1);
    }
    close(fd);
    net_await_open(&n, 0);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
    net_end(&n);
}

enum { TRAFFIC = 16 << 20 };
static uint8_t sent[TRAFFIC], received[TRAFFIC];

static void *put_traffic(void *arg) {
    net_put(*(int *)arg, sent, TRAFFIC);
    return NULL;
}

/* A fourth of it is not consumed but left for the next worker. */
static size_t echo_some_and_move(weft_stream *s, const uint8_t *data, size_t len) {
    size_t used = len - len / 4;
    int r = weft_stream_write(s, data, used);
    NOTE_EQ(r, 0);
    move_on(s, NULL);
    return used;
}

WTEST(stream_move, a_thousand_moves_under_traffic_are_byte_exact) {
    static const weft_protocol protocol = {.state_size = sizeof(struct carried),
                                           .on_open = carry,
                                           .on_data = echo_some_and_move,
                                           .on_move = check_carried,
                                           .on_close = note_close};
    struct net n = start(2, &protocol);
    int fd = net_dial_small(&n, 16384);
    net_fill(sent, TRAFFIC, 0);
    pthread_t putter = thread_begin(put_traffic, &fd);
    size_t got = 0;
    while (got < TRAFFIC || note_count(NOTE_USER) < 1000) {
        if (got == TRAFFIC) { /* a fast machine: more of it */
            thread_end(putter);
            putter = thread_begin(put_traffic, &fd);
            got = 0;
        }
        net_get(fd, received + got, 4096);
        CHECK_EQ(net_check(received + got, 4096, got), 4096);
        got += 4096;
    }
    while (got < TRAFFIC) {
        net_get(fd, received + got, 4096);
        got += 4096;
    }
    thread_end(putter);
    close(fd);
    note_await(NOTE_CLOSE, 1); /* first: on its way a stream is counted by no worker */
    net_await_open(&n, 0);
    CHECK(note_count(NOTE_USER) >= 1000);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
}

/* --- sends by id meanwhile -------------------------------------------------------------------- */

enum { NUMBERS = 50000 };

static void *send_numbers(void *arg) {
    const weft_stream_id id = *(weft_stream_id *)arg;
    for (uint32_t i = 0; i < NUMBERS; i++) {
        int r;
        while ((r = weft_send(runtime, id, &i, sizeof i)) == -ENOBUFS)
            sched_yield();
        NOTE_EQ(r, 0);
        if (i % 25 == 0)
            NOTE_EQ(weft_stream_post(runtime, id, move_on, NULL), 0);
    }
    return NULL;
}

WTEST(stream_move, one_threads_sends_keep_their_order_across_moves) {
    static const weft_protocol protocol = {.state_size = sizeof(struct carried),
                                           .on_open = carry,
                                           .on_data = note_data,
                                           .on_move = check_carried,
                                           .on_close = note_close};
    struct net n = start(3, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    struct carried *c = weft_stream_state(note_stream());
    pthread_t sender = thread_begin(send_numbers, &c->id);
    for (uint32_t i = 0; i < NUMBERS; i++) {
        uint32_t number;
        net_get(fd, &number, sizeof number);
        CHECK_EQ(number, i);
    }
    thread_end(sender);
    note_await(NOTE_USER, NUMBERS / 25);
    close(fd);
    net_await_open(&n, 0);
    net_end(&n);
}

static void note_post(weft_stream *s, void *arg) {
    (void)arg;
    note(NOTE_DRAIN, s ? (int64_t)weft_worker_index(weft_worker_current()) : -1);
}

/* Told on the worker that it leaves, read on the one where it arrives. */
WTEST(stream_move, what_came_by_id_before_it_left_is_read_where_it_arrives) {
    struct hold hold;
    struct net n = start(2, &moving);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    struct carried *c = weft_stream_state(note_stream());
    const weft_stream_id id = c->id;
    weft_worker *here = weft_stream_worker(note_stream());
    hold_begin(&hold, here);
    CHECK_EQ(weft_stream_post(n.runtime, id, move_on, NULL), 0);
    CHECK_EQ(weft_stream_post(n.runtime, id, note_post, NULL), 0);
    CHECK_EQ(weft_send(n.runtime, id, "by id", 5), 0);
    hold_end(&hold, here);
    net_expect(fd, "by id");
    CHECK_STR(note_order(), "our");
    CHECK_EQ(note_value(NOTE_DRAIN, 0), 1 - weft_worker_index(here));
    close(fd);
    net_end(&n);
}

static void send_second(weft_stream *s) {
    NOTE_EQ(weft_send(runtime, weft_stream_id_of(s), "second", 6), 0);
    note_move(s);
}

static void send_first(void *id) {
    NOTE_EQ(weft_send(runtime, *(weft_stream_id *)id, "first ", 6), 0);
}

/* Worker B sends while the stream is with A; it comes to B, who sends again: in that order. */
WTEST(stream_move, what_the_new_owner_sent_before_comes_before_what_it_sends_now) {
    static const weft_protocol protocol = {.state_size = sizeof(struct carried),
                                           .on_open = carry,
                                           .on_data = note_data,
                                           .on_move = send_second,
                                           .on_close = note_close};
    struct hold hold;
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    struct carried *c = weft_stream_state(note_stream());
    weft_stream_id id = c->id;
    weft_worker *here = weft_stream_worker(note_stream());
    weft_worker *there = net_worker_at(&n, 1 - weft_worker_index(here));
    hold_begin(&hold, here);
    CHECK_EQ(weft_stream_post(n.runtime, id, move_on, NULL), 0);
    rt_call(there, send_first, &id);
    hold_end(&hold, here);
    net_expect(fd, "first second");
    close(fd);
    net_end(&n);
}

/* --- left-over input, pending output, timeouts ------------------------------------------------ */

static size_t first_line(weft_stream *s, const uint8_t *data, size_t len) {
    if (weft_worker_index(weft_stream_worker(s)) == 0)
        return note_data(s, data, len);
    NOTE_EQ(weft_stream_move(s, weft_runtime_worker(runtime, 0)), 0);
    return 2;
}

WTEST(stream_move, what_was_left_is_shown_where_it_arrives_without_new_bytes) {
    static const weft_protocol protocol = {.on_open = note_open, .on_data = first_line};
    struct net n = start(2, &protocol);
    int fds[8];
    for (unsigned i = 0; i < 8; i++) {
        fds[i] = net_dial(&n);
        note_await(NOTE_OPEN, i + 1);
    }
    for (unsigned i = 0; i < 8; i++)
        net_put(fds[i], "0:rest", 6);
    note_await_bytes(4 * 6 + 4 * 4); /* half of them were on worker 1 */
    for (unsigned i = 0; i < 8; i++)
        close(fds[i]);
    net_end(&n);
}

static uint8_t lent[1 << 20];

static void give_back(void *arg) {
    (void)arg;
    note(NOTE_DRAIN, 0);
}

static size_t owe_and_move(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    FILE *file = tmpfile();
    net_fill(lent, sizeof lent, 0);
    NOTE_EQ(weft_stream_write(s, lent, 300000), 0);
    NOTE_EQ(weft_stream_write_ref(s, lent + 300000, 400000, give_back, NULL), 0);
    NOTE_EQ(fwrite(lent + 700000, 1, 300000, file), 300000);
    fflush(file);
    NOTE_EQ(weft_stream_sendfile(s, fileno(file), 0, 300000), 0);
    fclose(file);
    move_on(s, NULL);
    return len;
}

WTEST(stream_move, pending_output_of_every_kind_goes_along) {
    static const weft_protocol protocol = {.on_open = small_open,
                                           .on_data = owe_and_move,
                                           .on_move = note_move,
                                           .on_close = note_close};
    static uint8_t back[1000000];
    struct net n = start(2, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 1);
    CHECK(net_stats(&n).bytes_held > 0);
    net_get(fd, back, sizeof back);
    CHECK_EQ(net_check(back, sizeof back, 0), sizeof back);
    note_await(NOTE_DRAIN, 1);
    close(fd);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(rt_stats(net_worker_at(&n, i)).bytes_held, 0);
    net_end(&n);
    CHECK_STR(note_order(), "ourc");
}

static void note_timeout_worker(weft_stream *s) {
    note(NOTE_TIMEOUT, weft_worker_index(weft_stream_worker(s)));
    weft_stream_set_idle_timeout(s, 0);
}

WTEST(stream_move, its_timeout_goes_along) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = echo_and_move,
                                           .on_move = note_move,
                                           .on_timeout = note_timeout_worker,
                                           .idle_timeout_ns = WEFT_MSEC(30)};
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    int64_t first = weft_worker_index(weft_stream_worker(note_stream()));
    net_put(fd, "x", 1);
    note_await(NOTE_TIMEOUT, 1);
    if (note_count(NOTE_USER) > 0) /* a slow machine may have timed out before the byte came */
        CHECK_EQ(note_value(NOTE_TIMEOUT, note_count(NOTE_TIMEOUT) - 1), 1 - first);
    close(fd);
    net_end(&n);
}

static size_t pause_and_move(weft_stream *s, const uint8_t *data, size_t len) {
    weft_stream_pause(s);
    move_on(s, NULL);
    return note_data(s, data, len);
}

static void resume(weft_stream *s, void *arg) {
    (void)arg;
    weft_stream_resume(s);
}

static weft_stream_id paused_id;

static void note_paused(weft_stream *s) {
    paused_id = weft_stream_id_of(s);
    note_move(s);
}

WTEST(stream_move, a_paused_stream_arrives_paused_and_keeps_its_end_of_input) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = pause_and_move,
                                           .on_move = note_paused,
                                           .on_eof = note_eof_close,
                                           .on_close = note_close};
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 1);
    net_end_output(fd);
    for (unsigned i = 0; i < 2; i++)
        rt_turns(net_worker_at(&n, i), 3);
    CHECK_EQ(note_count(NOTE_EOF), 0);
    CHECK_EQ(weft_stream_post(n.runtime, paused_id, resume, NULL), 0);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "oduec");
    close(fd);
    net_end(&n);
}

/* Pauses, then moves, then takes it. */
static size_t leave_twice(weft_stream *s, const uint8_t *data, size_t len) {
    unsigned *calls = weft_stream_state(s);
    switch ((*calls)++) {
    case 0:
        paused_id = weft_stream_id_of(s);
        weft_stream_pause(s);
        note(NOTE_OPEN, 0);
        return 0;
    case 1: move_on(s, NULL); return 0;
    default: return note_data(s, data, len);
    }
}

WTEST(stream_move, what_was_left_is_shown_before_the_end_of_input_that_is_in_already) {
    static const weft_protocol protocol = {.state_size = sizeof(unsigned),
                                           .on_data = leave_twice,
                                           .on_move = note_move,
                                           .on_eof = note_eof_close,
                                           .on_close = note_close};
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_OPEN, 1);
    net_end_output(fd);
    CHECK_EQ(weft_stream_post(n.runtime, paused_id, resume, NULL), 0);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "oudec");
    close(fd);
    net_end(&n);
}

/* --- before it is open ------------------------------------------------------------------------ */

static void adopt_and_move(void *arg) {
    weft_stream *s = NULL;
    NOTE_EQ(weft_adopt(weft_worker_current(), *(int *)arg, &moving, NULL, &s), 0);
    move_on(s, NULL);
}

WTEST(stream_move, one_that_is_not_open_yet_opens_where_it_arrives) {
    struct net n = start(2, &moving);
    int pair[2];
    net_pair(pair);
    rt_call(net_worker_at(&n, 0), adopt_and_move, &pair[0]);
    note_await(NOTE_OPEN, 1);
    CHECK_EQ(weft_worker_index(weft_stream_worker(note_stream())), 1);
    net_put(pair[1], "hello", 5);
    net_expect(pair[1], "hello");
    note_await(NOTE_USER, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), 0); /* the first on_move is the way back */
    close(pair[1]);
    net_end(&n);
}

static void connect_and_move(void *arg) {
    weft_stream *s = NULL;
    NOTE_EQ(weft_connect(weft_worker_current(), arg, &moving, NULL, &s), 0);
    NOTE_EQ(weft_stream_write(s, "early", 5), 0);
    move_on(s, NULL);
}

WTEST(stream_move, one_that_connects_does_so_where_it_arrives) {
    static const weft_protocol noting = {.on_data = note_data};
    struct net n = start(2, &noting);
    rt_call(net_worker_at(&n, 0), connect_and_move, text(weft_listener_address(n.listener)));
    note_await(NOTE_OPEN, 1);
    CHECK_EQ(weft_worker_index(weft_stream_worker(note_stream())), 1);
    note_await_bytes(5);
    net_end(&n);
}

/* --- refusals --------------------------------------------------------------------------------- */

static struct net other;

static size_t refusals(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    weft_worker *foreign = weft_runtime_worker(other.runtime, 0);
    NOTE_EQ(weft_stream_move(NULL, net_next_worker(s)), -EINVAL);
    NOTE_EQ(weft_stream_move(s, NULL), -EINVAL);
    NOTE_EQ(weft_stream_move(s, foreign), -EINVAL);
    NOTE_EQ(weft_stream_move(s, weft_stream_worker(s)), 0);
    NOTE_EQ(weft_stream_write(s, "still here", 10), 0);
    weft_stream_close(s);
    NOTE_EQ(weft_stream_move(s, net_next_worker(s)), -EPIPE);
    return len;
}

WTEST(stream_move, nonsense_is_answered_and_it_stays) {
    static const weft_protocol protocol = {
        .on_data = refusals, .on_move = note_move, .on_close = note_close};
    other = start(1, &protocol);
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "still here");
    net_expect_end(fd);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    net_end(&n);
    net_end(&other);
    CHECK_EQ(note_count(NOTE_USER), 0);
}

static size_t move_and_end(weft_stream *s, const uint8_t *data, size_t len) {
    move_on(s, NULL);
    if (data[0] == 'a')
        weft_stream_abort(s);
    else
        weft_stream_close(s);
    note(NOTE_DATA, weft_worker_index(weft_worker_current()));
    return len;
}

static void close_worker(weft_stream *s, int error) {
    (void)s;
    NOTE_EQ(error, 0);
    note(NOTE_CLOSE, weft_worker_index(weft_worker_current()));
}

WTEST(stream_move, one_that_is_closed_meanwhile_stays) {
    static const weft_protocol protocol = {
        .on_data = move_and_end, .on_move = note_move, .on_close = close_worker};
    struct net n = start(2, &protocol);
    for (unsigned i = 0; i < 2; i++) {
        int fd = net_dial(&n);
        net_put(fd, i ? "c" : "a", 1);
        if (i)
            net_expect_end(fd);
        else
            net_expect_reset(fd);
        close(fd);
        note_await(NOTE_CLOSE, i + 1);
        CHECK_EQ(note_value(NOTE_CLOSE, i), note_value(NOTE_DATA, i));
    }
    net_await_open(&n, 0);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 0);
}

static _Thread_local bool no_memory, no_watch;

static int refuse_some(enum os_call call) {
    if (call == OS_EPOLL_CTL && no_watch)
        return -ENOSPC;
    return call == OS_ALLOC && no_memory ? -ENOMEM : 0;
}

static size_t move_without_memory(weft_stream *s, const uint8_t *data, size_t len) {
    no_memory = true;
    NOTE_EQ(weft_stream_move(s, net_next_worker(s)), -ENOMEM);
    no_memory = false;
    return note_echo(s, data, len);
}

WTEST(stream_move, without_memory_it_stays) {
    static const weft_protocol protocol = {.on_data = move_without_memory, .on_move = note_move};
    seam_call_fn = refuse_some;
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "stay", 4);
    net_expect(fd, "stay");
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 0);
}

static void watch_nothing(void *arg) {
    no_watch = arg != NULL;
}

WTEST(stream_move, one_that_cannot_be_watched_where_it_arrives_ends_there) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = echo_and_move,
                                           .on_move = note_move,
                                           .on_close = note_close};
    seam_call_fn = refuse_some;
    struct net n = start(2, &protocol);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    unsigned there = 1 - weft_worker_index(weft_stream_worker(note_stream()));
    rt_call(net_worker_at(&n, there), watch_nothing, text("yes"));
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOSPC);
    rt_call(net_worker_at(&n, there), watch_nothing, NULL);
    CHECK_EQ(note_count(NOTE_USER), 0);
    close(fd);
    net_await_open(&n, 0);
    net_end(&n);
}
