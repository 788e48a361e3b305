/* Streams by id under the deterministic scheduler: senders that look the id up in a directory,
 * moves, closes and an abort at once; and a mailbox that is used again while somebody comes with an
 * old id. The sockets are the kernel's, but nothing arrives on them while a schedule runs, so that
 * a seed says all. */
#include "runtime/runtime.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <weft.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKERS = 3, SENDERS = 2, SENDS = 4, OWN_SENDS = 4, SCHEDULES = 3400 };

static struct {
    weft_runtime *rt;
    weft_task adopt, again;
    weft_stream_id id;
    weft_stream *stream;
    weft_stream_id other_id;
    unsigned sent;
    bool known, aborts, closes, here[WORKERS];
    int fds[2], other[2];
    weft_worker *home; /* where on_open or on_move was last */
    unsigned all_done; /* so many are done in the end */
    unsigned closed, posted, called, done, wrong;
} s;

/* Nothing is taken out of it: that would be freed by the reclaimer, which is in no schedule. */
static weft_directory *directory;
static const char key[] = "the stream";

static void at_home(weft_stream *stream) {
    s.home = weft_stream_worker(stream);
    s.here[weft_worker_index(s.home)] = true;
    s.wrong += s.home != weft_worker_current();
}

static size_t nothing_comes(weft_stream *stream, const uint8_t *data, size_t len) {
    (void)stream, (void)data;
    return len;
}

static void stay_open(weft_stream *stream) {
    (void)stream;
}

static void count_close(weft_stream *stream, int error) {
    (void)stream, (void)error;
    s.closed++;
    memset(s.here, 0, sizeof s.here);
}

static const weft_protocol protocol = {.on_open = at_home,
                                       .on_data = nothing_comes,
                                       .on_move = at_home,
                                       .on_eof = stay_open,
                                       .on_close = count_close};

static void adopt(weft_task *task) {
    (void)task;
    weft_stream *stream = NULL;
    SCHED_CHECK(weft_adopt(weft_worker_current(), s.fds[0], &protocol, NULL, &stream) == 0);
    s.id = weft_stream_id_of(stream);
    s.stream = stream;
    SCHED_CHECK(weft_directory_put(directory, key, sizeof key, s.id) == 0);
    s.known = true;
}

static void set_up(void) {
    memset(&s, 0, sizeof s);
    if (weft_directory_create(&directory) < 0)
        abort();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, s.fds) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, s.other) < 0)
        abort();
    /* Their ends are seen at once, so that a close does not wait for them. */
    (void)shutdown(s.fds[1], SHUT_WR);
    (void)shutdown(s.other[1], SHUT_WR);
    s.rt = sched_runtime_create(&(const weft_runtime_options){.workers = WORKERS});
    s.adopt.run = adopt;
    if (weft_post(weft_runtime_worker(s.rt, 0), &s.adopt) < 0)
        abort();
}

static const char *tear_down(const char *wrong) {
    close(s.fds[1]);
    close(s.other[1]);
    weft_directory_destroy(directory);
    return sched_runtime_destroy(s.rt, wrong);
}

/* --- senders, moves, an abort ----------------------------------------------------------------- */

static void called_on(weft_stream *stream) {
    s.called++;
    s.wrong += stream && s.home != weft_worker_current();
    s.wrong += !stream && !s.closed;
}

static void move_to(weft_stream *stream, weft_worker *to) {
    int r = weft_stream_move(stream, to);
    s.wrong += r != 0 && r != -EPIPE && r != -ESHUTDOWN && r != -EBUSY;
    if (r == 0 && to != weft_worker_current())
        s.here[weft_worker_index(weft_worker_current())] = false;
}

static void move(weft_stream *stream, void *arg) {
    called_on(stream);
    if (stream)
        move_to(stream, arg);
}

/* Past the mailbox, whose task may be under way. */
static void move_from_here(weft_task *task) {
    (void)task;
    if (s.here[weft_worker_index(weft_worker_current())])
        move_to(s.stream, weft_runtime_worker(s.rt, (unsigned)sched_random(WORKERS)));
}

static void run_mover(void *arg) {
    static weft_task tasks[2 * WORKERS];
    (void)arg;
    memset(tasks, 0, sizeof tasks);
    while (!s.known)
        sched_step();
    for (unsigned i = 0; i < 2 * WORKERS; i++) {
        tasks[i].run = move_from_here;
        (void)weft_post(weft_runtime_worker(s.rt, i % WORKERS), &tasks[i]);
    }
}

static void abort_it(weft_stream *stream, void *arg) {
    (void)arg;
    called_on(stream);
    if (stream)
        weft_stream_abort(stream);
}

static void one_done(void) {
    if (++s.done == s.all_done)
        weft_runtime_stop(s.rt);
}

static void sender_done(weft_stream *stream, void *arg) {
    (void)arg;
    called_on(stream);
    one_done();
}

static void close_it(weft_stream *stream, void *arg) {
    (void)arg;
    called_on(stream);
    if (stream)
        weft_stream_close(stream);
}

static weft_stream_id look_up(void) {
    weft_stream_id id = {{0, 0}};
    SCHED_CHECK(weft_directory_get(directory, key, sizeof key, &id) == 0);
    return id;
}

static int post(void (*fn)(weft_stream *stream, void *arg), void *arg) {
    int r = weft_stream_post(s.rt, look_up(), fn, arg);
    SCHED_CHECK(r == 0 || (r == -ENOENT && s.closed));
    s.posted += r == 0;
    return r;
}

static void run_sender(void *arg) {
    uint8_t me = (uint8_t)(intptr_t)arg;
    while (!s.known)
        sched_step();
    for (uint8_t i = 0; i < SENDS; i++) {
        const uint8_t bytes[2] = {me, i};
        int r = weft_send(s.rt, look_up(), bytes, sizeof bytes);
        SCHED_CHECK(r == 0 || (r == -ENOENT && s.closed));
        if (sched_random(2))
            (void)post(move, weft_runtime_worker(s.rt, (unsigned)sched_random(WORKERS)));
        if (s.aborts && sched_random(4) == 0)
            (void)post(abort_it, NULL);
        if (s.closes && sched_random(4) == 0)
            (void)post(close_it, NULL);
    }
    if (post(sender_done, NULL) < 0)
        one_done();
}

static void setup_senders(uint64_t seed) {
    static const char *const names[] = {"sender-0", "sender-1"};
    set_up();
    s.aborts = seed % 3 == 1;
    s.closes = seed % 3 == 2;
    s.all_done = SENDERS;
    for (intptr_t i = 0; i < SENDERS; i++)
        sched_spawn(names[i], run_sender, (void *)i);
    sched_spawn("mover", run_mover, NULL);
}

static const char *verdict_senders(void) {
    const char *wrong = NULL;
    uint8_t bytes[64], next[SENDERS] = {0};
    ssize_t n = recv(s.fds[1], bytes, sizeof bytes, MSG_DONTWAIT);
    for (ssize_t i = 0; i + 1 < n; i += 2)
        if (bytes[i] >= SENDERS || bytes[i + 1] != next[bytes[i]]++)
            wrong = "a send was lost, doubled or overtaken";
    for (unsigned i = 0; i < SENDERS && !s.aborts && !s.closes; i++)
        if (next[i] != SENDS)
            wrong = "a send to a stream that lived did not arrive";
    if (s.called != s.posted)
        wrong = "a posted function was not called once";
    if (s.wrong)
        wrong = "something ran on the wrong worker, or at the wrong time";
    if (s.closed != 1)
        wrong = "there was not one on_close";
    close(s.other[0]);
    return tear_down(wrong);
}

WTEST(mailbox_sched, sends_and_posts_arrive_in_order_while_the_stream_moves_and_ends) {
    static const struct sched_test test = {"mailbox", setup_senders, verdict_senders};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- an old id -------------------------------------------------------------------------------- */

static void count_call(weft_stream *stream, void *arg) {
    (void)arg;
    called_on(stream);
}

static void must_be_gone(weft_stream *stream, void *arg) {
    (void)arg;
    s.called++;
    s.wrong += stream != NULL && weft_stream_fd(stream) == s.other[0];
}

/* What is for the second stream arrives all the same. */
static void send_to_another(weft_task *task) {
    SCHED_CHECK(weft_send(s.rt, s.other_id, "y", 1) == 0);
    bool last = ++s.sent == OWN_SENDS;
    s.posted += weft_stream_post(s.rt, s.other_id, last ? sender_done : count_call, NULL) == 0;
    if (!last)
        SCHED_CHECK(weft_post(weft_worker_current(), task) == 0);
}

static void adopt_another(weft_task *task) {
    weft_stream *stream = NULL;
    SCHED_CHECK(weft_adopt(weft_worker_current(), s.other[0], &protocol, NULL, &stream) == 0);
    s.other_id = weft_stream_id_of(stream);
    s.wrong += s.other_id.value[1] == s.id.value[1];
    task->run = send_to_another;
    send_to_another(task);
}

static void end_and_begin(weft_task *task) {
    weft_stream_abort(s.stream);
    task->run = adopt_another;
    SCHED_CHECK(weft_post(weft_worker_current(), task) == 0);
}

static void run_late_sender(void *arg) {
    while (!s.known)
        sched_step();
    if (arg) {
        s.again.run = end_and_begin;
        SCHED_CHECK(weft_post(weft_runtime_worker(s.rt, 0), &s.again) == 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        (void)weft_send(s.rt, s.id, "x", 1);
        s.posted += weft_stream_post(s.rt, s.id, must_be_gone, NULL) == 0;
    }
    one_done();
}

static void setup_late_sender(uint64_t seed) {
    (void)seed;
    set_up();
    s.all_done = 3; /* two senders, and the second stream's own sends */
    sched_spawn("sender-0", run_late_sender, &s);
    sched_spawn("sender-1", run_late_sender, NULL);
}

/* What is news twice at a time links to itself, and is read for ever. */
static bool reads_without_end(void) {
    enum { MORE_THAN_ENOUGH = 60 };
    weft_stats stats = {0};
    (void)weft_worker_stats(weft_runtime_worker(s.rt, 0), &stats, sizeof stats);
    return stats.tasks > MORE_THAN_ENOUGH;
}

static const char *verdict_late_sender(void) {
    char bytes[8];
    const char *wrong = reads_without_end() ? "a mailbox was news twice at a time" : NULL;
    ssize_t n = recv(s.other[1], bytes, sizeof bytes, MSG_DONTWAIT);
    if (n != OWN_SENDS || memcmp(bytes, "yyyy", OWN_SENDS) != 0 || s.wrong)
        wrong = "what was for one stream reached another";
    if (s.called != s.posted)
        wrong = "a posted function was not called once";
    if (s.closed != 2)
        wrong = "there was not one on_close for each";
    return tear_down(wrong);
}

WTEST(mailbox_sched, nothing_for_an_old_id_reaches_the_stream_that_has_its_place) {
    static const struct sched_test test = {"old id", setup_late_sender, verdict_late_sender};
    CHECK(sched_explore(&test, SCHEDULES / 3));
}
