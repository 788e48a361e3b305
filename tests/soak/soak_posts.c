/* Tasks from foreign threads, before, while and after the runtime stops; and what is retired. */
#include "soak.h"

#include <pthread.h>

enum { POSTERS = 3, AT_A_TIME = 3000, ALIVE = 0x600d, DEAD = 0xdead };

enum { TASKS, FUNCTIONS, BROADCASTS, CALLS, RETIRED };

static struct account accounts[] = {
    [TASKS] = {{"tasks accepted", 0}, {{"run", 0}}},
    [FUNCTIONS] = {{"functions accepted", 0}, {{"run", 0}}},
    [BROADCASTS] = {{"broadcasts, times workers", 0}, {{"run", 0}}},
    [CALLS] = {{"calls that returned 0", 0}, {{"run", 0}}},
    [RETIRED] = {{"retired", 0}, {{"run", 0}}},
};

/* Of one poster; `next` is the next number of its tasks that each worker is to run. */
struct poster {
    pthread_t thread;
    uint64_t random, sent[MAX_WORKERS];
    uint64_t next[MAX_WORKERS]; /* the worker's */
};

struct job {
    weft_task task;
    struct poster *poster;
    uint64_t number;
    unsigned hops; /* posts itself to the next worker so often */
};

/* What workers look at while posters replace it. */
struct shared {
    _Atomic unsigned state;
};

static struct poster posters[POSTERS];
static struct shared *_Atomic shared;

/* --- on the workers --------------------------------------------------------------------------- */

/* Whoever is in a callback may look at what it found there, for as long as the callback lasts. */
static void look_at_shared(void) {
    struct shared *s = atomic_load_explicit(&shared, memory_order_acquire);
    for (unsigned i = 0; i < 50; i++)
        if (atomic_load_explicit(&s->state, memory_order_relaxed) != ALIVE) {
            soak_fail("posts: a callback sees what was retired and freed");
            return;
        }
}

static void job_run(weft_task *task) {
    struct job *job = WEFT_CONTAINER_OF(task, struct job, task);
    weft_worker *w = weft_worker_current();
    unsigned index = weft_worker_index(w);
    tally(&accounts[TASKS].out[0]);
    if (job->poster) {
        if (job->number != job->poster->next[index])
            soak_fail("posts: worker %u runs task %ju, not %ju", index, (uintmax_t)job->number,
                      (uintmax_t)job->poster->next[index]);
        job->poster->next[index] = job->number + 1;
        job->poster = NULL; /* what posts itself on is another thread's task */
    }
    look_at_shared();
    if (job->hops > 0) {
        job->hops--;
        int r = weft_post(next_worker(w), task);
        if (r == 0) {
            tally(&accounts[TASKS].in);
            return;
        }
        if (r != -ESHUTDOWN || !epoch.stopping)
            soak_fail("posts: a task's own post gets %d", r);
    }
    free(job);
}

static void count_run(void *arg) {
    tally(arg);
}

static void call_run(void *arg) {
    *(unsigned *)arg += 1;
    tally(&accounts[CALLS].out[0]);
}

/* --- posters ---------------------------------------------------------------------------------- */

/* Only a runtime that was asked to stop refuses. */
static bool is_accepted(int r, const char *what) {
    if (r != 0 && (r != -ESHUTDOWN || !epoch.stopping))
        soak_fail("posts: %s gets %d", what, r);
    return r == 0;
}

static void post_job(struct poster *p) {
    struct job *job = calloc(1, sizeof *job);
    weft_worker *w = worker_at((unsigned)roll(&p->random, MAX_WORKERS));
    unsigned index = weft_worker_index(w);
    *job = (struct job){.task.run = job_run, .poster = p, .number = p->sent[index]};
    job->hops = roll(&p->random, 32) == 0 ? (unsigned)roll(&p->random, 50) : 0;
    if (is_accepted(weft_post(w, &job->task), "a task")) {
        tally(&accounts[TASKS].in);
        p->sent[index]++;
        return;
    }
    if (job->task.run != job_run || job->task.reserved[0] || job->task.reserved[1])
        soak_fail("posts: a refused task was touched");
    free(job);
}

static void post_others(struct poster *p) {
    unsigned ran = 0;
    if (is_accepted(weft_post_fn(worker_at((unsigned)roll(&p->random, MAX_WORKERS)), count_run,
                                 &accounts[FUNCTIONS].out[0]),
                    "a function"))
        tally(&accounts[FUNCTIONS].in);
    if (is_accepted(weft_broadcast(epoch.rt, count_run, &accounts[BROADCASTS].out[0]),
                    "a broadcast"))
        tally_many(&accounts[BROADCASTS].in, epoch.workers);
    bool accepted = is_accepted(
        weft_call(worker_at((unsigned)roll(&p->random, MAX_WORKERS)), call_run, &ran), "a call");
    if (ran != accepted)
        soak_fail("posts: a call returned %s and ran %u times", accepted ? "0" : "an error", ran);
    if (accepted)
        tally(&accounts[CALLS].in);
}

static void bury(void *arg) {
    struct shared *s = arg;
    atomic_store_explicit(&s->state, DEAD, memory_order_relaxed);
    free(s);
    tally(&accounts[RETIRED].out[0]);
}

static struct shared *shared_make(void) {
    struct shared *s = malloc(sizeof *s);
    atomic_init(&s->state, ALIVE);
    return s;
}

static void replace_shared(void) {
    struct shared *old = atomic_exchange(&shared, shared_make());
    int r = weft_retire(bury, old);
    if (r == 0)
        tally(&accounts[RETIRED].in);
    else
        soak_fail("posts: retire gets %d", r);
}

static void *poster_run(void *arg) {
    struct poster *p = arg;
    while (!epoch.over) {
        if (account_open(&accounts[TASKS]) < AT_A_TIME)
            for (uint64_t n = roll(&p->random, 200); n > 0; n--)
                post_job(p);
        post_others(p);
        replace_shared();
        pause_us((unsigned)roll(&p->random, 3000));
    }
    return NULL;
}

/* --- the part --------------------------------------------------------------------------------- */

static void begin(void) {
    atomic_store(&shared, shared_make());
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.random = mix(soak_seed + epoch.number * POSTERS + i)};
        posters[i].thread = thread_begin(poster_run, &posters[i]);
    }
}

static void end(void) {
    for (unsigned i = 0; i < POSTERS; i++)
        thread_end(posters[i].thread);
    for (unsigned i = 0; i < POSTERS; i++)
        for (unsigned w = 0; w < epoch.workers; w++)
            if (posters[i].next[w] != posters[i].sent[w])
                soak_fail("posts: worker %u ran %ju of %ju tasks", w, (uintmax_t)posters[i].next[w],
                          (uintmax_t)posters[i].sent[w]);
    free(atomic_load(&shared));
}

const struct part posts_part = {"posts", accounts, sizeof accounts / sizeof accounts[0],
                                begin,   NULL,     end};
