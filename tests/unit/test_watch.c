/* Watches: what they report, when they fall silent, and that a number is not a file. */
#include "rt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* One watched fd as the tests see it. Written on the worker, read by the test after a turn. */
struct watched {
    int fd, peer;
    uint32_t ask, seen; /* events of all calls together, */
    uint32_t last;      /* and of the last */
    _Atomic unsigned calls;
    int result, error;
    weft_watch *watch;
    void (*then)(struct watched *self); /* in the callback */
    struct watched *other;
};

static void on_event(weft_watch *watch, uint32_t events, void *arg) {
    struct watched *self = arg;
    if (watch != self->watch)
        abort();
    self->last = events;
    self->seen |= events;
    self->calls++;
    if (self->then)
        self->then(self);
}

static void start_run(void *arg) {
    struct watched *self = arg;
    unsigned before = self->calls;
    self->result = weft_watch_start(worker, self->fd, self->ask, on_event, self, &self->watch);
    if (self->result == 0 && (weft_watch_fd(self->watch) != self->fd || self->calls != before))
        abort(); /* never inside the start */
}

static void update_run(void *arg) {
    struct watched *self = arg;
    self->result = weft_watch_update(self->watch, self->ask);
}

static void stop_run(void *arg) {
    weft_watch_stop(((struct watched *)arg)->watch);
}

static void start(struct watched *self) {
    rt_call(worker, start_run, self);
    CHECK_EQ(self->result, 0);
}

static void update(struct watched *self, uint32_t ask) {
    self->ask = ask;
    rt_call(worker, update_run, self);
    CHECK_EQ(self->result, 0);
}

static void stop(struct watched *self) {
    rt_call(worker, stop_run, self);
}

static void read_byte(struct watched *self) {
    char byte;
    if (read(self->fd, &byte, 1) < 0)
        self->error = errno;
}

static void pipe_make(int ends[2]) {
    CHECK_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
}

static void pipe_close(const int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static void put_byte(int fd) {
    CHECK_EQ(write(fd, "x", 1), 1);
}

/* The worker comes to rest: a source that spins keeps it from ever arming for long. */
static void check_idle(void) {
    rt_turns(worker, 2);
    rt_await_armed(worker);
    uint64_t before = rt_stats(worker).iterations;
    let_others_run();
    uint64_t turns = rt_stats(worker).iterations - before;
    CHECK_MSG(turns <= 5, "%u iterations, and nothing to do", (unsigned)turns);
    rt_await_armed(worker);
}

/* --- what is reported ---------------------------------------------------------------------------
 */

WTEST(watch, reports_reading) {
    int ends[2];
    begin();
    pipe_make(ends);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ, .then = read_byte};
    start(&w);
    rt_turns(worker, 2);
    CHECK_EQ(w.calls, 0);
    for (unsigned i = 1; i <= 20; i++) {
        put_byte(ends[1]);
        rt_await(&w.calls, i);
    }
    check_idle();
    rt_end(rt);
    CHECK_EQ(w.calls, 20);
    CHECK_EQ(w.seen, WEFT_READ);
    CHECK_EQ(w.error, 0);
    pipe_close(ends); /* stayed ours */
}

static void stop_self(struct watched *self) {
    weft_watch_stop(self->watch);
    self->watch = NULL;
}

WTEST(watch, reports_writing_and_may_stop_itself) {
    int ends[2];
    begin();
    pipe_make(ends);
    struct watched w = {.fd = ends[1], .ask = WEFT_WRITE, .then = stop_self};
    start(&w);
    rt_await(&w.calls, 1);
    check_idle();
    CHECK_EQ(w.calls, 1);
    CHECK_EQ(w.seen, WEFT_WRITE);
    CHECK(!weft_selector_contains(weft_worker_selector(worker), ends[1]));
    start(&w); /* the number is free again */
    rt_await(&w.calls, 2);
    rt_end(rt);
    pipe_close(ends);
}

static void read_to_the_end(struct watched *self) {
    char byte;
    ssize_t n = read(self->fd, &byte, 1);
    if (n == 0)
        stop_self(self);
}

WTEST(watch, shows_every_byte_before_the_end) {
    int ends[2];
    begin();
    pipe_make(ends);
    for (int i = 0; i < 5; i++)
        put_byte(ends[1]);
    close(ends[1]);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ, .then = read_to_the_end};
    start(&w);
    rt_await(&w.calls, 6);
    check_idle();
    rt_end(rt);
    CHECK_EQ(w.calls, 6); /* five bytes, and the end */
    CHECK(w.seen & WEFT_HANGUP);
    CHECK(w.seen & WEFT_READ);
    CHECK(!(w.seen & WEFT_ERROR));
    close(ends[0]);
}

WTEST(watch, reports_a_half_closed_peer) {
    int ends[2];
    begin();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    CHECK_EQ(shutdown(ends[1], SHUT_WR), 0);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ, .then = stop_self};
    start(&w);
    rt_await(&w.calls, 1);
    rt_end(rt);
    CHECK_EQ(w.last, WEFT_READ | WEFT_HANGUP);
    pipe_close(ends);
}

WTEST(watch, reports_an_error_of_a_pipe) {
    int ends[2];
    begin();
    pipe_make(ends);
    close(ends[0]);
    struct watched w = {.fd = ends[1], .ask = WEFT_WRITE, .then = stop_self};
    start(&w);
    rt_await(&w.calls, 1);
    rt_end(rt);
    CHECK(w.last & WEFT_ERROR);
    close(ends[1]);
}

static void read_error(struct watched *self) {
    socklen_t size = sizeof self->error;
    if (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &self->error, &size) != 0)
        abort();
    stop_self(self);
}

/* A loopback port that nobody listens on. */
static int refused_socket(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int closed = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(closed, (struct sockaddr *)&address, size), 0);
    CHECK_EQ(getsockname(closed, (struct sockaddr *)&address, &size), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect(fd, (struct sockaddr *)&address, size) < 0);
    CHECK_EQ(errno, EINPROGRESS);
    close(closed);
    return fd;
}

WTEST(watch, leaves_the_sockets_error_for_its_owner) {
    begin();
    struct watched w = {.fd = refused_socket(), .ask = WEFT_WRITE, .then = read_error};
    start(&w);
    rt_await(&w.calls, 1);
    rt_end(rt);
    CHECK(w.last & WEFT_ERROR);
    CHECK_EQ(w.error, ECONNREFUSED);
    close(w.fd);
}

/* --- update -------------------------------------------------------------------------------------
 */

WTEST(watch, paused_is_silent_until_resumed) {
    int ends[2];
    begin();
    pipe_make(ends);
    struct watched w = {.fd = ends[0], .then = read_byte};
    start(&w); /* paused from the start */
    put_byte(ends[1]);
    check_idle();
    CHECK_EQ(w.calls, 0);
    update(&w, WEFT_READ);
    rt_await(&w.calls, 1);
    update(&w, 0);
    put_byte(ends[1]);
    check_idle();
    CHECK_EQ(w.calls, 1);
    update(&w, WEFT_READ);
    rt_await(&w.calls, 2);
    check_idle();
    rt_end(rt);
    CHECK_EQ(w.calls, 2);
    pipe_close(ends);
}

WTEST(watch, paused_does_not_spin_on_a_hang_up) {
    int ends[2];
    begin();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ};
    start(&w);
    update(&w, 0);
    unsigned before = w.calls;
    close(ends[1]);
    check_idle();
    CHECK_EQ(w.calls, before);
    rt_end(rt);
    close(ends[0]);
}

WTEST(watch, edge_reports_changes_and_update_shows_the_state_again) {
    int ends[2];
    begin();
    pipe_make(ends);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ | WEFT_EDGE};
    start(&w);
    for (unsigned i = 1; i <= 5; i++) {
        put_byte(ends[1]);
        rt_await(&w.calls, i);
        check_idle();
        CHECK_EQ(w.calls, i);
    }
    update(&w, WEFT_READ | WEFT_EDGE); /* the same: the edge again */
    rt_await(&w.calls, 6);
    check_idle();
    rt_end(rt);
    CHECK_EQ(w.calls, 6);
    pipe_close(ends);
}

WTEST(watch, oneshot_reports_once_per_update) {
    int ends[2];
    begin();
    pipe_make(ends);
    put_byte(ends[1]);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ | WEFT_ONESHOT};
    start(&w);
    for (unsigned i = 1; i <= 5; i++) {
        rt_await(&w.calls, i);
        check_idle();
        CHECK_EQ(w.calls, i);
        update(&w, WEFT_READ | WEFT_ONESHOT);
    }
    rt_await(&w.calls, 6);
    rt_end(rt);
    pipe_close(ends);
}

/* --- several in one batch ------------------------------------------------------------------------
 */

/* Both become readable while the worker is held, so that one wait reports both. */
static void both_ready(struct watched *a, struct watched *b, void (*then)(struct watched *self)) {
    static struct hold hold;
    int ends[2][2];
    pipe_make(ends[0]);
    pipe_make(ends[1]);
    *a = (struct watched){ends[0][0], ends[0][1], .ask = WEFT_READ, .then = then, .other = b};
    *b = (struct watched){ends[1][0], ends[1][1], .ask = WEFT_READ, .then = then, .other = a};
    start(a);
    start(b);
    hold_begin(&hold, worker);
    put_byte(ends[0][1]);
    put_byte(ends[1][1]);
    hold_end(&hold, worker);
    rt_await(a->calls ? &a->calls : &b->calls, 1);
    rt_turns(worker, 3);
}

static void close_ends(const struct watched *a, const struct watched *b) {
    close(a->fd);
    close(a->peer);
    close(b->fd);
    close(b->peer);
}

static void stop_both(struct watched *self) {
    weft_watch_stop(self->other->watch);
    weft_watch_stop(self->watch);
}

WTEST(watch, stopped_by_another_of_its_batch_is_not_called) {
    struct watched a, b;
    begin();
    both_ready(&a, &b, stop_both);
    rt_end(rt);
    CHECK_EQ(a.calls + b.calls, 1);
    close_ends(&a, &b);
}

static void pause_both(struct watched *self) {
    if (weft_watch_update(self->other->watch, 0) != 0 || weft_watch_update(self->watch, 0) != 0)
        abort();
}

WTEST(watch, paused_by_another_of_its_batch_is_not_called) {
    struct watched a, b;
    begin();
    both_ready(&a, &b, pause_both);
    rt_end(rt);
    CHECK_EQ(a.calls + b.calls, 1);
    close_ends(&a, &b);
}

static void no_more_reading(struct watched *self) {
    if (weft_watch_update(self->other->watch, WEFT_WRITE) != 0)
        abort();
    stop_self(self);
}

WTEST(watch, sees_only_what_is_asked_for_by_now) {
    struct watched a, b;
    begin();
    both_ready(&a, &b, no_more_reading);
    rt_end(rt);
    CHECK_EQ(a.calls + b.calls, 1); /* a pipe's reading end is never writable */
    close_ends(&a, &b);
}

/* A third file takes the number of the other, within the batch that reports the other. */
static struct watched heir;
static int heir_ends[2];

static void replace_other(struct watched *self) {
    weft_watch_stop(self->other->watch);
    if (dup2(heir_ends[0], self->other->fd) < 0)
        abort();
    heir = (struct watched){.fd = self->other->fd, .ask = WEFT_READ, .then = read_byte};
    start_run(&heir);
    stop_self(self);
}

WTEST(watch, number_reused_within_a_batch_gets_no_old_event) {
    struct watched a, b;
    begin();
    pipe_make(heir_ends);
    both_ready(&a, &b, replace_other);
    CHECK_EQ(a.calls + b.calls, 1);
    CHECK_EQ(heir.result, 0);
    CHECK_EQ(heir.calls, 0);
    put_byte(heir_ends[1]);
    rt_await(&heir.calls, 1);
    rt_end(rt);
    close_ends(&a, &b);
    pipe_close(heir_ends);
}

/* --- closed before it was stopped --- */

/* The number of an old watch, whose file is closed, names a new one that is watched too. */
static void reuse_number(struct watched *old, struct watched *new, int new_ends[2]) {
    int ends[2];
    pipe_make(ends);
    *old = (struct watched){.fd = ends[0], .ask = WEFT_READ, .then = read_byte};
    start(old);
    pipe_make(new_ends);
    CHECK_EQ(dup2(new_ends[0], old->fd), old->fd); /* closes the old file */
    close(new_ends[0]);
    new_ends[0] = old->fd;
    close(ends[1]);
    *new = (struct watched){.fd = old->fd, .ask = WEFT_READ, .then = read_byte};
    start(new);
}

static void check_new_works(struct watched *old, struct watched *new, int new_end) {
    CHECK(weft_selector_contains(weft_worker_selector(worker), new->fd));
    unsigned before = new->calls;
    put_byte(new_end);
    rt_await(&new->calls, before + 1);
    check_idle();
    CHECK_EQ(old->calls, 0);
    CHECK_EQ(new->calls, before + 1);
}

WTEST(watch, late_stop_leaves_the_numbers_new_watch_alone) {
    struct watched old, new;
    int ends[2];
    begin();
    reuse_number(&old, &new, ends);
    stop(&old);
    check_new_works(&old, &new, ends[1]);
    rt_end(rt);
    pipe_close(ends);
}

WTEST(watch, late_update_leaves_the_numbers_new_watch_alone) {
    struct watched old, new;
    int ends[2];
    begin();
    reuse_number(&old, &new, ends);
    old.ask = 0;
    rt_call(worker, update_run, &old);
    CHECK_EQ(old.result, -EBADF);
    check_new_works(&old, &new, ends[1]);
    stop(&old);
    check_new_works(&old, &new, ends[1]);
    rt_end(rt);
    pipe_close(ends);
}

WTEST(watch, closed_fd_is_forgotten_by_stop) {
    int ends[2];
    begin();
    pipe_make(ends);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ};
    start(&w);
    close(ends[0]);
    stop(&w);
    CHECK(!weft_selector_contains(weft_worker_selector(worker), ends[0]));
    check_idle();
    rt_end(rt);
    close(ends[1]);
}

/* The kernel goes on reporting a closed fd while a duplicate lives. */
WTEST(watch, duplicate_of_a_closed_fd_keeps_nobody_awake) {
    int ends[2];
    begin();
    pipe_make(ends);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ};
    start(&w);
    int duplicate = dup(ends[0]);
    close(ends[0]);
    stop(&w);
    put_byte(ends[1]);
    check_idle();
    CHECK_EQ(w.calls, 0);
    rt_end(rt);
    close(duplicate);
    close(ends[1]);
}

/* An orphan, as above, makes the worker's set anew; what has fired stays off in it. */
WTEST(watch, oneshot_stays_off_when_the_set_is_made_anew) {
    int ends[2], others[2];
    begin();
    pipe_make(ends);
    pipe_make(others);
    put_byte(ends[1]);
    weft_selector *selector = weft_worker_selector(worker);
    size_t counted = weft_selector_count(selector);
    struct watched w = {.fd = ends[0], .ask = WEFT_READ | WEFT_ONESHOT};
    struct watched other = {.fd = others[0], .ask = WEFT_READ};
    start(&w);
    start(&other);
    rt_await(&w.calls, 1);
    check_idle();
    CHECK_EQ(weft_selector_count(selector), counted + 1); /* the other */
    int duplicate = dup(others[0]);
    close(others[0]);
    stop(&other);
    put_byte(others[1]);
    check_idle();
    CHECK_EQ(w.calls, 1);
    CHECK_EQ(weft_selector_count(selector), counted);
    update(&w, WEFT_READ | WEFT_ONESHOT);
    rt_await(&w.calls, 2);
    rt_end(rt);
    pipe_close(ends);
    close(duplicate);
    close(others[1]);
}

/* --- the end, and failures --- */

WTEST(watch, left_over_at_the_end_goes_with_its_worker) {
    int before = open_fd_count(), ends[20][2];
    struct watched w[20];
    begin();
    for (int i = 0; i < 20; i++) {
        pipe_make(ends[i]);
        w[i] = (struct watched){.fd = ends[i][0], .ask = i % 2 ? WEFT_READ : 0};
        start(&w[i]);
    }
    rt_end(rt);
    for (int i = 0; i < 20; i++) {
        put_byte(ends[i][1]);
        pipe_close(ends[i]);
    }
    CHECK_EQ(open_fd_count(), before);
}

static struct {
    struct watched watched;
    enum os_call call;
    int result, injected, retry;
} failing;

static void fail_start(void *arg) {
    struct watched *w = &failing.watched;
    (void)arg;
    w->watch = (weft_watch *)w;
    fault_arm_call(failing.call, 1);
    failing.result = weft_watch_start(worker, w->fd, w->ask, on_event, w, &w->watch);
    failing.injected = fault_disarm();
    if (w->watch != (weft_watch *)w || weft_selector_contains(weft_worker_selector(worker), w->fd))
        abort(); /* untouched on failure */
    failing.retry = weft_watch_start(worker, w->fd, w->ask, on_event, w, &w->watch);
    if (failing.retry == 0)
        weft_watch_stop(w->watch);
}

WTEST(watch, failed_start_leaves_nothing) {
    const enum os_call calls[] = {OS_ALLOC, OS_EPOLL_CTL};
    int ends[2];
    fault_begin();
    begin();
    pipe_make(ends);
    for (unsigned i = 0; i < array_length(calls); i++) {
        failing.watched = (struct watched){.fd = ends[0], .ask = WEFT_READ};
        failing.call = calls[i];
        rt_call(worker, fail_start, NULL);
        CHECK(failing.injected < 0);
        CHECK_EQ(failing.result, failing.injected);
        CHECK_EQ(failing.retry, 0);
    }
    rt_end(rt);
    pipe_close(ends);
}

/* Where there is no fd left for it. */
static void fail_first_pause(void *arg) {
    weft_watch *watch = failing.watched.watch;
    (void)arg;
    fault_arm_call(OS_EPOLL_CREATE, 1);
    failing.result = weft_watch_update(watch, 0);
    failing.injected = fault_disarm();
    failing.retry = weft_watch_update(watch, WEFT_READ);
}

WTEST(watch, failed_first_pause_leaves_it_as_it_was) {
    int ends[2];
    fault_begin();
    begin();
    pipe_make(ends);
    failing.watched = (struct watched){.fd = ends[0], .ask = WEFT_READ, .then = read_byte};
    start(&failing.watched);
    rt_call(worker, fail_first_pause, NULL);
    CHECK_EQ(failing.injected, -EMFILE);
    CHECK_EQ(failing.result, -EMFILE);
    CHECK_EQ(failing.retry, 0);
    put_byte(ends[1]);
    rt_await(&failing.watched.calls, 1);
    rt_end(rt);
    pipe_close(ends);
}
