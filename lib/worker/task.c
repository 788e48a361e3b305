/* Posting: the public face of the inbox. */
#include "worker/inner.h"

int weft_post(weft_worker *w, weft_task *task) {
    if (unlikely(!w || !task || !task->run))
        return -EINVAL;
    if (unlikely(process_is_forked()))
        return -EPERM;
    task_mark_queued(task);
    int r = worker_post(w, task);
    if (unlikely(r < 0))
        task_mark_idle(task);
    return r;
}

void node_run(weft_task *task) {
    struct fn_node *node = container_of(task, struct fn_node, task);
    void (*fn)(void *) = node->fn;
    void *arg = node->arg;
    node_keep(worker_current->nodes, node);
    worker_note_callback(worker_current, fn);
    fn(arg);
}

int weft_post_fn(weft_worker *w, void (*fn)(void *arg), void *arg) {
    if (!w || !fn)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    struct fn_node *node = node_create(w->nodes, fn, arg);
    if (!node)
        return -ENOMEM;
    int r = worker_post(w, &node->task);
    if (r < 0)
        node_free(node);
    return r;
}

/* Seeded: allocates and posts in turn. */
static int post_one_by_one(weft_worker *const *workers, unsigned count, void (*fn)(void *arg),
                           void *arg) {
    int r = 0;
    for (unsigned i = 0; i < count && r == 0; i++)
        r = weft_post_fn(workers[i], fn, arg);
    return r;
}

int worker_post_fn_all(weft_worker *const *workers, unsigned count, void (*fn)(void *arg),
                       void *arg) {
    struct fn_node *first = NULL;
    if (MUTANT("broadcast-one-by-one"))
        return post_one_by_one(workers, count, fn, arg);
    /* All nodes before the first post: after it there is no way back. They are linked through the
     * word that the queue will use. */
    for (unsigned i = count; i-- > 0;) {
        struct fn_node *node = node_create(workers[i]->nodes, fn, arg);
        if (!node)
            goto no_memory;
        node->task.reserved[0] = first;
        first = node;
    }
    for (unsigned i = 0; i < count; i++) {
        struct fn_node *node = first; /* the last made comes first: each to whom it was made for */
        first = node->task.reserved[0];
        (void)worker_post(workers[i], &node->task); /* the caller keeps the queues open */
    }
    return 0;

no_memory:
    if (!MUTANT("fault-nodes-leaked"))
        nodes_free(first);
    return -ENOMEM;
}

/* A call: a task on the caller's stack, and a word to wait on. */
struct call {
    weft_task task;
    void (*fn)(void *arg);
    void *arg;
    _Atomic uint32_t done;
};

static void call_run(weft_task *task) {
    struct call *call = container_of(task, struct call, task);
    worker_note_callback(worker_current, call->fn);
    call->fn(call->arg);
    /* Release: pairs with the acquire in weft_call(); the caller sees what fn wrote. After the
     * store the caller may return and its stack be anything: the wake only names the address, and
     * a futex wake of an address where nobody waits is a no-op. */
    atom_store(&call->done, 1, release);
    os_futex_wake(&call->done, 1);
}

int weft_call(weft_worker *w, void (*fn)(void *arg), void *arg) {
    if (!w || !fn)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    if (worker_current && worker_current->runtime == w->runtime)
        return -EDEADLK;
    if (atom_load(&w->phase, acquire) == WORKER_CREATED)
        return -EAGAIN;
    struct call call = {.task.run = call_run, .fn = fn, .arg = arg};
    int r = worker_post(w, &call.task);
    if (r < 0)
        return r;
    while (atom_load(&call.done, acquire) == 0)
        (void)os_futex_wait(&call.done, 0);
    return 0;
}
