/*
 * Posting to a weft worker: weft_post of tasks that the poster allocated before, or, with --via fn,
 * weft_post_fn, where weft finds the memory.
 */
#include "servers/post.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

typedef struct target target;

typedef struct task {
    weft_task task;
    target *target;
    size_t sequence;
    unsigned poster;
} task;

struct target {
    weft_worker *worker;
    task *tasks[POST_MAX_POSTERS];
    post_account account;
};

static void run_fn(void *arg) {
    task *t = arg;
    post_ran(&t->target->account, t->poster, t->sequence);
}

static void run_task(weft_task *weft) {
    run_fn(WEFT_CONTAINER_OF(weft, task, task));
}

static size_t post_tasks(void *arg, unsigned poster, size_t count) {
    target *t = arg;
    task *tasks = t->tasks[poster];
    size_t accepted = 0;
    for (size_t i = 0; i < count; i++)
        accepted += weft_post(t->worker, &tasks[i].task) == 0;
    return accepted;
}

static size_t post_fns(void *arg, unsigned poster, size_t count) {
    target *t = arg;
    task *tasks = t->tasks[poster];
    size_t accepted = 0;
    for (size_t i = 0; i < count; i++)
        accepted += weft_post_fn(t->worker, run_fn, &tasks[i]) == 0;
    return accepted;
}

static void pin_worker(weft_worker *w, void *options) {
    (void)w;
    post_pin(options, true);
}

static int allocate(target *t, const post_options *options) {
    for (unsigned p = 0; p < options->posters; p++) {
        size_t count = post_share(options, p);
        t->tasks[p] = calloc(count > 0 ? count : 1, sizeof **t->tasks);
        if (t->tasks[p] == NULL)
            return -ENOMEM;
        for (size_t i = 0; i < count; i++)
            t->tasks[p][i] = (task){.task.run = run_task, .target = t, .sequence = i, .poster = p};
    }
    return 0;
}

int main(int argc, char **argv) {
    static target t;
    post_options options;
    post_parse(argc, argv, true, &options);
    post_account_init(&t.account, &options);
    weft_runtime_options runtime_options = {
        .workers = 1, .on_worker_start = pin_worker, .arg = &options};
    weft_runtime *rt = NULL;
    int r = allocate(&t, &options);
    if (r == 0)
        r = weft_runtime_create(&runtime_options, &rt);
    if (r == 0)
        r = weft_runtime_start(rt);
    if (r < 0) {
        fprintf(stderr, "post_weft: %s\n", weft_strerror(r));
        return EXIT_FAILURE;
    }
    t.worker = weft_runtime_worker(rt, 0);
    int status = post_measure(options.via_fn ? "weft_fn" : "weft", &options,
                              options.via_fn ? post_fns : post_tasks, &t, &t.account);
    weft_runtime_destroy(rt);
    for (unsigned p = 0; p < options.posters; p++)
        free(t.tasks[p]);
    return status;
}
