/* Two workers that post to each other and sleep in between: every round needs two wake-ups. A lost
 * one would end the game for ever; a late one shows as a long round.
 *
 * WTEST_POSTS=10000000 plays the long game. */
#include "wtest.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <weft.h>

enum { DEFAULT_POSTS = 200000 };
static const uint64_t second_ns = 1000000000;

struct player {
    weft_task task;
    weft_worker *peer_worker;
    struct player *peer;
    struct game *game;
};

struct game {
    weft_runtime *runtime;
    struct player players[2];
    uint64_t posts_left, last_ns, longest_ns, late, refused; /* handed over with the ball */
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * second_ns + (uint64_t)t.tv_nsec;
}

static void play(weft_task *task) {
    struct player *me = WEFT_CONTAINER_OF(task, struct player, task);
    struct game *g = me->game;
    uint64_t now = now_ns(), took = now - g->last_ns;
    g->last_ns = now;
    g->longest_ns = took > g->longest_ns ? took : g->longest_ns;
    g->late += took > second_ns;
    if (g->posts_left-- == 0)
        weft_runtime_stop(g->runtime);
    else if (weft_post(me->peer_worker, &me->peer->task) != 0)
        g->refused++; /* only then is the ball still ours */
}

static uint64_t posts_wanted(void) {
    const char *asked = getenv("WTEST_POSTS");
    return asked ? strtoull(asked, NULL, 10) : DEFAULT_POSTS / wtest_slowdown();
}

WTEST(pingpong, no_wake_up_is_lost_while_both_sides_sleep) {
    struct game g = {.posts_left = posts_wanted()};
    const uint64_t posts = g.posts_left;
    weft_stats stats[2];
    CHECK_EQ(weft_runtime_create(&(weft_runtime_options){.workers = 2}, &g.runtime), 0);
    for (unsigned i = 0; i < 2; i++)
        g.players[i] = (struct player){.task.run = play,
                                       .peer_worker = weft_runtime_worker(g.runtime, 1 - i),
                                       .peer = &g.players[1 - i],
                                       .game = &g};
    g.last_ns = now_ns();
    CHECK_EQ(weft_post(weft_runtime_worker(g.runtime, 0), &g.players[0].task), 0);
    CHECK_EQ(weft_runtime_run(g.runtime), 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(weft_worker_stats(weft_runtime_worker(g.runtime, i), &stats[i], sizeof stats[i]),
                 0);
    weft_runtime_destroy(g.runtime);
    CHECK_EQ(g.refused, 0);
    CHECK_EQ(g.late, 0);
    /* Both really slept: a good part of the posts were wake-ups. */
    CHECK(stats[0].wakeups_sent + stats[1].wakeups_sent > posts / 10);
    printf("%ju posts, longest round %.1f ms, %ju wake-ups\n", (uintmax_t)posts,
           (double)g.longest_ns / 1e6, (uintmax_t)(stats[0].wakeups_sent + stats[1].wakeups_sent));
}
