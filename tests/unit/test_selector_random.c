/* A million random operations against a model. After each of them the kernel's own list of the set
 * (/proc/self/fdinfo) equals what the model says is registered; every select shows what poll(2)
 * sees on the same fds. WTEST_SEED=... repeats a run. */
#include "test_selector.h"

#include <poll.h>

enum { SLOTS = 8, TIMERS = 3, FIRST_FD = 100, FIRST_PEER = 200, READY_MAX = 32 };

static const uint32_t edge_or_oneshot = WEFT_EDGE | WEFT_ONESHOT;

/* One number of the program's, and what should be known of it. */
struct slot {
    int fd, peer;
    bool is_open, peer_open;
    bool registered;
    bool gone;  /* registered for a file that has not got the number any more */
    bool lost;  /* and found so by a rebuild */
    bool fired; /* its ONESHOT */
    uint32_t interest;
    void *data;
};

struct timer {
    int fd; /* -1: none */
    bool is_due, fired;
    void *data;
};

static struct {
    weft_selector *s;
    int fdinfo;
    struct slot slots[SLOTS];
    struct timer timers[TIMERS];
    weft_event *ev;
    int ev_fd;
    bool ev_registered;
    uint64_t triggers;
    uint64_t random, seed, step;
    uintptr_t next_tag;
} m;

#define SAY(condition)                                                                             \
    CHECK_MSG(condition, "WTEST_SEED=%llu step %llu: %s", (unsigned long long)m.seed,              \
              (unsigned long long)m.step, #condition)
#define SAY_EQ(actual, expected)                                                                   \
    do {                                                                                           \
        int64_t a_ = (int64_t)(actual), e_ = (int64_t)(expected);                                  \
        CHECK_MSG(a_ == e_, "WTEST_SEED=%llu step %llu: %s is %lld, expected %s = %lld",           \
                  (unsigned long long)m.seed, (unsigned long long)m.step, #actual, (long long)a_,  \
                  #expected, (long long)e_);                                                       \
    } while (0)

static unsigned below(unsigned limit) {
    m.random ^= m.random << 13;
    m.random ^= m.random >> 7;
    m.random ^= m.random << 17;
    return (unsigned)((m.random >> 20) % limit);
}

static void *next_tag(void) {
    return tag(++m.next_tag);
}

static uint32_t random_interest(void) {
    static const uint32_t extras[] = {
        0, 0, 0, WEFT_EDGE, WEFT_ONESHOT, WEFT_EDGE | WEFT_ONESHOT, WEFT_EXCLUSIVE};
    uint32_t events = below(4); /* READ and WRITE are the lowest bits */
    if (events == 0 && below(4) != 0)
        return 0;
    events |= extras[below(sizeof extras / sizeof extras[0])];
    return below(50) == 0 ? events | ((uint32_t)WEFT_TIMER << below(8)) : events;
}

static bool is_valid(uint32_t events) {
    const uint32_t legal = WEFT_READ | WEFT_WRITE | WEFT_EDGE | WEFT_ONESHOT | WEFT_EXCLUSIVE;
    const uint32_t exclusive_pair = WEFT_ONESHOT | WEFT_EXCLUSIVE;
    return !(events & ~legal) && (events == 0 || events & (WEFT_READ | WEFT_WRITE)) &&
           (events & exclusive_pair) != exclusive_pair;
}

static bool is_in_kernel(const struct slot *p) {
    return p->registered && !p->gone && p->interest != 0;
}

static bool is_counted(const struct slot *p) {
    return p->registered && !p->lost && p->interest != 0 && !p->fired;
}

static uint32_t bits_of(const struct slot *p) {
    uint32_t e = p->interest;
    uint32_t private_bits = (e & WEFT_EDGE ? (uint32_t)EPOLLET : 0) |
                            (e & WEFT_ONESHOT ? (uint32_t)EPOLLONESHOT : 0) |
                            (e & WEFT_EXCLUSIVE ? (uint32_t)EPOLLEXCLUSIVE : 0);
    if (p->fired)
        return private_bits;
    return private_bits | (e & WEFT_READ ? (uint32_t)EPOLLIN : 0) |
           (e & WEFT_WRITE ? (uint32_t)EPOLLOUT : 0) |
           ((e & WEFT_READ) && !(e & WEFT_EXCLUSIVE) ? (uint32_t)EPOLLRDHUP : 0);
}

/* A fresh pair of sockets takes the two numbers over; what was registered is gone. */
static void slot_open(struct slot *p) {
    int ends[2];
    make_pair(ends);
    SAY_EQ(dup3(ends[0], p->fd, O_CLOEXEC), p->fd);
    SAY_EQ(dup3(ends[1], p->peer, O_CLOEXEC), p->peer);
    close_both(ends);
    p->gone = p->registered;
    p->is_open = p->peer_open = true;
}

static void slot_close(struct slot *p) {
    if (p->is_open)
        close(p->fd);
    p->gone = p->registered;
    p->is_open = false;
}

static void slot_register(struct slot *p, uint32_t events) {
    void *data = next_tag();
    int expected = 0;
    if (!is_valid(events))
        expected = -EINVAL;
    else if (!p->is_open)
        expected = -EBADF;
    else if (p->registered && !p->gone)
        expected = -EEXIST;
    SAY_EQ(weft_selector_register(m.s, p->fd, events, data), expected);
    if (expected != 0)
        return;
    p->registered = true;
    p->gone = p->lost = p->fired = false;
    p->interest = events;
    p->data = data;
}

static void slot_update(struct slot *p, uint32_t events) {
    int expected = 0;
    bool is_same = p->interest == events && !(events & edge_or_oneshot);
    if (!is_valid(events))
        expected = -EINVAL;
    else if (!p->registered)
        expected = -ENOENT;
    else if (p->lost || (p->gone && !is_same))
        expected = -EBADF;
    SAY_EQ(weft_selector_update(m.s, p->fd, events), expected);
    if (expected != 0 || is_same)
        return;
    p->interest = events;
    p->fired = false;
}

static void slot_unregister(struct slot *p) {
    SAY_EQ(weft_selector_unregister(m.s, p->fd), p->registered ? 0 : -ENOENT);
    p->registered = p->gone = p->lost = p->fired = false;
    p->interest = 0;
}

static void slot_data(struct slot *p) {
    void *data = NULL, *replacement = next_tag();
    int expected = p->registered ? 0 : -ENOENT;
    SAY_EQ(weft_selector_get_data(m.s, p->fd, &data), expected);
    SAY(!p->registered || data == p->data);
    SAY(weft_selector_contains(m.s, p->fd) == p->registered);
    SAY((weft_selector_data(m.s, p->fd) != NULL) == p->registered);
    SAY_EQ(weft_selector_set_data(m.s, p->fd, replacement), expected);
    p->data = replacement;
}

static void slot_traffic(struct slot *p) {
    char bytes[64];
    if (!p->is_open || !p->peer_open)
        return;
    switch (below(4)) {
    case 0: (void)!read(p->fd, bytes, sizeof bytes); break;
    case 1:
        if (below(8) == 0) {
            close(p->peer);
            p->peer_open = false;
        }
        break;
    case 2:
        if (below(8) == 0)
            shutdown(p->peer, SHUT_WR);
        break;
    default: (void)!send(p->peer, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT); break;
    }
}

/* What select should say of the slot now. */
static uint32_t expected_events(const struct slot *p) {
    if (!is_in_kernel(p) || p->fired)
        return 0;
    struct pollfd poll_fd = {.fd = p->fd,
                             .events = (short)((p->interest & WEFT_READ ? POLLIN : 0) |
                                               (p->interest & WEFT_WRITE ? POLLOUT : 0))};
    if ((p->interest & WEFT_READ) && !(p->interest & WEFT_EXCLUSIVE))
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

static void check_slot(struct slot *p, uint32_t expected, const weft_ready *r) {
    SAY(r || expected == 0 || (p->interest & WEFT_EDGE));
    if (!r)
        return;
    SAY_EQ(r->events, expected);
    SAY(r->data == p->data);
    SAY(weft_selector_is_live(m.s, r));
    p->fired = (p->interest & WEFT_ONESHOT) != 0;
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

static void look_at_all(void) {
    weft_ready ready[READY_MAX];
    uint32_t expected[SLOTS];
    int of_slots = 0;
    for (int i = 0; i < SLOTS; i++)
        expected[i] = expected_events(&m.slots[i]);
    int count = look(m.s, ready, READY_MAX);
    SAY(count >= 0 && count <= SLOTS + TIMERS + 1);
    for (int i = 0; i < SLOTS; i++) {
        const weft_ready *r = ready_of(ready, count, m.slots[i].fd);
        of_slots += r != NULL;
        check_slot(&m.slots[i], expected[i], r);
    }
    for (int i = 0; i < TIMERS; i++) {
        const weft_ready *r = m.timers[i].fd >= 0 ? ready_of(ready, count, m.timers[i].fd) : NULL;
        of_slots += r != NULL;
        check_timer(&m.timers[i], r);
    }
    const weft_ready *r = m.ev_registered ? ready_of(ready, count, m.ev_fd) : NULL;
    SAY((r != NULL) == (m.ev_registered && m.triggers > 0));
    SAY(!r || r->value == m.triggers);
    m.triggers = r ? 0 : m.triggers;
    SAY_EQ(of_slots + (r != NULL), count);
}

/* The number is closed, or passes to another file, while a duplicate keeps the old one ready. */
static void slot_orphan(struct slot *p) {
    if (!is_in_kernel(p) || !p->peer_open || !(p->interest & WEFT_READ) ||
        (p->interest & edge_or_oneshot))
        return;
    (void)!send(p->peer, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    int duplicate = dup(p->fd), peer = dup(p->peer);
    slot_close(p);
    if (below(2)) {
        slot_unregister(p);
    } else {
        slot_open(p);
        slot_register(p, WEFT_READ);
    }
    look_at_all(); /* meets the orphan, if there was anything to read, and makes a new set */
    for (int i = 0; i < SLOTS; i++) {
        struct slot *other = &m.slots[i];
        if (other->registered && other->gone && other->interest != 0) {
            other->lost = true;
            other->fired = false;
        }
    }
    close(duplicate);
    close(peer);
}

static void timer_operate(struct timer *t) {
    if (t->fd >= 0) {
        SAY_EQ(weft_selector_update(m.s, t->fd, WEFT_READ), -EINVAL);
        SAY_EQ(weft_selector_unregister(m.s, t->fd), 0);
        t->fd = -1;
        return;
    }
    t->is_due = below(2);
    t->fired = false;
    t->data = next_tag();
    t->fd =
        weft_selector_register_timer(m.s, t->is_due ? 0 : WEFT_SEC(10000), WEFT_ONESHOT, t->data);
    SAY(t->fd >= 0 && t->fd < FIRST_FD);
}

static void event_operate(void) {
    if (below(2)) {
        SAY_EQ(weft_event_trigger(m.ev), 0);
        m.triggers++;
    } else if (m.ev_registered) {
        SAY_EQ(weft_selector_unregister_event(m.s, m.ev), 0);
        m.ev_registered = false;
    } else {
        SAY_EQ(weft_selector_unregister_event(m.s, m.ev), -ENOENT);
        SAY_EQ(weft_selector_register_event(m.s, m.ev, NULL), 0);
        m.ev_registered = true;
    }
}

static void operate(void) {
    struct slot *p = &m.slots[below(SLOTS)];
    switch (below(24)) {
    case 0:
    case 1:
    case 2:
    case 3: slot_register(p, random_interest()); break;
    case 4:
    case 5:
    case 6:
    case 7: slot_update(p, random_interest()); break;
    case 8:
    case 9: slot_unregister(p); break;
    case 10:
    case 11: slot_data(p); break;
    case 12:
    case 13:
    case 14:
    case 15: slot_traffic(p); break;
    case 16: slot_open(p); break;
    case 17:
        if (below(3) == 0)
            slot_close(p);
        else
            slot_orphan(p);
        break;
    case 18: timer_operate(&m.timers[below(TIMERS)]); break;
    case 19: event_operate(); break;
    default: look_at_all(); break;
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
static void check_kernel(void) {
    static struct tfd list[64];
    int count = tfd_read(m.fdinfo, list, 64), expected = 0;
    size_t counted = 0;
    for (int i = 0; i < SLOTS; i++) {
        const struct slot *p = &m.slots[i];
        counted += is_counted(p);
        if (!is_in_kernel(p))
            continue;
        const struct tfd *t = tfd_of(list, count, p->fd);
        SAY(t != NULL);
        SAY_EQ(t->events, bits_of(p));
        SAY_EQ((uint32_t)t->cookie, p->fd);
        weft_ready r = {.fd = p->fd, .generation = (uint32_t)(t->cookie >> 40)};
        SAY(weft_selector_is_live(m.s, &r));
        expected++;
    }
    for (int i = 0; i < TIMERS; i++)
        if (m.timers[i].fd >= 0) {
            const struct tfd *t = tfd_of(list, count, m.timers[i].fd);
            SAY(t && t->events == EPOLLIN);
            counted += !m.timers[i].fired;
            expected++;
        }
    if (m.ev_registered) {
        SAY(tfd_of(list, count, m.ev_fd) != NULL);
        counted++;
        expected++;
    }
    SAY_EQ(count, expected);
    SAY_EQ(weft_selector_count(m.s), counted);
    SAY(weft_selector_is_empty(m.s) == (counted == 0));
}

static void model_open(void) {
    const char *seed = getenv("WTEST_SEED");
    m.seed = seed ? strtoull(seed, NULL, 10) : now_ns();
    m.random = m.seed * 0x9e3779b97f4a7c15u | 1;
    m.s = make_selector();
    m.fdinfo = tfd_open(weft_selector_fd(m.s));
    CHECK(m.fdinfo >= 0);
    CHECK_EQ(weft_event_create(&m.ev), 0);
    CHECK_EQ(weft_selector_register_event(m.s, m.ev, NULL), 0);
    CHECK_EQ(weft_event_trigger(m.ev), 0);
    m.ev_fd = expect_one(m.s).fd;
    m.ev_registered = true;
    for (int i = 0; i < SLOTS; i++) {
        m.slots[i].fd = FIRST_FD + i;
        m.slots[i].peer = FIRST_PEER + i;
        slot_open(&m.slots[i]);
    }
    for (int i = 0; i < TIMERS; i++)
        m.timers[i].fd = -1;
}

WTEST(selector_random, a_million_operations_keep_table_and_kernel_equal) {
    model_open();
    uint64_t steps = 1000000 / wtest_slowdown();
    for (m.step = 0; m.step < steps; m.step++) {
        operate();
        check_kernel();
    }
    weft_selector_destroy(m.s);
    weft_event_destroy(m.ev);
    for (int i = 0; i < SLOTS; i++) {
        slot_close(&m.slots[i]);
        if (m.slots[i].peer_open)
            close(m.slots[i].peer);
    }
    close(m.fdinfo);
}
