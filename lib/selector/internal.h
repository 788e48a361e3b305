/* What the files of this folder share. */
#ifndef WEFT_LIB_SELECTOR_INTERNAL_H
#define WEFT_LIB_SELECTOR_INTERNAL_H

#include "selector/selector.h"

#include "weft/event.h"
#include "weft/selector.h"

/* The lower half of meta. The lowest bits are weft's own event bits: what was asked for. */
#define META_INTEREST UINT32_C(0xfff)
#define META_SOURCE (UINT32_C(1) << 12) /* a timer, signal, process or event */
#define META_PARKED (UINT32_C(1) << 13) /* in the parking set */
#define META_ACTIVE (UINT32_C(1) << 14) /* in the set that is waited on */
#define META_FIRED                                                                                 \
    (UINT32_C(1) << 15) /* a ONESHOT went off, or a source has finished: not counted */

/* One kind of source. A new kind is a new file with one of these. */
struct source_kind {
    /* Takes what is there and fills in events, error and value. Holds the lock, and the stamp was
     * checked under it: the fd is still the source's, however late the event was looked at.
     * WEFT_FINISHED among the events ends the entry's count. 0; or -errno, of which -EAGAIN means
     * that there was nothing after all. */
    int (*take)(struct weft_selector *s, int fd, struct source *source, weft_ready *ready);
    /* The entry is gone. `fd` is the one to close, or -1 when its number belongs to somebody else
     * by now. Holds the lock. */
    void (*release)(struct weft_selector *s, int fd, struct source *source);
};

struct source {
    const struct source_kind *kind;
};

/* What an entry is to become. */
struct attachment {
    uint32_t flags; /* META_ACTIVE or META_PARKED, META_SOURCE, interest */
    uint32_t epoll_events;
    void *data;
    struct source *source;
};

/* table.c */
int table_reach(struct weft_selector *s, int fd, struct selector_entry **ret_entry);
struct selector_entry *table_find(struct weft_selector *s, int fd); /* NULL: never registered */
void table_free(struct weft_selector *s);
/* Calls fn for every registered entry; stops at what fn returns below 0. */
int table_each(struct weft_selector *s,
               int (*fn)(struct weft_selector *s, int fd, struct selector_entry *e, void *arg),
               void *arg);

static inline uint32_t meta_stamp(uint64_t meta) {
    return (uint32_t)(meta >> SELECTOR_STAMP_SHIFT);
}

static inline uint32_t meta_generation(uint64_t meta) {
    return (uint32_t)(meta >> SELECTOR_GENERATION_SHIFT);
}

/* Odd generations are lives. */
static inline bool meta_is_live(uint64_t meta) {
    return meta_generation(meta) & 1;
}

static inline bool meta_is_counted(uint64_t meta) {
    return (meta & META_ACTIVE) && !(meta & META_FIRED);
}

static inline uint64_t meta_next_generation(uint64_t meta) {
    return ((meta >> SELECTOR_GENERATION_SHIFT) + 1) << SELECTOR_GENERATION_SHIFT;
}

static inline uint64_t meta_with_flags(uint64_t meta, uint32_t flags) {
    return (meta & ~(uint64_t)UINT32_MAX) | flags;
}

static inline uint64_t cookie_of(uint64_t meta, int fd) {
    return (meta & ~(uint64_t)UINT32_MAX) | (uint32_t)fd;
}

/* entry.c; all of them hold the lock. */
int entry_attach(struct weft_selector *s, int fd, const struct attachment *a,
                 uint32_t *ret_generation);
int entry_detach(struct weft_selector *s, int fd, struct selector_entry *e);
/* The same where nobody could be told of an error: what the kernel keeps is then an orphan. */
void entry_drop(struct weft_selector *s, int fd, struct selector_entry *e);
void entry_publish(struct weft_selector *s, struct selector_entry *e, uint64_t meta);
int kernel_add(int set_fd, int fd, uint32_t epoll_events, uint64_t cookie);
int kernel_ask(struct weft_selector *s, int set_fd, int fd);
bool kernel_says_gone(int error);
uint32_t epoll_events_of(uint32_t events);
uint32_t entry_bits(struct selector_entry *e);
int parking_open(struct weft_selector *s, int fd);

/* rebuild.c */
int set_rebuild(struct weft_selector *s);

/* Puts a source into s, taking the lock. On failure source and fd stay the caller's. */
int source_attach(struct weft_selector *s, int fd, struct source *source, uint32_t epoll_events,
                  void *data);

/* What every public call checks first: 0, -EINVAL or -EPERM. */
static inline int selector_check(const struct weft_selector *s) {
    if (!s)
        return -EINVAL;
    return process_is_forked() ? -EPERM : 0;
}

/* The same for calls that change a selector or wait on it. */
static inline int selector_check_own(const struct weft_selector *s) {
    int r = selector_check(s);
    return r == 0 && s->is_private ? -EPERM : r;
}

static inline void selector_lock(struct weft_selector *s) {
    lock_take(&s->lock);
}

static inline void selector_unlock(struct weft_selector *s) {
    lock_drop(&s->lock);
}

#endif
