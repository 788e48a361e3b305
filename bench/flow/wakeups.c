/* Two threads that wake each other in turn; neither has anything to do until the other has. The
 * first one counts, and ends the run. */
#include "flow/flow.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#ifdef WEFT_BENCH_UV
#include <uv.h>
#endif
#include <weft.h>

#define SLICE 0.05 /* seconds */

struct load {
    const char *name;
    unsigned cpus; /* 2: each thread has one; 1: they share it */
};

/* --- the floor: an eventfd in an epoll set for each; edge-triggered and never read, or read --- */

struct raw {
    int epoll, mine, other;
    unsigned cpu;
    bool reads;
};

static void raw_open(struct raw *r) {
    struct epoll_event event = {.events = r->reads ? EPOLLIN : EPOLLIN | (uint32_t)EPOLLET};
    r->epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    must_call("epoll_ctl", epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->mine, &event));
}

static void raw_wait(const struct raw *r) {
    struct epoll_event event;
    eventfd_t value;
    must_call("epoll_wait", epoll_wait(r->epoll, &event, 1, -1));
    if (r->reads)
        must_call("eventfd_read", eventfd_read(r->mine, &value));
}

static void *raw_answer(void *arg) {
    const struct raw *r = arg;
    flow_pin(r->cpu);
    for (;;) {
        raw_wait(r);
        must_call("eventfd_write", eventfd_write(r->other, 1));
    }
    return NULL;
}

static double raw_run(const struct load *load, bool reads) {
    static struct raw far;
    int a = must_call("eventfd", eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    int b = must_call("eventfd", eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    struct raw near = {.mine = a, .other = b, .reads = reads};
    struct trips trips = {.seconds = SLICE};
    pthread_t thread;
    far = (struct raw){.mine = b, .other = a, .reads = reads, .cpu = load->cpus - 1};
    raw_open(&near);
    raw_open(&far);
    must("thread", -pthread_create(&thread, NULL, raw_answer, &far));
    flow_pin(0);
    do {
        must_call("eventfd_write", eventfd_write(near.other, 1));
        raw_wait(&near);
    } while (trips_again(&trips));
    return trips_us_each(&trips);
}

static double edge(const void *arg) {
    return raw_run(arg, false);
}

static double level(const void *arg) {
    return raw_run(arg, true);
}

/* --- weft: each worker posts the other's task ------------------------------------------------- */

struct end {
    weft_task task;
    struct end *other;
    weft_worker *worker;
    struct trips *trips; /* the first one's */
};

static void weft_woken(weft_task *task) {
    const struct end *e = WEFT_CONTAINER_OF(task, struct end, task);
    if (e->trips && !trips_again(e->trips))
        weft_runtime_stop(weft_worker_runtime(e->worker));
    else
        must("weft_post", weft_post(e->other->worker, &e->other->task));
}

static void weft_pin(weft_worker *w, void *load) {
    flow_pin(weft_worker_index(w) % ((const struct load *)load)->cpus);
}

static void note_spins(const struct end *ends) {
    uint64_t spins = 0, hits = 0;
    for (unsigned i = 0; i < 2; i++) {
        weft_stats stats;
        must("stats", weft_worker_stats(ends[i].worker, &stats, sizeof stats));
        spins += stats.spins;
        hits += stats.spins_hit;
    }
    apart_note(1, ends[0].trips->count);
    apart_note(2, (double)spins);
    apart_note(3, (double)hits);
}

static double weft_run(const void *arg, uint32_t spin) {
    struct load load = *(const struct load *)arg;
    const weft_runtime_options options = {.workers = 2, .on_worker_start = weft_pin, .arg = &load};
    struct trips trips = {.seconds = SLICE};
    struct end ends[2];
    weft_runtime *rt = NULL;
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_set_spin", weft_runtime_set_spin(rt, spin));
    for (unsigned i = 0; i < 2; i++)
        ends[i] = (struct end){
            .task.run = weft_woken, .other = &ends[1 - i], .worker = weft_runtime_worker(rt, i)};
    ends[0].trips = &trips;
    must("weft_post", weft_post(ends[1].worker, &ends[1].task));
    must("weft_runtime_run", weft_runtime_run(rt));
    note_spins(ends);
    weft_runtime_destroy(rt);
    return trips_us_each(&trips);
}

static double weft_by_default(const void *arg) {
    return weft_run(arg, WEFT_SPIN_AUTO);
}

static double weft_asleep(const void *arg) {
    return weft_run(arg, WEFT_SPIN_NEVER);
}

static double weft_spinning(const void *arg) {
    return weft_run(arg, WEFT_SPIN_ALWAYS);
}

/* --- libuv: each loop sends the other's uv_async ---------------------------------------------- */

#ifdef WEFT_BENCH_UV
struct uv_end {
    uv_loop_t loop;
    uv_async_t async;
    struct uv_end *other;
    struct trips *trips; /* the first one's */
    unsigned cpu;
};

static void uv_woken(uv_async_t *async) {
    const struct uv_end *e = async->data;
    if (e->trips && !trips_again(e->trips))
        uv_stop(async->loop);
    else
        must("uv_async_send", uv_async_send(&e->other->async));
}

static void *uv_run_end(void *arg) {
    struct uv_end *e = arg;
    flow_pin(e->cpu);
    uv_run(&e->loop, UV_RUN_DEFAULT);
    return NULL;
}

static double libuv(const void *arg) {
    static struct uv_end ends[2];
    struct trips trips = {.seconds = SLICE};
    pthread_t thread;
    for (unsigned i = 0; i < 2; i++) {
        ends[i].other = &ends[1 - i];
        ends[i].cpu = i % ((const struct load *)arg)->cpus;
        ends[i].async.data = &ends[i];
        must("uv_loop_init", uv_loop_init(&ends[i].loop));
        must("uv_async_init", uv_async_init(&ends[i].loop, &ends[i].async, uv_woken));
    }
    ends[0].trips = &trips;
    must("uv_async_send", uv_async_send(&ends[1].async));
    must("thread", -pthread_create(&thread, NULL, uv_run_end, &ends[1]));
    uv_run_end(&ends[0]);
    return trips_us_each(&trips);
}
#endif

void register_wakeups(void) {
    static const struct load loads[] = {{"two_cpus", 2}, {"one_cpu", 1}};
    static const struct contender contenders[] = {
        {"weft", weft_by_default},
        {"weft_asleep", weft_asleep},
        {"weft_spinning", weft_spinning},
        {"raw", edge},
        {"raw_read", level},
#ifdef WEFT_BENCH_UV
        {"libuv", libuv},
#endif
    };
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "wakeup",
                                           .cases = {{loads[i].name, US},
                                                     {"trips", COUNTER},
                                                     {"spins", COUNTER},
                                                     {"spins_hit", COUNTER}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
}
