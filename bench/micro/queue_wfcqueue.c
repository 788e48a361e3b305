/* liburcu's wait-free queue: a push is one exchange and one store; it cannot refuse, and between
 * the two the owner waits for the poster. It has no place for "the owner sleeps", so that is a flag
 * of its own, with the fence on either side that two words need. Its functions are called, not
 * inlined: the inlined ones are for LGPL programs. */
#define DOOR_NAME "wfcqueue"
#include "micro/queue_door.h"

#include <stdatomic.h>
#include <urcu/wfcqueue.h>

struct door {
    struct __cds_wfcq_head head;
    __attribute__((aligned(128))) struct cds_wfcq_tail tail;
    __attribute__((aligned(128))) _Atomic int sleeps;
    __attribute__((aligned(128))) int fd;
};

static inline void post_run(struct post *p);

static void door_init(struct door *d) {
    __cds_wfcq_init(&d->head, &d->tail);
    atomic_store(&d->sleeps, 0);
}

static inline void door_push(struct door *d, struct post *p) {
    struct cds_wfcq_node *node = (struct cds_wfcq_node *)(void *)&p->link;
    cds_wfcq_node_init(node);
    cds_wfcq_enqueue(&d->head, &d->tail, node); /* a full fence: pairs with the one of the owner */
    if (atomic_load_explicit(&d->sleeps, memory_order_relaxed) && atomic_exchange(&d->sleeps, 0))
        door_wake(d->fd);
}

static inline unsigned door_take(struct door *d) {
    struct __cds_wfcq_head batch;
    struct cds_wfcq_tail tail;
    struct cds_wfcq_node *node, *next;
    unsigned n = 0;
    if (cds_wfcq_empty(&d->head, &d->tail))
        return 0;
    __cds_wfcq_init(&batch, &tail);
    __cds_wfcq_splice_blocking(&batch, &tail, &d->head, &d->tail);
    __cds_wfcq_for_each_blocking_safe(&batch, &tail, node, next) {
        post_run((struct post *)(void *)node);
        n++;
    }
    return n;
}

static inline bool door_may_sleep(struct door *d) {
    atomic_store(&d->sleeps, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (cds_wfcq_empty(&d->head, &d->tail))
        return true;
    atomic_store_explicit(&d->sleeps, 0, memory_order_relaxed);
    return false;
}

static inline void door_woken(struct door *d) {
    atomic_store_explicit(&d->sleeps, 0, memory_order_relaxed);
}

static void door_destroy(struct door *d) {
    (void)d;
}

#include "micro/queue_drive.h"

double post_wfcqueue(const void *load) {
    return drive(load);
}
