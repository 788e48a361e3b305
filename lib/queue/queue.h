/* The door of queue/: work that crosses threads.
 *
 *   queue   one atomic word: many push, one takes everything at once
 *   inbox   a queue and the eventfd that wakes its owner
 *
 * The word is EMPTY, ARMED (empty, and the owner sleeps or is about to), CLOSED, or the newest
 * node of a list that is linked from new to old:
 *
 *              push                        push
 *     EMPTY ----------> node <---+ ------------------+ (node.next = what was there)
 *       |  ^             | |     |                   |
 *   arm |  | take        | +-----+-------------------+
 *       v  |             |
 *     ARMED +---push---> node, and this poster, nobody else, writes the eventfd
 *       |                |
 *       +---- close -----+----------------> CLOSED   push answers -ESHUTDOWN, for ever
 *
 * The decision to wake is read from the very word that publishes the node, so there is no second
 * variable, no store-load fence (Dekker), and no window in which a node is accepted and its owner
 * sleeps. close() takes what was accepted in the same step that refuses the rest: there is no
 * third case. docs/memory-order.md argues each ordering; tests/model holds the model.
 *
 *   operation     thread            cost
 *   queue_push    any, also in a    a load, one compare-and-swap (more when others push between);
 *                 signal handler    lock-free: a preempted poster delays nobody
 *   queue_take    owner             one exchange, and one pass to turn the list round
 *   queue_arm     owner             one compare-and-swap
 *   queue_close   owner             one exchange
 */
#ifndef WEFT_LIB_QUEUE_H
#define WEFT_LIB_QUEUE_H

#include "base/base.h"

struct queue_node {
    struct queue_node *next;
};

enum { QUEUE_EMPTY = 0, QUEUE_ARMED = 1, QUEUE_CLOSED = 2 };

struct queue {
    _Atomic(uintptr_t) head;
};

static inline void queue_init(struct queue *q) {
    atomic_init(&q->head, QUEUE_EMPTY);
}

/* One attempt to replace *head by the node; a failed one updates *head. */
static inline bool queue_try_push(struct queue *q, uintptr_t *head, struct queue_node *node) {
    if (MUTANT("queue-release-missing"))
        return atom_cas_weak(&q->head, head, (uintptr_t)node, relaxed, relaxed);
    /* Release: pairs with the acquire in queue_take(). Without it the owner could see the node
     * before what the poster wrote into it. Later pushes are read-modify-writes of the same word,
     * so they carry this release on (a release sequence): one acquire sees every node.
     * Acquire: pairs with the release in queue_arm(). Whoever replaces ARMED may use what the owner
     * prepared for that, such as the task that tells it (net/mailbox.c). */
    return atom_cas_weak(&q->head, head, (uintptr_t)node, acq_rel, relaxed);
}

/* 0: pushed; 1: pushed, and the caller owes the owner a wake-up; -ESHUTDOWN: closed, the node is
 * still the caller's and as it was. After a 0 or a 1 the caller touches the node no more, after a 0
 * not the queue either. */
static inline int queue_push(struct queue *q, struct queue_node *node) {
    struct queue_node *before = node->next;
    /* A load first: guessing EMPTY instead would save it when nothing is queued, and costs a failed
     * exchange when something is (docs/decisions/001-one-word-queue.md has the figures). */
    uintptr_t head = atom_load(&q->head, relaxed);
    const uintptr_t first __attribute__((unused)) = head; /* for the mutant alone */
    do {
        if (unlikely(head == QUEUE_CLOSED)) {
            if (!MUTANT("queue-refused-touched"))
                node->next = before;
            return -ESHUTDOWN;
        }
        node->next = head > QUEUE_CLOSED ? (struct queue_node *)head : NULL; /* NOLINT */
    } while (unlikely(!queue_try_push(q, &head, node)));
    /* What the exchange replaced, not what the load saw: between them the owner may have armed. */
    return (MUTANT("queue-wake-by-look") ? first : head) == QUEUE_ARMED;
}

/* Nothing to take? A glance without ordering: what it misses is seen by queue_arm(). */
static inline bool queue_looks_empty(struct queue *q) {
    return atom_load(&q->head, relaxed) <= QUEUE_CLOSED;
}

/* Does the owner sleep, with nothing to take? Any thread, as of a moment ago. */
static inline bool queue_is_armed(struct queue *q) {
    return atom_load(&q->head, relaxed) == QUEUE_ARMED;
}

/* Everything pushed so far, oldest first; ARMED becomes EMPTY. *ret_disturbed, if asked for: the
 * queue was not ARMED any more. */
struct queue_node *queue_take(struct queue *q, bool *ret_disturbed);

/* True: ARMED, the owner may sleep. False: there is work, or it is closed, or armed already. */
static inline bool queue_arm(struct queue *q) {
    if (MUTANT("queue-arm-blind")) {
        atom_store(&q->head, QUEUE_ARMED, relaxed);
        return true;
    }
    uintptr_t expected = QUEUE_EMPTY;
    /* Release: pairs with the acquire in queue_try_push(). On failure the owner goes on to
     * queue_take(), which has its own. */
    return atom_cas(&q->head, &expected, QUEUE_ARMED, release, relaxed);
}

/* True: nothing was pushed since it was ARMED, and now it is EMPTY. False: queue_take(). */
static inline bool queue_disarm(struct queue *q) {
    uintptr_t expected = QUEUE_ARMED;
    return atom_cas(&q->head, &expected, QUEUE_EMPTY, relaxed, relaxed);
}

/* Refuses every later push and returns what was accepted before, oldest first. */
struct queue_node *queue_close(struct queue *q, bool *ret_disturbed);

bool queue_is_closed(struct queue *q);

/* A queue whose owner sleeps in epoll.
 *
 * The eventfd counts the wake-ups: whoever replaces ARMED writes 1, and the owner, who finds ARMED
 * replaced, knows that exactly one write was done or is about to be done. inbox_destroy() waits
 * for the outstanding one, so no poster can write into an fd that was closed and reused, and a
 * poster needs no reference count for that.
 *
 * The eventfd is meant to be watched edge-triggered and not read: each write is an edge, and what
 * was pushed is seen through the queue's own ordering. */
struct inbox {
    struct queue queue; /* any thread */

    /* Owner only. */
    WEFT_CACHE_ALIGNED bool armed;
    uint64_t wakes_owed; /* times ARMED was found replaced */
    uint64_t wakes_read; /* of these, writes that inbox_acknowledge() has consumed */

    /* Immutable after create. */
    WEFT_CACHE_ALIGNED int fd;
};

int inbox_create(struct inbox *inbox);

/* Owner, or its heir when the owner's thread has ended. The queue is closed and empty by then. */
void inbox_destroy(struct inbox *inbox);

/* 0 or -ESHUTDOWN. Any thread, async-signal-safe, keeps errno. */
int inbox_push(struct inbox *inbox, struct queue_node *node);

/* Owner: true when it may sleep until inbox->fd is written. */
static inline bool inbox_arm(struct inbox *inbox) {
    if (!queue_arm(&inbox->queue))
        return false;
    inbox->armed = true;
    return true;
}

/* Owner, after a sleep, which most often ends for another reason than a push: true when it is awake
 * now, and nothing was pushed. After false it must call inbox_take_batch(). */
static inline bool inbox_disarm(struct inbox *inbox) {
    if (MUTANT("inbox-take-blind"))
        atom_store(&inbox->queue.head, QUEUE_EMPTY, relaxed);
    else if (!queue_disarm(&inbox->queue))
        return false;
    inbox->armed = false;
    return true;
}

/* Owner: everything pushed so far. After a sleep it must be called even if nothing seems to be
 * there: it also says that the owner is awake. */
struct queue_node *inbox_take_batch(struct inbox *inbox); /* out of line */

static inline struct queue_node *inbox_take(struct inbox *inbox) {
    return inbox->armed && inbox_disarm(inbox) ? NULL : inbox_take_batch(inbox);
}

/* Owner: closes the queue for ever and returns what was accepted. */
struct queue_node *inbox_close(struct inbox *inbox);

/* Owner: consumes the eventfd's count, for those who watch it level-triggered. */
void inbox_acknowledge(struct inbox *inbox);

#endif
