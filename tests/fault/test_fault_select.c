/* weft_selector_select(): calls that fail, and events that come twice, late, out of order, for
 * nothing, or for what is not there any more. */
#include "selector_scene.h"

#include "base/process.h"
#include "selector/internal.h"

#include <netinet/in.h>
#include <poll.h>

/* --- what is ready --------------------------------------------------------------------------- */

static void await_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, -1), 1);
}

/* One of each sort but a process: tags 1 (a byte), 5 (a trigger), 7 (a signal), 8 (a timer). */
static void make_ready(struct scene *c) {
    CHECK_EQ(weft_selector_unregister(c->s, c->timer), 0);
    c->timer = weft_selector_register_timer(c->s, 0, WEFT_ONESHOT, tag(8));
    CHECK(c->timer >= 0);
    await_readable(c->timer);
    put_byte(c->active[1]);
    CHECK_EQ(weft_event_trigger(c->ev_in), 0);
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
    await_readable(c->signal);
}

enum { BYTE = 1u << 1, TRIGGER = 1u << 5, SIGNAL = 1u << 7, TIMER = 1u << 8 };
static const unsigned everything = BYTE | TRIGGER | SIGNAL | TIMER;

/* One bit, for an event that is as it should be; the byte is taken. */
static unsigned served(struct scene *c, const weft_ready *r) {
    char byte;
    CHECK(weft_selector_is_live(c->s, r));
    if (r->data == tag(1)) {
        CHECK_EQ(r->events, WEFT_READ);
        CHECK_EQ(read(c->active[0], &byte, 1), 1);
        return BYTE;
    }
    if (r->data == tag(5)) {
        CHECK(r->events == WEFT_USER && r->value == 1);
        return TRIGGER;
    }
    if (r->data == tag(7)) {
        CHECK(r->events == WEFT_SIGNAL && r->value == SIGUSR2);
        return SIGNAL;
    }
    CHECK(r->data == tag(8) && r->value == 1);
    CHECK_EQ(r->events, WEFT_TIMER | WEFT_ONESHOT | WEFT_FINISHED);
    return TIMER;
}

/* The first n of c->ready, none of them twice; `failed` is that of an ERROR. */
static unsigned serve(struct scene *c, int n, const weft_ready **ret_failed) {
    unsigned seen = 0;
    for (int i = 0; i < n; i++) {
        if (c->ready[i].events == WEFT_ERROR && ret_failed) {
            *ret_failed = &c->ready[i];
            continue;
        }
        unsigned bit = served(c, &c->ready[i]);
        CHECK(!(seen & bit));
        seen |= bit;
    }
    return seen;
}

static int op_select(struct scene *c) {
    return look(c->s, c->ready, 16);
}

/* Looks until everything has been seen, and nothing twice. */
static void see_the_rest(struct scene *c, unsigned seen) {
    while (seen != everything) {
        int n = weft_selector_select(c->s, WEFT_SEC(10), c->ready, 16);
        CHECK(n > 0);
        unsigned more = serve(c, n, NULL);
        CHECK(!(seen & more));
        seen |= more;
    }
    expect_none(c->s);
    scene_check_table(c);
}

/* --- calls that fail ------------------------------------------------------------------------- */

static bool answer_of_wait(const struct sweep_fault *fault, int r) {
    return fault->error == -EINTR ? r == 0 : r == fault->error;
}

/* A source that cannot be read is shown with the error, one without content not at all; both come
 * again. */
static bool answer_of_select(struct scene *c, const struct sweep_fault *fault, int r) {
    const weft_ready *failed = NULL;
    if (fault->call == OS_EPOLL_WAIT) {
        if (r == 0)
            see_the_rest(c, 0);
        return answer_of_wait(fault, r);
    }
    int shown = fault->error == -EAGAIN ? 3 : 4;
    if (fault->call != OS_READ || r != shown)
        return false;
    unsigned seen = serve(c, r, &failed);
    if (shown == 4)
        CHECK(failed && failed->error == fault->error);
    see_the_rest(c, seen);
    return true;
}

/* A connection that was refused: SO_ERROR has the reason. */
static void make_refused(struct scene *c) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(bound, (struct sockaddr *)&a, size), 0);
    CHECK_EQ(getsockname(bound, (struct sockaddr *)&a, &size), 0);
    c->extra = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(connect(c->extra, (struct sockaddr *)&a, size) < 0);
    struct pollfd p = {.fd = c->extra, .events = POLLOUT};
    CHECK_EQ(poll(&p, 1, -1), 1);
    close(bound);
    CHECK_EQ(weft_selector_register(c->s, c->extra, WEFT_WRITE, tag(9)), 0);
}

static bool answer_of_error(struct scene *c, const struct sweep_fault *fault, int r) {
    if (fault->call == OS_EPOLL_WAIT)
        return answer_of_wait(fault, r);
    CHECK(c->ready[0].events & WEFT_ERROR);
    CHECK_EQ(c->ready[0].error, 0); /* "0 or -errno": it could not be asked for */
    CHECK_EQ(op_select(c), 1);
    CHECK_EQ(c->ready[0].error, -ECONNREFUSED);
    return r == 1;
}

static void make_dead_child(struct scene *c) {
    siginfo_t info;
    c->child = fork();
    CHECK(c->child >= 0);
    if (c->child == 0)
        _exit(7);
    CHECK_EQ(waitid(P_PID, (id_t)c->child, &info, WEXITED | WNOWAIT), 0);
    CHECK(weft_selector_register_process(c->s, c->child, tag(9)) >= 0);
}

static bool answer_of_process(struct scene *c, const struct sweep_fault *fault, int r) {
    const weft_ready *ready = &c->ready[0];
    if (fault->call == OS_EPOLL_WAIT)
        return answer_of_wait(fault, r);
    CHECK_EQ(ready->events, WEFT_PROCESS | WEFT_ONESHOT | WEFT_FINISHED | WEFT_ERROR);
    CHECK_EQ(ready->error, fault->error);
    CHECK_EQ(ready->value, 0);
    expect_none(c->s);
    return r == 1;
}

WTEST(fault_select, calls_that_fail) {
    static const struct scene_sweep sweeps[] = {
        {"select", make_ready, op_select, answer_of_select, 4},
        {"select an error", make_refused, op_select, answer_of_error, 2},
        {"select a process", make_dead_child, op_select, answer_of_process, 2},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

/* --- a set that has to be made anew ---------------------------------------------------------- */

/* The file of `active` lives on, reports, and can no longer be unregistered. */
static void make_orphan(struct scene *c) {
    c->extra = dup(c->active[0]);
    close(c->active[0]);
    CHECK_EQ(weft_selector_unregister(c->s, c->active[0]), 0);
    c->active[0] = fcntl(c->extra, F_DUPFD_CLOEXEC, 500);
    put_byte(c->active[1]);
}

static bool says_gone(int error) {
    return error == -EBADF || error == -ENOENT || error == -EPERM || error == -EINVAL ||
           error == -ELOOP;
}

/* The new set is made of the kernel's answers: asked whether an entry is there it says EEXIST, or
 * why it cannot be; one that is gone stays in the table, in no set. */
static bool answer_of_rebuild(struct scene *c, const struct sweep_fault *fault, int r) {
    bool may_be_asked = fault->call == OS_EPOLL_CTL && says_gone(fault->error);
    if (r == 0 && may_be_asked) {
        c->may_leave = true;
        scene_check_table(c);
        return weft_selector_count(c->s) >= 3;
    }
    if (r == 0 && fault->call == OS_EPOLL_CTL)
        return fault->error == -EEXIST;
    return fault->call == OS_EPOLL_WAIT ? answer_of_wait(fault, r) : r == fault->error;
}

WTEST(fault_select, rebuild) {
    static const struct scene_sweep sweep = {"rebuild", make_orphan, op_select, answer_of_rebuild,
                                             13};
    scene_sweep(&sweep);
}

/* --- events that are not as one would like ---------------------------------------------------- */

static unsigned turn; /* how the hook below is to do it */

static void swap(struct epoll_event *a, struct epoll_event *b) {
    struct epoll_event c = *a;
    *a = *b;
    *b = c;
}

/* The turn-th permutation, in the factorial number system. */
static int permute(struct epoll_event *events, int count, int capacity) {
    unsigned number = turn;
    (void)capacity;
    for (int i = count; i > 1; number /= (unsigned)i, i--)
        swap(&events[i - 1], &events[number % (unsigned)i]);
    return count;
}

static int keep_one(struct epoll_event *events, int count, int capacity) {
    (void)capacity;
    swap(&events[0], &events[turn % (unsigned)count]);
    return 1;
}

/* Each of a source twice, since two threads may have been woken for it; an fd's would be shown. */
static int twice(struct epoll_event *events, int count, int capacity) {
    for (int i = 0, n = count; i < n && count < capacity; i++)
        if ((int)(uint32_t)events[i].data.u64 != (int)turn)
            events[count++] = events[i];
    return count;
}

/* In front, of each entry's earlier life: its number was reused. */
static int of_earlier_lives(struct epoll_event *events, int count, int capacity) {
    for (int n = count; n > 0 && count < capacity; n--) {
        events[count] = events[count - n];
        events[count - n].data.u64 -= UINT64_C(2) << SELECTOR_GENERATION_SHIFT;
        count++;
    }
    return count;
}

static void select_under(int (*events_fn)(struct epoll_event *events, int count, int capacity),
                         bool by_fd) {
    for (unsigned i = 0; i < 24; i++) {
        struct scene *c = scene_make(make_ready);
        turn = by_fd ? (unsigned)c->active[0] : i;
        seam_events_fn = events_fn;
        see_the_rest(c, 0);
        seam_events_fn = NULL;
        scene_end(c);
    }
}

WTEST(fault_select, permuted_events_show_the_same) {
    select_under(permute, false);
}

WTEST(fault_select, what_one_wait_leaves_out_the_next_one_brings) {
    select_under(keep_one, false);
}

WTEST(fault_select, events_that_come_twice_are_shown_once) {
    select_under(twice, true);
}

WTEST(fault_select, events_of_an_earlier_life_are_not_shown) {
    select_under(of_earlier_lives, false);
}

/* Woken for nothing again and again: it neither returns nor loses what comes in the end. */
static int spurious_left;

static int fail_read_spuriously(enum os_call call) {
    return call == OS_READ && spurious_left-- > 0 ? -EAGAIN : 0;
}

WTEST(fault_select, waking_for_nothing_is_not_shown) {
    weft_selector *s = make_selector();
    weft_ready r;
    CHECK(weft_selector_register_timer(s, 0, WEFT_ONESHOT, tag(1)) >= 0);
    spurious_left = 50;
    seam_call_fn = fail_read_spuriously;
    CHECK_EQ(weft_selector_select(s, WEFT_FOREVER, &r, 1), 1);
    seam_call_fn = NULL;
    CHECK_EQ(r.value, 1);
    weft_selector_destroy(s);
}
