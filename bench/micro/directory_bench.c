/* Look-ups per second in 10 000 keys, without writes and with one write in ten (a put of a key that
 * is there): weft's directory from workers and from foreign threads, and what most programs have, a
 * table with chains, as large as the keys want it, behind a mutex or a read-write lock. Same keys,
 * same hash. A write in the table stores the id in place; in the directory it makes a new entry. */
#include "base/hash.h"
#include "micro/contest.h"
#include "micro/families.h"

#include <weft.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 10000, BUCKETS = 16384, OPERATIONS = 1000000, TURN = 1000, THREADS_MAX = 16 };

struct load {
    const char *name;
    unsigned threads, writes_percent;
};

struct key {
    char text[24];
    size_t len;
};

/* What a run is about: look up, and write, in one kind of table. */
struct subject {
    void (*get)(const struct key *key);
    void (*put)(const struct key *key, weft_stream_id id);
};

static struct key keys[KEYS];

static void must_be(int result) {
    if (result != 0) {
        fprintf(stderr, "directory_bench: %s\n", weft_strerror(result));
        abort();
    }
}

/* --- the tables ------------------------------------------------------------------------------- */

static weft_directory *directory;

static void directory_get(const struct key *key) {
    weft_stream_id id;
    must_be(weft_directory_get(directory, key->text, key->len, &id));
}

static void directory_put(const struct key *key, weft_stream_id id) {
    must_be(weft_directory_put(directory, key->text, key->len, id));
}

struct node {
    struct node *next;
    uint64_t hash;
    weft_stream_id id;
    size_t len;
    char key[];
};

static struct node *table[BUCKETS];
static const struct hash_key table_key = {{4711, 815}};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static struct node *table_find(const struct key *key, uint64_t hash) {
    struct node *n = table[hash % BUCKETS];
    while (n && (n->hash != hash || n->len != key->len || memcmp(n->key, key->text, n->len) != 0))
        n = n->next;
    return n;
}

static void table_get(const struct key *key, uint64_t hash, weft_stream_id *ret_id) {
    const struct node *n = table_find(key, hash);
    must_be(n ? 0 : -1);
    *ret_id = n->id;
}

static void table_put(const struct key *key, uint64_t hash, weft_stream_id id) {
    struct node *n = table_find(key, hash);
    if (!n) {
        n = malloc(sizeof *n + key->len);
        if (!n)
            abort();
        *n = (struct node){.next = table[hash % BUCKETS], .hash = hash, .len = key->len};
        memcpy(n->key, key->text, key->len);
        table[hash % BUCKETS] = n;
    }
    n->id = id;
}

static uint64_t table_hash(const struct key *key) {
    return hash_bytes(&table_key, key->text, key->len);
}

static void mutex_get(const struct key *key) {
    weft_stream_id id;
    uint64_t hash = table_hash(key);
    pthread_mutex_lock(&mutex);
    table_get(key, hash, &id);
    pthread_mutex_unlock(&mutex);
}

static void mutex_put(const struct key *key, weft_stream_id id) {
    uint64_t hash = table_hash(key);
    pthread_mutex_lock(&mutex);
    table_put(key, hash, id);
    pthread_mutex_unlock(&mutex);
}

static void rwlock_get(const struct key *key) {
    weft_stream_id id;
    uint64_t hash = table_hash(key);
    pthread_rwlock_rdlock(&rwlock);
    table_get(key, hash, &id);
    pthread_rwlock_unlock(&rwlock);
}

static void rwlock_put(const struct key *key, weft_stream_id id) {
    uint64_t hash = table_hash(key);
    pthread_rwlock_wrlock(&rwlock);
    table_put(key, hash, id);
    pthread_rwlock_unlock(&rwlock);
}

static const struct subject directory_subject = {directory_get, directory_put};
static const struct subject mutex_subject = {mutex_get, mutex_put};
static const struct subject rwlock_subject = {rwlock_get, rwlock_put};

/* With the keys in it: both tables, once. */
static void fill(void) {
    if (directory)
        return;
    must_be(weft_directory_create(&directory));
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i].len = (size_t)snprintf(keys[i].text, sizeof keys[i].text, "user-%u", i * 7919);
        directory_put(&keys[i], (weft_stream_id){{i, i}});
        table_put(&keys[i], table_hash(&keys[i]), (weft_stream_id){{i, i}});
    }
}

/* --- the threads ------------------------------------------------------------------------------ */

struct actor {
    weft_task task;
    const struct subject *subject;
    unsigned writes_percent, operations_left;
    uint64_t random;
    double begin, end;
};

static struct actor actors[THREADS_MAX];
static pthread_barrier_t start_line;

static void act(struct actor *a, unsigned operations) {
    for (unsigned i = 0; i < operations; i++) {
        a->random = a->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint32_t random = (uint32_t)(a->random >> 32);
        const struct key *key = &keys[((uint64_t)random * KEYS) >> 32];
        if (random % 100 < a->writes_percent)
            a->subject->put(key, (weft_stream_id){{random, i}});
        else
            a->subject->get(key);
    }
    a->operations_left -= operations;
}

static void *act_on_thread(void *arg) {
    struct actor *a = arg;
    pthread_barrier_wait(&start_line);
    a->begin = bench_seconds();
    while (a->operations_left > 0)
        act(a, TURN);
    a->end = bench_seconds();
    return NULL;
}

/* A turn is a callback: what is replaced can be freed in between. */
static void act_in_task(weft_task *task) {
    struct actor *a = WEFT_CONTAINER_OF(task, struct actor, task);
    if (a->begin == 0) {
        pthread_barrier_wait(&start_line);
        a->begin = bench_seconds();
    }
    act(a, TURN);
    if (a->operations_left > 0)
        must_be(weft_post(weft_worker_current(), task));
    else
        a->end = bench_seconds();
}

static void begin_run(const struct load *load, const struct subject *subject) {
    fill();
    pthread_barrier_init(&start_line, NULL, load->threads);
    for (unsigned i = 0; i < load->threads; i++)
        actors[i] = (struct actor){.task.run = act_in_task,
                                   .subject = subject,
                                   .writes_percent = load->writes_percent,
                                   .operations_left = OPERATIONS / load->threads / TURN * TURN,
                                   .random = i * 77 + 1};
}

/* Millions per second, from the first begin to the last end. */
static double end_run(const struct load *load) {
    double begin = actors[0].begin, end = actors[0].end;
    for (unsigned i = 1; i < load->threads; i++) {
        begin = actors[i].begin < begin ? actors[i].begin : begin;
        end = actors[i].end > end ? actors[i].end : end;
    }
    pthread_barrier_destroy(&start_line);
    return OPERATIONS / (end - begin) / 1e6;
}

static double run_threads(const struct load *load, const struct subject *subject) {
    pthread_t threads[THREADS_MAX];
    begin_run(load, subject);
    for (unsigned i = 0; i < load->threads; i++)
        if (pthread_create(&threads[i], NULL, act_on_thread, &actors[i]) != 0)
            abort();
    for (unsigned i = 0; i < load->threads; i++)
        pthread_join(threads[i], NULL);
    return end_run(load);
}

static double run_workers(const void *arg) {
    const struct load *load = arg;
    const weft_runtime_options options = {.workers = load->threads, .stall_ns = WEFT_FOREVER};
    weft_runtime *rt = NULL;
    begin_run(load, &directory_subject);
    must_be(weft_runtime_create(&options, &rt));
    for (unsigned i = 0; i < load->threads; i++)
        must_be(weft_post(weft_runtime_worker(rt, i), &actors[i].task));
    must_be(weft_runtime_start(rt));
    for (unsigned i = 0; i < load->threads; i++) /* until its task has posted for the last time */
        while (*(volatile double *)&actors[i].end == 0)
            sched_yield();
    weft_runtime_destroy(rt);
    return end_run(load);
}

static double run_foreign(const void *load) {
    return run_threads(load, &directory_subject);
}

static double run_mutex(const void *load) {
    return run_threads(load, &mutex_subject);
}

static double run_rwlock(const void *load) {
    return run_threads(load, &rwlock_subject);
}

void register_directories(void) {
    static const struct contender contenders[] = {
        {"weft", run_workers},
        {"weft_foreign", run_foreign},
        {"mutex_table", run_mutex},
        {"rwlock_table", run_rwlock},
    };
    static const struct load loads[] = {{"1_threads", 1, 0},       {"2_threads", 2, 0},
                                        {"4_threads", 4, 0},       {"1_threads_puts", 1, 10},
                                        {"2_threads_puts", 2, 10}, {"4_threads_puts", 4, 10}};
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "directory",
                                           .cases = {{loads[i].name, MILLIONS_PER_S}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
}
