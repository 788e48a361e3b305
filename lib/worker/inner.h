/* What the files of worker/ share among themselves. */
#ifndef WEFT_LIB_WORKER_INNER_H
#define WEFT_LIB_WORKER_INNER_H

#include "worker/worker.h"

#include <string.h>
#include <urcu/urcu-memb.h>

enum { HOOK_BEFORE_WAIT = 0, HOOK_AFTER_WAIT = 1, HOOK_IDLE = 2, HOOK_PHASES = 3 };

/* hook.c, watch.c */
void hook_call(struct list *node, void *worker);
void hooks_release(weft_worker *w);
void watches_release(weft_worker *w);

/* timer.c */
void timers_advance(weft_worker *w); /* decides what is due in this iteration */
void timers_run(weft_worker *w);
void timers_release(weft_worker *w);

/* part.c */
int parts_create(weft_worker *w);
void parts_flush(weft_worker *w);
void parts_stop(weft_worker *w);
void parts_expire(weft_worker *w);
void parts_finish(weft_worker *w);
void parts_leave(weft_worker *w);
void parts_destroy(weft_worker *w);

/* nodes.c: what weft_post_fn() puts around a function. A node belongs to who has created it, then
 * to the queue, and after it has run to the worker, which keeps it for those who post next. */
struct fn_node {
    weft_task task;
    void (*fn)(void *arg);
    void *arg;
    uint32_t stripe;
    uint32_t length; /* of the chain that begins here, while it waits */
};

int nodes_create(struct nodes **ret_nodes);
void nodes_destroy(struct nodes *nodes);
struct fn_node *node_create(struct nodes *nodes, void (*fn)(void *arg), void *arg); /* any thread */
void node_free(struct fn_node *node);                                               /* any thread */
void nodes_free(struct fn_node *chain); /* any thread: linked as in broadcasts, by reserved[0] */
void node_keep(struct nodes *nodes, struct fn_node *node); /* the worker's thread: it has run */
void nodes_publish(struct nodes *nodes);                   /* the worker's thread: after a batch */
void node_run(weft_task *task);                            /* task.c */

/* spin.c: true: there is work, and no reason to sleep; *ret_count events. */
bool worker_spin(weft_worker *w, struct epoll_event *events, uint64_t timeout_ns, int *ret_count);

/* worker.c: handles that the program left behind end with their worker. */
void worker_release_handles(weft_worker *w);

/* The clock, read only if the last reading is older than a fraction of a tick. */
uint64_t worker_clock_cached(weft_worker *w);

/* retire.c: workers are registered readers of liburcu's memb flavour and run every callback inside
 * a read-side section. */
void rcu_thread_enter(void);
void rcu_thread_leave(void);
extern char grace_period; /* stands for the order that one makes (base/sanitizer.h) */

static inline void rcu_section_enter(void) {
    urcu_memb_read_lock();
}

static inline void rcu_section_leave(void) {
    ORDER_RELEASE(&grace_period);
    urcu_memb_read_unlock();
}

/* Debug builds know a queued task by a mark; release builds trust the caller. */
#ifdef WEFT_DEBUG
#define TASK_MARK(task) ((void *)((uintptr_t)(task) ^ (uintptr_t)UINT64_C(0x7765667471756575)))
static inline void task_mark_idle(weft_task *task) {
    task->reserved[1] = NULL;
}
static inline void task_mark_queued(weft_task *task) {
    if (task->reserved[1] == TASK_MARK(task))
        log_misuse("weft_post: task %p is queued already; post it again only after it ran",
                   (void *)task);
    task->reserved[1] = TASK_MARK(task);
}
#else
static inline void task_mark_idle(weft_task *task) {
    (void)task;
}
static inline void task_mark_queued(weft_task *task) {
    (void)task;
}
#endif

#endif
