/* liburcu's lock-free stack, turned round after each pop of all: weft's queue without the states in
 * its word, so with a flag of its own for the sleeping owner, and calls instead of inlined code. */
#define DOOR_NAME "lfstack"
#include "micro/queue_door.h"

#include <stdatomic.h>
#include <stddef.h>
#include <urcu/lfstack.h>

struct door {
    struct __cds_lfs_stack stack;
    __attribute__((aligned(128))) _Atomic int sleeps;
    __attribute__((aligned(128))) int fd;
};

static inline void post_run(struct post *p);

static void door_init(struct door *d) {
    __cds_lfs_init(&d->stack);
    atomic_store(&d->sleeps, 0);
}

static inline void door_push(struct door *d, struct post *p) {
    cds_lfs_push(&d->stack, (struct cds_lfs_node *)(void *)&p->link); /* a full fence */
    if (atomic_load_explicit(&d->sleeps, memory_order_relaxed) && atomic_exchange(&d->sleeps, 0))
        door_wake(d->fd);
}

static inline unsigned door_take(struct door *d) {
    struct cds_lfs_node *newest, *oldest = NULL;
    unsigned n = 0;
    if (cds_lfs_empty(&d->stack))
        return 0;
    newest = (struct cds_lfs_node *)(void *)__cds_lfs_pop_all(&d->stack);
    while (newest) {
        struct cds_lfs_node *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct cds_lfs_node *next = oldest->next;
        post_run((struct post *)(void *)oldest);
        oldest = next;
        n++;
    }
    return n;
}

static inline bool door_may_sleep(struct door *d) {
    atomic_store(&d->sleeps, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (cds_lfs_empty(&d->stack))
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

double post_lfstack(const void *load) {
    return drive(load);
}
