/* What the tests of workers and runtimes share: making runtimes, waiting for events without
 * sleeping, holding a worker in a callback, and watching or failing the library's system calls. */
#ifndef WEFT_TESTS_RT_H
#define WEFT_TESTS_RT_H

#include "base/os.h"
#include "worker/worker.h"
#include "wtest.h"

#include <weft.h>

#include <semaphore.h>
#include <stdatomic.h>

/* --- runtimes; every failure fails the test -------------------------------------------------- */

weft_runtime *rt_create(unsigned workers);
weft_runtime *rt_create_with(const weft_runtime_options *options);
weft_runtime *rt_start(unsigned workers);
weft_runtime *rt_start_with(const weft_runtime_options *options);

/* Stops, joins and destroys. */
void rt_end(weft_runtime *rt);

weft_stats rt_stats(weft_worker *w);

/* fn(arg) on w, and back when it has run. */
void rt_call(weft_worker *w, void (*fn)(void *arg), void *arg);

/* Back after that many more iterations of w at least. */
void rt_turns(weft_worker *w, unsigned turns);

/* Back once w has armed its queue: it sleeps or is about to, and the next post wakes it. */
void rt_await_armed(weft_worker *w);

/* Back once nobody is awake, the sentinel included, which looks after workers for a while after the
 * last of them went to sleep. Fails the test if that does not come to pass. */
void rt_await_asleep(weft_runtime *rt);

/* Until *counter is at least `value`. */
void rt_await(_Atomic unsigned *counter, unsigned value);

/* A text as the argument of a callback that only reads it. */
static inline void *text(const char *literal) {
    return (void *)(uintptr_t)literal;
}

/* --- semaphores, which TSan knows ------------------------------------------------------------ */

void sem_make(sem_t *sem);
void sem_await(sem_t *sem);

/* --- a worker that stands still in a callback ------------------------------------------------ */

struct hold {
    weft_task task;
    sem_t entered, release;
};

void hold_begin(struct hold *hold, weft_worker *w); /* returns when w is in the callback */
void hold_end(struct hold *hold, weft_worker *w);   /* returns when w has left it */

/* --- threads --------------------------------------------------------------------------------- */

pthread_t thread_begin(void *(*fn)(void *arg), void *arg);
void thread_end(pthread_t thread);

/* --- the process ----------------------------------------------------------------------------- */

int open_fd_count(void);
uint64_t now_ns(void);

/* Some time during which everybody else can do what they should not: a thousandfold exchange of
 * bytes with another thread, past the seam. */
void let_others_run(void);

/* Is signo blocked in the calling thread? */
bool is_blocked(int signo);

/* --- the seam -------------------------------------------------------------------------------- */

/* Counts the library's system calls, per kind and whether a thread other than the caller makes
 * them. Begins before any other thread of weft exists and ends after them. */
void calls_watch(void);
void calls_unwatch(void);
uint64_t calls_of(enum os_call call);
uint64_t calls_total(void); /* allocations are not counted */

/* Faults: once for the test, before any other thread of weft exists. */
void fault_begin(void);

/* From now on the n-th call (from 1) that can fail, made by this thread, fails with the errno that
 * is usual for it; with `for_ever` all later ones of this thread as well. fault_disarm() tells what
 * was injected, 0 if the call was not reached. */
void fault_arm(unsigned n, bool for_ever);
void fault_arm_call(enum os_call call, unsigned n);
int fault_disarm(void);

/* --- a part of the worker that listens in on the steps of a stop ------------------------------ */

/* Called on the worker's thread; NULL by default. Set before the runtime is created. */
extern void (*probe_stop_fn)(weft_worker *w);
extern void (*probe_expire_fn)(weft_worker *w);
extern void (*probe_leave_fn)(weft_worker *w);

#endif
