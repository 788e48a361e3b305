/* Threads that come and go, and workers, put, look up and remove the same few keys. */
#include "directory_fixture.h"

enum { KEYS = 61, THREADS = 3, WORKERS = 2 };

static weft_directory *directory;
static _Atomic unsigned failed, threads_left, tasks_left;
static uint64_t steps;

/* A generator per thread (xorshift64*). */
static uint64_t random_of(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* The id tells the key that it was put for. */
static void step(uint64_t *seed) {
    uint64_t random = random_of(seed), key = random % KEYS;
    int r = 0;
    switch (random >> 32 & 3) {
    case 0: r = put_number(directory, key, key); break;
    case 1: r = remove_number(directory, key); break;
    default: {
        uint64_t id = get_number(directory, key);
        failed += id != key && id != UINT64_MAX;
        break;
    }
    }
    failed += r != 0 && r != -ENOENT;
}

static void *churn_on_thread(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    for (uint64_t i = 0; i < steps; i++)
        step(&seed);
    return NULL;
}

struct churn_task {
    weft_task task;
    uint64_t seed, steps_left;
};

static void churn_in_task(weft_task *task) {
    struct churn_task *t = WEFT_CONTAINER_OF(task, struct churn_task, task);
    for (unsigned i = 0; i < 50 && t->steps_left > 0; i++, t->steps_left--)
        step(&t->seed);
    if (t->steps_left == 0)
        tasks_left++;
    else if (weft_post(weft_worker_current(), task) != 0)
        abort();
}

static void *threads_one_after_the_other(void *arg) {
    for (uintptr_t i = 0; i < 50; i++)
        thread_end(thread_begin(churn_on_thread, (void *)((uintptr_t)arg * 1000 + i)));
    threads_left++;
    return NULL;
}

WTEST(directory_churn, leaves_no_entry_that_is_read_after_it_was_freed) {
    pthread_t threads[THREADS];
    struct churn_task tasks[WORKERS];
    steps = 20000 / wtest_slowdown();
    directory = directory_make();
    weft_runtime *rt = rt_start(WORKERS);
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = thread_begin(threads_one_after_the_other, (void *)(i + 1));
    for (unsigned i = 0; i < WORKERS; i++) {
        tasks[i] = (struct churn_task){{.run = churn_in_task}, i + 1, 25 * steps};
        CHECK_EQ(weft_post(weft_runtime_worker(rt, i), &tasks[i].task), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        thread_end(threads[i]);
    rt_await(&tasks_left, WORKERS);
    CHECK_EQ(threads_left, THREADS);
    CHECK_EQ(failed, 0);
    uint64_t left = 0;
    for (uint64_t key = 0; key < KEYS; key++)
        left += get_number(directory, key) == key && remove_number(directory, key) == 0;
    CHECK(left <= KEYS);
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK_EQ(remove_number(directory, key), -ENOENT);
    directory_await_victims(directory, 0);
    CHECK_EQ(directory_buckets(directory), 64); /* the count has not drifted */
    weft_directory_destroy(directory);
    rt_end(rt);
}
