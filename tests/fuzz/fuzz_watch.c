/* Watches, timers, tasks and hooks of one worker, started, changed and stopped inside each other's
 * callbacks: every byte is a choice. A task that posts itself counts the iterations and brings in
 * operations of its own; when the input is used up, two quiet iterations show whether everybody is
 * told what poll(2) says, and nobody else is. */
#include "rt.h"
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SLOTS = 4,
    HANDLES = 12,
    TIMERS = 4,
    TASKS = 4,
    HOOKS = 3,
    FIRST_FD = 100,
    FIRST_PEER = 200
};

/* A watch as the model has it. */
struct handle {
    weft_watch *watch; /* NULL: not started */
    int slot;
    uint32_t ask;
    bool fired;      /* its ONESHOT */
    bool gone;       /* its number has been closed since, */
    bool superseded; /* and is watched anew */
    unsigned calls;
    uint32_t last;
};

struct timer {
    weft_timer timer;
    bool pending, is_far;
    unsigned order, fired_turn;
};

struct task {
    weft_task task;
    bool queued;
    unsigned order;
};

struct hook {
    weft_hook *hook; /* NULL: not started */
};

/* The worker's thread only. */
static struct {
    struct input in;
    weft_worker *worker;
    int orphans[SLOTS]; /* a duplicate of a closed fd, or -1 */
    struct handle handles[HANDLES];
    struct timer timers[TIMERS];
    struct task tasks[TASKS];
    struct hook hooks[HOOKS];
    weft_task driver;
    unsigned turn, quiet_turns;
    unsigned timer_order, task_order;
    unsigned task_ran; /* the order of the last */
    sem_t over;
} f;

static unsigned below(unsigned limit) {
    return input_below(&f.in, limit);
}

static void operate_some(void);

/* --- watches -----------------------------------------------------------------------------------
 */

static void on_watch(weft_watch *watch, uint32_t events, void *arg) {
    struct handle *h = arg;
    uint32_t interest = h->ask & (WEFT_READ | WEFT_WRITE);
    CHECK(watch == h->watch); /* so it has not been stopped */
    CHECK(!h->superseded);
    CHECK(interest != 0 && !h->fired);
    CHECK(events != 0 && !(events & ~(interest | WEFT_ERROR | WEFT_HANGUP)));
    h->fired = (h->ask & WEFT_ONESHOT) != 0;
    h->calls++;
    h->last = events;
    operate_some();
}

static uint32_t choose_ask(void) {
    static const uint32_t extras[] = {
        0, 0, WEFT_ONESHOT, WEFT_EDGE, WEFT_ONESHOT | WEFT_EDGE, WEFT_EXCLUSIVE};
    uint32_t ask = below(4);
    return ask ? ask | extras[below(6)] : 0;
}

/* The one that the slot's present file is watched by. */
static struct handle *handle_of(int slot) {
    for (int i = 0; i < HANDLES; i++)
        if (f.handles[i].watch && f.handles[i].slot == slot && !f.handles[i].gone)
            return &f.handles[i];
    return NULL;
}

static void watch_start(int slot) {
    struct handle *h = f.handles;
    while (h < f.handles + HANDLES && h->watch)
        h++;
    if (h == f.handles + HANDLES)
        return;
    uint32_t ask = choose_ask();
    weft_watch *watch = NULL;
    int r = weft_watch_start(f.worker, FIRST_FD + slot, ask, on_watch, h, &watch);
    CHECK_EQ(r, handle_of(slot) ? -EEXIST : 0);
    if (r < 0)
        return;
    for (int i = 0; i < HANDLES; i++)
        if (f.handles[i].watch && f.handles[i].slot == slot)
            f.handles[i].superseded = true;
    *h = (struct handle){.watch = watch, .slot = slot, .ask = ask};
    CHECK_EQ(weft_watch_fd(watch), FIRST_FD + slot);
}

static void watch_update(struct handle *h) {
    if (!h->watch)
        return;
    uint32_t ask = choose_ask();
    int r = weft_watch_update(h->watch, ask);
    if (!h->gone)
        CHECK_EQ(r, 0);
    else /* where nothing has to be asked of the kernel, nobody notices */
        CHECK(r == -EBADF || (r == 0 && ask == h->ask && !h->superseded));
    if (r < 0)
        return;
    h->ask = ask;
    h->fired = false;
}

static void watch_stop(struct handle *h) {
    if (h->watch)
        weft_watch_stop(h->watch);
    *h = (struct handle){.watch = NULL};
}

/* Fresh sockets get the numbers; who watched them before watches nothing any more. */
static void slot_open(int slot) {
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    dup3(ends[0], FIRST_FD + slot, O_CLOEXEC);
    dup3(ends[1], FIRST_PEER + slot, O_CLOEXEC);
    close(ends[0]);
    close(ends[1]);
    for (int i = 0; i < HANDLES; i++)
        f.handles[i].gone = f.handles[i].gone || (f.handles[i].watch && f.handles[i].slot == slot);
}

static void orphan_close(int slot) {
    if (f.orphans[slot] >= 0)
        close(f.orphans[slot]);
    f.orphans[slot] = -1;
}

/* The old file lives on in a duplicate, readable. Whoever watches it has to stop first: while he
 * does not, the kernel goes on telling him. */
static void slot_orphan(int slot) {
    struct handle *h = handle_of(slot);
    orphan_close(slot);
    (void)!send(FIRST_PEER + slot, "x", 1, MSG_NOSIGNAL);
    f.orphans[slot] = dup(FIRST_FD + slot);
    slot_open(slot);
    if (h)
        watch_stop(h);
}

static void slot_traffic(int slot) {
    char bytes[64];
    switch (below(4)) {
    case 0: (void)!recv(FIRST_FD + slot, bytes, sizeof bytes, 0); break;
    case 1: shutdown(FIRST_PEER + slot, SHUT_WR); break;
    default: (void)!send(FIRST_PEER + slot, "x", 1, MSG_NOSIGNAL); break;
    }
}

/* --- timers, tasks, hooks ----------------------------------------------------------------------
 */

/* Those without a delay fire in the order of their starts, each at most once per iteration. */
static void on_timer(weft_timer *timer) {
    struct timer *t = WEFT_CONTAINER_OF(timer, struct timer, timer);
    CHECK(t->pending && !t->is_far);
    CHECK(t->fired_turn != f.turn);
    CHECK(!weft_timer_is_pending(timer));
    for (int i = 0; i < TIMERS; i++)
        CHECK(!f.timers[i].pending || f.timers[i].is_far || f.timers[i].order >= t->order);
    t->fired_turn = f.turn;
    t->pending = false;
    operate_some();
}

static void timer_operate(struct timer *t) {
    CHECK_EQ(weft_timer_is_pending(&t->timer), t->pending);
    if (below(3) == 0) {
        CHECK_EQ(weft_timer_stop(&t->timer), t->pending);
        t->pending = false;
        return;
    }
    t->timer.fn = on_timer;
    t->is_far = below(3) == 0;
    t->pending = true;
    t->order = ++f.timer_order;
    weft_timer_start(f.worker, &t->timer, t->is_far ? WEFT_SEC(10000) : 0, 0);
}

static void on_task(weft_task *task) {
    struct task *t = WEFT_CONTAINER_OF(task, struct task, task);
    CHECK(t->queued);
    CHECK(t->order > f.task_ran);
    f.task_ran = t->order;
    t->queued = false;
    operate_some();
}

static void task_post(struct task *t) {
    if (t->queued)
        return;
    t->task.run = on_task;
    t->queued = true;
    t->order = ++f.task_order;
    CHECK_EQ(weft_post(f.worker, &t->task), 0);
}

static void on_hook(void *arg) {
    const struct hook *h = arg;
    CHECK(h->hook);
    operate_some();
}

static void hook_operate(struct hook *h) {
    static const uint32_t phases[] = {WEFT_BEFORE_WAIT, WEFT_AFTER_WAIT, WEFT_IDLE};
    if (h->hook) {
        weft_hook_stop(h->hook);
        h->hook = NULL;
    } else {
        CHECK_EQ(weft_hook_start(f.worker, phases[below(3)], on_hook, h, &h->hook), 0);
    }
}

/* --- the whole ---------------------------------------------------------------------------------
 */

static void operate(void) {
    unsigned choice = below(16), which = input_byte(&f.in);
    int slot = (int)(which % SLOTS);
    switch (choice) {
    case 0:
    case 1:
    case 2: watch_start(slot); break;
    case 3:
    case 4: watch_update(&f.handles[which % HANDLES]); break;
    case 5:
    case 6: watch_stop(&f.handles[which % HANDLES]); break;
    case 7:
    case 8: slot_traffic(slot); break;
    case 9: slot_open(slot); break;
    case 10: slot_orphan(slot); break;
    case 11: orphan_close(slot); break;
    case 12:
    case 13: timer_operate(&f.timers[which % TIMERS]); break;
    case 14: task_post(&f.tasks[which % TASKS]); break;
    default: hook_operate(&f.hooks[which % HOOKS]); break;
    }
}

static void operate_some(void) {
    for (unsigned n = below(4); n > 0 && input_left(&f.in) > 0; n--)
        operate();
}

static uint32_t expected_events(const struct handle *h) {
    uint32_t interest = h->ask & (WEFT_READ | WEFT_WRITE);
    struct pollfd p = {.fd = FIRST_FD + h->slot,
                       .events = (short)((interest & WEFT_READ ? POLLIN : 0) |
                                         (interest & WEFT_WRITE ? POLLOUT : 0))};
    if ((interest & WEFT_READ) && !(h->ask & WEFT_EXCLUSIVE))
        p.events |= POLLRDHUP;
    if (interest == 0 || poll(&p, 1, 0) < 1)
        return 0;
    return (p.revents & POLLIN ? WEFT_READ : 0u) | (p.revents & POLLOUT ? WEFT_WRITE : 0u) |
           (p.revents & POLLERR ? WEFT_ERROR : 0u) |
           (p.revents & (POLLHUP | POLLRDHUP) ? WEFT_HANGUP : 0u);
}

/* In an iteration in which nobody did anything: each that is ready was called once, no other. */
static void check_calls(void) {
    for (int i = 0; i < HANDLES; i++) {
        const struct handle *h = &f.handles[i];
        if (!h->watch || h->gone || (h->ask & (WEFT_EDGE | WEFT_ONESHOT)))
            continue;
        uint32_t expected = expected_events(h);
        CHECK_EQ(h->calls, expected != 0);
        CHECK_EQ(h->last, expected);
    }
}

static void begin_quiet(void) {
    for (int i = 0; i < HANDLES; i++) {
        f.handles[i].calls = 0;
        f.handles[i].last = 0;
    }
}

static void check_end(void) {
    for (int i = 0; i < TIMERS; i++)
        CHECK(!f.timers[i].pending || f.timers[i].is_far);
    for (int i = 0; i < TASKS; i++)
        CHECK(!f.tasks[i].queued);
}

static void stop_all(void) {
    for (int i = 0; i < HANDLES; i++)
        watch_stop(&f.handles[i]);
    for (int i = 0; i < TIMERS; i++)
        CHECK_EQ(weft_timer_stop(&f.timers[i].timer), f.timers[i].pending);
    for (int i = 0; i < HOOKS; i++)
        if (f.hooks[i].hook)
            hook_operate(&f.hooks[i]);
    for (int i = 0; i < SLOTS; i++) {
        orphan_close(i);
        close(FIRST_FD + i);
        close(FIRST_PEER + i);
    }
}

static void drive(weft_task *task) {
    f.turn++;
    if (input_left(&f.in) > 0) {
        (void)input_byte(&f.in); /* so that it ends, whatever the callbacks do */
        operate_some();
    } else if (++f.quiet_turns == 3) { /* whoever stopped for the driver's last has been seen to */
        begin_quiet();
    } else if (f.quiet_turns == 4) {
        check_calls();
        check_end();
        stop_all();
        sem_post(&f.over);
        return;
    }
    CHECK_EQ(weft_post(f.worker, task), 0);
}

static void begin(void *arg) {
    (void)arg;
    for (int i = 0; i < SLOTS; i++) {
        f.orphans[i] = -1;
        slot_open(i);
    }
    f.driver.run = drive;
    drive(&f.driver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    weft_worker *w = talk_worker();
    rt_turns(w, 1);
    size_t entries = weft_selector_count(weft_worker_selector(w));
    memset(&f, 0, sizeof f);
    f.worker = w;
    f.in = (struct input){data, data + size};
    sem_make(&f.over);
    rt_call(w, begin, NULL);
    sem_await(&f.over);
    rt_turns(w, 2);
    CHECK_EQ(weft_selector_count(weft_worker_selector(w)), entries);
    return 0;
}
