/* weft_post of tasks that were allocated before; weft_post_fn, where weft finds the memory. */
#include "micro/post.h"
#include "micro/queue_door.h"

#include <stdlib.h>
#include <weft.h>

static weft_runtime *runtime;
static weft_worker *worker;
static weft_task *tasks;

static void ran(unsigned number) {
    if (posters_ran(number))
        weft_runtime_stop(runtime);
}

static void run_task(weft_task *task) {
    ran((unsigned)(task - tasks));
}

static void run_fn(void *arg) {
    run_task(arg);
}

static void post_tasks(unsigned first, unsigned end) {
    for (unsigned i = first; i < end; i++)
        must("weft_post", weft_post(worker, &tasks[i]));
}

static void post_fns(unsigned first, unsigned end) {
    for (unsigned i = first; i < end; i++)
        must("weft_post_fn", weft_post_fn(worker, run_fn, &tasks[i]));
}

static void on_start(weft_worker *w, void *arg) {
    (void)w;
    (void)arg;
    posters_go();
}

static double run(const struct post_load *load, void (*post)(unsigned first, unsigned end)) {
    const weft_runtime_options options = {
        .workers = 1, .stall_ns = WEFT_FOREVER, .on_worker_start = on_start};
    tasks = malloc(load->posts * sizeof *tasks);
    must_call("malloc", tasks ? 0 : -1);
    for (unsigned i = 0; i < load->posts; i++)
        tasks[i] = (weft_task){.run = run_task};
    must("weft_runtime_create", weft_runtime_create(&options, &runtime));
    worker = weft_runtime_worker(runtime, 0);
    posters_start(load->posters, load->posts, post);
    must("weft_runtime_run", weft_runtime_run(runtime));
    double rate = posters_rate();
    weft_runtime_destroy(runtime);
    return rate;
}

double post_to_worker(const void *arg) {
    return run(arg, post_tasks);
}

double post_fn_to_worker(const void *arg) {
    return run(arg, post_fns);
}
