#include "selector_model_inner.h"

#include "base/os.h"

#include <sys/eventfd.h>

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
void fault_maybe(void) {
    if (model.below(8) != 0)
        return;
    fault.countdown = 1 + model.below(4);
    fault.is_nospc = model.below(2);
    fault.lowest_fd = lowest_free_fd();
    seam_call_fn = fault_inject;
}

bool fault_was(int result) {
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

uint32_t choose_interest(void) {
    static const uint32_t extras[] = {
        0, 0, 0, WEFT_EDGE, WEFT_ONESHOT, WEFT_EDGE | WEFT_ONESHOT, WEFT_EXCLUSIVE};
    uint32_t events = model.below(4); /* READ and WRITE are the lowest bits */
    if (events == 0 && model.below(4) != 0)
        return 0;
    events |= extras[model.below(sizeof extras / sizeof extras[0])];
    return model.below(50) == 49 ? events | ((uint32_t)WEFT_TIMER << model.below(8)) : events;
}

static bool is_valid(uint32_t events) {
    const uint32_t legal = WEFT_READ | WEFT_WRITE | WEFT_EDGE | WEFT_ONESHOT | WEFT_EXCLUSIVE;
    const uint32_t exclusive_pair = WEFT_ONESHOT | WEFT_EXCLUSIVE;
    return !(events & ~legal) && (events == 0 || events & (WEFT_READ | WEFT_WRITE)) &&
           (events & exclusive_pair) != exclusive_pair;
}

bool is_in_kernel(const struct entry *e) {
    return e->registered && !e->gone && e->interest != 0;
}

bool is_counted(const struct entry *e) {
    return e->registered && !e->lost && e->interest != 0 && !e->fired;
}

uint32_t bits_of(const struct entry *entry) {
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

void entry_register(struct set *set, int i, uint32_t events) {
    struct slot *p = &model.slots[i];
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

void entry_update(struct set *set, int i, uint32_t events) {
    struct slot *p = &model.slots[i];
    struct entry *e = &set->entries[i];
    int expected = 0;
    bool is_same = e->interest == events && !(events & (WEFT_EDGE | WEFT_ONESHOT));
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

void entry_unregister(struct set *set, int i) {
    struct entry *e = &set->entries[i];
    if (!e->gone)
        fault_maybe();
    int result = weft_selector_unregister(set->s, model.slots[i].fd);
    if (fault_was(result))
        return;
    SAY_EQ(result, e->registered ? 0 : -ENOENT);
    *e = (struct entry){.life = e->life + e->registered};
}

void entry_data(struct set *set, int i) {
    struct entry *e = &set->entries[i];
    int fd = model.slots[i].fd, expected = e->registered ? 0 : -ENOENT;
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
        model.sets[set].entries[i].gone = model.sets[set].entries[i].registered;
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
void slot_open(int i, enum kind kind) {
    struct slot *p = &model.slots[i];
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

void slot_close(int i) {
    if (model.slots[i].is_open)
        close(model.slots[i].fd);
    model.slots[i].is_open = false;
    slot_gone(i);
}

/* Eight bytes, as an eventfd wants them; SIGPIPE is ignored. */
void put(int fd) {
    const uint64_t some = 1;
    (void)!write(fd, &some, sizeof some);
}

void slot_traffic(struct slot *p) {
    char bytes[64];
    if (!p->is_open || p->kind == FILE_ALWAYS_READY)
        return;
    switch (model.below(4)) {
    case 0: (void)!read(p->kind == WRITE_END ? p->peer : p->fd, bytes, sizeof bytes); break;
    case 1:
        if (p->peer_open && model.below(8) == 0) {
            close(p->peer);
            p->peer_open = false;
        }
        break;
    case 2:
        if (p->peer_open && p->kind == SOCKET && model.below(8) == 0)
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
