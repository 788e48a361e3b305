/* Posts per second through each queue by itself. */
#include "micro/contest.h"
#include "micro/families.h"
#include "micro/queue_door.h"

#define POSTS 1000000u

void register_queues(void) {
    static const struct {
        const char *name;
        struct post_load load;
    } cases[] = {
        {"1_posters_asleep", {.posters = 1, .posts = POSTS}},
        {"2_posters_asleep", {.posters = 2, .posts = POSTS}},
        {"4_posters_asleep", {.posters = 4, .posts = POSTS}},
        {"1_posters_spinning", {1, POSTS, .spins = true}},
        {"2_posters_spinning", {2, POSTS, .spins = true}},
        {"4_posters_spinning", {4, POSTS, .spins = true}},
        {"one_by_one_spinning", {1, POSTS / 250, .spins = true, .one_by_one = true}},
    };
    static const struct contender contenders[] = {
        {"weft", post_weft},
        {"wfcqueue", post_wfcqueue},
        {"lfstack", post_lfstack},
        {"mutex_list", post_mutex},
        {"weft_guess_empty", post_weft_guess},
        {"weft_prefetchw", post_weft_prefetch},
        {"weft_back_off", post_weft_back_off},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        contest_register(&(struct contest){.family = "queue",
                                           .cases = {{cases[i].name, MILLIONS_PER_S}},
                                           .arg = &cases[i].load,
                                           CONTENDERS(contenders)});
}
