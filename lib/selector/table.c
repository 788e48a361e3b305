#include "selector/internal.h"

#include <string.h>

/* Fds of one segment: [first, first + length). */
static uint32_t segment_first(unsigned segment) {
    return segment == SEGMENT_FIRST ? 0 : UINT32_C(1) << segment;
}

static size_t segment_length(unsigned segment) {
    return segment == SEGMENT_FIRST ? (size_t)2 << SEGMENT_FIRST : (size_t)1 << segment;
}

static size_t segment_size(unsigned segment) {
    return segment_length(segment) * sizeof(struct selector_entry);
}

static uintptr_t segment_base(const struct selector_entry *memory, unsigned segment) {
    return (uintptr_t)memory - (uintptr_t)segment_first(segment) * sizeof(struct selector_entry);
}

/* Seeded: growth as realloc() does it. */
static void segment_move(struct weft_selector *s) {
    const struct selector_entry *from = s->segment_memory[SEGMENT_FIRST];
    struct selector_entry *moved = mem_alloc(segment_size(SEGMENT_FIRST));
    if (from && moved) {
        memcpy(moved, from, segment_size(SEGMENT_FIRST));
        atom_store(&s->segments[SEGMENT_FIRST], segment_base(moved, SEGMENT_FIRST), release);
    }
}

/* The entry of fd, whose segment is made where there is none. */
int table_reach(struct weft_selector *s, int fd, struct selector_entry **ret_entry) {
    if (fd < 0)
        return -EBADF;
    unsigned segment = selector_segment_of((uint32_t)fd);
    if (!s->segment_memory[segment]) {
        /* The last segments are gigabytes: not for a number that is no open file. */
        int r = MUTANT("selector-limit-fixed") && fd > 1023 ? -EBADF : os_fd_check(fd);
        if (r < 0)
            return r;
        struct selector_entry *memory = mem_zalloc(segment_size(segment));
        if (!memory)
            return -ENOMEM;
        s->segment_memory[segment] = memory;
        if (MUTANT("selector-growth-moves"))
            segment_move(s);
        /* Release: pairs with the acquire in selector_entry_at(). */
        atom_store(&s->segments[segment], segment_base(memory, segment), release);
    }
    *ret_entry = selector_entry_at(s, (uint32_t)fd);
    return 0;
}

struct selector_entry *table_find(struct weft_selector *s, int fd) {
    if (fd < 0 || atom_load(&s->segments[selector_segment_of((uint32_t)fd)], acquire) == 0)
        return NULL;
    return selector_entry_at(s, (uint32_t)fd);
}

int table_each(struct weft_selector *s,
               int (*fn)(struct weft_selector *s, int fd, struct selector_entry *e, void *arg),
               void *arg) {
    for (unsigned segment = SEGMENT_FIRST; segment < SEGMENT_COUNT; segment++) {
        if (!s->segment_memory[segment])
            continue;
        for (size_t i = 0; i < segment_length(segment); i++) {
            uint32_t fd = segment_first(segment) + (uint32_t)i;
            struct selector_entry *e = selector_entry_at(s, fd);
            if (!meta_is_live(atom_load(&e->meta, relaxed)))
                continue;
            int r = fn(s, (int)fd, e, arg);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

void table_free(struct weft_selector *s) {
    for (unsigned segment = SEGMENT_FIRST; segment < SEGMENT_COUNT; segment++)
        mem_free(s->segment_memory[segment], segment_size(segment));
}

/* The entry of fd while it is registered. */
static struct selector_entry *find_live(struct weft_selector *s, int fd) {
    if (selector_check(s) < 0)
        return NULL;
    struct selector_entry *e = table_find(s, fd);
    /* Acquire: pairs with the release in entry_publish(), for what is read of the entry next. */
    return e && meta_is_live(atom_load(&e->meta, acquire)) ? e : NULL;
}

/* The data that belongs to the life of which meta was read, without a lock.
 *
 * Whoever ends a life stores meta before anybody stores the next data, and the next meta after it.
 * Acquire on data: pairs with the release in entry_attach(); a reader that saw the next life's data
 * therefore also sees that meta has moved on, reads again, and never mixes two lives. */
int weft_selector_get_data(weft_selector *s, int fd, void **ret_data) {
    int r = selector_check(s);
    if (r < 0)
        return r;
    struct selector_entry *e = table_find(s, fd);
    if (!e)
        return -ENOENT;
    for (;;) {
        uint64_t meta = atom_load(&e->meta, acquire);
        if (!meta_is_live(meta))
            return -ENOENT;
        void *data = atom_load(&e->data, acquire);
        if (meta_generation(atom_load(&e->meta, relaxed)) != meta_generation(meta))
            continue;
        if (ret_data)
            *ret_data = data;
        return 0;
    }
}

int weft_selector_set_data(weft_selector *s, int fd, void *data) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    /* Under the lock: a store between two lives of the fd would hit the wrong one. */
    selector_lock(s);
    struct selector_entry *e = find_live(s, fd);
    if (e)
        atom_store(&e->data, data, release);
    selector_unlock(s);
    return e ? 0 : -ENOENT;
}

_Static_assert(sizeof(_Atomic(void *)) == sizeof(void *) &&
                   _Alignof(_Atomic(void *)) == _Alignof(void *),
               "the slot is handed out as a plain pointer");

void **weft_selector_data(weft_selector *s, int fd) {
    if (selector_check_own(s) < 0)
        return NULL;
    struct selector_entry *e = find_live(s, fd);
    return e ? (void **)(uintptr_t)&e->data : NULL;
}

bool weft_selector_contains(weft_selector *s, int fd) {
    return find_live(s, fd) != NULL;
}

bool weft_selector_is_live(weft_selector *s, const weft_ready *r) {
    if (selector_check(s) < 0 || !r)
        return false;
    struct selector_entry *e = table_find(s, r->fd);
    if (!e)
        return false;
    uint64_t meta = atom_load(&e->meta, acquire);
    return meta_is_live(meta) &&
           (meta_generation(meta) == r->generation || MUTANT("selector-live-for-ever"));
}

size_t weft_selector_count(weft_selector *s) {
    return selector_check(s) < 0 ? 0 : atom_load(&s->count, relaxed);
}

bool weft_selector_is_empty(weft_selector *s) {
    return weft_selector_count(s) == 0;
}

int weft_selector_fd(weft_selector *s) {
    int r = selector_check(s);
    return r < 0 ? r : s->epoll_fd;
}
