#include "selector_model_inner.h"

#include "base/os.h"

#include <poll.h>

struct model model;

/* --- select ------------------------------------------------------------------------------------
 */

/* What it should say of the slot now. */
static uint32_t expected_events(const struct slot *p, const struct entry *e) {
    if (!is_in_kernel(e) || e->fired)
        return 0;
    struct pollfd poll_fd = {.fd = p->fd,
                             .events = (short)((e->interest & WEFT_READ ? POLLIN : 0) |
                                               (e->interest & WEFT_WRITE ? POLLOUT : 0))};
    if ((e->interest & WEFT_READ) && !(e->interest & WEFT_EXCLUSIVE))
        poll_fd.events |= POLLRDHUP;
    SAY(poll(&poll_fd, 1, 0) >= 0);
    int r = poll_fd.revents;
    return (r & POLLIN ? WEFT_READ : 0u) | (r & POLLOUT ? WEFT_WRITE : 0u) |
           (r & POLLERR ? WEFT_ERROR : 0u) | (r & (POLLHUP | POLLRDHUP) ? WEFT_HANGUP : 0u);
}

static const weft_ready *ready_of(const weft_ready *ready, int count, int fd) {
    for (int i = 0; i < count; i++)
        if (ready[i].fd == fd)
            return &ready[i];
    return NULL;
}

static void check_slot(struct set *set, int i, uint32_t expected, const weft_ready *r,
                       bool is_full) {
    struct entry *e = &set->entries[i];
    SAY(r || is_full || expected == 0 || (e->interest & WEFT_EDGE));
    if (!r)
        return;
    SAY_EQ(r->events, expected);
    SAY(r->data == e->data);
    SAY(weft_selector_is_live(set->s, r));
    e->fired = (e->interest & WEFT_ONESHOT) != 0;
    set->lives[set->batch_count] = e->life;
    set->batch[set->batch_count++] = *r;
}

static void check_timer(struct timer *t, const weft_ready *r) {
    SAY(!r || (t->is_due && !t->fired)); /* a due one may need a moment */
    if (!r)
        return;
    SAY_EQ(r->events, WEFT_TIMER | WEFT_ONESHOT | WEFT_FINISHED);
    SAY_EQ(r->value, 1);
    SAY(r->data == t->data);
    t->fired = true;
}

static int check_event(struct set *set, const weft_ready *ready, int count, bool is_full) {
    const weft_ready *r = set->has_event ? ready_of(ready, count, model.ev_fd) : NULL;
    bool is_due = set->has_event && model.triggers > 0;
    SAY(r ? is_due : is_full || !is_due);
    SAY(!r || (r->events == WEFT_USER && r->value == model.triggers));
    model.triggers = r ? 0 : model.triggers;
    return r != NULL;
}

static int check_signal(struct set *set, const weft_ready *ready, int count, bool is_full) {
    const weft_ready *r = set->signal_fd >= 0 ? ready_of(ready, count, set->signal_fd) : NULL;
    bool is_due = set->signal_fd >= 0 && model.is_signal_pending;
    SAY(r ? is_due : is_full || !is_due);
    SAY(!r || (r->events == WEFT_SIGNAL && r->value == SIGNO));
    model.is_signal_pending = model.is_signal_pending && !r;
    return r != NULL;
}

static void look_at(struct set *set, size_t capacity) {
    weft_ready ready[READY_MAX];
    uint32_t expected[SLOTS];
    int known = 0;
    for (int i = 0; i < SLOTS; i++)
        expected[i] = expected_events(&model.slots[i], &set->entries[i]);
    int count = look(set->s, ready, capacity);
    SAY(count >= 0 && (size_t)count <= capacity);
    /* What the kernel reports and nobody is to see takes a place in its batch. */
    bool is_full = capacity < READY_MAX && count > 0;
    set->batch_count = 0;
    for (int i = 0; i < SLOTS; i++) {
        const weft_ready *r = ready_of(ready, count, model.slots[i].fd);
        known += r != NULL;
        check_slot(set, i, expected[i], r, is_full);
    }
    for (int i = 0; i < TIMERS; i++) {
        struct timer *t = &set->timers[i];
        const weft_ready *r = t->fd >= 0 ? ready_of(ready, count, t->fd) : NULL;
        known += r != NULL;
        check_timer(t, r);
    }
    known += check_event(set, ready, count, is_full);
    known += check_signal(set, ready, count, is_full);
    SAY_EQ(known, count);
}

/* Its look is interrupted: nothing is reported, and nothing is lost. */
static int interrupt(enum os_call call) {
    return call == OS_EPOLL_WAIT ? -EINTR : 0;
}

static void look_interrupted(struct set *set) {
    weft_ready ready[READY_MAX];
    seam_call_fn = interrupt;
    int count = look(set->s, ready, READY_MAX);
    seam_call_fn = NULL;
    SAY_EQ(count, 0);
}

/* The number is closed, or passes to another file, while a duplicate keeps the old one ready. */
static void slot_orphan(struct set *set, int i) {
    struct slot *p = &model.slots[i];
    struct entry *e = &set->entries[i];
    if (!is_in_kernel(e) || !p->peer_open || p->kind == WRITE_END || !(e->interest & WEFT_READ) ||
        (e->interest & (WEFT_EDGE | WEFT_ONESHOT)))
        return;
    put(p->peer);
    int duplicate = dup(p->fd), peer = dup(p->peer);
    slot_close(i);
    if (model.below(2)) {
        entry_unregister(set, i);
    } else {
        slot_open(i, SOCKET);
        entry_register(set, i, WEFT_READ);
    }
    look_at(set, READY_MAX); /* meets the orphan, and makes a new set */
    for (int k = 0; k < SLOTS; k++) {
        struct entry *other = &set->entries[k];
        if (other->registered && other->gone && other->interest != 0) {
            other->lost = true;
            other->fired = false;
        }
    }
    close(duplicate);
    close(peer);
}

/* --- sources -----------------------------------------------------------------------------------
 */

static void timer_begin(struct set *set, struct timer *t) {
    bool is_due = model.below(2), is_periodic = !is_due && model.below(2);
    void *data = next_tag();
    fault_maybe();
    int fd = weft_selector_register_timer(set->s, is_due ? 0 : WEFT_SEC(10000),
                                          is_periodic ? 0 : WEFT_ONESHOT, data);
    if (fault_was(fd))
        return;
    SAY(fd >= 0 && fd < FIRST_FD);
    *t = (struct timer){.fd = fd, .is_due = is_due, .data = data};
    SAY_EQ(weft_selector_register_timer(set->s, 0, 0, NULL), -EINVAL);
}

/* Also after its number has become that of somebody else's file, which stays open. */
static void timer_end(struct set *set, struct timer *t) {
    bool is_stolen = model.below(4) == 1;
    SAY_EQ(weft_selector_update(set->s, t->fd, WEFT_READ), -EINVAL);
    if (is_stolen)
        SAY_EQ(dup3(NULL_FD, t->fd, O_CLOEXEC), t->fd);
    SAY_EQ(weft_selector_unregister(set->s, t->fd), 0);
    SAY_EQ(fcntl(t->fd, F_GETFD) >= 0, is_stolen);
    if (is_stolen)
        close(t->fd);
    t->fd = -1;
}

static void event_operate(struct set *set) {
    if (model.below(2)) {
        SAY_EQ(weft_event_trigger(model.ev), 0);
        model.triggers++;
        return;
    }
    fault_maybe();
    int result = set->has_event ? weft_selector_unregister_event(set->s, model.ev)
                                : weft_selector_register_event(set->s, model.ev, NULL);
    if (fault_was(result))
        return;
    SAY_EQ(result, 0);
    set->has_event = !set->has_event;
    if (set->has_event)
        SAY_EQ(weft_selector_register_event(set->s, model.ev, NULL), -EEXIST);
    else
        SAY_EQ(weft_selector_unregister_event(set->s, model.ev), -ENOENT);
}

static bool is_signal_watched(void) {
    for (int i = 0; i < SETS; i++)
        if (model.sets[i].signal_fd >= 0)
            return true;
    return false;
}

static void signal_operate(struct set *set) {
    if (model.below(2)) {
        raise(SIGNO); /* where nobody watches it, it is ignored */
        model.is_signal_pending = is_signal_watched();
    } else if (set->signal_fd < 0) {
        set->signal_fd = weft_selector_register_signal(set->s, SIGNO, next_tag());
        SAY(set->signal_fd >= 0 && set->signal_fd < FIRST_FD);
        SAY_EQ(weft_selector_register_signal(set->s, SIGNO, NULL), -EEXIST);
    } else {
        SAY_EQ(weft_selector_unregister(set->s, set->signal_fd), 0);
        set->signal_fd = -1;
        model.is_signal_pending = model.is_signal_pending && is_signal_watched();
    }
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    SAY(sigismember(&blocked, SIGNO) == is_signal_watched());
}

/* --- the whole ---------------------------------------------------------------------------------
 */

static void source_operate(struct set *set) {
    struct timer *t = &set->timers[model.below(TIMERS)];
    switch (model.below(3)) {
    case 0:
        if (t->fd < 0)
            timer_begin(set, t);
        else
            timer_end(set, t);
        break;
    case 1: event_operate(set); break;
    default: signal_operate(set); break;
    }
}

/* Returns the set that was chosen. */
static int operate(void) {
    unsigned choice = model.below(24);
    int i = (int)model.below(SETS * SLOTS);
    struct set *set = &model.sets[i / SLOTS];
    i %= SLOTS;
    switch (choice) {
    case 0:
    case 1:
    case 2:
    case 3: entry_register(set, i, choose_interest()); break;
    case 4:
    case 5:
    case 6:
    case 7: entry_update(set, i, choose_interest()); break;
    case 8:
    case 9: entry_unregister(set, i); break;
    case 10: entry_data(set, i); break;
    case 11: look_interrupted(set); break;
    case 12:
    case 13:
    case 14: slot_traffic(&model.slots[i]); break;
    case 15: slot_open(i, model.below(KINDS)); break;
    case 16:
        if (model.below(3) == 0)
            slot_close(i);
        else
            slot_orphan(set, i);
        break;
    case 17:
    case 18: source_operate(set); break;
    case 19: look_at(set, 1 + model.below(4)); break;
    default: look_at(set, READY_MAX); break;
    }
    return (int)(set - model.sets);
}

/* What was reported earlier is live until its slot's registration ends. */
static void check_batch(const struct set *set) {
    for (int i = 0; i < set->batch_count; i++) {
        const weft_ready *r = &set->batch[i];
        const struct entry *e = &set->entries[r->fd - FIRST_FD];
        SAY(weft_selector_is_live(set->s, r) == (e->registered && e->life == set->lives[i]));
    }
}

static const struct tfd *tfd_of(const struct tfd *list, int count, int fd) {
    for (int i = 0; i < count; i++)
        if (list[i].fd == fd)
            return &list[i];
    return NULL;
}

/* The kernel's list is the table's, entry by entry, and each cookie names its fd and a live stamp.
 */
static void check_kernel(const struct set *set) {
    static struct tfd list[64];
    int count = tfd_read(set->fdinfo, list, 64), expected = 0;
    size_t counted = 0;
    for (int i = 0; i < SLOTS; i++) {
        const struct entry *e = &set->entries[i];
        counted += is_counted(e);
        if (!is_in_kernel(e))
            continue;
        const struct tfd *t = tfd_of(list, count, model.slots[i].fd);
        SAY(t != NULL);
        SAY_EQ(t->events, bits_of(e));
        SAY_EQ((uint32_t)t->cookie, model.slots[i].fd);
        weft_ready r = {.fd = model.slots[i].fd, .generation = (uint32_t)(t->cookie >> 40)};
        SAY(weft_selector_is_live(set->s, &r));
        expected++;
    }
    for (int i = 0; i < TIMERS; i++)
        if (set->timers[i].fd >= 0) {
            const struct tfd *t = tfd_of(list, count, set->timers[i].fd);
            SAY(t && t->events == EPOLLIN);
            counted += !set->timers[i].fired;
            expected++;
        }
    if (set->has_event)
        SAY(tfd_of(list, count, model.ev_fd) != NULL);
    if (set->signal_fd >= 0)
        SAY(tfd_of(list, count, set->signal_fd) != NULL);
    int others = set->has_event + (set->signal_fd >= 0);
    counted += (size_t)others;
    expected += others;
    SAY_EQ(count, expected);
    SAY_EQ(weft_selector_count(set->s), counted);
    SAY(weft_selector_is_empty(set->s) == (counted == 0));
}

void selector_model_operate(void) {
    model.step++;
    int touched = operate();
    for (int i = 0; i < SETS; i++) {
        if (i == touched || model.step % 8 == 0) /* most of the time goes here */
            check_kernel(&model.sets[i]);
        check_batch(&model.sets[i]);
    }
}

static void set_open(struct set *set) {
    set->s = make_selector();
    set->fdinfo = tfd_open(weft_selector_fd(set->s));
    SAY(set->fdinfo >= 0);
    set->signal_fd = -1;
    for (int i = 0; i < TIMERS; i++)
        set->timers[i].fd = -1;
}

void selector_model_open(unsigned (*below)(unsigned limit), const char *label) {
    memset(&model, 0, sizeof model);
    model.below = below;
    model.label = label;
    signal(SIGPIPE, SIG_IGN);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    SAY_EQ(dup3(null_fd, NULL_FD, O_CLOEXEC), NULL_FD);
    close(null_fd);
    for (int i = 0; i < SETS; i++)
        set_open(&model.sets[i]);
    for (int i = 0; i < SLOTS; i++) {
        model.slots[i].fd = FIRST_FD + i;
        model.slots[i].peer = FIRST_PEER + i;
        slot_open(i, SOCKET);
    }
    SAY_EQ(weft_event_create(&model.ev), 0);
    SAY_EQ(weft_selector_register_event(model.sets[0].s, model.ev, NULL), 0);
    SAY_EQ(weft_event_trigger(model.ev), 0);
    model.ev_fd = expect_one(model.sets[0].s).fd;
    model.sets[0].has_event = true;
}

/* Whatever is due comes in the end. */
static void timers_await(struct set *set) {
    for (int i = 0; i < TIMERS; i++) {
        const struct timer *t = &set->timers[i];
        struct pollfd poll_fd = {.fd = t->fd, .events = POLLIN};
        if (t->fd < 0 || !t->is_due || t->fired)
            continue;
        while (poll(&poll_fd, 1, 10000) < 0)
            ;
        look_at(set, READY_MAX);
        SAY(t->fired);
    }
}

void selector_model_close(void) {
    sigset_t blocked;
    for (int i = 0; i < SETS; i++) {
        timers_await(&model.sets[i]);
        weft_selector_destroy(model.sets[i].s);
        close(model.sets[i].fdinfo);
    }
    weft_event_destroy(model.ev);
    for (int i = 0; i < SLOTS; i++) {
        slot_close(i);
        if (model.slots[i].peer_open)
            close(model.slots[i].peer);
    }
    close(NULL_FD);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    SAY(!sigismember(&blocked, SIGNO));
}
