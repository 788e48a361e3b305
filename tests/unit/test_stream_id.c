/* Streams by id: sends and posts from any thread, and ids of streams that are gone. */
#include "net_fixture.h"

static weft_stream_id shown_id; /* of the last stream that opened; read after its note */

static void show_id(weft_stream *s) {
    shown_id = weft_stream_id_of(s);
    note_open(s);
}

static const weft_protocol noting = {
    .on_open = show_id, .on_data = note_data, .on_close = note_close};

static int dial_known(const struct net *n, weft_stream_id *ret_id) {
    unsigned open = note_count(NOTE_OPEN);
    int fd = net_dial(n);
    note_await(NOTE_OPEN, open + 1);
    *ret_id = shown_id;
    return fd;
}

static bool same(weft_stream_id a, weft_stream_id b) {
    return a.value[0] == b.value[0] && a.value[1] == b.value[1];
}

/* --- ids ------------------------------------------------------------------------------------- */

static void compare_ids(void *arg) {
    NOTE_EQ(same(weft_stream_id_of(arg), shown_id), true);
}

WTEST(stream_id, it_is_the_streams_for_all_its_life_and_no_other_has_it) {
    struct net n = net_start(1, &noting);
    weft_stream_id a, b;
    int first = dial_known(&n, &a), second = dial_known(&n, &b);
    CHECK(!same(a, b));
    rt_call(net_worker_at(&n, 0), compare_ids, note_stream());
    weft_stream_id none = weft_stream_id_of(NULL);
    CHECK_EQ(none.value[0] | none.value[1], 0);
    close(first);
    close(second);
    net_end(&n);
}

/* Mailboxes are used again, numbers are not. */
WTEST(stream_id, an_old_id_is_ENOENT_also_when_its_place_is_taken_again) {
    enum { ROUNDS = 300 };
    static weft_stream_id ids[ROUNDS];
    struct net n = net_start(1, &noting);
    for (unsigned i = 0; i < ROUNDS; i++) {
        int fd = dial_known(&n, &ids[i]);
        CHECK(ids[i].value[0] < 4); /* places: few at a time */
        for (unsigned k = 0; k < i; k++) {
            CHECK_EQ(weft_send(n.runtime, ids[k], "x", 1), -ENOENT);
            CHECK(!same(ids[k], ids[i]));
        }
        CHECK_EQ(weft_send(n.runtime, ids[i], "mine", 4), 0);
        net_expect(fd, "mine");
        close(fd);
        net_await_open(&n, 0);
    }
    net_end(&n);
}

static void never(weft_stream *s, void *arg) {
    (void)s, (void)arg;
    note(NOTE_USER, 0);
}

WTEST(stream_id, nonsense_is_answered) {
    struct net n = net_start(2, &noting), other = net_start(2, &noting);
    weft_stream_id id;
    int fd = dial_known(&n, &id);
    CHECK_EQ(weft_send(NULL, id, "x", 1), -EINVAL);
    CHECK_EQ(weft_send(n.runtime, id, NULL, 1), -EINVAL);
    CHECK_EQ(weft_send(n.runtime, id, NULL, 0), 0);
    CHECK_EQ(weft_stream_post(NULL, id, never, NULL), -EINVAL);
    CHECK_EQ(weft_stream_post(n.runtime, id, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_send(other.runtime, id, "x", 1), -ENOENT);
    CHECK_EQ(weft_stream_post(other.runtime, id, never, NULL), -ENOENT);
    const uint64_t words[] = {0,
                              1,
                              5,
                              63,
                              64,
                              UINT32_MAX,
                              UINT64_C(1) << 32,
                              UINT64_C(3) << 32,
                              UINT64_MAX,
                              id.value[0],
                              id.value[1]};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
            const weft_stream_id made_up = {.value = {words[i], words[k]}};
            if (!same(made_up, id)) {
                CHECK_EQ(weft_send(n.runtime, made_up, "x", 1), -ENOENT);
                CHECK_EQ(weft_stream_post(n.runtime, made_up, never, NULL), -ENOENT);
            }
        }
    close(fd);
    net_end(&other);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), 0);
}

/* --- sends ------------------------------------------------------------------------------------ */

enum { SENDERS = 4, SENDS = 20000 };

static struct {
    weft_runtime *runtime;
    weft_stream_id id;
} target;

static void *send_numbers(void *arg) {
    uint32_t me = (uint32_t)(intptr_t)arg;
    for (uint32_t i = 0; i < SENDS; i++) {
        const uint32_t words[2] = {me, i};
        int r;
        while ((r = weft_send(target.runtime, target.id, words, sizeof words)) == -ENOBUFS)
            sched_yield();
        NOTE_EQ(r, 0);
    }
    return NULL;
}

WTEST(stream_id, sends_of_each_thread_arrive_once_and_in_order) {
    struct net n = net_start(2, &noting);
    pthread_t senders[SENDERS];
    uint32_t next[SENDERS] = {0}, words[2];
    int fd = dial_known(&n, &target.id);
    target.runtime = n.runtime;
    for (intptr_t i = 0; i < SENDERS; i++)
        senders[i] = thread_begin(send_numbers, (void *)i);
    for (unsigned i = 0; i < SENDERS * SENDS; i++) {
        net_get(fd, words, sizeof words);
        CHECK(words[0] < SENDERS);
        CHECK_EQ(words[1], next[words[0]]++);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        thread_end(senders[i]);
    close(fd);
    net_end(&n);
}

WTEST(stream_id, many_sends_while_the_owner_is_busy_are_one_system_call) {
    struct hold hold;
    weft_stream_id id;
    char back[1000];
    calls_watch();
    struct net n = net_start(1, &noting);
    int fd = dial_known(&n, &id);
    hold_begin(&hold, net_worker_at(&n, 0));
    uint64_t writes = calls_of(OS_WRITE);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(weft_send(n.runtime, id, "0123456789", 10), 0);
    CHECK_EQ(calls_of(OS_WRITE), writes); /* nobody is woken who is awake */
    hold_end(&hold, net_worker_at(&n, 0));
    net_get(fd, back, sizeof back);
    CHECK_EQ(calls_of(OS_SEND) + calls_of(OS_SENDMSG), 1);
    close(fd);
    net_end(&n);
}

static size_t send_to_itself(weft_stream *s, const uint8_t *data, size_t len) {
    weft_runtime *rt = weft_worker_runtime(weft_stream_worker(s));
    weft_stream_id id = weft_stream_id_of(s);
    static uint8_t large[5000];
    net_fill(large, sizeof large, 0);
    NOTE_EQ(weft_send(rt, id, large, sizeof large), 0);
    NOTE_EQ(weft_send(rt, id, "end", 3), 0);
    NOTE_EQ(weft_stream_write(s, data, len), 0);
    return len;
}

WTEST(stream_id, the_owners_own_sends_and_writes_are_in_one_order) {
    static const weft_protocol protocol = {.on_data = send_to_itself};
    static uint8_t back[5000];
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "now", 3);
    net_get(fd, back, sizeof back);
    CHECK_EQ(net_check(back, sizeof back, 0), sizeof back);
    net_expect(fd, "endnow");
    close(fd);
    net_end(&n);
}

static weft_stream_id first_id;

/* Sends to another stream of the same worker: no message, and no iteration in between. */
static size_t send_to_first(weft_stream *s, const uint8_t *data, size_t len) {
    weft_runtime *rt = weft_worker_runtime(weft_stream_worker(s));
    uint64_t before = calls_of(OS_ALLOC);
    for (int i = 0; i < 100; i++)
        NOTE_EQ(weft_send(rt, first_id, data, len), 0);
    note(NOTE_DATA, (int64_t)(calls_of(OS_ALLOC) - before));
    return len;
}

WTEST(stream_id, a_send_on_the_streams_own_worker_allocates_nothing_in_the_steady_state) {
    static const weft_protocol protocol = {.on_open = show_id, .on_data = send_to_first};
    char back[200];
    calls_watch();
    struct net n = net_start(1, &protocol);
    weft_stream_id second;
    int first_fd = dial_known(&n, &first_id), fd = dial_known(&n, &second);
    for (unsigned i = 0; i < 3; i++) {
        net_put(fd, "hi", 2);
        net_get(first_fd, back, sizeof back);
    }
    note_await(NOTE_DATA, 3);
    CHECK_EQ(note_value(NOTE_DATA, 2), 0);
    close(fd);
    close(first_fd);
    net_end(&n);
}

/* --- limits ----------------------------------------------------------------------------------- */

static size_t write_six(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_DATA, weft_stream_write(s, "abcdef", 6));
    return len;
}

static const weft_protocol small = {
    .on_open = show_id, .on_data = write_six, .on_close = note_close, .max_pending = 10};

WTEST(stream_id, what_is_under_way_counts_for_max_pending) {
    struct hold hold;
    weft_stream_id id;
    struct net n = net_start(1, &small);
    int fd = dial_known(&n, &id);
    hold_begin(&hold, net_worker_at(&n, 0));
    CHECK_EQ(weft_send(n.runtime, id, "0123456789A", 11), -ENOBUFS);
    CHECK_EQ(weft_send(n.runtime, id, "0123456", 7), 0);
    CHECK_EQ(weft_send(n.runtime, id, "ABCD", 4), -ENOBUFS);
    CHECK_EQ(weft_send(n.runtime, id, "789", 3), 0);
    CHECK_EQ(weft_send(n.runtime, id, "A", 1), -ENOBUFS);
    hold_end(&hold, net_worker_at(&n, 0));
    net_expect(fd, "0123456789");
    rt_turns(net_worker_at(&n, 0), 2);
    CHECK_EQ(weft_send(n.runtime, id, "again", 5), 0);
    net_expect(fd, "again");
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    net_end(&n);
}

static int never_sends(enum os_call call) {
    return call == OS_SEND || call == OS_SENDMSG ? -EAGAIN : 0;
}

WTEST(stream_id, what_is_unsent_counts_too) {
    weft_stream_id id;
    seam_call_fn = never_sends;
    struct net n = net_start(1, &small);
    int fd = dial_known(&n, &id);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(weft_send(n.runtime, id, "01234", 5), -ENOBUFS);
    CHECK_EQ(weft_send(n.runtime, id, "0123", 4), 0);
    rt_turns(net_worker_at(&n, 0), 2);
    CHECK_EQ(weft_send(n.runtime, id, "A", 1), -ENOBUFS);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    net_end(&n);
}

static _Atomic bool blocked;

static int sends_unless_blocked(enum os_call call) {
    return atomic_load(&blocked) ? never_sends(call) : 0;
}

static size_t write_six_twice(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_write(s, "abcdef", 6), 0);
    note(NOTE_DATA, weft_stream_write(s, "abcdef", 6));
    return len;
}

WTEST(stream_id, a_send_is_refused_while_the_stream_waits_for_on_drain_and_it_lives) {
    static const weft_protocol patient = {.on_open = show_id,
                                          .on_data = write_six_twice,
                                          .on_drain = note_drain,
                                          .on_close = note_close,
                                          .high_water = SIZE_MAX,
                                          .max_pending = 10};
    weft_stream_id id;
    seam_call_fn = sends_unless_blocked;
    atomic_store(&blocked, true);
    struct net n = net_start(1, &patient);
    int fd = dial_known(&n, &id);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    CHECK_EQ(note_value(NOTE_DATA, 0), -ENOBUFS);
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(weft_send(n.runtime, id, "A", 1), -ENOBUFS);
    rt_turns(net_worker_at(&n, 0), 2);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    atomic_store(&blocked, false);
    note_await(NOTE_DRAIN, 1);
    net_expect(fd, "abcdef");
    rt_turns(net_worker_at(&n, 0), 1);
    CHECK_EQ(weft_send(n.runtime, id, "good", 4), 0);
    net_expect(fd, "good");
    close(fd);
    net_end(&n);
}

static size_t write_too_much_then_send_nothing(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_write(s, "0123456789A", 11), -ENOBUFS);
    note(NOTE_DATA,
         weft_send(weft_worker_runtime(weft_stream_worker(s)), weft_stream_id_of(s), "", 0));
    return len;
}

/* As from another thread, where nobody knows why there is no room. */
WTEST(stream_id, a_send_of_nothing_is_not_refused_at_hand_either) {
    static const weft_protocol patient = {
        .on_data = write_too_much_then_send_nothing, .on_drain = note_drain, .max_pending = 10};
    struct net n = net_start(1, &patient);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    CHECK_EQ(note_value(NOTE_DATA, 0), 0);
    close(fd);
    net_end(&n);
}

static int resets(enum os_call call) {
    return call == OS_SEND || call == OS_SENDMSG ? -ECONNRESET : 0;
}

static size_t send_much_to_itself(weft_stream *s, const uint8_t *data, size_t len) {
    static const uint8_t much[100000]; /* more than waits for the callback's return */
    (void)data;
    note(NOTE_DATA, weft_send(weft_worker_runtime(weft_stream_worker(s)), weft_stream_id_of(s),
                              much, sizeof much));
    return len;
}

WTEST(stream_id, a_send_at_hand_that_finds_a_reset_is_silent_about_it) {
    static const weft_protocol protocol = {.on_data = send_much_to_itself, .on_close = note_close};
    seam_call_fn = resets;
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_DATA, 0), 0);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    close(fd);
    net_end(&n);
}

/* It fitted when it was sent; then the stream itself wrote. */
WTEST(stream_id, a_send_that_turns_out_too_much_closes_the_stream) {
    struct hold hold;
    weft_stream_id id;
    seam_call_fn = never_sends;
    struct net n = net_start(1, &small);
    int fd = dial_known(&n, &id);
    hold_begin(&hold, net_worker_at(&n, 0));
    net_put(fd, "x", 1); /* seen before the posted task of the next iteration */
    CHECK_EQ(weft_send(n.runtime, id, "01234", 5), 0);
    hold_end(&hold, net_worker_at(&n, 0));
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_DATA, 0), 0);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOBUFS);
    net_await_open(&n, 0);
    CHECK_EQ(weft_send(n.runtime, id, "", 0), -ENOENT);
    close(fd);
    net_end(&n);
}

static size_t shut_or_close(weft_stream *s, const uint8_t *data, size_t len) {
    if (data[0] == 's')
        NOTE_EQ(weft_stream_shutdown(s), 0);
    else
        weft_stream_close(s);
    note(NOTE_DATA, 0);
    return len;
}

WTEST(stream_id, a_send_to_one_that_writes_no_more_is_silent) {
    static const weft_protocol protocol = {
        .on_open = show_id, .on_data = shut_or_close, .on_close = note_close};
    weft_stream_id id;
    struct net n = net_start(1, &protocol);
    for (unsigned i = 0; i < 2; i++) {
        int fd = dial_known(&n, &id);
        net_put(fd, i ? "s" : "c", 1);
        note_await(NOTE_DATA, i + 1);
        CHECK_EQ(weft_send(n.runtime, id, "late", 4), 0);
        net_expect_end(fd);
        close(fd);
        net_await_open(&n, 0);
        CHECK_EQ(note_value(NOTE_CLOSE, i), 0);
        CHECK_EQ(weft_send(n.runtime, id, "late", 4), -ENOENT);
    }
    net_end(&n);
}

/* --- posts ------------------------------------------------------------------------------------ */

static void write_twice(weft_stream *s, void *arg) {
    NOTE_EQ(weft_worker_current() == weft_stream_worker(s), true);
    NOTE_EQ(weft_stream_write(s, arg, 3), 0);
    NOTE_EQ(weft_stream_write(s, arg, 3), 0);
    note(NOTE_USER, 1);
}

WTEST(stream_id, a_posted_function_runs_as_a_callback_of_the_stream) {
    weft_stream_id id;
    calls_watch();
    struct net n = net_start(2, &noting);
    int fd = dial_known(&n, &id);
    CHECK_EQ(weft_stream_post(n.runtime, id, write_twice, text("one")), 0);
    net_expect(fd, "oneone");
    CHECK_EQ(calls_of(OS_SEND) + calls_of(OS_SENDMSG), 1);
    CHECK_EQ(note_count(NOTE_USER), 1);
    close(fd);
    net_end(&n);
}

static void note_gone(weft_stream *s, void *arg) {
    (void)arg;
    note(NOTE_USER, s ? 1 : -(int64_t)weft_worker_index(weft_worker_current()));
}

static void post_and_abort(weft_stream *s, void *arg) {
    struct net *n = arg;
    weft_stream_id id = weft_stream_id_of(s);
    NOTE_EQ(weft_stream_post(n->runtime, id, note_gone, NULL), 0);
    weft_stream_abort(s);
    NOTE_EQ(weft_stream_post(n->runtime, id, note_gone, NULL), 0);
    NOTE_EQ(weft_send(n->runtime, id, "x", 1), 0);
}

WTEST(stream_id, what_was_posted_to_a_stream_that_ends_is_told_after_on_close) {
    weft_stream_id id;
    struct net n = net_start(2, &noting);
    for (unsigned i = 0; i < 4; i++) {
        int fd = dial_known(&n, &id);
        CHECK_EQ(weft_stream_post(n.runtime, id, post_and_abort, &n), 0);
        note_await(NOTE_USER, 2 * i + 2);
        CHECK_EQ(note_value(NOTE_USER, 2 * i), -(int64_t)(id.value[0] >> 32));
        CHECK_EQ(weft_stream_post(n.runtime, id, note_gone, NULL), -ENOENT);
        close(fd);
    }
    CHECK_STR(note_order(), "ocuuocuuocuuocuu");
    net_end(&n);
}

/* A stream that connects to nobody: posts wait for on_open, which never comes. */
static void connect_and_post(void *arg) {
    struct net *n = arg;
    weft_stream *s = NULL;
    int pair[2];
    NOTE_EQ(
        weft_connect(weft_worker_current(), weft_listener_address(n->listener), &noting, NULL, &s),
        0);
    NOTE_EQ(weft_stream_post(n->runtime, weft_stream_id_of(s), note_gone, NULL), 0);
    NOTE_EQ(weft_send(n->runtime, weft_stream_id_of(s), "early", 5), 0);
    weft_stream_close(s);
    net_pair(pair);
    NOTE_EQ(weft_adopt(weft_worker_current(), pair[0], &noting, NULL, &s), 0);
    NOTE_EQ(weft_stream_post(n->runtime, weft_stream_id_of(s), note_gone, NULL), 0);
    close(pair[1]);
}

WTEST(stream_id, a_post_waits_for_on_open) {
    static const weft_protocol quiet = {.on_data = note_data};
    struct net n = net_start(1, &quiet);
    rt_call(net_worker_at(&n, 0), connect_and_post, &n);
    note_await(NOTE_CLOSE, 2);
    note_await(NOTE_USER, 2);
    CHECK_STR(note_order(), "cuouc");
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_USER, 1), 1);
    net_end(&n);
}

static void stop_all(weft_stream *s, void *arg) {
    (void)s;
    weft_runtime_stop(arg);
}

WTEST(stream_id, after_the_stop_everything_was_answered) {
    weft_stream_id id;
    struct net n = net_start(2, &noting);
    int fd = dial_known(&n, &id);
    weft_runtime *rt = weft_runtime_ref(n.runtime);
    unsigned accepted = 0;
    CHECK_EQ(weft_stream_post(rt, id, stop_all, rt), 0);
    for (int r = 0; r == 0; accepted += r == 0)
        r = weft_stream_post(rt, id, note_gone, NULL);
    note_await(NOTE_USER, accepted);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_USER), accepted);
    CHECK_EQ(weft_send(rt, id, "x", 1), -ENOENT);
    weft_runtime_unref(rt);
    close(fd);
}

/* --- memory ----------------------------------------------------------------------------------- */

static _Thread_local bool no_memory;

static int fail_allocations(enum os_call call) {
    return (call == OS_ALLOC || call == OS_MMAP) && no_memory ? -ENOMEM : 0;
}

static void without_memory(weft_stream *s) {
    no_memory = true;
    weft_stream_id none = weft_stream_id_of(s);
    no_memory = false;
    NOTE_EQ(none.value[0] | none.value[1], 0);
    show_id(s);
}

WTEST(stream_id, without_memory_it_is_none_and_a_send_is_refused) {
    static const weft_protocol protocol = {.on_open = without_memory, .on_data = note_data};
    weft_stream_id id;
    seam_call_fn = fail_allocations;
    struct net n = net_start(1, &protocol);
    int fd = dial_known(&n, &id);
    no_memory = true;
    CHECK_EQ(weft_send(n.runtime, id, "x", 1), -ENOMEM);
    CHECK_EQ(weft_stream_post(n.runtime, id, note_gone, NULL), -ENOMEM);
    no_memory = false;
    CHECK_EQ(weft_send(n.runtime, id, "good", 4), 0);
    net_expect(fd, "good");
    close(fd);
    net_end(&n);
}
