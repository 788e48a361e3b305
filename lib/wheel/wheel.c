/*
 * DESIGN
 *
 * Time is a number of ticks, written in base 64: eight digits, one level of 64 slots each. A node's
 * level is the highest digit in which its tick differs from now's, its slot that digit's value. So:
 *
 *   (1) Every node sits in exactly one slot, a function of its tick and of now's tick alone.
 *   (2) A node of level L agrees with now in all digits above L and exceeds it in digit L. Occupied
 *       slots lie strictly above now's digit, no index wraps around, and everything on a lower
 *       level comes before everything on a higher one: the first bit of the first non-zero
 *       occupancy word is the earliest slot.
 *   (3) As long as now does not enter the block of ticks that a slot stands for, (2) stays true of
 *       its nodes whatever now's lower digits do: nothing moves.
 *   (4) When now enters a block, at its first tick, the slot is emptied: each node goes to the
 *       lower level that (1) names now. Before that instant no node of the block can have been on a
 *       lower level, because by (2) it would have agreed with now in the digit that has only just
 *       become equal.
 *
 * Start order, by construction: lists are appended to at the tail, so a slot holds nodes of equal
 * ticks in start order. By (1) equal ticks share one slot at any time. By (4) a cascade fills lists
 * that are empty of that block's ticks, in the order of the list it empties, and whatever is
 * started later is appended behind. Hence nodes of equal ticks are in start order in every list,
 * through all levels.
 *
 * The exception that must be defended is a deadline already past. It goes to the PAST list, which
 * the next advance makes due. If its tick is not over (now lies between the deadline and the end of
 * the tick), then an equal deadline that was started in time still sits in the coming tick's slot
 * and would be overtaken. So before such a node is appended, the slot is swept: all it holds that
 * has passed meanwhile goes to PAST first, in order. Later ones with those deadlines go to PAST as
 * well, so one sweep per advance is enough, and it walks what the next tick would walk anyway.
 *
 * A node does not record where it is. Unlinking needs only its neighbours; if both are the same
 * one, it is the list's head, whose index names the occupancy bit to clear. That is why an expired
 * slot becomes due by one splice, without a visit to its nodes.
 */
#include "wheel/wheel.h"

#include "base/base.h"

/* Deadlines round up: down would be early. Cannot wrap, 2^64 - 1 gives 2^45. */
static inline uint64_t deadline_tick(uint64_t deadline_ns) {
    uint64_t tick = deadline_ns >> WHEEL_TICK_SHIFT;
    if (MUTANT("wheel-tick-floor"))
        return tick;
    return tick + ((deadline_ns & (WHEEL_TICK_NS - 1)) != 0);
}

static inline uint64_t now_tick(const struct wheel *w) {
    return w->now_ns >> WHEEL_TICK_SHIFT;
}

/* The end of time is for deadlines alone: were now to reach it, "never" would become due. */
static inline uint64_t before_never(uint64_t now_ns) {
    return now_ns == UINT64_MAX ? UINT64_MAX - 1 : now_ns;
}

/* Now's own tick counts as a difference in the lowest digit: a cascade at the very tick of a node
 * puts it into the level-0 slot that the same advance takes next. */
static inline unsigned slot_of(const struct wheel *w, uint64_t tick) {
    uint64_t differs = (tick ^ now_tick(w)) | 1;
    unsigned level = (63u - (unsigned)__builtin_clzll(differs)) / WHEEL_DIGIT_BITS;
    unsigned digit = (unsigned)(tick >> (level * WHEEL_DIGIT_BITS)) % WHEEL_SLOTS;
    return level * WHEEL_SLOTS + digit;
}

static inline uint64_t list_bit(unsigned list) {
    return UINT64_C(1) << (list % WHEEL_SLOTS);
}

static inline bool list_is_marked(const struct wheel *w, unsigned list) {
    return (w->occupied[list / WHEEL_SLOTS] & list_bit(list)) != 0;
}

static inline void node_append(struct wheel *w, unsigned list, struct wheel_node *node) {
    struct wheel_node *head = &w->lists[list], *last = head->prev;
    node->next = head;
    node->prev = last;
    last->next = node;
    head->prev = node;
    w->occupied[list / WHEEL_SLOTS] |= list_bit(list);
}

/* Leaves the node's own links as they were. */
static inline void node_unlink(struct wheel *w, struct wheel_node *node) {
    struct wheel_node *next = node->next, *prev = node->prev;
    next->prev = prev;
    prev->next = next;
    if (next == prev) { /* the head: the node was alone */
        unsigned list = (unsigned)(next - w->lists);
        if (!MUTANT("wheel-stop-keeps-bit"))
            w->occupied[list / WHEEL_SLOTS] &= ~list_bit(list);
    }
}

static inline void list_clear(struct wheel *w, unsigned list) {
    struct wheel_node *head = &w->lists[list];
    head->next = head->prev = head;
    w->occupied[list / WHEEL_SLOTS] &= ~list_bit(list);
}

/* Moves a non-empty list as a whole behind what is due. */
static void list_make_due(struct wheel *w, unsigned list) {
    struct wheel_node *head = &w->lists[list], *due = &w->lists[WHEEL_DUE];
    struct wheel_node *first = head->next, *last = head->prev;
    due->prev->next = first;
    first->prev = due->prev;
    last->next = due;
    due->prev = last;
    w->occupied[WHEEL_LEVELS] |= list_bit(WHEEL_DUE);
    list_clear(w, list);
}

void wheel_init(struct wheel *w, uint64_t now_ns) {
    w->now_ns = w->swept_ns = before_never(now_ns);
    w->count = 0;
    for (unsigned list = 0; list < WHEEL_LISTS; list++) {
        w->lists[list].deadline_ns = 0;
        list_clear(w, list);
    }
    for (unsigned level = 0; level <= WHEEL_LEVELS; level++)
        w->occupied[level] = 0;
}

/* What has passed in the coming tick's slot goes to PAST, see DESIGN. On the last tick of a block
 * that slot is one of an upper level, with later ticks in it: their deadlines are not past. */
static void sweep_coming_tick(struct wheel *w) {
    w->swept_ns = w->now_ns;
    unsigned slot = slot_of(w, now_tick(w) + 1);
    struct wheel_node *head = &w->lists[slot], *node = head->next;
    while (node != head) {
        struct wheel_node *next = node->next;
        if (node->deadline_ns <= w->now_ns) {
            node_unlink(w, node);
            node_append(w, WHEEL_PAST, node);
        }
        node = next;
    }
}

void wheel_start(struct wheel *w, struct wheel_node *node, uint64_t deadline_ns) {
    if (wheel_is_pending(node))
        node_unlink(w, node);
    else
        w->count++;
    node->deadline_ns = deadline_ns;
    uint64_t tick = deadline_tick(deadline_ns);
    if (likely(deadline_ns > w->now_ns)) {
        node_append(w, slot_of(w, tick), node);
        return;
    }
    if (tick > now_tick(w) && w->swept_ns != w->now_ns && !MUTANT("wheel-past-overtakes"))
        sweep_coming_tick(w);
    node_append(w, WHEEL_PAST, node);
}

bool wheel_stop(struct wheel *w, struct wheel_node *node) {
    if (!wheel_is_pending(node))
        return false;
    node_unlink(w, node);
    node->next = node->prev = NULL;
    w->count--;
    return true;
}

struct wheel_node *wheel_pop_due(struct wheel *w) {
    struct wheel_node *head = &w->lists[WHEEL_DUE], *node = head->next;
    if (node == head)
        return NULL;
    wheel_stop(w, node);
    return node;
}

struct wheel_node *wheel_pop_any(struct wheel *w) {
    for (unsigned i = 0; w->count && i < WHEEL_LISTS; i++) {
        struct wheel_node *node = w->lists[i].next;
        if (node != &w->lists[i]) {
            wheel_stop(w, node);
            return node;
        }
    }
    return NULL;
}

struct wheel_node *wheel_after(struct wheel *w, const struct wheel_node *node) {
    const struct wheel_node *const end = w->lists + WHEEL_LISTS;
    struct wheel_node *next = node ? node->next : w->lists[0].next;
    while (next >= w->lists && next < end) /* a head: on to the next list */
        next = next + 1 < end ? next[1].next : NULL;
    return next;
}

/* The earliest occupied slot and the first tick of its block; false if there is none. */
static inline bool first_slot(const struct wheel *w, unsigned *ret_slot, uint64_t *ret_tick) {
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t occupied = w->occupied[level];
        if (occupied == 0)
            continue;
        unsigned digit = (unsigned)__builtin_ctzll(occupied), shift = level * WHEEL_DIGIT_BITS;
        uint64_t above = ~UINT64_C(0) << (shift + WHEEL_DIGIT_BITS);
        *ret_slot = level * WHEEL_SLOTS + digit;
        *ret_tick = (now_tick(w) & above) | (uint64_t)digit << shift;
        return true;
    }
    return false;
}

uint64_t wheel_next_ns(const struct wheel *w) {
    unsigned slot;
    uint64_t tick;
    if (w->occupied[WHEEL_LEVELS] != 0)
        return 0;
    if (!first_slot(w, &slot, &tick) || tick > UINT64_MAX >> WHEEL_TICK_SHIFT)
        return UINT64_MAX;
    return tick << WHEEL_TICK_SHIFT;
}

/* Distributes a slot of an upper level whose first tick is now; each node ends at least one level
 * lower. */
static void cascade(struct wheel *w, unsigned slot) {
    struct wheel_node *head = &w->lists[slot];
    const bool reversed = MUTANT("wheel-cascade-reversed");
    struct wheel_node *node = reversed ? head->prev : head->next;
    list_clear(w, slot);
    while (node != head) { /* the chain still ends at the head */
        struct wheel_node *next = reversed ? node->prev : node->next;
        node_append(w, slot_of(w, deadline_tick(node->deadline_ns)), node);
        node = next;
    }
}

void wheel_advance(struct wheel *w, uint64_t now_ns) {
    unsigned slot;
    uint64_t tick;
    if (list_is_marked(w, WHEEL_PAST))
        list_make_due(w, WHEEL_PAST);
    now_ns = before_never(now_ns);
    if (now_ns <= w->now_ns)
        return;
    uint64_t target = now_ns >> WHEEL_TICK_SHIFT;
    while (first_slot(w, &slot, &tick) && tick <= target) {
        /* Now stands at the first tick of the slot's block: that is what makes the cascade exact.
         * */
        w->now_ns = tick << WHEEL_TICK_SHIFT;
        if (slot < WHEEL_SLOTS)
            list_make_due(w, slot);
        else
            cascade(w, slot);
    }
    w->now_ns = now_ns;
}

/* What is wrong with a node of this list, if anything: (1) and (2) of DESIGN. */
static const char *check_node(const struct wheel *w, unsigned list, const struct wheel_node *node) {
    if (list == WHEEL_DUE || list == WHEEL_PAST)
        return node->deadline_ns > w->now_ns ? "a node is due early" : NULL;
    uint64_t tick = deadline_tick(node->deadline_ns);
    if (tick <= now_tick(w))
        return "a node was left behind in its slot";
    return slot_of(w, tick) != list ? "a node is in the wrong slot" : NULL;
}

static const char *check_list(const struct wheel *w, unsigned list, size_t *count) {
    const struct wheel_node *head = &w->lists[list], *node = head;
    if (list_is_marked(w, list) != (head->next != head))
        return "an occupancy bit does not match its list";
    do {
        const struct wheel_node *next = node->next;
        if (!next || next->prev != node)
            return "a link is broken";
        if (next != head) {
            const char *wrong = check_node(w, list, next);
            if (wrong)
                return wrong;
            if (++*count > w->count)
                return "more nodes in the lists than were counted, or a list that does not close";
        }
        node = next;
    } while (node != head);
    return NULL;
}

const char *wheel_check(const struct wheel *w) {
    size_t count = 0;
    if (w->now_ns == UINT64_MAX || w->swept_ns > w->now_ns)
        return "the clock is out of range";
    if (w->occupied[WHEEL_LEVELS] & ~(list_bit(WHEEL_DUE) | list_bit(WHEEL_PAST)))
        return "an occupancy bit without a list";
    for (unsigned list = 0; list < WHEEL_LISTS; list++) {
        const char *wrong = check_list(w, list, &count);
        if (wrong)
            return wrong;
    }
    return count != w->count ? "fewer nodes in the lists than were counted" : NULL;
}
