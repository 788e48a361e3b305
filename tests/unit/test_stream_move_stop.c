/* Streams that are on their way to another worker when the runtime stops. */
#include "net_fixture.h"

static void stop_and_close(weft_stream *s) {
    note_stop(s);
    NOTE_EQ(weft_stream_move(s, net_next_worker(s)), -ESHUTDOWN);
    weft_stream_close(s);
}

static sem_t leave, told;
static _Atomic unsigned there; /* the worker that is told before the stream arrives */

/* It has asked to move, and does not get to leave until the other worker was told. */
static size_t move_and_stand_still(weft_stream *s, const uint8_t *data, size_t len) {
    atomic_store(&there, weft_worker_index(net_next_worker(s)));
    NOTE_EQ(weft_stream_move(s, net_next_worker(s)), 0);
    NOTE_EQ(len, 1);
    note(NOTE_DATA, data[0]);
    sem_await(&leave);
    return len;
}

static void tell(weft_worker *w) {
    if (weft_worker_index(w) == atomic_load(&there))
        sem_post(&told);
}

static void stop_in_between(const weft_protocol *protocol, uint64_t grace_ns,
                            void (**probe)(weft_worker *w)) {
    const weft_runtime_options options = {.workers = 2, .grace_ns = grace_ns};
    sem_make(&leave);
    sem_make(&told);
    *probe = tell;
    struct net n = net_start_with(&options, NULL, protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    weft_runtime_stop(n.runtime);
    sem_await(&told);
    sem_post(&leave);
    note_await(NOTE_CLOSE, 1);
    close(fd);
    net_end(&n);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
    CHECK_EQ(note_value(NOTE_USER, 0), atomic_load(&there));
}

WTEST(stream_move_stop, one_under_way_at_the_stop_gets_on_move_and_then_on_stop) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = move_and_stand_still,
                                           .on_move = note_move,
                                           .on_stop = stop_and_close,
                                           .on_close = note_close};
    stop_in_between(&protocol, WEFT_SEC(60), &probe_stop_fn);
    CHECK_STR(note_order(), "odusc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
}

static weft_stream *leaving;

/* The last thing of an iteration, after its messages: what is sent to this worker meanwhile finds
 * the stream gone. */
static void leave_in_the_end(void *arg) {
    (void)arg;
    if (leaving)
        (void)move_and_stand_still(leaving, (const uint8_t *)"x", 1);
    leaving = NULL;
}

static size_t ask_to_leave(weft_stream *s, const uint8_t *data, size_t len) {
    weft_hook *hook = NULL;
    (void)data;
    leaving = s;
    NOTE_EQ(weft_hook_start(weft_worker_current(), WEFT_BEFORE_WAIT, leave_in_the_end, NULL, &hook),
            0);
    return len;
}

/* Also where on_stop would have let it go on. */
WTEST(stream_move_stop, one_under_way_at_the_end_of_the_grace_time_ends_with_ESHUTDOWN) {
    static const weft_protocol protocol = {.on_open = note_open,
                                           .on_data = ask_to_leave,
                                           .on_move = note_move,
                                           .on_stop = note_stop,
                                           .on_close = note_close};
    stop_in_between(&protocol, WEFT_MSEC(1), &probe_expire_fn);
    CHECK_STR(note_order(), "odusc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ESHUTDOWN);
}
