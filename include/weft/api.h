/* weft/api.h: what every other header builds on.
 *
 * Durations first, then WEFT_CONTAINER_OF, which leads from an embedded weft_task or weft_timer
 * back to the object around it, then the macros that mark declarations. The rules below hold
 * for every call; the comment of a call repeats only what is particular to it.
 *
 * Results. An int is 0, a count or a file descriptor on success and -errno on failure. A failed
 * call has changed nothing and has logged nothing. `ret_` parameters come last and are untouched on
 * failure; those of *_create must not be NULL, all others may. *_destroy(NULL) does nothing, and so
 * does every other void function that is given NULL; a getter gives NULL, 0 or false. No input
 * makes a release build abort. A debug build stops where the program broke a rule, and says which.
 *
 * Threads. "Thread: any" means what it says, threads that weft did not create included. "Thread:
 * owner" means the thread of the worker in question, which is where its callbacks run: called
 * elsewhere, such a function gives -EPERM or, where it cannot return one, does nothing. Where a
 * call is async-signal-safe (signal-safety(7)) it says so; it then also preserves errno.
 *
 * Callbacks. No weft call runs a callback of the program before it returns, except
 * weft_runtime_run(), weft_runtime_join() and weft_runtime_destroy(), which wait for threads that
 * do, and weft_worker_each_stream(), whose argument is a visitor.
 *
 * Fork. In a child that was forked and did not exec, every call that can fail gives -EPERM, and the
 * others do nothing (fork(2): only the calling thread exists there, and locks stay as they were).
 * Where the kernel refuses MADV_WIPEONFORK (before Linux 4.14) weft cannot tell, and logs that.
 *
 * Options. A struct of options or of a protocol that is all zero means the defaults; its `reserved`
 * must be zero, else -EINVAL, and so must be every flag bit that has no name.
 *
 * The process. No signal disposition is changed, no SIGPIPE is raised, and only children that were
 * named are ever waited for.
 */
#ifndef WEFT_API_H
#define WEFT_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Durations are uint64_t nanoseconds. n is an integer of any type and evaluated once; the product
 * is a constant expression where n is one, and fits for n up to 584 years. A duration that reaches
 * beyond the clock's range is not an error anywhere: it saturates, never wraps and is never early.
 *
 *     weft_timer_start(w, &t, WEFT_MSEC(250), 0);
 */
#define WEFT_NSEC(n) ((uint64_t)(n))
#define WEFT_USEC(n) ((uint64_t)(n)*UINT64_C(1000))
#define WEFT_MSEC(n) ((uint64_t)(n)*UINT64_C(1000000))
#define WEFT_SEC(n)  ((uint64_t)(n)*UINT64_C(1000000000))

/* No limit: wait until something happens, never expire. */
#define WEFT_FOREVER UINT64_MAX

/* The object of `type` whose `member` ptr points to. The conditional is there for its type alone: a
 * ptr that does not point to a `member` is a warning in C and an error in C++.
 *
 *     struct job { int id; weft_task task; };
 *
 *     static void run(weft_task *task) {
 *         struct job *job = WEFT_CONTAINER_OF(task, struct job, task);
 *     }
 */
#define WEFT_CONTAINER_OF(ptr, type, member)                                                       \
    ((type *)(void *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

/* Exported: the library is built with hidden visibility. */
#define WEFT_API __attribute__((visibility("default")))

#ifdef __cplusplus
#define WEFT_BEGIN_DECLS extern "C" {
#define WEFT_END_DECLS   }
#else
#define WEFT_BEGIN_DECLS
#define WEFT_END_DECLS
#endif

#endif
