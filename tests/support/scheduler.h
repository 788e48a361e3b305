/* A deterministic scheduler over the shipped code.
 *
 * The threads of a schedule are real threads, of which exactly one runs at a time. Each atomic
 * access and each system call of the library (base/atomic.h, base/os.h) is a point at which the
 * scheduler may let another one go on. Who that is follows from the seed alone, so a failing
 * schedule is replayed by its seed:
 *
 *     WEFT_SEED=pct:4711 model-plain queue_sched/post_wakes_sleeper
 *
 * What waits in the kernel (epoll_wait, a futex, a poll) is polled instead: a thread that finds
 * nothing is blocked until another thread has made a step. When all are blocked, nobody will ever
 * wake them: a lost wake-up, reported with seed and trace, unless a thread has said that its wait
 * has a timeout, which is then over.
 *
 * What it cannot see: orderings. One thread at a time is sequentially consistent; weaker memory
 * is the business of ThreadSanitizer, of tests/model/queue.pml and of docs/memory-order.md.
 *
 * Threads that the code under test creates by os_thread_create() join the schedule at their first
 * step and leave it when they end; their creator waits for that first step, so each must make
 * one. A join must be a wait that the seam knows. Other threads run on, unscheduled. */
#ifndef WEFT_TESTS_SCHEDULER_H
#define WEFT_TESTS_SCHEDULER_H

#include "base/os.h"

#include <stdbool.h>
#include <stdint.h>

enum sched_strategy {
    SCHED_RANDOM,      /* each step goes to anyone */
    SCHED_PCT,         /* priorities, and a few steps at which the first becomes the last:
                        * Burckhardt et al., "A Randomized Scheduler with Probabilistic
                        * Guarantees of Finding Bugs" (ASPLOS 2010) */
    SCHED_ROUND_ROBIN, /* in turn, each for a number of steps that the seed gives it */
    SCHED_STRATEGIES
};
extern const char *const sched_strategy_names[SCHED_STRATEGIES];

/* A thread of the next schedule, or, called from within one, of this. The name must live on. */
void sched_spawn(const char *name, void (*fn)(void *arg), void *arg);

/* Runs all spawned threads to their ends. False: a check failed, all were blocked, or the steps
 * exceeded SCHED_STEP_LIMIT; the report is on stderr and the threads are stuck for ever, so the
 * test should end soon. */
bool sched_run(uint64_t seed, enum sched_strategy strategy);

enum { SCHED_STEP_LIMIT = 200000 };

/* Ends the schedule as failed. On a scheduled thread; does not return there. */
void sched_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define SCHED_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sched_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                               \
    } while (0)

/* The waits of the calling thread have a timeout: it passes when everybody is blocked. */
void sched_may_time_out(bool may);

/* A step of its own, for plain code in between. */
void sched_step(void);

/* A step, and then blocked while is_true() says no, which is asked again after others' steps. */
void sched_await(bool (*is_true)(void));

/* Choices of a test, from the same seed; below `limit`. Before sched_run() it is of no use. */
uint64_t sched_random(uint64_t limit);

/* Asked before each system call, as seam_call_fn is, which the scheduler occupies; NULL: nobody. */
void sched_on_call(int (*fn)(enum os_call call));

/* The calling thread's name in the schedule, NULL outside. */
const char *sched_self(void);

struct sched_test {
    const char *name;
    void (*setup)(uint64_t seed); /* builds the state and spawns; not on a scheduled thread */
    const char *(*verdict)(void); /* after the run: NULL or what is wrong; also cleans up */
};

/* Runs `schedules` seeds of each strategy (WEFT_SCHEDULES overrides the number, WEFT_SEED replays
 * one), says on stderr how many per second; returns false at the first that fails. */
bool sched_explore(const struct sched_test *test, unsigned schedules);

/* Of the last run: a hash of who made which step, and how many steps. */
uint64_t sched_trace_hash(void);
uint64_t sched_steps(void);

#endif
