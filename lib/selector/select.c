#include "selector/internal.h"

/* Raw events on the stack of select. */
enum { BATCH_MAX = 256, LOOKS_MAX = 16 };

/* A hang-up is no error: the end of a pipe, or of a peer's sending half, is how things end. */
static uint32_t ready_events(uint32_t epoll_events) {
    if (epoll_events & EPOLLHUP && MUTANT("selector-hang-up-hides"))
        return WEFT_HANGUP;
    return (epoll_events & EPOLLIN ? WEFT_READ : 0u) | (epoll_events & EPOLLOUT ? WEFT_WRITE : 0u) |
           (epoll_events & EPOLLERR ? WEFT_ERROR : 0u) |
           (epoll_events & (EPOLLHUP | EPOLLRDHUP) ? WEFT_HANGUP : 0u);
}

/* Taken, so that the next to ask is not told of the same error; 0 where fd is no socket. */
static int socket_error(int fd) {
    int error = 0;
    return os_getsockopt_int(fd, SOL_SOCKET, SO_ERROR, &error) < 0 ? 0 : -error;
}

/* An event whose stamp is the entry's, under the lock: what concerns the fd's content must not meet
 * an unregister, a close and a reuse of the number half-way. false: nothing to report, after all.
 */
static bool take_event(struct weft_selector *s, struct selector_entry *e, uint32_t epoll_events,
                       weft_ready *ready) {
    uint64_t meta = atom_load(&e->meta, relaxed);
    if (!(meta & META_ACTIVE) || (meta & META_FIRED))
        return false; /* paused, or off already: the event is from before */
    ready->data = atom_load(&e->data, relaxed);
    ready->generation = meta_generation(meta);
    if (e->source) {
        int r = e->source->kind->take(s, ready->fd, e->source, ready);
        if (r == -EAGAIN && !MUTANT("fault-empty-read-shown"))
            return false;
        if (r < 0) {
            ready->events = WEFT_ERROR;
            ready->error = r;
        }
    } else {
        ready->events = ready_events(epoll_events);
        if (epoll_events & EPOLLERR)
            ready->error = socket_error(ready->fd);
    }
    if ((ready->events & WEFT_FINISHED) || (!e->source && (meta & WEFT_ONESHOT)))
        entry_publish(s, e, meta | META_FIRED);
    return true;
}

/* The slow way: everything but a plain event of a plain fd. Sets *ret_is_orphan when the event can
 * only come from a file that is no longer registered. */
static bool deliver_locked(struct weft_selector *s, struct selector_entry *e,
                           const struct epoll_event *event, weft_ready *ready,
                           bool *ret_is_orphan) {
    uint32_t stamp = (uint32_t)(event->data.u64 >> SELECTOR_STAMP_SHIFT);
    selector_lock(s);
    uint64_t meta = atom_load(&e->meta, relaxed);
    bool is_ready = false;
    if (meta_stamp(meta) == stamp || MUTANT("selector-stale-delivered"))
        is_ready = take_event(s, e, event->events, ready);
    else if (meta_generation(meta) != stamp >> (SELECTOR_GENERATION_SHIFT - SELECTOR_STAMP_SHIFT))
        *ret_is_orphan |= s->suspicions > 0 && !MUTANT("selector-orphan-spins");
    selector_unlock(s);
    return is_ready;
}

/* Turns an event into what the caller sees. false: there is nothing to see. */
static bool deliver(struct weft_selector *s, const struct epoll_event *event, weft_ready *ready,
                    bool *ret_is_orphan) {
    uint64_t cookie = event->data.u64;
    struct selector_entry *e = selector_entry_at(s, (uint32_t)cookie);
    *ready = (weft_ready){.fd = (int)(uint32_t)cookie};

    /* Without the lock, when nothing has to be counted or read. An entry that does not look as the
     * event says may just be changing: the kernel is told before the table. */
    const uint32_t relevant = META_ACTIVE | META_SOURCE | WEFT_ONESHOT;
    uint64_t meta = atom_load(&e->meta, acquire);
    if ((meta ^ cookie) >> SELECTOR_STAMP_SHIFT == 0 &&
        ((uint32_t)meta & relevant) == META_ACTIVE && !(event->events & EPOLLERR)) {
        ready->data = atom_load(&e->data, acquire);
        /* As in weft_selector_get_data(): still the life that the data was read for? */
        if (meta_stamp(atom_load(&e->meta, relaxed)) == meta_stamp(meta)) {
            ready->generation = meta_generation(meta);
            ready->events = ready_events(event->events);
            return true;
        }
    }
    if (MUTANT("selector-early-dropped") && (meta ^ cookie) >> SELECTOR_STAMP_SHIFT)
        return false;
    return deliver_locked(s, e, event, ready, ret_is_orphan);
}

/* One batch: the number filled, which may be 0 though events came, or -errno. */
static int deliver_batch(struct weft_selector *s, const struct epoll_event *events, int count,
                         weft_ready *ready) {
    bool is_orphaned = false;
    int filled = 0;
    for (int i = 0; i < count; i++)
        filled += deliver(s, &events[i], &ready[filled], &is_orphaned);
    if (!is_orphaned)
        return filled;
    selector_lock(s);
    int r = set_rebuild(s);
    selector_unlock(s);
    /* An error is worth telling only where there is nothing else to tell: the orphan comes again.
     */
    return r < 0 && filled == 0 ? r : filled;
}

static uint64_t time_left(uint64_t deadline) {
    if (deadline == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now = clock_now_ns();
    return now < deadline ? deadline - now : 0;
}

/* Waits until something can be shown, or the time is over. What a round finds and cannot show has
 * thereby been taken, disarmed, or removed with the old set, so that a look without a wait also
 * goes on for what lies behind it; but not for ever. */
static int wait_and_deliver(struct weft_selector *s, uint64_t timeout_ns, weft_ready *ready,
                            int capacity) {
    struct epoll_event events[BATCH_MAX];
    uint64_t left = timeout_ns;
    uint64_t deadline = UINT64_MAX;
    int looks_left = LOOKS_MAX;
    if (timeout_ns != 0 && timeout_ns != UINT64_MAX)
        deadline = time_add(clock_now_ns(), timeout_ns);
    for (;;) {
        int count = os_epoll_wait(s->epoll_fd, events, capacity, left);
        if (count < 0)
            return count == -EINTR && !MUTANT("fault-interruption-told") ? 0 : count;
        int filled = deliver_batch(s, events, count, ready);
        if (filled != 0 || MUTANT("selector-loser-returns"))
            return filled;
        if (timeout_ns != 0)
            left = time_left(deadline);
        if (left == 0 && (count == 0 || looks_left-- == 0))
            return 0;
    }
}

int weft_selector_select(weft_selector *s, uint64_t timeout_ns, weft_ready *ready,
                         size_t capacity) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    if (!ready || capacity == 0)
        return -EINVAL;
    /* Acquire and release: the batch of one selecting thread is accounted for before the next
     * thread waits. */
    if (atom_xchg(&s->selecting, 1, acquire) != 0)
        return -EBUSY;
    r = wait_and_deliver(s, timeout_ns, ready, capacity < BATCH_MAX ? (int)capacity : BATCH_MAX);
    atom_store(&s->selecting, 0, release);
    return r;
}
