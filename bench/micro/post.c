/* post: tasks from foreign threads to a loop. Not all contenders do the same: the queues have no
 * runtime above them, which would look at timers, streams and hooks too. */
#include "micro/post.h"

#include "flow/flow.h"
#include "micro/queue_door.h"

#include <pthread.h>

enum { POSTERS_MAX = 8, ITEMS = 1000000 };

struct post_account post_account;

static struct poster {
    pthread_t id;
    unsigned first, end;
    double begin;
} threads[POSTERS_MAX];

static unsigned thread_count, item_count;
static void (*post_share)(unsigned first, unsigned end);
static pthread_barrier_t together;

static void *run_poster(void *arg) {
    struct poster *p = arg;
    flow_pin(1);
    pthread_barrier_wait(&together);
    p->begin = bench_seconds();
    post_share(p->first, p->end);
    return NULL;
}

void posters_start(unsigned posters, unsigned items, void (*post)(unsigned first, unsigned end)) {
    thread_count = posters;
    item_count = items;
    post_share = post;
    post_account.left = items;
    post_account.sum = (uint64_t)items * (items - 1) / 2;
    pthread_barrier_init(&together, NULL, posters + 1);
    for (unsigned i = 0; i < posters; i++) {
        threads[i].first = (unsigned)((uint64_t)items * i / posters);
        threads[i].end = (unsigned)((uint64_t)items * (i + 1) / posters);
        must("thread", -pthread_create(&threads[i].id, NULL, run_poster, &threads[i]));
    }
}

void posters_go(void) {
    flow_pin(0);
    pthread_barrier_wait(&together);
}

double posters_rate(void) {
    double begin = post_account.end;
    for (unsigned i = 0; i < thread_count; i++) {
        pthread_join(threads[i].id, NULL);
        begin = threads[i].begin < begin ? threads[i].begin : begin;
    }
    return item_count / (post_account.end - begin) / 1e6;
}

void register_posts(void) {
    static const struct {
        const char *name;
        struct post_load load;
    } cases[] = {{"1_threads", {1, ITEMS, .pins = true}},
                 {"2_threads", {2, ITEMS, .pins = true}},
                 {"4_threads", {4, ITEMS, .pins = true}},
                 {"8_threads", {8, ITEMS, .pins = true}}};
    static const struct contender contenders[] = {
        {"weft", post_to_worker},    {"weft_fn", post_fn_to_worker}, {"raw_weft_queue", post_weft},
        {"wfcqueue", post_wfcqueue}, {"mutex_list", post_mutex},
#ifdef WEFT_BENCH_UV
        {"libuv", post_to_uv},
#endif
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        contest_register(&(struct contest){.family = "post",
                                           .cases = {{cases[i].name, MILLIONS_PER_S}},
                                           .arg = &cases[i].load,
                                           CONTENDERS(contenders)});
}
