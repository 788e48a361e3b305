/* Threads on CPU 1 that start together and post their shares to one loop on CPU 0. Time runs from
 * the first poster's start until the last item has run. */
#ifndef WEFT_BENCH_POST_H
#define WEFT_BENCH_POST_H

#include "micro/contest.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts `posters` threads, which wait; then each calls post(first, end) for its items. */
void posters_start(unsigned posters, unsigned items, void (*post)(unsigned first, unsigned end));
void posters_go(void);     /* the loop's, on its thread */
double posters_rate(void); /* millions a second, at the end */

/* The loop's account. */
extern struct post_account {
    unsigned left;
    uint64_t sum; /* of the numbers of items that have not run */
    double end;
} post_account;

/* By the loop for each item; true: it was the last. */
static inline bool posters_ran(unsigned number) {
    post_account.sum -= number;
    if (--post_account.left > 0)
        return false;
    must("items were lost or doubled", post_account.sum == 0 ? 0 : -EPROTO);
    post_account.end = bench_seconds();
    return true;
}

/* Figures; arg: struct post_load (queue_door.h) */
double post_to_worker(const void *arg);
double post_fn_to_worker(const void *arg);
double post_to_uv(const void *arg);

#endif
