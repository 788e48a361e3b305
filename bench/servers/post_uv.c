/*
 * Posting to a libuv loop as its users do: uv_async_send carries nothing and coalesces, so the
 * tasks travel in an intrusive list under a mutex. The loop takes the whole list at once.
 */
#include "servers/post.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct target target;

typedef struct task {
    void (*run)(struct task *task);
    struct task *next;
    target *target;
    size_t sequence;
    unsigned poster;
} task;

struct target {
    const post_options *options;
    uv_loop_t loop;
    uv_async_t wake;
    pthread_mutex_t lock;
    task *first, **last; /* under lock */
    bool stopping;       /* under lock */
    task *tasks[POST_MAX_POSTERS];
    post_account account;
};

static void run_task(task *t) {
    post_ran(&t->target->account, t->poster, t->sequence);
}

static void post_one(target *t, task *posted) {
    posted->next = NULL;
    pthread_mutex_lock(&t->lock);
    bool was_empty = t->first == NULL;
    *t->last = posted;
    t->last = &posted->next;
    pthread_mutex_unlock(&t->lock);
    /* One send per list taken is enough: whoever finds it non-empty has a send before it. */
    if (was_empty)
        uv_async_send(&t->wake);
}

static size_t post_uv(void *arg, unsigned poster, size_t count) {
    target *t = arg;
    task *tasks = t->tasks[poster];
    for (size_t i = 0; i < count; i++)
        post_one(t, &tasks[i]);
    return count;
}

static void on_wake(uv_async_t *wake) {
    target *t = wake->data;
    pthread_mutex_lock(&t->lock);
    task *batch = t->first;
    t->first = NULL;
    t->last = &t->first;
    bool stopping = t->stopping;
    pthread_mutex_unlock(&t->lock);
    while (batch != NULL) {
        task *next = batch->next;
        batch->run(batch);
        batch = next;
    }
    if (stopping)
        uv_close((uv_handle_t *)wake, NULL);
}

static void *run_loop(void *arg) {
    target *t = arg;
    post_pin(t->options, true);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void stop(target *t) {
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_mutex_unlock(&t->lock);
    uv_async_send(&t->wake);
}

static int allocate(target *t, const post_options *options) {
    for (unsigned p = 0; p < options->posters; p++) {
        size_t count = post_share(options, p);
        t->tasks[p] = calloc(count > 0 ? count : 1, sizeof **t->tasks);
        if (t->tasks[p] == NULL)
            return -ENOMEM;
        for (size_t i = 0; i < count; i++)
            t->tasks[p][i] = (task){.run = run_task, .target = t, .sequence = i, .poster = p};
    }
    return 0;
}

int main(int argc, char **argv) {
    static target t;
    post_options options;
    pthread_t loop;
    post_parse(argc, argv, false, &options);
    post_account_init(&t.account, &options);
    pthread_mutex_init(&t.lock, NULL);
    t.options = &options;
    t.last = &t.first;
    int r = allocate(&t, &options);
    if (r == 0)
        r = uv_loop_init(&t.loop);
    if (r == 0)
        r = uv_async_init(&t.loop, &t.wake, on_wake);
    t.wake.data = &t;
    if (r == 0)
        r = -pthread_create(&loop, NULL, run_loop, &t);
    if (r < 0) {
        fprintf(stderr, "post_uv: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    int status = post_measure("uv", &options, post_uv, &t, &t.account);
    stop(&t);
    pthread_join(loop, NULL);
    uv_loop_close(&t.loop);
    for (unsigned p = 0; p < options.posters; p++)
        free(t.tasks[p]);
    return status;
}
