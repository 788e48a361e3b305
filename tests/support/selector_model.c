#include "selector_model.h"

#include "base/os.h"
#include "test_selector.h"

#include <poll.h>
#include <sys/eventfd.h>

enum {
    SETS = SELECTOR_MODEL_SETS,
    SLOTS = 8,
    TIMERS = 3,
    FIRST_FD = 100,
    FIRST_PEER = 200,
    NULL_FD = 300,
    READY_MAX = 32,
    SIGNO = SIGWINCH, /* ignored where it is not blocked */
};

static const uint32_t edge_or_oneshot = WEFT_EDGE | WEFT_ONESHOT;

enum kind { SOCKET, READ_END, WRITE_END, COUNTER, FILE_ALWAYS_READY, KINDS };

/* One number of the program's, and the other end of its file. */
struct slot {
    int fd, peer;
    enum kind kind;
    bool is_open, peer_open;
};

/* What one selector should know of a slot. */
struct entry {
    bool registered;
    bool gone;  /* registered for a file that has not got the number any more */
    bool lost;  /* and found so by a rebuild */
    bool fired; /* its ONESHOT */
    uint32_t interest;
    unsigned life; /* changes with every registration and its end */
    void *data;
};

struct timer {
    int fd; /* -1: none */
    bool is_due, is_periodic, fired;
    void *data;
};

struct set {
    weft_selector *s;
    int fdinfo;
    struct entry entries[SLOTS];
    struct timer timers[TIMERS];
    bool has_event;
    int signal_fd; /* -1: none */
    /* The last batch, of slots, and which lives it told of. */
    weft_ready batch[SLOTS];
    unsigned lives[SLOTS];
    int batch_count;
};

static struct {
    unsigned (*below)(unsigned limit);
    const char *label;
    unsigned long step;
    uintptr_t next_tag;
    struct slot slots[SLOTS];
    struct set sets[SETS];
    weft_event *ev;
    int ev_fd;
    uint64_t triggers;
    bool is_signal_pending;
} m;

#define SAY(condition) CHECK_MSG(condition, "%s step %lu: %s", m.label, m.step, #condition)
#define SAY_EQ(actual, expected)                                                                   \
    do {                                                                                           \
        int64_t a_ = (int64_t)(actual), e_ = (int64_t)(expected);                                  \
        CHECK_MSG(a_ == e_, "%s step %lu: %s is %lld, expected %s = %lld", m.label, m.step,        \
                  #actual, (long long)a_, #expected, (long long)e_);                               \
    } while (0)

static void *next_tag(void) {
    return tag(++m.next_tag);
}

/* --- faults ------------------------------------------------------------------------------------
 */

static struct {
    unsigned countdown; /* 0: none is to come */
    int error;          /* what was injected */
    int lowest_fd;      /* free before */
    bool is_nospc;
} fault;

static int fault_error_of(enum os_call call) {
    switch (call) {
    case OS_EPOLL_CREATE:
    case OS_TIMERFD_CREATE:
    case OS_SIGNALFD: return -EMFILE;
    case OS_EPOLL_CTL: return fault.is_nospc ? -ENOSPC : -ENOMEM;
    default: return -ENOMEM;
    }
}

static int fault_inject(enum os_call call) {
    if (call == OS_CLOSE || call == OS_SIGMASK || call == OS_SIGTIMEDWAIT)
        return 0;
    if (fault.countdown == 0 || --fault.countdown > 0)
        return 0;
    return fault.error = fault_error_of(call);
}

static int lowest_free_fd(void) {
    int fd = dup(NULL_FD);
    close(fd);
    return fd;
}

/* Of every eighth operation one call of the first four fails. */
static void fault_maybe(void) {
    if (m.below(8) != 0)
        return;
    fault.countdown = 1 + m.below(4);
    fault.is_nospc = m.below(2);
    fault.lowest_fd = lowest_free_fd();
    seam_call_fn = fault_inject;
}

/* Did it? Then that is the result, and no fd was left open. */
static bool fault_was(int result) {
    int error = fault.error;
    bool was_armed = seam_call_fn != NULL;
    seam_call_fn = NULL;
    fault.error = 0;
    fault.countdown = 0;
    if (!was_armed || error == 0)
        return false;
    SAY_EQ(result, error);
    SAY_EQ(lowest_free_fd(), fault.lowest_fd);
    return true;
}

/* --- what is registered ------------------------------------------------------------------------
 */

static uint32_t choose_interest(void) {
    static const uint32_t extras[] = {
        0, 0, 0, WEFT_EDGE, WEFT_ONESHOT, WEFT_EDGE | WEFT_ONESHOT, WEFT_EXCLUSIVE};
    uint32_t events = m.below(4); /* READ and WRITE are the lowest bits */
    if (events == 0 && m.below(4) != 0)
        return 0;
    events |= extras[m.below(sizeof extras / sizeof extras[0])];
    return m.below(50) == 49 ? events | ((uint32_t)WEFT_TIMER << m.below(8)) : events;
}

static bool is_valid(uint32_t events) {
    const uint32_t legal = WEFT_READ | WEFT_WRITE | WEFT_EDGE | WEFT_ONESHOT | WEFT_EXCLUSIVE;
    const uint32_t exclusive_pair = WEFT_ONESHOT | WEFT_EXCLUSIVE;
    return !(events & ~legal) && (events == 0 || events & (WEFT_READ | WEFT_WRITE)) &&
           (events & exclusive_pair) != exclusive_pair;
}

static bool is_in_kernel(const struct entry *e) {
    return e->registered && !e->gone && e->interest != 0;
}

static bool is_counted(const struct entry *e) {
    return e->registered && !e->lost && e->interest != 0 && !e->fired;
}

static uint32_t bits_of(const struct entry *entry) {
    uint32_t e = entry->interest;
    uint32_t private_bits = (e & WEFT_EDGE ? (uint32_t)EPOLLET : 0) |
                            (e & WEFT_ONESHOT ? (uint32_t)EPOLLONESHOT : 0) |
                            (e & WEFT_EXCLUSIVE ? (uint32_t)EPOLLEXCLUSIVE : 0);
    if (entry->fired)
        return private_bits;
    return private_bits | (e & WEFT_READ ? (uint32_t)EPOLLIN : 0) |
           (e & WEFT_WRITE ? (uint32_t)EPOLLOUT : 0) |
           ((e & WEFT_READ) && !(e & WEFT_EXCLUSIVE) ? (uint32_t)EPOLLRDHUP : 0);
}

static void entry_register(struct set *set, int i, uint32_t events) {
    struct slot *p = &m.slots[i];
    struct entry *e = &set->entries[i];
    void *data = next_tag();
    int expected = 0;
    if (!is_valid(events))
        expected = -EINVAL;
    else if (!p->is_open)
        expected = -EBADF;
    else if (p->kind == FILE_ALWAYS_READY)
        expected = -EPERM;
    else if (e->registered && !e->gone)
        expected = -EEXIST;
    /* Of a number that changed hands the kernel is asked first, and what it says then is not the
     * caller's. */
    if (!e->gone)
        fault_maybe();
    int result = weft_selector_register(set->s, p->fd, events, data);
    if (fault_was(result))
        return;
    SAY_EQ(result, expected);
    if (expected != 0)
        return;
    *e = (struct entry){.registered = true, .interest = events, .data = data, .life = e->life + 1};
}

static void entry_update(struct set *set, int i, uint32_t events) {
    struct slot *p = &m.slots[i];
    struct entry *e = &set->entries[i];
    int expected = 0;
    bool is_same = e->interest == events && !(events & edge_or_oneshot);
    if (!is_valid(events))
        expected = -EINVAL;
    else if (!e->registered)
        expected = -ENOENT;
    else if (e->lost)
        expected = -EBADF;
    else if (e->gone && !is_same)
        expected = p->is_open && p->kind == FILE_ALWAYS_READY ? -EPERM : -EBADF;
    if (!e->gone)
        fault_maybe();
    int result = weft_selector_update(set->s, p->fd, events);
    if (fault_was(result))
        return;
    SAY_EQ(result, expected);
    if (expected != 0 || is_same)
        return;
    e->interest = events;
    e->fired = false;
}

static void entry_unregister(struct set *set, int i) {
    struct entry *e = &set->entries[i];
    if (!e->gone)
        fault_maybe();
    int result = weft_selector_unregister(set->s, m.slots[i].fd);
    if (fault_was(result))
        return;
    SAY_EQ(result, e->registered ? 0 : -ENOENT);
    *e = (struct entry){.life = e->life + e->registered};
}

static void entry_data(struct set *set, int i) {
    struct entry *e = &set->entries[i];
    int fd = m.slots[i].fd, expected = e->registered ? 0 : -ENOENT;
    void *data = NULL, *replacement = next_tag();
    SAY_EQ(weft_selector_get_data(set->s, fd, &data), expected);
    SAY(!e->registered || data == e->data);
    SAY(weft_selector_contains(set->s, fd) == e->registered);
    SAY((weft_selector_data(set->s, fd) != NULL) == e->registered);
    SAY_EQ(weft_selector_set_data(set->s, fd, replacement), expected);
    e->data = replacement;
}

/* --- files, behind the selectors' backs --------------------------------------------------------
 */

static void slot_gone(int i) {
    for (int set = 0; set < SETS; set++)
        m.sets[set].entries[i].gone = m.sets[set].entries[i].registered;
}

/* The end that the slot gets, and the other one, or -1. */
static void make_file(enum kind kind, int ends[2]) {
    ends[1] = -1;
    if (kind == SOCKET)
        make_pair(ends);
    else if (kind == READ_END || kind == WRITE_END)
        make_pipe(ends);
    else if (kind == COUNTER)
        ends[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    else
        ends[0] = dup(NULL_FD);
    if (kind == WRITE_END) {
        int read_end = ends[0];
        ends[0] = ends[1];
        ends[1] = read_end;
    }
    SAY(ends[0] >= 0);
}

/* A fresh file takes the numbers over; what was registered is gone. */
static void slot_open(int i, enum kind kind) {
    struct slot *p = &m.slots[i];
    int ends[2];
    make_file(kind, ends);
    SAY_EQ(dup3(ends[0], p->fd, O_CLOEXEC), p->fd);
    close(ends[0]);
    if (p->peer_open)
        close(p->peer);
    p->peer_open = ends[1] >= 0;
    if (p->peer_open) {
        SAY_EQ(dup3(ends[1], p->peer, O_CLOEXEC), p->peer);
        close(ends[1]);
    }
    p->kind = kind;
    p->is_open = true;
    slot_gone(i);
}

static void slot_close(int i) {
    if (m.slots[i].is_open)
        close(m.slots[i].fd);
    m.slots[i].is_open = false;
    slot_gone(i);
}

/* Eight bytes, as an eventfd wants them; SIGPIPE is ignored. */
static void put(int fd) {
    const uint64_t some = 1;
    (void)!write(fd, &some, sizeof some);
}

static void slot_traffic(struct slot *p) {
    char bytes[64];
    if (!p->is_open || p->kind == FILE_ALWAYS_READY)
        return;
    switch (m.below(4)) {
    case 0: (void)!read(p->kind == WRITE_END ? p->peer : p->fd, bytes, sizeof bytes); break;
    case 1:
        if (p->peer_open && m.below(8) == 0) {
            close(p->peer);
            p->peer_open = false;
        }
        break;
    case 2:
        if (p->peer_open && p->kind == SOCKET && m.below(8) == 0)
            shutdown(p->peer, SHUT_WR);
        break;
    default:
        if (p->kind == COUNTER || p->kind == WRITE_END)
            put(p->fd);
        else if (p->peer_open)
            put(p->peer);
        break;
    }
}

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
    const weft_ready *r = set->has_event ? ready_of(ready, count, m.ev_fd) : NULL;
    bool is_due = set->has_event && m.triggers > 0;
    SAY(r ? is_due : is_full || !is_due);
    SAY(!r || (r->events == WEFT_USER && r->value == m.triggers));
    m.triggers = r ? 0 : m.triggers;
    return r != NULL;
}

static int check_signal(struct set *set, const weft_ready *ready, int count, bool is_full) {
    const weft_ready *r = set->signal_fd >= 0 ? ready_of(ready, count, set->signal_fd) : NULL;
    bool is_due = set->signal_fd >= 0 && m.is_signal_pending;
    SAY(r ? is_due : is_full || !is_due);
    SAY(!r || (r->events == WEFT_SIGNAL && r->value == SIGNO));
    m.is_signal_pending = m.is_signal_pending && !r;
    return r != NULL;
}

static void look_at(struct set *set, size_t capacity) {
    weft_ready ready[READY_MAX];
    uint32_t expected[SLOTS];
    int known = 0;
    for (int i = 0; i < SLOTS; i++)
        expected[i] = expected_events(&m.slots[i], &set->entries[i]);
    int count = look(set->s, ready, capacity);
    SAY(count >= 0 && (size_t)count <= capacity);
    /* What the kernel reports and nobody is to see takes a place in its batch. */
    bool is_full = capacity < READY_MAX && count > 0;
    set->batch_count = 0;
    for (int i = 0; i < SLOTS; i++) {
        const weft_ready *r = ready_of(ready, count, m.slots[i].fd);
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
    struct slot *p = &m.slots[i];
    struct entry *e = &set->entries[i];
    if (!is_in_kernel(e) || !p->peer_open || p->kind == WRITE_END || !(e->interest & WEFT_READ) ||
        (e->interest & edge_or_oneshot))
        return;
    put(p->peer);
    int duplicate = dup(p->fd), peer = dup(p->peer);
    slot_close(i);
    if (m.below(2)) {
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
    bool is_due = m.below(2), is_periodic = !is_due && m.below(2);
    void *data = next_tag();
    fault_maybe();
    int fd = weft_selector_register_timer(set->s, is_due ? 0 : WEFT_SEC(10000),
                                          is_periodic ? 0 : WEFT_ONESHOT, data);
    if (fault_was(fd))
        return;
    SAY(fd >= 0 && fd < FIRST_FD);
    *t = (struct timer){.fd = fd, .is_due = is_due, .is_periodic = is_periodic, .data = data};
    SAY_EQ(weft_selector_register_timer(set->s, 0, 0, NULL), -EINVAL);
}

/* Also after its number has become that of somebody else's file, which stays open. */
static void timer_end(struct set *set, struct timer *t) {
    bool is_stolen = m.below(4) == 1;
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
    if (m.below(2)) {
        SAY_EQ(weft_event_trigger(m.ev), 0);
        m.triggers++;
        return;
    }
    fault_maybe();
    int result = set->has_event ? weft_selector_unregister_event(set->s, m.ev)
                                : weft_selector_register_event(set->s, m.ev, NULL);
    if (fault_was(result))
        return;
    SAY_EQ(result, 0);
    set->has_event = !set->has_event;
    if (set->has_event)
        SAY_EQ(weft_selector_register_event(set->s, m.ev, NULL), -EEXIST);
    else
        SAY_EQ(weft_selector_unregister_event(set->s, m.ev), -ENOENT);
}

static bool is_signal_watched(void) {
    for (int i = 0; i < SETS; i++)
        if (m.sets[i].signal_fd >= 0)
            return true;
    return false;
}

static void signal_operate(struct set *set) {
    if (m.below(2)) {
        raise(SIGNO); /* where nobody watches it, it is ignored */
        m.is_signal_pending = is_signal_watched();
    } else if (set->signal_fd < 0) {
        set->signal_fd = weft_selector_register_signal(set->s, SIGNO, next_tag());
        SAY(set->signal_fd >= 0 && set->signal_fd < FIRST_FD);
        SAY_EQ(weft_selector_register_signal(set->s, SIGNO, NULL), -EEXIST);
    } else {
        SAY_EQ(weft_selector_unregister(set->s, set->signal_fd), 0);
        set->signal_fd = -1;
        m.is_signal_pending = m.is_signal_pending && is_signal_watched();
    }
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    SAY(sigismember(&blocked, SIGNO) == is_signal_watched());
}

/* --- the whole ---------------------------------------------------------------------------------
 */

static void source_operate(struct set *set) {
    struct timer *t = &set->timers[m.below(TIMERS)];
    switch (m.below(3)) {
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

static void operate(void) {
    unsigned choice = m.below(24);
    int i = (int)m.below(SETS * SLOTS);
    struct set *set = &m.sets[i / SLOTS];
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
    case 14: slot_traffic(&m.slots[i]); break;
    case 15: slot_open(i, m.below(KINDS)); break;
    case 16:
        if (m.below(3) == 0)
            slot_close(i);
        else
            slot_orphan(set, i);
        break;
    case 17:
    case 18: source_operate(set); break;
    case 19: look_at(set, 1 + m.below(4)); break;
    default: look_at(set, READY_MAX); break;
    }
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
        const struct tfd *t = tfd_of(list, count, m.slots[i].fd);
        SAY(t != NULL);
        SAY_EQ(t->events, bits_of(e));
        SAY_EQ((uint32_t)t->cookie, m.slots[i].fd);
        weft_ready r = {.fd = m.slots[i].fd, .generation = (uint32_t)(t->cookie >> 40)};
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
        SAY(tfd_of(list, count, m.ev_fd) != NULL);
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
    m.step++;
    operate();
    for (int i = 0; i < SETS; i++) {
        check_kernel(&m.sets[i]);
        check_batch(&m.sets[i]);
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
    memset(&m, 0, sizeof m);
    m.below = below;
    m.label = label;
    signal(SIGPIPE, SIG_IGN);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    SAY_EQ(dup3(null_fd, NULL_FD, O_CLOEXEC), NULL_FD);
    close(null_fd);
    for (int i = 0; i < SETS; i++)
        set_open(&m.sets[i]);
    for (int i = 0; i < SLOTS; i++) {
        m.slots[i].fd = FIRST_FD + i;
        m.slots[i].peer = FIRST_PEER + i;
        slot_open(i, SOCKET);
    }
    SAY_EQ(weft_event_create(&m.ev), 0);
    SAY_EQ(weft_selector_register_event(m.sets[0].s, m.ev, NULL), 0);
    SAY_EQ(weft_event_trigger(m.ev), 0);
    m.ev_fd = expect_one(m.sets[0].s).fd;
    m.sets[0].has_event = true;
}

void selector_model_close(void) {
    sigset_t blocked;
    for (int i = 0; i < SETS; i++) {
        weft_selector_destroy(m.sets[i].s);
        close(m.sets[i].fdinfo);
    }
    weft_event_destroy(m.ev);
    for (int i = 0; i < SLOTS; i++) {
        slot_close(i);
        if (m.slots[i].peer_open)
            close(m.slots[i].peer);
    }
    close(NULL_FD);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    SAY(!sigismember(&blocked, SIGNO));
}
