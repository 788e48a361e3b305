/* weft/task.h: functions that run on a worker, from whatever thread they come.
 *
 * weft_post() is the one way across: it puts a weft_task, which lies in the program's own object,
 * on a worker's queue, and allocates nothing. weft_post_fn() brings the task along,
 * weft_broadcast() goes to all workers, weft_call() waits for the result. weft_retire() is the
 * other direction: it runs a function once nobody can look at shared memory any more.
 *
 * Accepted (0) means: runs exactly once, on w's thread, even when the runtime stops meanwhile.
 * Refused (-ESHUTDOWN) means: the task is still the caller's. There is no third case. Posting
 * before start is accepted. Tasks from one thread to one worker run in the order of their posts,
 * and everything written before the post is visible to the task. Nothing runs inside the post, nor
 * does what a task posts run before the next iteration: a task that posts itself for ever starves
 * neither I/O nor timers. A worker that is awake costs the poster no system call, a sleeping one a
 * single eventfd write, however many threads post.
 *
 *     struct job { weft_task task; int answer; };
 *
 *     static void job_run(weft_task *task) {
 *         struct job *job = WEFT_CONTAINER_OF(task, struct job, task);
 *         publish(job->answer);
 *         free(job);                          // the task is its own again once it runs
 *     }
 *
 *     job->task.run = job_run;
 *     if (weft_post(w, &job->task) < 0) free(job);
 */
#ifndef WEFT_TASK_H
#define WEFT_TASK_H

#include <weft/api.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_task weft_task;

/* Embedded in an object of the program's; only run needs to be set. Its layout is frozen for the
 * SONAME. run may free the task or post it again. */
struct weft_task {
    void (*run)(weft_task *task);
    void *reserved[2];
};

/* Posts task to w. It allocates nothing, takes no lock, never blocks. To post a task that is queued
 * already is undefined; a debug build stops.
 *
 * Thread:  any + async-signal-safe.
 * Owns:    on success task is weft's until run is called with it; refused, it is untouched.
 * Returns: 0, or
 *          -EINVAL  w, task or task->run is NULL
 *          -ESHUTDOWN  the runtime has closed its queues
 *          -EPERM   in a forked child
 * See:     eventfd(2); R. K. Treiber, Systems Programming: Coping with Parallelism, IBM RJ 5118,
 *          1986, for the push; the batch is taken whole, so that no element is popped and none
 *          recurs.
 */
WEFT_API int weft_post(weft_worker *w, weft_task *task);

/* Posts fn(arg) to w, in a task of weft's own.
 *
 * Thread:  any; it may allocate, and is not for signal handlers.
 * Owns:    arg is passed through.
 * Returns: 0, or
 *          -EINVAL  w or fn is NULL
 *          -ESHUTDOWN  the runtime has closed its queues
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     weft_post(); malloc(3).
 */
WEFT_API int weft_post_fn(weft_worker *w, void (*fn)(void *arg), void *arg);

/* Posts fn(arg) to every worker of rt, the caller's own included: it runs once on each, or, on an
 * error, on none. The workers run it independently, at the same time even.
 *
 * Thread:  any; it may allocate, and is not for signal handlers.
 * Owns:    arg is passed through, shared by all.
 * Returns: 0, or
 *          -EINVAL  rt or fn is NULL
 *          -ESHUTDOWN  the runtime has closed its queues
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     weft_post(); malloc(3).
 */
WEFT_API int weft_broadcast(weft_runtime *rt, void (*fn)(void *arg), void *arg);

/* Posts fn(arg) to w and waits until it has run: everything it wrote is visible to the caller.
 *
 * Thread:  any but the workers of w's runtime, which would wait for each other.
 * Owns:    arg is used until the call returns, and may lie on the stack.
 * Returns: 0 when fn has run, or
 *          -EINVAL  w or fn is NULL
 *          -EDEADLK  called on a worker of the same runtime
 *          -EAGAIN  the runtime was not started
 *          -ESHUTDOWN  the runtime has closed its queues
 *          -EPERM   in a forked child
 * See:     futex(2).
 */
WEFT_API int weft_call(weft_worker *w, void (*fn)(void *arg), void *arg);

/* Runs fn(arg) once every callback and every select batch that is running now, on any worker of any
 * runtime, has ended: the moment at which what was unlinked before the call can be freed. It does
 * not wait. It is liburcu's call_rcu() behind weft's door: workers are registered readers (memb
 * flavour) and run callbacks inside a read-side section, so that a program that links liburcu-memb
 * may use rcu_dereference(), cds_lfht look-ups and the like in callbacks directly.
 *
 *     weft_selector_unregister(s, fd);        // another thread may hold data from its batch
 *     weft_retire(free, data);
 *
 * Thread:  any; it allocates, and is not for signal handlers. A foreign thread needs no
 *          preparation. fn runs on the reclaimer's thread, which the first use creates.
 * Owns:    arg is fn's.
 * Returns: 0, or
 *          -EINVAL  fn is NULL
 *          -ENOMEM  no memory for the record, the registration or the reclaimer
 *          -EPERM   in a forked child
 * See:     M. Desnoyers et al., User-Level Implementations of Read-Copy Update, IEEE TPDS 23(2),
 *          2012; liburcu, rcu-api.md.
 */
WEFT_API int weft_retire(void (*fn)(void *arg), void *arg);

WEFT_END_DECLS

#endif
