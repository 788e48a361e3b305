/* Limits: high_water, max_pending, on_drain, max_buffered; what a peer that does not read costs. */
#include "net_fixture.h"

static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

static void do_abort(void *s) {
    weft_stream_abort(s);
}

static void do_pause(void *s) {
    weft_stream_pause(s);
}

static void do_resume(void *s) {
    weft_stream_resume(s);
}

static uint8_t zeros[4 << 20];

static void get_bytes(int fd, size_t length) {
    static uint8_t back[4 << 20];
    net_get(fd, back, length);
}

/* --- refused writes --------------------------------------------------------------------------- */

static size_t write_1001(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_write(s, zeros, 1000));
    note(NOTE_USER, weft_stream_write(s, zeros, 1));
    note(NOTE_USER, weft_stream_write(s, zeros, 1));
    return len;
}

/* The kernel would take it all, but a write counts whole. */
WTEST(stream_limits, without_on_drain_a_refused_write_closes) {
    static const weft_protocol protocol = {
        .on_data = write_1001, .on_close = note_close, .max_pending = 1000};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), -ENOBUFS);
    CHECK_EQ(note_value(NOTE_USER, 2), -ENOBUFS);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOBUFS);
    char byte;
    CHECK_EQ(net_get_some(fd, &byte, 1), -ECONNRESET); /* what was pending is discarded */
    close(fd);
    net_end(&n);
}

static size_t write_beyond(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_write(s, zeros, 60000));
    note(NOTE_USER, weft_stream_write(s, zeros, 60000)); /* does not fit */
    note(NOTE_USER, weft_stream_write(s, zeros, 1));     /* would, and would leave a hole */
    note(NOTE_USER, (int64_t)weft_stream_pending(s));
    return len;
}

static void drain_and_write(weft_stream *s) {
    note_drain(s);
    note(NOTE_USER, weft_stream_write(s, "end", 3));
}

static void refused_until_drain(size_t high_water) {
    weft_protocol protocol = {.on_open = small_open,
                              .on_data = write_beyond,
                              .on_drain = drain_and_write,
                              .on_close = note_close,
                              .high_water = high_water,
                              .max_pending = 100000};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 4);
    rt_turns(net_worker_at(&n, 0), 5);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), -ENOBUFS);
    CHECK_EQ(note_value(NOTE_USER, 2), -ENOBUFS);
    CHECK_EQ(note_value(NOTE_USER, 3), 60000);
    get_bytes(fd, 60000);
    net_expect(fd, "end");
    note_await(NOTE_USER, 5);
    CHECK_EQ(note_value(NOTE_USER, 4), 0);
    CHECK_EQ(note_count(NOTE_DRAIN), 1);
    CHECK(note_value(NOTE_DRAIN, 0) <
          (high_water && high_water < 100000 ? (int64_t)high_water : 100000) / 2);
    close(fd);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    net_end(&n);
}

WTEST(stream_limits, a_refused_write_makes_all_fail_until_on_drain) {
    refused_until_drain(20000);
}

WTEST(stream_limits, without_a_high_water_on_drain_follows_a_refusal) {
    refused_until_drain(SIZE_MAX);
}

/* With the default mark of 256 KiB, which is never reached here. */
WTEST(stream_limits, below_the_high_water_on_drain_waits_for_room) {
    refused_until_drain(0);
}

static size_t write_too_large(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_write(s, zeros, 1001));
    return len;
}

WTEST(stream_limits, a_write_that_never_fits_is_refused_and_drained_at_once) {
    static const weft_protocol protocol = {.on_data = write_too_large,
                                           .on_drain = drain_and_write,
                                           .on_close = note_close,
                                           .max_pending = 1000};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "end");
    CHECK_EQ(note_value(NOTE_USER, 0), -ENOBUFS);
    CHECK_EQ(note_value(NOTE_USER, 1), 0);
    close(fd);
    net_end(&n);
}

/* Memory that is not to be had refuses like a limit. */
static _Thread_local bool no_memory;

static int fail_allocations(enum os_call call) {
    if (call == OS_SENDMSG && no_memory)
        return -EAGAIN; /* nor does the kernel take any */
    return call == OS_ALLOC && no_memory ? -ENOMEM : 0;
}

static size_t send_a_little(enum os_call call, size_t length) {
    return call == OS_SENDMSG && length > 1000 ? 1000 : length;
}

static int fail_only_allocations(enum os_call call) {
    return call == OS_ALLOC && no_memory ? -ENOMEM : 0;
}

static size_t write_without_memory(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    no_memory = true;
    note(NOTE_USER, weft_stream_write(s, zeros, 70000)); /* larger than the worker's buffer */
    no_memory = false;
    return len;
}

WTEST(stream_limits, without_memory_a_write_is_refused) {
    static const weft_protocol patient = {.on_data = write_without_memory,
                                          .on_drain = drain_and_write};
    static const weft_protocol other = {.on_data = write_without_memory, .on_close = note_close};
    seam_call_fn = fail_allocations;
    struct net n = net_start(1, &patient);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(n.runtime, "127.0.0.1:0", &other, NULL, &l), 0);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "end");
    CHECK_EQ(note_value(NOTE_USER, 0), -ENOMEM);
    CHECK_EQ(note_value(NOTE_USER, 1), 0);
    close(fd);
    fd = net_dial_port(net_port(l));
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_USER, 2), -ENOMEM);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOBUFS);
    close(fd);
    net_end(&n);
}

WTEST(stream_limits, without_memory_for_the_rest_of_a_write_the_stream_closes) {
    static const weft_protocol protocol = {
        .on_data = write_without_memory, .on_drain = drain_and_write, .on_close = note_close};
    seam_call_fn = fail_only_allocations;
    seam_length_fn = send_a_little;
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), -ENOMEM);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOMEM);
    CHECK_EQ(note_count(NOTE_USER), 1);
    close(fd);
    net_end(&n);
}

/* --- on_drain --------------------------------------------------------------------------------- */

static size_t write_thrice(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    for (int i = 0; i < 3; i++)
        note(NOTE_USER, weft_stream_write(s, zeros, 100000));
    return len;
}

WTEST(stream_limits, on_drain_comes_once_and_at_half) {
    static const weft_protocol protocol = {.on_open = small_open,
                                           .on_data = write_thrice,
                                           .on_drain = note_drain,
                                           .on_close = note_close,
                                           .high_water = 100000};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    for (unsigned i = 1; i <= 3; i++) {
        net_put(fd, "x", 1);
        note_await(NOTE_USER, 3 * i);
        rt_turns(net_worker_at(&n, 0), 3);
        CHECK_EQ(note_count(NOTE_DRAIN), i - 1);
        get_bytes(fd, 300000);
        note_await(NOTE_DRAIN, i);
        rt_turns(net_worker_at(&n, 0), 3);
        CHECK_EQ(note_count(NOTE_DRAIN), i);
        CHECK(note_value(NOTE_DRAIN, i - 1) < 50000);
    }
    close(fd);
    net_end(&n);
}

WTEST(stream_limits, on_drain_does_not_depend_on_the_pause) {
    static const weft_protocol protocol = {.on_open = small_open,
                                           .on_data = write_thrice,
                                           .on_drain = note_drain,
                                           .on_close = note_close,
                                           .high_water = 100000};
    struct net n = net_start(1, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_USER, 3);
    rt_call(net_worker_at(&n, 0), do_pause, note_stream());
    net_put(fd, "y", 1);
    get_bytes(fd, 300000);
    note_await(NOTE_DRAIN, 1);
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(note_count(NOTE_USER), 3); /* the program's pause outlives the automatic one */
    rt_call(net_worker_at(&n, 0), do_resume, note_stream());
    note_await(NOTE_USER, 6);
    close(fd);
    net_end(&n);
}

/* --- peers that do not read ------------------------------------------------------------------- */

enum { ANSWER = 100000 };
static _Atomic unsigned answered;

/* Each answer reaches the mark, so what was left is shown again when it has been read. */
static size_t answer_each_byte(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data, (void)len;
    if (weft_stream_write(s, zeros, ANSWER) == 0)
        answered++;
    return 1;
}

/* Each asks for 1000 answers of 100 KB and reads none. */
WTEST(stream_limits, who_never_reads_costs_no_more_than_the_mark) {
    enum { CLIENTS = 20, ASKED = 1000 };
    static const weft_protocol protocol = {.on_open = small_open,
                                           .on_data = answer_each_byte,
                                           .on_close = note_close,
                                           .high_water = 50000};
    struct net n = net_start(2, &protocol);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_dial_small(&n, 4096);
        net_put(fds[i], zeros, ASKED);
    }
    while (answered < CLIENTS)
        sched_yield();
    rt_turns(net_worker_at(&n, 0), 50);
    rt_turns(net_worker_at(&n, 1), 50);
    CHECK(net_stats(&n).bytes_held <= CLIENTS * (50000 + ANSWER + ASKED));
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    get_bytes(fds[0], 3 * ANSWER); /* one that reads after all is served on */
    for (int i = 0; i < CLIENTS; i++)
        net_reset(fds[i]);
    note_await(NOTE_CLOSE, CLIENTS);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
}

static size_t answer_batch(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_write(s, zeros, ANSWER));
    return len;
}

static int eagain(enum os_call call) {
    return call == OS_SEND || call == OS_SENDMSG ? -EAGAIN : 0;
}

static void ask_adopted(uint32_t flags, unsigned expected_answers, int expected_error) {
    weft_protocol protocol = {.on_open = small_open,
                              .on_data = answer_batch,
                              .on_close = note_close,
                              .flags = flags,
                              .high_water = 150000,
                              .max_pending = 3 * ANSWER + 50000};
    seam_call_fn = eagain;
    struct net n = net_start(1, &protocol);
    int fds[2];
    net_pair(fds);
    net_adopt(&n, fds[1], &protocol);
    for (unsigned i = 1; i <= 8; i++) {
        net_put(fds[0], "x", 1);
        note_await(NOTE_USER, i < expected_answers ? i : expected_answers);
        rt_turns(net_worker_at(&n, 0), 3);
        if (note_count(NOTE_CLOSE))
            break;
    }
    CHECK_EQ(note_count(NOTE_USER), expected_answers);
    if (expected_error)
        note_await(NOTE_CLOSE, 1);
    else
        rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), expected_error);
    close(fds[0]);
    net_end(&n);
}

WTEST(stream_limits, an_adopted_stream_goes_on_reading_up_to_max_pending) {
    ask_adopted(0, 4, -ENOBUFS);
}

WTEST(stream_limits, an_adopted_stream_pauses_when_asked_to) {
    ask_adopted(WEFT_STREAM_PAUSE, 2, 0);
}

static void inject(weft_stream *s) {
    note_open(s);
    note(NOTE_USER, weft_stream_write(s, zeros, sizeof zeros));
}

/* What goes round is more than all buffers between them hold. If both paused, both would wait. */
WTEST(stream_limits, two_programs_that_echo_at_each_other_go_on) {
    static const weft_protocol echo = {
        .on_data = note_echo, .on_close = note_close, .high_water = 20000};
    static const weft_protocol injecting = {
        .on_open = inject, .on_data = note_echo, .on_close = note_close, .high_water = 20000};
    struct net server = net_start(1, &echo), client = net_start(1, &echo);
    net_adopt(&client, net_dial(&server), &injecting);
    note_await(NOTE_USER, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    const uint64_t enough = (20 * sizeof zeros) / (wtest_slowdown() > 4 ? 4 : 1);
    const uint64_t until_ns = now_ns() + 60 * NSEC_PER_SEC;
    while (net_stats(&client).bytes_in < enough && now_ns() < until_ns)
        poll(NULL, 0, 1);
    CHECK(net_stats(&client).bytes_in >= enough);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    rt_call(net_worker_at(&client, 0), do_abort, note_stream());
    note_await(NOTE_CLOSE, 2);
    net_end(&client);
    net_end(&server);
}

/* --- the memory of all streams together --------------------------------------------------------
 */

static void hold_open(weft_stream *s) {
    *(int64_t *)weft_stream_state(s) = note_count(NOTE_OPEN);
    small_open(s);
}

static void hold_close(weft_stream *s, int error) {
    note(NOTE_USER, *(int64_t *)weft_stream_state(s));
    note_close(s, error);
}

static size_t write_first_byte(weft_stream *s, const uint8_t *data, size_t len) {
    note(NOTE_DATA, weft_stream_write(s, zeros, (size_t)data[0] * 100000));
    return len;
}

WTEST(stream_limits, above_max_buffered_the_largest_holder_is_closed) {
    static const weft_protocol protocol = {
        .state_size = 8, .on_open = hold_open, .on_data = write_first_byte, .on_close = hold_close};
    const weft_runtime_options options = {.workers = 1, .max_buffered = 1000000};
    struct net n = net_start_with(&options, NULL, &protocol);
    static const uint8_t amounts[] = {1, 6, 2, 3};
    int fds[4];
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = net_dial_small(&n, 4096);
        note_await(NOTE_OPEN, i + 1);
        net_put(fds[i], &amounts[i], 1);
        note_await(NOTE_DATA, i + 1);
        CHECK_EQ(note_value(NOTE_DATA, i), 0);
    }
    note_await(NOTE_CLOSE, 1);
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOBUFS);
    CHECK_EQ(note_value(NOTE_USER, 0), 1);
    net_expect_reset(fds[1]);
    get_bytes(fds[0], 100000);
    get_bytes(fds[3], 300000);
    for (unsigned i = 0; i < 4; i++)
        close(fds[i]);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
}

static size_t leave_all(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s, (void)data;
    note(NOTE_DATA, (int64_t)len);
    return 0;
}

WTEST(stream_limits, input_that_was_left_counts_as_held) {
    static const weft_protocol protocol = {
        .state_size = 8, .on_open = hold_open, .on_data = leave_all, .on_close = hold_close};
    const weft_runtime_options options = {.workers = 2, .max_buffered = 1000000};
    struct net n = net_start_with(&options, NULL, &protocol);
    static const size_t amounts[] = {300000, 400000, 250000, 200000};
    int fds[4];
    uint64_t held = 0;
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = net_dial(&n);
        note_await(NOTE_OPEN, i + 1);
        net_put(fds[i], zeros, amounts[i]);
        held += amounts[i];
        while (i < 3 && net_stats(&n).bytes_held < held)
            sched_yield();
    }
    note_await(NOTE_CLOSE, 1);
    while (net_stats(&n).bytes_held != held - (note_value(NOTE_USER, 0) == 1 ? 400000 : 300000))
        sched_yield();
    rt_turns(net_worker_at(&n, 0), 3);
    rt_turns(net_worker_at(&n, 1), 3);
    CHECK_EQ(note_count(NOTE_CLOSE), 1); /* the largest of the worker that held most */
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOBUFS);
    for (unsigned i = 0; i < 4; i++)
        close(fds[i]);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
}

/* --- two workers that are asked to close something at once ------------------------------------ */

static sem_t shed_entered, shed_release;
static _Atomic pid_t shedder; /* its next epoll_ctl() waits; 0: nobody's */

static int wait_while_shedding(enum os_call call) {
    pid_t self = os_thread_id();
    if (call == OS_EPOLL_CTL && atomic_compare_exchange_strong(&shedder, &self, 0)) {
        sem_post(&shed_entered);
        sem_await(&shed_release);
    }
    return 0;
}

struct adopt_on {
    int fd;
    const weft_protocol *protocol;
};

static void adopt_here(void *arg) {
    const struct adopt_on *a = arg;
    CHECK_EQ(weft_adopt(weft_worker_current(), a->fd, a->protocol, NULL, NULL), 0);
}

static void note_thread(void *arg) {
    (void)arg;
    atomic_store(&shedder, os_thread_id());
}

static int put_held(const struct net *n, unsigned worker, const weft_protocol *protocol,
                    size_t length) {
    int pair[2];
    net_pair(pair);
    uint64_t held = net_stats(n).bytes_held + length;
    unsigned open = note_count(NOTE_OPEN);
    rt_call(net_worker_at(n, worker), adopt_here, &(struct adopt_on){pair[1], protocol});
    note_await(NOTE_OPEN, open + 1);
    net_put(pair[0], zeros, length);
    while (net_stats(n).bytes_held < held)
        sched_yield();
    return pair[0];
}

WTEST(stream_limits, two_workers_do_not_close_more_than_one_would) {
    static const weft_protocol protocol = {
        .state_size = 8, .on_open = hold_open, .on_data = leave_all, .on_close = hold_close};
    const weft_runtime_options options = {.workers = 2, .max_buffered = 1000000};
    sem_make(&shed_entered);
    sem_make(&shed_release);
    seam_call_fn = wait_while_shedding;
    struct net n = net_start_with(&options, NULL, &protocol);
    int fds[4];
    fds[0] = put_held(&n, 0, &protocol, 600000);
    fds[1] = put_held(&n, 1, &protocol, 350000);
    rt_call(net_worker_at(&n, 0), note_thread, NULL);
    fds[2] = put_held(&n, 1, &protocol, 100000); /* worker 0 holds most, and is about to close it */
    sem_await(&shed_entered);
    fds[3] = put_held(&n, 1, &protocol, 400000); /* now worker 1 does */
    rt_turns(net_worker_at(&n, 1), 10);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    sem_post(&shed_release);
    note_await(NOTE_CLOSE, 1);
    rt_turns(net_worker_at(&n, 0), 3);
    rt_turns(net_worker_at(&n, 1), 3);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
    CHECK_EQ(net_stats(&n).bytes_held, 850000);
    for (unsigned i = 0; i < 4; i++)
        close(fds[i]);
    net_await_open(&n, 0);
    net_end(&n);
}
