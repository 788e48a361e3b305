/* The selector's door: what workers use of it. The public calls are in weft/selector.h.
 *
 * DESIGN
 *
 * A table beside an epoll set. An entry is found by its fd, and lives in one of a few segments, of
 * which each is as large as all before it: a segment is allocated when the first of its fds is
 * registered, published once, and neither moved nor freed before the selector is destroyed. So any
 * fd that the kernel hands out has a place, also after its limits were raised, and looking one up
 * takes no lock and no grace period.
 *
 * An entry's `meta` is one word, stamp and flags. The stamp (generation and arm) is also the upper
 * half of the epoll cookie, so that an event says which life of the fd it belongs to:
 *
 *     cookie   | generation:24 | arm:8 | fd:32    |
 *     meta     | generation:24 | arm:8 | flags:32 |
 *
 * The generation is odd while the fd is registered: registering and unregistering each add one. The
 * arm goes up whenever a ONESHOT is armed again, so that an event of the earlier arming, which may
 * still lie in the selecting thread's batch, is not taken for one of the new.
 *
 * Every change holds the selector's lock; the kernel serializes epoll_ctl() per epoll set anyway,
 * so the lock costs no concurrency that there was. The system call comes first and the table after
 * it: an error needs no undoing. In between, an event may carry a stamp that the table does not
 * know yet, which is why nobody drops an event as stale before having looked again under the lock.
 *
 * A paused entry sits in a second epoll set, the parking set, which nobody waits on. The kernel
 * thereby still answers what the table cannot know: has the number been closed and reused? */
#ifndef WEFT_LIB_SELECTOR_SELECTOR_H
#define WEFT_LIB_SELECTOR_SELECTOR_H

#include "base/base.h"

#include <pthread.h>

struct source;

struct selector_entry {
    _Atomic uint64_t meta;
    _Atomic(void *) data;
    /* Guarded by the lock. */
    struct source *source; /* NULL: a file descriptor of the program's */
    uint32_t epoll_events; /* as last given to the kernel */
    uint32_t unused;
};

enum {
    SEGMENT_FIRST = 9, /* holds fds below 1024; segment n after it those whose highest bit is n */
    SEGMENT_COUNT = 31,
    SELECTOR_STAMP_SHIFT = 32,
    SELECTOR_GENERATION_SHIFT = 40,
};

struct weft_selector {
    /* Where entry 0 would be if the segment reached down to it; 0: not allocated. Written under
     * the lock, read by anyone. */
    _Atomic uintptr_t segments[SEGMENT_COUNT];

    /* Immutable after create. */
    int epoll_fd;
    bool is_private;

    _Atomic size_t count;       /* written under the lock */
    _Atomic uint32_t selecting; /* 1: a thread is in select */

    /* Guarded by the lock. */
    WEFT_CACHE_ALIGNED pthread_mutex_t lock;
    struct selector_entry *segment_memory[SEGMENT_COUNT];
    int parking_fd;       /* -1 until the first pause */
    unsigned suspicions;  /* files that the kernel may still report though their entry is gone */
    bool rebuild_refused; /* logged already */
    uint64_t signals;     /* bit n - 1: signal n is registered here */
    struct pid_map pids;  /* processes that have not finished */
};

/* As the public calls of these names; errors as there, but for selector_unregister().
 * selector_destroy() takes NULL. */
int selector_create(struct weft_selector **ret_selector);
void selector_destroy(struct weft_selector *s);
int selector_register(struct weft_selector *s, int fd, uint32_t events, void *data,
                      uint32_t *ret_generation);
int selector_update(struct weft_selector *s, int fd, uint32_t events);
/* The entry ends whatever the kernel says of it: 0 or -ENOENT. */
int selector_unregister(struct weft_selector *s, int fd);
/* The same, but only if fd is still the one registered then: -ENOENT when its number has been
 * closed and registered anew. */
int selector_unregister_generation(struct weft_selector *s, int fd, uint32_t generation);
/* A ONESHOT of a worker's went off: until its next update it is not counted, and stays off in a set
 * that is made anew. */
void selector_note_fired(struct weft_selector *s, int fd, uint32_t generation);

/* From now on the public calls refuse to change s or to select on it. Before s is shared. */
void selector_set_private(struct weft_selector *s);

/* Registers fd for exactly these epoll bits, of which EPOLLONESHOT is not legal: nobody would
 * count it down. EPOLLEXCLUSIVE is, and forbids selector_modify_raw() (epoll_ctl(2)). */
int selector_register_raw(struct weft_selector *s, int fd, uint32_t epoll_events, void *data);

/* Changes them: one EPOLL_CTL_MOD. -ENOENT, or what epoll_ctl() says. */
int selector_modify_raw(struct weft_selector *s, int fd, uint32_t epoll_events);

/* Out of line: see selector_live(). */
void *selector_stale(struct weft_selector *s, const struct epoll_event *event);

/* One epoll wait: the number of raw events, or -errno, -EINTR included. */
static inline int selector_wait(struct weft_selector *s, struct epoll_event *buffer, int capacity,
                                uint64_t timeout_ns) {
    return os_epoll_wait(s->epoll_fd, buffer, capacity, timeout_ns);
}

/* By the highest bit of fd, without a branch: all fds below 1024 count as having bit 9. */
static inline unsigned selector_segment_of(uint32_t fd) {
    const uint32_t floor = (1u << (SEGMENT_FIRST + 1)) - 1;
    return 31u ^ (unsigned)__builtin_clz(fd | floor);
}

/* The entry of an fd whose segment is known to exist.
 *
 * Acquire: pairs with the release in table_reach(); without it the entry could be read before the
 * zeroes that the segment was filled with. */
static inline struct selector_entry *selector_entry_at(struct weft_selector *s, uint32_t fd) {
    uintptr_t base = atom_load(&s->segments[selector_segment_of(fd)], acquire);
    return (struct selector_entry *)(base +
                                     (uintptr_t)fd * sizeof(struct selector_entry)); // NOLINT
}

/* The data of an event that selector_wait() returned; or `stale`, when its fd has been unregistered
 * since, or a duplicate of a closed fd sent it: nothing of it may be shown then.
 *
 * For the thread that waits on s, where that is also the only one to unregister: the stamp is not
 * read a second time after the data. The segment exists: the cookie came from our own ADD.
 *
 * Acquire on meta: pairs with the release in entry_publish(). Without it the data of the fd's
 * previous life could be read with the stamp of this one. The data needs no ordering of its own for
 * the pointer, and acquire for what it points to: another thread may have registered it. */
static inline void *selector_live(struct weft_selector *s, const struct epoll_event *event,
                                  void *stale) {
    uint64_t cookie = event->data.u64;
    struct selector_entry *e = selector_entry_at(s, (uint32_t)cookie);
    uint64_t meta = atom_load(&e->meta, acquire);
    if (unlikely((meta ^ cookie) >> SELECTOR_STAMP_SHIFT) && !MUTANT("selector-live-unchecked")) {
        void *data = selector_stale(s, event);
        return data ? data : stale;
    }
    return atom_load(&e->data, acquire);
}

#endif
