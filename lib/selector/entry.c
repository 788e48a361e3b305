#include "selector/internal.h"

/* The epoll bits for what weft's events ask.
 *
 * EPOLLRDHUP goes with READ alone: with WRITE only, a half-closed peer would be reported without
 * end to somebody who does not read. EPOLLEXCLUSIVE does not allow it (epoll_ctl(2)). */
uint32_t epoll_events_of(uint32_t events) {
    uint32_t bits = 0;
    if (events & WEFT_READ)
        bits |= EPOLLIN | (events & WEFT_EXCLUSIVE ? 0 : (uint32_t)EPOLLRDHUP);
    if (events & WEFT_WRITE)
        bits |= EPOLLOUT | (MUTANT("selector-rdhup-with-write") ? (uint32_t)EPOLLRDHUP : 0);
    if (events & WEFT_EDGE)
        bits |= EPOLLET;
    if (events & WEFT_ONESHOT)
        bits |= EPOLLONESHOT;
    if (events & WEFT_EXCLUSIVE)
        bits |= EPOLLEXCLUSIVE;
    return bits;
}

/* The bits to add the entry with, should it have to be added again: what has fired stays as the
 * kernel left it, there but silent. */
uint32_t entry_bits(struct selector_entry *e) {
    bool is_disarmed =
        (atom_load(&e->meta, relaxed) & META_FIRED) && (e->epoll_events & EPOLLONESHOT);
    return is_disarmed ? e->epoll_events & (EPOLLONESHOT | EPOLLET) : e->epoll_events;
}

/* Does this answer to EPOLL_CTL_DEL mean that the number no longer stands for the file that was
 * registered? Closed; another file; a regular file; the set itself. */
bool kernel_says_gone(int error) {
    return error == -EBADF || error == -ENOENT || error == -EPERM || error == -EINVAL;
}

/* Adds fd where the table knows of no entry in this set. If the kernel does, it is an orphan: the
 * file was closed under this number while a duplicate kept it open, and the duplicate has now been
 * moved back to the number. */
int kernel_add(int set_fd, int fd, uint32_t epoll_events, uint64_t cookie) {
    int r = os_epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, epoll_events, cookie);
    if (r != -EEXIST)
        return r;
    r = os_epoll_ctl(set_fd, EPOLL_CTL_DEL, fd, 0, 0);
    return r < 0 ? r : os_epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, epoll_events, cookie);
}

/* Makes sure that there is a parking set for fd. 1: it was made now. */
int parking_open(struct weft_selector *s, int fd) {
    if (s->parking_fd >= 0)
        return 0;
    int parking_fd = os_epoll_create();
    if (parking_fd < 0)
        return parking_fd;
    if (parking_fd == fd) { /* so fd was closed, and its number was the lowest that was free */
        os_close(parking_fd);
        return -EBADF;
    }
    s->parking_fd = parking_fd;
    return 1;
}

static int set_of(const struct weft_selector *s, uint64_t flags) {
    return flags & META_PARKED ? s->parking_fd : s->epoll_fd;
}

/* Makes a new state of the entry known, and counts it.
 *
 * Release: pairs with the acquire of every reader of meta; data, stored before, is then the data of
 * this life. */
void entry_publish(struct weft_selector *s, struct selector_entry *e, uint64_t meta) {
    uint64_t old = atom_load(&e->meta, relaxed);
    atom_store(&e->meta, meta, release);
    size_t count = atom_load(&s->count, relaxed);
    if (meta_is_counted(old) != meta_is_counted(meta))
        atom_store(&s->count, meta_is_counted(meta) ? count + 1 : count - 1, relaxed);
}

/* Ends a life; the source goes with it, and its fd if the number is still the source's. */
static void entry_end(struct weft_selector *s, struct selector_entry *e, int fd_to_close) {
    struct source *source = e->source;
    /* Before the fd is closed: from here on its events are stale, whatever the number becomes. */
    entry_publish(s, e, meta_next_generation(atom_load(&e->meta, relaxed)));
    e->source = NULL;
    if (source)
        source->kind->release(s, fd_to_close, source);
}

/* Asks the kernel whether what fd stands for is in the set: -EEXIST, or 0, or why it could not be
 * there (kernel_says_gone(), -ELOOP) or cannot be told. The question is an ADD, which has no effect
 * on what is there already. */
int kernel_ask(struct weft_selector *s, int set_fd, int fd) {
    const uint64_t nobodys_cookie = UINT64_MAX << (SELECTOR_GENERATION_SHIFT + 1) | (uint32_t)fd;
    int r = os_epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, 0, nobodys_cookie);
    if (r == 0 && os_epoll_ctl(set_fd, EPOLL_CTL_DEL, fd, 0, 0) < 0)
        s->suspicions++;
    return r;
}

/* Puts fd into the kernel's set and then into the table. -EEXIST: it is registered. */
int entry_attach(struct weft_selector *s, int fd, const struct attachment *a,
                 uint32_t *ret_generation) {
    struct selector_entry *e;
    int r = table_reach(s, fd, &e);
    if (r < 0)
        return r;
    const uint32_t where = META_ACTIVE | META_PARKED;
    uint64_t meta = atom_load(&e->meta, relaxed);
    bool is_there = meta & a->flags & where; /* as far as the table knows */
    if (meta & where && !is_there) {
        r = kernel_ask(s, set_of(s, meta), fd);
        if (r < 0)
            return r;
    }

    uint64_t free_meta = meta_is_live(meta) ? meta_next_generation(meta) : meta;
    uint64_t new_meta = meta_with_flags(meta_next_generation(free_meta), a->flags);
    uint64_t cookie = cookie_of(new_meta, fd);
    if (is_there)
        r = os_epoll_ctl(set_of(s, a->flags), EPOLL_CTL_ADD, fd, a->epoll_events, cookie);
    else
        r = kernel_add(set_of(s, a->flags), fd, a->epoll_events, cookie);
    if (r < 0 && !MUTANT("selector-key-kept-on-error"))
        return r;
    if (meta_is_live(meta) && MUTANT("selector-stale-refuses"))
        return -EEXIST;

    if (meta_is_live(meta)) {
        /* The kernel took what the table knows: another file has the number now. The old one may
         * live on in a duplicate, and the number is not ours to close. */
        s->suspicions += (meta & META_ACTIVE) != 0;
        entry_end(s, e, -1);
    }
    e->source = a->source;
    e->epoll_events = a->epoll_events;
    /* Release: pairs with the acquire of data in weft_selector_get_data(). */
    atom_store(&e->data, a->data, release);
    entry_publish(s, e, new_meta);
    if (ret_generation)
        *ret_generation = meta_generation(new_meta);
    return MUTANT("selector-key-kept-on-error") ? r : 0;
}

/* Takes fd out of the kernel's set and then out of the table. */
int entry_detach(struct weft_selector *s, int fd, struct selector_entry *e) {
    uint64_t meta = atom_load(&e->meta, relaxed);
    int r = -EBADF;
    if (meta & (META_ACTIVE | META_PARKED)) {
        r = os_epoll_ctl(set_of(s, meta), EPOLL_CTL_DEL, fd, 0, 0);
        if (r < 0 && (!kernel_says_gone(r) || MUTANT("selector-gone-refused")))
            return r;
        s->suspicions += r < 0 && (meta & META_ACTIVE);
    }
    if (MUTANT("selector-closes-reused"))
        r = 0;
    entry_end(s, e, r < 0 ? -1 : fd);
    return 0;
}

/* What a worker gives up is freed thereafter, so the entry goes whatever the kernel says. */
void entry_drop(struct weft_selector *s, int fd, struct selector_entry *e) {
    if (entry_detach(s, fd, e) == 0 || MUTANT("fault-unregister-refused"))
        return;
    s->suspicions++;
    entry_end(s, e, -1);
}

int source_attach(struct weft_selector *s, int fd, struct source *source, uint32_t epoll_events,
                  void *data) {
    const struct attachment a = {META_ACTIVE | META_SOURCE, epoll_events, data, source};
    selector_lock(s);
    int r = entry_attach(s, fd, &a, NULL);
    selector_unlock(s);
    return r;
}
