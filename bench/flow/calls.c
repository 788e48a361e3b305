/* call: a function run on a loop's thread, by a foreign thread that waits for its end. */
#include "flow/flow.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#ifdef WEFT_BENCH_UV
#include <uv.h>
#endif
#include <weft.h>

struct load {
    const char *name;
    unsigned cpus; /* 2: loop and caller have one each; 1: they share it */
};

static unsigned ran; /* by the loop alone */

static void count(void *arg) {
    (void)arg;
    ran++;
}

/* On the caller's thread. */
static double call_again_and_again(const struct load *load, void (*call)(void)) {
    struct trips trips = {.seconds = 0.05};
    flow_pin(load->cpus - 1);
    unsigned called = 0;
    do {
        call();
        called++;
        must("it has not run", ran == called ? 0 : -1);
    } while (trips_again(&trips));
    return trips_us_each(&trips);
}

/* --- weft ------------------------------------------------------------------------------------- */

static weft_runtime *runtime;

static void weft_pin(weft_worker *w, void *arg) {
    (void)w;
    (void)arg;
    flow_pin(0);
}

static void call_worker(void) {
    must("weft_call", weft_call(weft_runtime_worker(runtime, 0), count, NULL));
}

static double by_weft(const void *arg) {
    const weft_runtime_options options = {.workers = 1, .on_worker_start = weft_pin};
    must("weft_runtime_create", weft_runtime_create(&options, &runtime));
    must("weft_runtime_start", weft_runtime_start(runtime));
    double us = call_again_and_again(arg, call_worker);
    weft_runtime_destroy(runtime);
    return us;
}

/* --- by hand: an eventfd that is never read, and a semaphore, which is a futex ---------------- */

static int wake;
static sem_t done;

static void *raw_loop(void *arg) {
    struct epoll_event event = {.events = EPOLLIN | (uint32_t)EPOLLET};
    int epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    must_call("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event));
    flow_pin(0);
    for (;;) {
        must_call("epoll_wait", epoll_wait(epoll, &event, 1, -1));
        count(arg);
        sem_post(&done);
    }
    return NULL;
}

static void call_raw(void) {
    must_call("eventfd_write", eventfd_write(wake, 1));
    must_call("sem_wait", sem_wait(&done));
}

static double by_hand(const void *arg) {
    pthread_t thread;
    sem_init(&done, 0, 0);
    wake = must_call("eventfd", eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    must("thread", -pthread_create(&thread, NULL, raw_loop, NULL));
    return call_again_and_again(arg, call_raw);
}

/* --- libuv: uv_async, and a condition ----------------------------------------------------- */

#ifdef WEFT_BENCH_UV
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static bool is_done; /* under lock */
static uv_loop_t loop;
static uv_async_t async;

static void on_call(uv_async_t *a) {
    count(a);
    pthread_mutex_lock(&lock);
    is_done = true;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
}

static void call_uv(void) {
    is_done = false; /* the loop has nothing to do */
    uv_async_send(&async);
    pthread_mutex_lock(&lock);
    while (!is_done)
        pthread_cond_wait(&answered, &lock);
    pthread_mutex_unlock(&lock);
}

static void *uv_loop(void *arg) {
    (void)arg;
    flow_pin(0);
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static double by_uv(const void *arg) {
    pthread_t thread;
    must("uv_loop_init", uv_loop_init(&loop));
    must("uv_async_init", uv_async_init(&loop, &async, on_call));
    must("thread", -pthread_create(&thread, NULL, uv_loop, NULL));
    return call_again_and_again(arg, call_uv);
}
#endif

void register_calls(void) {
    static const struct load loads[] = {{"two_cpus", 2}, {"one_cpu", 1}};
    static const struct contender contenders[] = {
        {"weft", by_weft},
        {"raw", by_hand},
#ifdef WEFT_BENCH_UV
        {"libuv", by_uv},
#endif
    };
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "call",
                                           .cases = {{loads[i].name, US}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
}
