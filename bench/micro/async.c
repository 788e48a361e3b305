/* async_pummel_N, million_async: libuv's benchmarks of these names, made shorter.
 *
 * async_pummel_N: N threads wake one loop as fast as they can; how often is it called? Many
 * uv_async_send are one call; of weft every post is a call.
 *
 * million_async: a thread picks one of a million handles at random, and sends to it, again and
 * again. weft's equivalent is a million tasks, each with a flag that it is on its way, so that it
 * is not posted twice: what uv_async_t has inside. */
#include "flow/flow.h"
#include "micro/post.h"
#include "micro/queue_door.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#ifdef WEFT_BENCH_UV
#include <uv.h>
#endif
#include <weft.h>

enum { POSTS = 1000000, HANDLES = 1000000 };

static atomic_bool enough; /* the senders end */
static struct trips calls = {.seconds = 0.2};

static void (*send_to)(unsigned handle);

static void *send_at_random(void *arg) {
    uint64_t random = 1;
    (void)arg;
    flow_pin(1);
    while (!atomic_load_explicit(&enough, memory_order_relaxed)) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        send_to((unsigned)(((random >> 32) * HANDLES) >> 32));
    }
    return NULL;
}

static pthread_t start_thread(void *(*run)(void *arg)) {
    pthread_t thread;
    must("thread", -pthread_create(&thread, NULL, run, NULL));
    return thread;
}

static double calls_rate(void) {
    return 1 / trips_us_each(&calls);
}

/* --- weft ------------------------------------------------------------------------------------- */

static weft_runtime *runtime;
static struct handle {
    weft_task task;
    atomic_bool on_its_way;
} * handles;

static void run_handle(weft_task *task) {
    struct handle *h = WEFT_CONTAINER_OF(task, struct handle, task);
    atomic_store_explicit(&h->on_its_way, false, memory_order_release);
    if (!trips_again(&calls)) {
        atomic_store(&enough, true);
        weft_runtime_stop(runtime);
    }
}

static void send_task(unsigned handle) {
    struct handle *h = &handles[handle];
    if (!atomic_load_explicit(&h->on_its_way, memory_order_relaxed) &&
        !atomic_exchange_explicit(&h->on_its_way, true, memory_order_acquire))
        (void)weft_post(weft_runtime_worker(runtime, 0), &h->task); /* refused at the end */
}

static void on_start(weft_worker *w, void *arg) {
    (void)w;
    (void)arg;
    flow_pin(0);
}

static double weft_million(const void *arg) {
    const weft_runtime_options options = {.workers = 1, .on_worker_start = on_start};
    (void)arg;
    handles = malloc(HANDLES * sizeof *handles);
    must_call("malloc", handles ? 0 : -1);
    for (unsigned i = 0; i < HANDLES; i++)
        handles[i] = (struct handle){.task.run = run_handle};
    must("weft_runtime_create", weft_runtime_create(&options, &runtime));
    must("weft_runtime_start", weft_runtime_start(runtime));
    send_to = send_task;
    pthread_join(start_thread(send_at_random), NULL);
    must("weft_runtime_join", weft_runtime_join(runtime));
    weft_runtime_destroy(runtime);
    return calls_rate();
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef WEFT_BENCH_UV
static uv_async_t *asyncs;

static void uv_open(unsigned count, uv_async_cb on_call, uv_loop_t *loop) {
    asyncs = malloc(count * sizeof *asyncs);
    must_call("malloc", asyncs ? 0 : -1);
    must("uv_loop_init", uv_loop_init(loop));
    for (unsigned i = 0; i < count; i++)
        must("uv_async_init", uv_async_init(loop, &asyncs[i], on_call));
    flow_pin(0);
}

static void uv_called(uv_async_t *async) {
    if (!trips_again(&calls)) {
        atomic_store(&enough, true);
        uv_stop(async->loop);
    }
}

static void send_async(unsigned handle) {
    uv_async_send(&asyncs[handle]);
}

static double uv_million(const void *arg) {
    uv_loop_t loop;
    (void)arg;
    uv_open(HANDLES, uv_called, &loop);
    send_to = send_async;
    pthread_t sender = start_thread(send_at_random);
    uv_run(&loop, UV_RUN_DEFAULT);
    pthread_join(sender, NULL);
    return calls_rate();
}

static void *pummel(void *arg) {
    (void)arg;
    flow_pin(1);
    while (!atomic_load_explicit(&enough, memory_order_relaxed))
        uv_async_send(&asyncs[0]);
    return NULL;
}

static double uv_pummel(const void *arg) {
    uv_loop_t loop;
    uv_open(1, uv_called, &loop);
    for (unsigned i = 0; i < ((const struct post_load *)arg)->posters; i++)
        start_thread(pummel);
    uv_run(&loop, UV_RUN_DEFAULT);
    return calls_rate();
}
#endif

void register_asyncs(void) {
    static const struct {
        const char *family;
        struct post_load load;
    } pummels[] = {{"async_pummel_1", {.posters = 1, .posts = POSTS}},
                   {"async_pummel_2", {.posters = 2, .posts = POSTS}},
                   {"async_pummel_4", {.posters = 4, .posts = POSTS}}};
    static const struct contender pummelled[] = {
        {"weft", post_to_worker},
#ifdef WEFT_BENCH_UV
        {"libuv", uv_pummel},
#endif
    };
    static const struct contender million[] = {
        {"weft", weft_million},
#ifdef WEFT_BENCH_UV
        {"libuv", uv_million},
#endif
    };
    for (unsigned i = 0; i < sizeof pummels / sizeof pummels[0]; i++)
        contest_register(&(struct contest){.family = pummels[i].family,
                                           .cases = {{"callbacks", MILLIONS_PER_S}},
                                           .arg = &pummels[i].load,
                                           CONTENDERS(pummelled)});
    contest_register(&(struct contest){
        .family = "million_async", .cases = {{"callbacks", MILLIONS_PER_S}}, CONTENDERS(million)});
}
