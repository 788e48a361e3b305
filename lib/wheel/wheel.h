/*
 * wheel: a hierarchical timing wheel with millions of timers in mind.
 *
 * Pure: no system call, no clock, no allocation, no atomics. The caller passes `now_ns` in, asks
 * wheel_next_ns() how long it may sleep, and takes what is due one by one:
 *
 *     wheel_advance(w, now_ns);
 *     while ((node = wheel_pop_due(w)) != NULL)
 *         ...                          -- may start and stop any node, due ones included
 *
 * What holds
 *   - Never early. A deadline is due at the first advance to its tick, the deadline rounded up to a
 *     multiple of WHEEL_TICK_NS (0.524 ms): less than one tick late if the caller comes in time.
 *   - Equal deadlines come out in the order of their wheel_start() calls. Different ticks come out
 *     in the order of time. Different deadlines WITHIN one tick come out in start order, not in the
 *     order of their nanoseconds.
 *   - A deadline that is already past when it is started (at or before the `now_ns` of the last
 *     advance) becomes due at the next wheel_advance(), in start order and ahead of everything that
 *     falls due by then; it never joins the nodes that are being popped. So a node that restarts
 *     itself with no delay comes out once per advance and starves nobody.
 *   - UINT64_MAX never fires, nor does anything in the last tick before 2^64 ns (after 584 years).
 *   - start and stop are O(1). An advance costs by the slots and nodes it meets, never by the time
 *     that passed; a node is moved at most once per level on its way down.
 *
 * After G. Varghese and A. Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7.
 *
 * Thread: one wheel belongs to one thread.
 */
#ifndef WEFT_LIB_WHEEL_H
#define WEFT_LIB_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WHEEL_TICK_SHIFT = 19, /* a tick of 2^19 ns leaves half a millisecond to the kernel */
    WHEEL_DIGIT_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_DIGIT_BITS,    /* per level, one bit each in an occupancy word */
    WHEEL_LEVELS = 8,                       /* 48 bits of ticks; 2^64 ns need 45 and a carry */
    WHEEL_DUE = WHEEL_LEVELS * WHEEL_SLOTS, /* list of the nodes that wait for wheel_pop_due() */
    WHEEL_PAST,                             /* list of the nodes that the next advance makes due */
    WHEEL_LISTS,
};

#define WHEEL_TICK_NS (UINT64_C(1) << WHEEL_TICK_SHIFT)

/* Embedded in what it times. All zero is idle; while pending, its memory is the wheel's. */
struct wheel_node {
    struct wheel_node *next, *prev; /* NULL when idle */
    uint64_t deadline_ns;           /* as started; kept when the node comes out */
    /* The owner may raise deadline_ns of a pending node in place. The node still comes out no later
     * than it would have, perhaps early by then: who does so looks, and starts it again. */
};

/* Treat as opaque: the fields are here for embedding and for the inlined calls. */
struct wheel {
    uint64_t now_ns;                      /* of the last advance; levels refer to its tick */
    uint64_t swept_ns;                    /* now_ns when the coming tick was swept last */
    size_t count;                         /* pending nodes, due ones included */
    uint64_t occupied[WHEEL_LEVELS + 1];  /* bit set: list not empty; the last word: DUE and PAST */
    struct wheel_node lists[WHEEL_LISTS]; /* heads of circular lists, level by level */
};

/* Makes *w an empty wheel at now_ns. The wheel must not move afterwards. */
void wheel_init(struct wheel *w, uint64_t now_ns);

/* Lets the node come out at deadline_ns. A pending node is restarted: it goes behind equal
 * deadlines, and if it was due already it no longer is. */
void wheel_start(struct wheel *w, struct wheel_node *node, uint64_t deadline_ns);

/* True: the node was pending, due and not yet popped included, and will not come out. */
bool wheel_stop(struct wheel *w, struct wheel_node *node);

/* Takes out some pending node, due or not; NULL when there is none. For the end of a wheel. */
struct wheel_node *wheel_pop_any(struct wheel *w);

/* The earliest time at which wheel_advance() has something to do: an expiry, or a slot of an upper
 * level to be distributed (at most once per level in a node's life). 0 when nodes are due or past
 * already, UINT64_MAX when nothing will ever be due. O(levels). */
uint64_t wheel_next_ns(const struct wheel *w);

/* Moves what is due at now_ns to the due list, behind what still waits there. Time never goes
 * backwards: an earlier now_ns counts as the last one. */
void wheel_advance(struct wheel *w, uint64_t now_ns);

/* The pending node after this one, in no order that means anything, or NULL; after NULL the first.
 * No node may be stopped, restarted or advanced over from the first call to the last. */
struct wheel_node *wheel_after(struct wheel *w, const struct wheel_node *node);

/* The next due node, idle from here on, or NULL. */
struct wheel_node *wheel_pop_due(struct wheel *w);

/* NULL if every invariant holds, else what is broken. O(nodes): for tests and debug builds. */
const char *wheel_check(const struct wheel *w);

static inline bool wheel_is_pending(const struct wheel_node *node) {
    return node->next != NULL;
}

static inline size_t wheel_count(const struct wheel *w) {
    return w->count;
}

static inline bool wheel_is_empty(const struct wheel *w) {
    return w->count == 0;
}

#endif
