/* post_from_thread: work that comes from threads weft knows nothing of.
 *
 *   post_from_thread [tasks]      per thread; default 100000
 *
 * Four threads of the program's own post tasks to all workers in turn. They have registered
 * nowhere, take no lock, and the post allocates nothing: the task lies in the object it is about.
 * When the last of them is through, the runtime stops; until it refuses they go on, one call at a
 * time. Then, per worker: what was accepted has run, exactly once and in order, and what was
 * refused is still its poster's. Each thread holds a reference to the runtime, so that a post after
 * the end would be refused, never unsafe. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

enum { THREADS = 4, WORKERS = 4 };

/* One per worker, and its thread's alone: what a worker owns needs no lock. */
struct tally {
    _Alignas(128) unsigned long ran;
    unsigned long last[THREADS]; /* the number of each thread's latest job */
    unsigned long out_of_order;
};

struct program {
    weft_runtime *runtime;
    struct tally tallies[WORKERS];
    unsigned finished; /* threads that have posted all their jobs; worker 0's */
};

struct poster {
    pthread_t thread;
    unsigned index;
    unsigned long jobs;
    struct program *program;
    weft_runtime *runtime; /* a reference of its own */
    unsigned long posted[WORKERS];
    unsigned long refused;
    int error; /* other than a refusal */
};

struct job {
    weft_task task;
    unsigned thread;
    unsigned long number;
};

static struct tally *my_tally(void) {
    return weft_worker_data(weft_worker_current());
}

static void job_run(weft_task *task) {
    struct job *job = WEFT_CONTAINER_OF(task, struct job, task);
    struct tally *tally = my_tally();
    tally->ran++;
    tally->out_of_order += job->number != ++tally->last[job->thread];
    free(job);
}

static int post_job(struct poster *p, unsigned to) {
    struct job *job = malloc(sizeof *job);
    if (!job)
        return -ENOMEM;
    *job = (struct job){{.run = job_run}, p->index, p->posted[to] + 1};
    int r = weft_post(weft_runtime_worker(p->runtime, to), &job->task);
    if (r == 0) {
        p->posted[to]++; /* the job is the worker's now, and may have run and gone already */
    } else {
        p->refused++;
        free(job); /* still ours */
    }
    return r;
}

static void call_run(void *arg) {
    (void)arg;
    my_tally()->ran++;
}

/* Always on worker 0, so that the counter is that worker's. */
static void poster_finished(void *arg) {
    struct program *program = arg;
    if (++program->finished == THREADS)
        weft_runtime_stop(program->runtime);
}

static int post_all(struct poster *p) {
    int r = 0;
    for (unsigned long i = 0; r == 0 && i < p->jobs; i++)
        r = post_job(p, (unsigned)(i % WORKERS));
    if (r == 0)
        r = weft_post_fn(weft_runtime_worker(p->runtime, 0), poster_finished, p->program);
    return r;
}

static void *poster_main(void *arg) {
    struct poster *p = arg;
    unsigned to = p->index;
    int r = post_all(p);
    if (r < 0)
        weft_runtime_stop(p->runtime);
    while (r == 0) {
        r = weft_call(weft_runtime_worker(p->runtime, to), call_run, NULL);
        p->posted[to] += r == 0;
    }
    /* A queue that has closed stays closed. */
    if (r == -ESHUTDOWN)
        r = post_job(p, to);
    p->error = r == -ESHUTDOWN ? 0 : r;
    weft_runtime_unref(p->runtime);
    return NULL;
}

/* Starts the posters; the number that run. */
static unsigned start_posters(struct poster *posters, struct program *program, unsigned long jobs) {
    for (unsigned i = 0; i < THREADS; i++) {
        struct poster *p = &posters[i];
        *p = (struct poster){.index = i, .jobs = jobs, .program = program};
        p->runtime = weft_runtime_ref(program->runtime);
        if (pthread_create(&p->thread, NULL, poster_main, p) != 0) {
            weft_runtime_unref(p->runtime);
            return i;
        }
    }
    return THREADS;
}

/* Prints what became of it all; true if nothing was lost, doubled or reordered. */
static bool report(const struct poster *posters, const struct program *program) {
    unsigned long posted = 0, ran = 0, refused = 0;
    bool is_good = true;
    for (unsigned w = 0; w < WORKERS; w++) {
        const struct tally *tally = &program->tallies[w];
        unsigned long posted_here = 0;
        for (unsigned i = 0; i < THREADS; i++)
            posted_here += posters[i].posted[w];
        printf("worker %u: %lu posted = %lu ran, %lu out of order\n", w, posted_here, tally->ran,
               tally->out_of_order);
        is_good = is_good && posted_here == tally->ran && tally->out_of_order == 0;
        posted += posted_here;
        ran += tally->ran;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        refused += posters[i].refused;
        if (posters[i].error < 0)
            fprintf(stderr, "thread %u: %s\n", i, weft_strerror(posters[i].error));
        is_good = is_good && posters[i].error == 0;
    }
    printf("all: %lu posted = %lu ran; %lu refused\n", posted, ran, refused);
    return is_good;
}

static void worker_start(weft_worker *w, void *arg) {
    struct program *program = arg;
    weft_worker_set_data(w, &program->tallies[weft_worker_index(w)]);
}

int main(int argc, char **argv) {
    static struct program program;
    static struct poster posters[THREADS];
    const weft_runtime_options options = {
        .workers = WORKERS, .on_worker_start = worker_start, .arg = &program};
    unsigned long jobs = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;

    int r = weft_runtime_create(&options, &program.runtime);
    if (r == 0)
        r = weft_runtime_start(program.runtime);
    if (r < 0) {
        fprintf(stderr, "post_from_thread: %s\n", weft_strerror(r));
        weft_runtime_destroy(program.runtime);
        return 1;
    }
    unsigned running = start_posters(posters, &program, jobs);
    if (running < THREADS)
        weft_runtime_stop(program.runtime);
    /* These wait for the workers, not for the posters, of which some may still be at it. */
    weft_runtime_join(program.runtime);
    weft_runtime_destroy(program.runtime);
    for (unsigned i = 0; i < running; i++)
        pthread_join(posters[i].thread, NULL);
    return report(posters, &program) && running == THREADS ? 0 : 1;
}
