/* uv_async_send carries nothing, and many are one: the items travel in a list under a mutex, which
 * the loop takes as a whole. */
#include "micro/post.h"
#include "micro/queue_door.h"

#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct post *items, *first_item, **last_item = &first_item; /* the list: under lock */
static uv_async_t wake;

static void run_item(struct post *p) {
    if (posters_ran((unsigned)p->number))
        uv_stop(wake.loop);
}

static void post_items(unsigned first, unsigned end) {
    for (unsigned i = first; i < end; i++) {
        struct post *p = &items[i];
        pthread_mutex_lock(&lock);
        bool was_empty = first_item == NULL;
        *last_item = p;
        last_item = (struct post **)(void *)&p->link;
        pthread_mutex_unlock(&lock);
        /* Whoever finds it non-empty has a send before it. */
        if (was_empty)
            uv_async_send(&wake);
    }
}

static void on_wake(uv_async_t *async) {
    (void)async;
    pthread_mutex_lock(&lock);
    struct post *p = first_item;
    first_item = NULL;
    last_item = &first_item;
    pthread_mutex_unlock(&lock);
    while (p) {
        struct post *next = p->link;
        p->run(p);
        p = next;
    }
}

double post_to_uv(const void *arg) {
    const struct post_load *load = arg;
    uv_loop_t loop;
    items = malloc(load->posts * sizeof *items);
    must_call("malloc", items ? 0 : -1);
    for (unsigned i = 0; i < load->posts; i++)
        items[i] = (struct post){.run = run_item, .number = i};
    must("uv_loop_init", uv_loop_init(&loop));
    must("uv_async_init", uv_async_init(&loop, &wake, on_wake));
    posters_start(load->posters, load->posts, post_items);
    posters_go();
    uv_run(&loop, UV_RUN_DEFAULT);
    return posters_rate();
}
