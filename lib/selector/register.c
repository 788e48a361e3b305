#include "selector/internal.h"

static const uint32_t interest_legal =
    WEFT_READ | WEFT_WRITE | WEFT_EDGE | WEFT_ONESHOT | WEFT_EXCLUSIVE;

static int interest_check(uint32_t events) {
    if (events & ~interest_legal)
        return -EINVAL;
    if (events != 0 && !(events & (WEFT_READ | WEFT_WRITE)))
        return -EINVAL;
    if ((events & WEFT_ONESHOT) && (events & WEFT_EXCLUSIVE))
        return -EINVAL;
    return 0;
}

/* No longer needed by the call that made it and then failed: an error leaves no fd behind. */
static void parking_close(struct weft_selector *s) {
    os_close(s->parking_fd);
    s->parking_fd = -1;
}

static int register_paused(struct weft_selector *s, int fd, void *data, uint32_t *ret_generation) {
    /* The kernel would let a set be parked in another one. */
    if (fd == s->epoll_fd || (fd >= 0 && fd == s->parking_fd))
        return -EINVAL;
    int made = parking_open(s, fd);
    if (made < 0)
        return made;
    const struct attachment a = {.flags = META_PARKED, .data = data};
    int r = entry_attach(s, fd, &a, ret_generation);
    if (r < 0 && made && !MUTANT("fault-parking-left"))
        parking_close(s);
    return r;
}

int selector_register(struct weft_selector *s, int fd, uint32_t events, void *data,
                      uint32_t *ret_generation) {
    int r = interest_check(events);
    if (r < 0)
        return r;
    const struct attachment a = {META_ACTIVE | events, epoll_events_of(events), data, NULL};
    selector_lock(s);
    if (events == 0)
        r = register_paused(s, fd, data, ret_generation);
    else
        r = entry_attach(s, fd, &a, ret_generation);
    selector_unlock(s);
    return r;
}

int selector_register_raw(struct weft_selector *s, int fd, uint32_t epoll_events, void *data) {
    uint32_t interest = (epoll_events & EPOLLIN ? WEFT_READ : 0) |
                        (epoll_events & EPOLLOUT ? WEFT_WRITE : 0) |
                        (epoll_events & EPOLLET ? WEFT_EDGE : 0);
    const struct attachment a = {META_ACTIVE | interest, epoll_events, data, NULL};
    selector_lock(s);
    int r = entry_attach(s, fd, &a, NULL);
    selector_unlock(s);
    return r;
}

/* The registered entry of fd, or NULL. */
static struct selector_entry *entry_of(struct weft_selector *s, int fd) {
    struct selector_entry *e = table_find(s, fd);
    return e && meta_is_live(atom_load(&e->meta, relaxed)) ? e : NULL;
}

int selector_modify_raw(struct weft_selector *s, int fd, uint32_t epoll_events) {
    selector_lock(s);
    struct selector_entry *e = entry_of(s, fd);
    int r = -ENOENT;
    if (e) {
        uint64_t cookie = cookie_of(atom_load(&e->meta, relaxed), fd);
        r = os_epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, epoll_events, cookie);
    }
    if (r == 0)
        e->epoll_events = epoll_events;
    selector_unlock(s);
    return r;
}

/* Active to paused. Into the one set before out of the other: whatever fails, the entry is still
 * where the table says. */
static int entry_pause(struct weft_selector *s, int fd, struct selector_entry *e, uint64_t meta) {
    if (MUTANT("selector-pause-in-place"))
        return os_epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, 0, cookie_of(meta, fd));
    int made = parking_open(s, fd);
    if (made < 0)
        return made;
    if (MUTANT("fault-paused-too-early"))
        e->epoll_events = 0;
    uint64_t paused = meta_with_flags(meta, META_PARKED);
    int r = kernel_add(s->parking_fd, fd, 0, cookie_of(paused, fd));
    if (r == 0) {
        r = os_epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, 0, 0);
        if (r < 0)
            (void)os_epoll_ctl(s->parking_fd, EPOLL_CTL_DEL, fd, 0, 0);
    }
    if (r < 0) {
        if (made)
            parking_close(s);
        return r;
    }
    e->epoll_events = 0;
    entry_publish(s, e, paused);
    return 0;
}

/* Paused to active, again into the one set before out of the other. What the parking set answers
 * tells whether the number still is what was paused. */
static int entry_resume(struct weft_selector *s, int fd, uint64_t cookie, uint32_t epoll_events) {
    int r = kernel_add(s->epoll_fd, fd, epoll_events, cookie);
    if (r < 0)
        return r;
    r = os_epoll_ctl(s->parking_fd, EPOLL_CTL_DEL, fd, 0, 0);
    if (r < 0)
        (void)os_epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, 0, 0);
    return r;
}

/* EPOLLEXCLUSIVE can neither be changed nor acquired by EPOLL_CTL_MOD. */
static int entry_replace(struct weft_selector *s, int fd, struct selector_entry *e,
                         uint64_t old_cookie, uint64_t cookie, uint32_t epoll_events) {
    int r = os_epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, 0, 0);
    if (r < 0)
        return r;
    r = os_epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, epoll_events, cookie);
    if (r == 0 || os_epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, entry_bits(e), old_cookie) == 0)
        return r;
    /* Not even the old way: registered still, but in no set, as when its fd had been closed. */
    entry_publish(s, e, meta_with_flags(atom_load(&e->meta, relaxed), 0));
    return r;
}

static int entry_change(struct weft_selector *s, int fd, struct selector_entry *e,
                        uint32_t events) {
    uint64_t meta = atom_load(&e->meta, relaxed);
    uint32_t old = (uint32_t)meta & META_INTEREST;
    if (!(meta & (META_ACTIVE | META_PARKED)))
        return -EBADF; /* found closed when the set was rebuilt */
    if (events == 0)
        return meta & META_PARKED ? 0 : entry_pause(s, fd, e, meta);
    if ((meta & META_ACTIVE) && events == old && !(events & (WEFT_EDGE | WEFT_ONESHOT)))
        return 0;

    /* An event of the earlier arming may be on its way: it is not one of this. Adding to the arm
     * must not carry into the generation. */
    uint64_t next = meta;
    if (((old | events) & WEFT_ONESHOT) && !MUTANT("selector-arm-kept"))
        next = (meta & ~(UINT64_C(0xff) << SELECTOR_STAMP_SHIFT)) |
               ((uint64_t)(uint8_t)(meta_stamp(meta) + 1) << SELECTOR_STAMP_SHIFT);
    next = meta_with_flags(next, META_ACTIVE | events);

    uint32_t bits = epoll_events_of(events);
    uint64_t cookie = cookie_of(next, fd);
    int r;
    if (meta & META_PARKED)
        r = entry_resume(s, fd, cookie, bits);
    else if ((old | events) & WEFT_EXCLUSIVE)
        r = entry_replace(s, fd, e, cookie_of(meta, fd), cookie, bits);
    else
        r = os_epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, bits, cookie);
    if (r < 0)
        return r;
    e->epoll_events = bits;
    entry_publish(s, e, next);
    return 0;
}

int selector_update(struct weft_selector *s, int fd, uint32_t events) {
    int r = interest_check(events);
    if (r < 0)
        return r;
    selector_lock(s);
    struct selector_entry *e = entry_of(s, fd);
    if (!e)
        r = -ENOENT;
    else if (e->source)
        r = -EINVAL;
    else
        r = entry_change(s, fd, e, events);
    selector_unlock(s);
    /* The table knows fd; that the kernel does not means that it was closed and reused. */
    return e && r == -ENOENT ? -EBADF : r;
}

int selector_unregister(struct weft_selector *s, int fd) {
    selector_lock(s);
    struct selector_entry *e = entry_of(s, fd);
    if (e)
        entry_drop(s, fd, e);
    selector_unlock(s);
    return e ? 0 : -ENOENT;
}

/* The entry of that registration; NULL when the number is free or another's by now. */
static struct selector_entry *entry_of_generation(struct weft_selector *s, int fd,
                                                  uint32_t generation) {
    struct selector_entry *e = entry_of(s, fd);
    return e && meta_generation(atom_load(&e->meta, relaxed)) == generation ? e : NULL;
}

int selector_unregister_generation(struct weft_selector *s, int fd, uint32_t generation) {
    selector_lock(s);
    struct selector_entry *e = entry_of_generation(s, fd, generation);
    if (e)
        entry_drop(s, fd, e);
    selector_unlock(s);
    return e ? 0 : -ENOENT;
}

void selector_note_fired(struct weft_selector *s, int fd, uint32_t generation) {
    selector_lock(s);
    struct selector_entry *e = entry_of_generation(s, fd, generation);
    uint64_t meta = e ? atom_load(&e->meta, relaxed) : 0;
    if (meta & META_ACTIVE)
        entry_publish(s, e, meta | META_FIRED);
    selector_unlock(s);
}

int weft_selector_register(weft_selector *s, int fd, uint32_t events, void *data) {
    int r = selector_check_own(s);
    return r < 0 ? r : selector_register(s, fd, events, data, NULL);
}

int weft_selector_update(weft_selector *s, int fd, uint32_t events) {
    int r = selector_check_own(s);
    return r < 0 ? r : selector_update(s, fd, events);
}

int weft_selector_unregister(weft_selector *s, int fd) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    selector_lock(s);
    struct selector_entry *e = entry_of(s, fd);
    r = e ? entry_detach(s, fd, e) : -ENOENT;
    selector_unlock(s);
    return r;
}
