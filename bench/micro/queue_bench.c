/* Posts per second through each queue: as benchmarks of Google's, and as tables in rounds. */
#include "micro/queue_door.h"
#include "common/rounds.h"
#include "micro/shim.h"
#include "micro/tables.h"

#include <stdio.h>

#define POSTS 1000000u

static const struct contender contenders[] = {
    {"weft", post_weft},
    {"wfcqueue", post_wfcqueue},
    {"lfstack", post_lfstack},
    {"mutex+list", post_mutex},
    {"weft, guess EMPTY", post_weft_guess},
    {"weft, prefetchw", post_weft_prefetch},
    {"weft, back-off", post_weft_back_off},
};

enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };

void table_of_queues(unsigned rounds) {
    static const struct post_load loads[] = {
        {1, POSTS, false, false},     {2, POSTS, false, false}, {4, POSTS, false, false},
        {1, POSTS, true, false},      {2, POSTS, true, false},  {4, POSTS, true, false},
        {1, POSTS / 250, true, true},
    };
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        char title[96];
        snprintf(title, sizeof title, "posts, %u poster%s%s, owner %s", loads[i].posters,
                 loads[i].posters > 1 ? "s" : "", loads[i].one_by_one ? " that waits for each" : "",
                 loads[i].spins ? "spins" : "sleeps");
        struct contest contest = {title, "M/s", contenders, CONTENDERS, &loads[i], rounds};
        contest_run(&contest);
    }
}

static void bench_posts(struct bench_state *s, double (*run)(const void *load)) {
    struct post_load load = {(unsigned)bench_argument(s), POSTS, false, false};
    while (bench_keep_running(s, 1)) {
        double rate = run(&load);
        bench_took(s, POSTS / rate / 1e6);
        bench_counter(s, "Mposts/s", rate);
    }
}

#define BENCH_POSTS(name)                                                                          \
    static void bench_posts_##name(struct bench_state *s) {                                        \
        bench_posts(s, post_##name);                                                               \
    }                                                                                              \
    BENCH("posts/" #name, bench_posts_##name, .manual_time = true, .argument = 1)                  \
    BENCH("posts/" #name, bench_posts_##name, .manual_time = true, .argument = 2)                  \
    BENCH("posts/" #name, bench_posts_##name, .manual_time = true, .argument = 4)

BENCH_POSTS(weft)
BENCH_POSTS(wfcqueue)
BENCH_POSTS(lfstack)
BENCH_POSTS(mutex)
