/* See scheduler.h. Everything below belongs to whoever holds the baton: the one running thread, or
 * the caller of sched_run() while none runs. The hand-over by futex orders it. The scheduler's
 * own atomics and system calls go past the seam, or it would schedule itself. */
#include "scheduler.h"

#include "fibre.h"

#include <inttypes.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef WEFT_SEAM

enum {
    THREADS_MAX = 64,
    TRACE_SIZE = 512,
    CHANGE_POINTS_MAX = 5,
    QUANTUM_MAX = 8,
    STARVATION_STEPS = 200, /* a spinning thread of first priority must not keep out the others */
};

enum thread_state { THREAD_READY, THREAD_BLOCKED, THREAD_DONE };

struct baton {
    _Atomic uint32_t turn;
    bool is_fibre; /* else a thread of the kernel's, which waits for its turn */
    struct fibre fibre;
};

struct thread {
    const char *name;
    char own_name[16];
    void (*fn)(void *arg);
    void *arg;
    enum thread_state state;
    bool adopted; /* not ours: created by the code under test */
    bool may_time_out, timed_out;
    int64_t priority;
    unsigned quantum;
    uint64_t blocked_at; /* progress when it blocked */
    struct baton baton;
};

struct step {
    uint8_t thread;
    int8_t call; /* -1: an atomic access */
};

static struct {
    bool active, failed;
    uint64_t seed, random, steps, progress, traced, hash;
    enum sched_strategy strategy;
    struct thread *threads[THREADS_MAX];
    unsigned count, live;
    struct thread *current;
    struct thread *stepper; /* who made the last step */
    unsigned streak;        /* and how many before it without another's in between */
    int64_t lowest;         /* priority */
    uint64_t change_at[CHANGE_POINTS_MAX];
    unsigned change_points;
    unsigned expected; /* threads created, not yet seen */
    struct step trace[TRACE_SIZE];
    int (*call_fn)(enum os_call call);
} run;

static struct thread *pool[THREADS_MAX];
static struct baton main_baton;
static _Atomic uint32_t newcomers;
static __thread struct thread *self;
static pthread_key_t exit_key;

/* --- the baton ------------------------------------------------------------------------------- */

/* The kernel's thread that all fibres run on, while it waits for a thread that is none. */
static struct {
    _Atomic uint32_t turn;
    struct baton *next;
} carrier;

static void turn_give(_Atomic uint32_t *turn) {
    atomic_store_explicit(turn, 1, memory_order_release);
    syscall(SYS_futex, turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void turn_await(_Atomic uint32_t *turn) {
    while (!atomic_exchange_explicit(turn, 0, memory_order_acquire))
        syscall(SYS_futex, turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

/* From a thread that is no fibre. */
static void baton_give(struct baton *to) {
    if (to->is_fibre)
        carrier.next = to;
    turn_give(to->is_fibre ? &carrier.turn : &to->turn);
}

/* Returns when it is passed back. */
static void baton_pass(struct baton *from, struct baton *to) {
    if (!from->is_fibre) {
        baton_give(to);
        turn_await(&from->turn);
        return;
    }
    if (!to->is_fibre) {
        turn_give(&to->turn);
        turn_await(&carrier.turn);
        to = carrier.next;
    }
    if (to != from)
        fibre_switch(&from->fibre, &to->fibre);
}

static uint64_t random_next(void) {
    run.random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = run.random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sched_random(uint64_t limit) {
    return random_next() % limit;
}

/* --- reports --------------------------------------------------------------------------------- */

const char *const sched_strategy_names[SCHED_STRATEGIES] = {"random", "pct", "round-robin"};

static void report_step(const struct step *step, uint64_t times) {
    fprintf(stderr, " %s", step->call < 0 ? "atomic" : seam_call_name((enum os_call)step->call));
    if (times > 1)
        fprintf(stderr, "*%" PRIu64, times);
}

static void report_trace(void) {
    uint64_t first = run.traced > TRACE_SIZE ? run.traced - TRACE_SIZE : 0, times = 1;
    fprintf(stderr, "  trace%s:", first ? " (its end)" : "");
    for (uint64_t i = first; i < run.traced; i++, times++) {
        const struct step *step = &run.trace[i % TRACE_SIZE];
        const struct step *last = i > first ? &run.trace[(i - 1) % TRACE_SIZE] : NULL;
        const struct step *next = i + 1 < run.traced ? &run.trace[(i + 1) % TRACE_SIZE] : NULL;
        if (!last || last->thread != step->thread)
            fprintf(stderr, "\n    %-10s", run.threads[step->thread]->name);
        if (next && next->thread == step->thread && next->call == step->call)
            continue;
        report_step(step, times);
        times = 0;
    }
    static const char *const states[] = {"is ready", "is blocked", "has ended"};
    for (unsigned i = 0; i < run.count; i++)
        fprintf(stderr, "\n  %s %s", run.threads[i]->name, states[run.threads[i]->state]);
    fprintf(stderr, "\n");
}

__attribute__((format(printf, 1, 0))) static void fail_v(const char *format, va_list arguments) {
    run.failed = true;
    fprintf(stderr, "schedule %s:%" PRIu64 " failed after %" PRIu64 " steps: ",
            sched_strategy_names[run.strategy], run.seed, run.steps);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n  replay: WEFT_SEED=%s:%" PRIu64 "\n", sched_strategy_names[run.strategy],
            run.seed);
    report_trace();
    fflush(stderr);
    baton_pass(&self->baton, &main_baton); /* for ever: the state is wrong */
    abort();
}

void sched_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail_v(format, arguments);
    va_end(arguments);
}

/* --- who is next ----------------------------------------------------------------------------- */

static bool is_ready(const struct thread *t) {
    return t->state == THREAD_READY;
}

/* Blocked, but something has happened since: worth another look. */
static bool is_stirred(const struct thread *t) {
    return t->state == THREAD_BLOCKED && run.progress > t->blocked_at;
}

/* A ready thread is four times as likely as one that may well find nothing again. */
static struct thread *choose_random(void) {
    unsigned total = 0;
    for (unsigned i = 0; i < run.count; i++)
        total += is_ready(run.threads[i]) ? 4 : is_stirred(run.threads[i]) ? 1 : 0;
    if (total == 0)
        return NULL;
    unsigned pick = (unsigned)sched_random(total);
    for (unsigned i = 0;; i++) {
        unsigned weight = is_ready(run.threads[i]) ? 4 : is_stirred(run.threads[i]) ? 1 : 0;
        if (pick < weight)
            return run.threads[i];
        pick -= weight;
    }
}

static struct thread *first_of(bool (*is_candidate)(const struct thread *)) {
    struct thread *first = NULL;
    for (unsigned i = 0; i < run.count; i++)
        if (is_candidate(run.threads[i]) && (!first || run.threads[i]->priority > first->priority))
            first = run.threads[i];
    return first;
}

static struct thread *choose_by_priority(void) {
    struct thread *current = run.stepper;
    bool demote = run.streak >= STARVATION_STEPS;
    for (unsigned i = 0; i < run.change_points; i++)
        demote |= run.change_at[i] == run.steps;
    if (current && demote) {
        current->priority = run.lowest--;
        run.streak = 0;
    }
    struct thread *ready = first_of(is_ready), *stirred = first_of(is_stirred);
    if (!ready || !stirred)
        return ready ? ready : stirred;
    return stirred->priority > ready->priority && random_next() % 4 == 0 ? stirred : ready;
}

static struct thread *choose_in_turn(void) {
    unsigned start = 0;
    for (unsigned i = 0; i < run.count; i++)
        if (run.threads[i] == run.current)
            start = i;
    if (run.current && is_ready(run.current) && run.streak < run.current->quantum)
        return run.current;
    for (unsigned i = 1; i <= run.count; i++) {
        struct thread *t = run.threads[(start + i) % run.count];
        if (is_ready(t) || is_stirred(t))
            return t;
    }
    return NULL;
}

static struct thread *choose(void) {
    switch (run.strategy) {
    case SCHED_PCT: return choose_by_priority();
    case SCHED_ROUND_ROBIN: return choose_in_turn();
    default: return choose_random();
    }
}

/* Everybody is blocked: the timeout of one of those that have one is over. */
static struct thread *choose_timed_out(void) {
    unsigned candidates = 0;
    struct thread *chosen = NULL;
    for (unsigned i = 0; i < run.count; i++) {
        struct thread *t = run.threads[i];
        if (t->state == THREAD_BLOCKED && t->may_time_out && random_next() % ++candidates == 0)
            chosen = t;
    }
    if (!chosen)
        sched_fail("all threads are blocked: a wake-up was lost");
    chosen->timed_out = true;
    return chosen;
}

static struct thread *choose_next(void) {
    struct thread *next = choose();
    run.current = next ? next : choose_timed_out();
    return run.current;
}

/* Lets somebody run; returns when it is the caller's turn again. */
static void hand_over(struct thread *me) {
    struct thread *next = choose_next();
    if (next != me)
        baton_pass(&me->baton, &next->baton);
    me->state = THREAD_READY;
}

/* --- threads --------------------------------------------------------------------------------- */

static void thread_reset(struct thread *t) {
    t->state = THREAD_READY;
    t->may_time_out = t->timed_out = false;
    t->priority = (int64_t)(random_next() >> 1);
    t->quantum = 1 + (unsigned)sched_random(QUANTUM_MAX);
    t->blocked_at = 0;
}

static void thread_list(struct thread *t) {
    if (run.count == THREADS_MAX) {
        fprintf(stderr, "scheduler: more than %d threads\n", THREADS_MAX);
        abort();
    }
    run.threads[run.count++] = t;
    run.live++;
}

static void await_newcomers(void) {
    uint32_t seen;
    while ((seen = atomic_load(&newcomers)) < run.expected)
        syscall(SYS_futex, &newcomers, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

/* To whom the baton goes when a thread has ended. */
static struct baton *thread_ended(struct thread *t) {
    await_newcomers();
    t->state = THREAD_DONE;
    run.progress++;
    run.live--;
    return run.live == 0 ? &main_baton : &choose_next()->baton;
}

static void pool_run(void *arg) {
    struct thread *t = arg;
    self = t;
    for (;;) {
        t->fn(t->arg);
        baton_pass(&t->baton, thread_ended(t));
    }
}

static void *pool_main(void *arg) {
    struct thread *t = arg;
    turn_await(&t->baton.turn);
    pool_run(t);
    return NULL;
}

/* Runs while the creator waits in await_newcomers(), so it may touch the run. */
static struct thread *thread_adopt(void) {
    if (!run.active || atomic_load(&newcomers) == run.expected)
        return NULL;
    struct thread *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    snprintf(t->own_name, sizeof t->own_name, "created-%u", run.expected);
    t->name = t->own_name;
    t->adopted = true;
    self = t;
    thread_reset(t);
    thread_list(t);
    pthread_setspecific(exit_key, t);
    atomic_fetch_add(&newcomers, 1);
    syscall(SYS_futex, &newcomers, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    turn_await(&t->baton.turn);
    return t;
}

static void adopted_exit(void *t) {
    struct baton *next = thread_ended(t);
    self = NULL;
    baton_give(next);
}

/* --- the seam -------------------------------------------------------------------------------- */

static void on_yield(void) {
    int saved = errno;
    struct thread *me = self ? self : thread_adopt();
    if (!me)
        return;
    await_newcomers();
    if (run.steps == SCHED_STEP_LIMIT)
        sched_fail("no end in sight: threads wait for each other, or spin");
    run.steps++;
    run.progress++;
    /* Of steps: one that only looked whether it may go on has not interrupted it. */
    run.streak = run.stepper == me ? run.streak + 1 : 1;
    run.stepper = me;
    hand_over(me);
    /* The step itself is made now, and recorded with the thread that makes it. */
    unsigned index = 0;
    while (run.threads[index] != me)
        index++;
    run.trace[run.traced++ % TRACE_SIZE] = (struct step){(uint8_t)index, -1};
    run.hash = (run.hash ^ (index + 1)) * UINT64_C(0x100000001b3);
    errno = saved;
}

static int on_call(enum os_call call) {
    if (!self)
        return 0;
    int saved = errno;
    run.trace[(run.traced - 1) % TRACE_SIZE].call = (int8_t)call;
    int r = run.call_fn ? run.call_fn(call) : 0;
    if (r == 0 && call == OS_THREAD_CREATE)
        run.expected++;
    errno = saved;
    return r;
}

static bool on_block(void) {
    struct thread *me = self;
    if (!me)
        return false;
    int saved = errno;
    me->state = THREAD_BLOCKED;
    me->blocked_at = run.progress;
    hand_over(me);
    bool over = me->timed_out;
    me->timed_out = false;
    errno = saved;
    return !over;
}

/* --- runs ------------------------------------------------------------------------------------ */

static void prepare_once(void) {
    pthread_key_create(&exit_key, adopted_exit);
    main_baton.is_fibre = fibre_is_possible();
    fibre_adopt(&main_baton.fibre);
}

static struct thread *pool_thread_create(void) {
    struct thread *t = calloc(1, sizeof *t);
    pthread_t thread;
    if (!t)
        abort();
    t->baton.is_fibre = main_baton.is_fibre;
    if (t->baton.is_fibre)
        fibre_create(&t->baton.fibre, pool_run, t);
    else if (pthread_create(&thread, NULL, pool_main, t) != 0)
        abort();
    else
        pthread_detach(thread);
    return t;
}

void sched_spawn(const char *name, void (*fn)(void *arg), void *arg) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_once);
    struct thread *t = pool[run.count];
    if (!t)
        t = pool[run.count] = pool_thread_create();
    t->name = name;
    t->fn = fn;
    t->arg = arg;
    if (run.active)
        thread_reset(t);
    thread_list(t);
}

static void run_begin(uint64_t seed, enum sched_strategy strategy) {
    run.seed = seed;
    run.random = seed * SCHED_STRATEGIES + (uint64_t)strategy;
    run.strategy = strategy;
    run.steps = run.progress = run.traced = 0;
    run.hash = UINT64_C(0xcbf29ce484222325);
    run.streak = 0;
    run.lowest = 0;
    run.current = run.stepper = NULL;
    run.failed = false;
    run.expected = 0;
    atomic_store(&newcomers, 0);
    for (unsigned i = 0; i < run.count; i++)
        thread_reset(run.threads[i]);
    /* The length of a run is not known before, so its scale is drawn too. */
    uint64_t scale = UINT64_C(8) << sched_random(6);
    run.change_points = 1 + (unsigned)sched_random(CHANGE_POINTS_MAX);
    for (unsigned i = 0; i < run.change_points; i++)
        run.change_at[i] = 1 + sched_random(scale);
    if (strategy == SCHED_ROUND_ROBIN && run.count > 0)
        run.current = run.threads[sched_random(run.count)];
    run.active = true;
    seam_yield_fn = on_yield;
    seam_call_fn = on_call;
    seam_block_fn = on_block;
}

static void run_end(void) {
    seam_yield_fn = NULL;
    seam_call_fn = NULL;
    seam_block_fn = NULL;
    run.active = false;
    for (unsigned i = 0; i < run.count; i++) {
        if (run.failed) /* stuck: the next run gets others */
            pool[i] = NULL;
        else if (run.threads[i]->adopted)
            free(run.threads[i]);
    }
    run.count = run.live = 0;
}

bool sched_run(uint64_t seed, enum sched_strategy strategy) {
    if (run.count == 0)
        return true;
    run_begin(seed, strategy);
    baton_pass(&main_baton, &choose_next()->baton);
    run_end();
    return !run.failed;
}

void sched_may_time_out(bool may) {
    if (self)
        self->may_time_out = may;
}

void sched_step(void) {
    if (seam_yield_fn)
        seam_yield_fn();
}

void sched_await(bool (*is_true)(void)) {
    sched_step();
    while (!is_true())
        (void)on_block();
}

void sched_on_call(int (*fn)(enum os_call call)) {
    run.call_fn = fn;
}

const char *sched_self(void) {
    return self ? self->name : NULL;
}

uint64_t sched_trace_hash(void) {
    return run.hash;
}

uint64_t sched_steps(void) {
    return run.steps;
}

#endif
