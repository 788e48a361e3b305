#include "queue/queue.h"

/* From newest-first, as pushed, to oldest-first, as promised. */
static struct queue_node *reversed(uintptr_t head) {
    struct queue_node *newest = head > QUEUE_CLOSED ? (struct queue_node *)head : NULL; /* NOLINT */
    struct queue_node *oldest = NULL;
    if (MUTANT("queue-lifo"))
        return newest;
    while (newest) {
        struct queue_node *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

struct queue_node *queue_take(struct queue *q, bool *ret_disturbed) {
    if (queue_is_closed(q)) /* only the owner closes, so the owner's glance is exact */
        return NULL;
    if (MUTANT("queue-take-two-steps")) {
        uintptr_t seen = atom_load(&q->head, acquire);
        atom_store(&q->head, QUEUE_EMPTY, relaxed);
        if (ret_disturbed)
            *ret_disturbed = seen != QUEUE_ARMED;
        return reversed(seen);
    }
    /* Acquire: pairs with the release in queue_push(). */
    uintptr_t head = atom_xchg(&q->head, QUEUE_EMPTY, acquire);
    if (ret_disturbed)
        *ret_disturbed = head != QUEUE_ARMED;
    return reversed(head);
}

struct queue_node *queue_close(struct queue *q, bool *ret_disturbed) {
    if (MUTANT("queue-close-two-steps")) {
        struct queue_node *batch = queue_take(q, ret_disturbed);
        atom_store(&q->head, QUEUE_CLOSED, release);
        return batch;
    }
    uintptr_t head = atom_xchg(&q->head, QUEUE_CLOSED, acquire);
    if (ret_disturbed)
        *ret_disturbed = head != QUEUE_ARMED && head != QUEUE_CLOSED;
    return reversed(head);
}

bool queue_is_closed(struct queue *q) {
    return atom_load(&q->head, relaxed) == QUEUE_CLOSED;
}
