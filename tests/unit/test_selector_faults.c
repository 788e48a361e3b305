/* Every system call and allocation of every operation fails once: the result is exactly that error,
 * nothing has changed, nothing is open that was not, and the same call then succeeds. */
#include "test_selector.h"

#include "base/os.h"
#include "base/process.h"

#include <sys/eventfd.h>

/* Fails the countdown-th call, with `error`; close() is never refused. */
static struct {
    int countdown, error;
    bool has_failed;
    enum os_call failed;
} fault;

static int fail_one(enum os_call call) {
    if (call == OS_CLOSE || fault.countdown-- != 0)
        return 0;
    fault.has_failed = true;
    fault.failed = call;
    return fault.error;
}

static void fault_arm(int countdown, int error) {
    fault.countdown = countdown;
    fault.error = error;
    fault.has_failed = false;
    seam_call_fn = fail_one;
}

static void fault_disarm(void) {
    seam_call_fn = NULL;
}

/* A selector with one entry of each sort, and what the operations work on. */
struct scene {
    weft_selector *s;
    weft_event *ev, *ev_in;
    int active[2], paused[2], fired[2], exclusive[2], fresh[2], far;
    int timer, signal;
    pid_t child;
};

static void scene_open(struct scene *c) {
    make_pair(c->active), make_pair(c->paused), make_pair(c->fired), make_pair(c->exclusive),
        make_pair(c->fresh);
    c->far = fcntl(c->fresh[0], F_DUPFD_CLOEXEC, 1030); /* in a segment of its own */
    CHECK(c->far >= 1030);
    c->s = make_selector();
    CHECK_EQ(weft_event_create(&c->ev), 0);
    CHECK_EQ(weft_event_create(&c->ev_in), 0);
    CHECK_EQ(weft_selector_register_event(c->s, c->ev_in, tag(5)), 0);
    CHECK_EQ(weft_selector_register(c->s, c->active[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_register(c->s, c->fired[0], WEFT_READ | WEFT_ONESHOT, tag(3)), 0);
    put_byte(c->fired[1]);
    CHECK(expect_one(c->s).data == tag(3));
    CHECK_EQ(weft_selector_register(c->s, c->exclusive[0], WEFT_READ | WEFT_EXCLUSIVE, tag(4)), 0);
    c->timer = weft_selector_register_timer(c->s, WEFT_SEC(1000), 0, tag(6));
    c->signal = weft_selector_register_signal(c->s, SIGUSR2, tag(7));
    CHECK(c->timer >= 0 && c->signal >= 0);
}

static void scene_park(struct scene *c) {
    CHECK_EQ(weft_selector_register(c->s, c->paused[0], 0, tag(2)), 0);
}

static void scene_close(struct scene *c) {
    weft_selector_destroy(c->s);
    weft_event_destroy(c->ev);
    weft_event_destroy(c->ev_in);
    close_both(c->active), close_both(c->paused), close_both(c->fired), close_both(c->exclusive);
    close_both(c->fresh);
    close(c->far);
}

/* What an error must leave as it was. */
struct snapshot {
    struct tfd list[32];
    int in_kernel, open;
    size_t count;
    uint64_t registered[1100 / 64 + 1];
    sigset_t mask;
};

static void snapshot_take(struct snapshot *n, weft_selector *s) {
    memset(n, 0, sizeof *n);
    n->in_kernel = tfd_list(s, n->list, 32);
    n->open = open_fds();
    n->count = weft_selector_count(s);
    for (int fd = 0; fd < 1100; fd++)
        n->registered[fd / 64] |= (uint64_t)weft_selector_contains(s, fd) << (fd % 64);
    sigprocmask(SIG_SETMASK, NULL, &n->mask);
}

static int tfd_order(const void *a, const void *b) {
    return ((const struct tfd *)a)->fd - ((const struct tfd *)b)->fd;
}

static bool snapshot_equal(struct snapshot *a, struct snapshot *b) {
    qsort(a->list, (size_t)a->in_kernel, sizeof a->list[0], tfd_order);
    qsort(b->list, (size_t)b->in_kernel, sizeof b->list[0], tfd_order);
    return memcmp(a, b, sizeof *a) == 0;
}

/* Each operation fails for N = 1, 2, ... until it makes fewer calls than that. */
static void sweep(const char *name, void (*prepare)(struct scene *c),
                  int (*operate)(struct scene *c), int error, int least_calls) {
    static struct snapshot before, after;
    int n = 0;
    bool is_complete = false;
    for (; !is_complete; n++) {
        struct scene c;
        int open_before = open_fds();
        scene_open(&c);
        if (prepare)
            prepare(&c);
        snapshot_take(&before, c.s);
        fault_arm(n, error);
        int r = operate(&c);
        fault_disarm();
        is_complete = !fault.has_failed;
        if (is_complete) {
            CHECK_MSG(r >= 0, "%s: %d without a fault", name, r);
        } else {
            const char *call = seam_call_name(fault.failed);
            int expected = fault.failed == OS_ALLOC ? -ENOMEM : error;
            CHECK_MSG(r == expected, "%s: %s fails with %d, result %d", name, call, error, r);
            snapshot_take(&after, c.s);
            CHECK_MSG(snapshot_equal(&before, &after), "%s: a failed %s leaves a trace", name,
                      call);
            r = operate(&c);
            CHECK_MSG(r >= 0, "%s: %d after a failed %s", name, r, call);
        }
        scene_close(&c);
        CHECK_EQ(open_fds(), open_before);
    }
    CHECK_MSG(n > least_calls, "%s: only %d calls were seen", name, n - 1);
}

static int op_register(struct scene *c) {
    return weft_selector_register(c->s, c->fresh[0], WEFT_READ, tag(9));
}

static int op_register_far(struct scene *c) {
    return weft_selector_register(c->s, c->far, WEFT_READ, tag(9));
}

static int op_register_paused(struct scene *c) {
    return weft_selector_register(c->s, c->fresh[0], 0, tag(9));
}

/* The entry of `active` is stale: its number passes to another file. */
static void make_stale(struct scene *c) {
    CHECK_EQ(dup2(c->fresh[1], c->active[0]), c->active[0]);
}

static void make_stale_paused(struct scene *c) {
    scene_park(c);
    CHECK_EQ(dup2(c->fresh[1], c->paused[0]), c->paused[0]);
}

static int op_supersede(struct scene *c) {
    return weft_selector_register(c->s, c->active[0], WEFT_READ, tag(9));
}

static int op_supersede_paused(struct scene *c) {
    return weft_selector_register(c->s, c->paused[0], WEFT_READ, tag(9));
}

static int op_modify(struct scene *c) {
    return weft_selector_update(c->s, c->active[0], WEFT_READ | WEFT_WRITE);
}

static int op_pause(struct scene *c) {
    return weft_selector_update(c->s, c->active[0], 0);
}

static int op_resume(struct scene *c) {
    return weft_selector_update(c->s, c->paused[0], WEFT_READ);
}

static int op_rearm(struct scene *c) {
    return weft_selector_update(c->s, c->fired[0], WEFT_READ | WEFT_ONESHOT);
}

static int op_make_exclusive(struct scene *c) {
    return weft_selector_update(c->s, c->active[0], WEFT_READ | WEFT_EXCLUSIVE);
}

static int op_make_inclusive(struct scene *c) {
    return weft_selector_update(c->s, c->exclusive[0], WEFT_READ);
}

WTEST(selector_faults, plain_fds) {
    static const int errors[] = {-ENOMEM, -ENOSPC, -EMFILE};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        int e = errors[i];
        sweep("register", NULL, op_register, e, 1);
        sweep("register far", NULL, op_register_far, e, 3);
        sweep("register paused", NULL, op_register_paused, e, 2);
        sweep("register paused again", scene_park, op_register_paused, e, 1);
        sweep("supersede", make_stale, op_supersede, e, 1);
        sweep("modify", NULL, op_modify, e, 1);
        sweep("pause", NULL, op_pause, e, 3);
        sweep("pause again", scene_park, op_pause, e, 2);
        sweep("resume", scene_park, op_resume, e, 2);
        sweep("rearm", NULL, op_rearm, e, 1);
        sweep("exclusive", NULL, op_make_exclusive, e, 2);
        sweep("no longer exclusive", NULL, op_make_inclusive, e, 2);
    }
}

/* Where only the tidying up fails, there is nothing to tell: the entry works. */
WTEST(selector_faults, superseding_what_was_paused) {
    int failures = 0;
    for (int n = 0;; n++) {
        struct scene c;
        scene_open(&c);
        make_stale_paused(&c);
        fault_arm(n, -ENOSPC);
        int r = op_supersede_paused(&c);
        fault_disarm();
        CHECK(r == 0 || (fault.has_failed && r == -ENOSPC));
        failures += r < 0;
        if (r < 0) {
            CHECK(data_of(c.s, c.paused[0]) == tag(2));
            CHECK_EQ(op_supersede_paused(&c), 0);
        }
        CHECK(data_of(c.s, c.paused[0]) == tag(9));
        CHECK_EQ(weft_selector_update(c.s, c.paused[0], 0), 0);
        CHECK_EQ(weft_selector_update(c.s, c.paused[0], WEFT_WRITE), 0);
        CHECK_EQ(expect_one(c.s).fd, c.paused[0]);
        scene_close(&c);
        if (!fault.has_failed)
            break;
    }
    CHECK(failures >= 2);
}

static int op_timer(struct scene *c) {
    return weft_selector_register_timer(c->s, WEFT_SEC(1), 0, tag(9));
}

static int op_signal(struct scene *c) {
    return weft_selector_register_signal(c->s, SIGUSR1, tag(9));
}

static int op_process(struct scene *c) {
    return weft_selector_register_process(c->s, getpid(), tag(9));
}

static int op_event(struct scene *c) {
    return weft_selector_register_event(c->s, c->ev, tag(9));
}

static int op_unregister(struct scene *c) {
    return weft_selector_unregister(c->s, c->active[0]);
}

static int op_unregister_paused(struct scene *c) {
    return weft_selector_unregister(c->s, c->paused[0]);
}

static int op_unregister_timer(struct scene *c) {
    return weft_selector_unregister(c->s, c->timer);
}

static int op_unregister_event(struct scene *c) {
    return weft_selector_unregister_event(c->s, c->ev_in);
}

static int op_create(struct scene *c) {
    (void)c;
    weft_selector *s = NULL;
    int r = weft_selector_create(&s);
    CHECK((r == 0) == (s != NULL));
    weft_selector_destroy(s);
    return r;
}

static int op_create_event(struct scene *c) {
    (void)c;
    weft_event *ev = NULL;
    int r = weft_event_create(&ev);
    CHECK((r == 0) == (ev != NULL));
    weft_event_destroy(ev);
    return r;
}

WTEST(selector_faults, constructors) {
    static const int errors[] = {-ENOMEM, -EMFILE, -ENOSPC};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        int e = errors[i];
        sweep("create", NULL, op_create, e, 2);
        sweep("event create", NULL, op_create_event, e, 2);
        sweep("timer", NULL, op_timer, e, 4);
        sweep("signal", NULL, op_signal, e, 4);
        sweep("process", NULL, op_process, e, 4);
        sweep("event", NULL, op_event, e, 1);
    }
}

WTEST(selector_faults, unregister) {
    sweep("unregister", NULL, op_unregister, -ENOMEM, 1);
    sweep("unregister paused", scene_park, op_unregister_paused, -ENOMEM, 1);
    sweep("unregister timer", NULL, op_unregister_timer, -ENOMEM, 1);
    sweep("unregister event", NULL, op_unregister_event, -ENOMEM, 1);
}

/* The first registration of a signal in a thread allocates its record. */
WTEST(selector_faults, first_signal_of_a_thread) {
    for (int n = 0;; n++) {
        sigset_t before, after;
        weft_selector *s = make_selector();
        sigprocmask(SIG_SETMASK, NULL, &before);
        fault_arm(n, -EMFILE);
        int r = weft_selector_register_signal(s, SIGUSR1, NULL);
        fault_disarm();
        if (fault.has_failed) {
            CHECK_EQ(r, fault.failed == OS_ALLOC ? -ENOMEM : -EMFILE);
            sigprocmask(SIG_SETMASK, NULL, &after);
            CHECK(!sigismember(&after, SIGUSR1));
        }
        weft_selector_destroy(s);
        if (!fault.has_failed) {
            CHECK(r >= 0);
            CHECK(n >= 5);
            return;
        }
    }
}

static int fail_wait(enum os_call call) {
    return call == OS_EPOLL_WAIT ? fault.error : 0;
}

WTEST(selector_faults, select_returns_what_the_wait_failed_with) {
    static const int errors[] = {-EFAULT, -EBADF, -ENOMEM};
    weft_ready r;
    weft_selector *s = make_selector();
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        fault.error = errors[i];
        seam_call_fn = fail_wait;
        CHECK_EQ(weft_selector_select(s, WEFT_FOREVER, &r, 1), errors[i]);
        fault_disarm();
        CHECK_EQ(look(s, &r, 1), 0); /* and is not busy for ever */
    }
    weft_selector_destroy(s);
}

static int fail_read(enum os_call call) {
    return call == OS_READ || call == OS_WAITID ? fault.error : 0;
}

/* A source that cannot be read says so, rather than spinning in silence. */
WTEST(selector_faults, unreadable_source_is_an_error_event) {
    weft_selector *s = make_selector();
    weft_ready r;
    int fd = weft_selector_register_timer(s, 0, WEFT_ONESHOT, tag(1));
    CHECK(fd >= 0);
    fault.error = -EIO;
    seam_call_fn = fail_read;
    CHECK_EQ(weft_selector_select(s, WEFT_FOREVER, &r, 1), 1);
    fault_disarm();
    CHECK_EQ(r.events, WEFT_ERROR);
    CHECK_EQ(r.error, -EIO);
    CHECK_EQ(weft_selector_count(s), 1);
    CHECK_EQ(expect_one(s).events, WEFT_TIMER | WEFT_ONESHOT | WEFT_FINISHED);
    weft_selector_destroy(s);
}

/* Woken for nothing again and again: it neither returns nor loses what comes in the end. */
static int spurious_left;

static int fail_read_spuriously(enum os_call call) {
    return call == OS_READ && spurious_left-- > 0 ? -EAGAIN : 0;
}

WTEST(selector_faults, spurious_events_are_not_shown) {
    weft_selector *s = make_selector();
    weft_ready r;
    CHECK(weft_selector_register_timer(s, 0, WEFT_ONESHOT, tag(1)) >= 0);
    spurious_left = 50;
    seam_call_fn = fail_read_spuriously;
    CHECK_EQ(weft_selector_select(s, WEFT_FOREVER, &r, 1), 1);
    fault_disarm();
    CHECK_EQ(r.value, 1);
    weft_selector_destroy(s);
}

/* No new set to be had: the error is told, the entries stay, and later it works. */
WTEST(selector_faults, rebuild) {
    for (int n = 0;; n++) {
        int a[2], b[2];
        weft_ready r;
        make_pair(a);
        make_pair(b);
        weft_selector *s = make_selector();
        CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(1)), 0);
        CHECK_EQ(weft_selector_register(s, b[0], WEFT_READ, tag(2)), 0);
        int duplicate = dup(a[0]);
        close(a[0]);
        CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
        put_byte(a[1]);
        int before = open_fds();
        fault_arm(n + 1, -EMFILE); /* the first call is the wait */
        int result = look(s, &r, 1);
        fault_disarm();
        /* The last call is the look again, at the new set. */
        CHECK_EQ(result, fault.has_failed ? -EMFILE : 0);
        CHECK_EQ(open_fds(), before);
        CHECK_EQ(weft_selector_count(s), 1);
        CHECK_EQ(look(s, &r, 1), 0);
        CHECK_EQ(tfd_count(s), 1);
        put_byte(b[1]);
        CHECK(expect_one(s).data == tag(2));
        weft_selector_destroy(s);
        close(duplicate);
        close(a[1]);
        close_both(b);
        if (!fault.has_failed) {
            CHECK(n >= 5);
            return;
        }
    }
}
