/*
 * Tasks posted from foreign threads to one loop: what the two programs share, so that they differ
 * in nothing but the way a task travels. P posters start together, each posts its share of N tasks
 * that were allocated before; the loop runs each and checks that it is its poster's next. Time runs
 * from the first poster's start until the last task ran.
 */
#ifndef WEFT_BENCH_POST_H
#define WEFT_BENCH_POST_H

#include "common/cli.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { POST_MAX_POSTERS = 64 };

typedef struct post_options {
    unsigned posters;
    size_t tasks;
    bool via_fn; /* only where the program offers it */
    bool pin;
} post_options;

/* The loop's account; written on the loop's thread only, until `done` is posted. */
typedef struct post_account {
    size_t expected;
    size_t ran;
    size_t out_of_order;
    size_t next[POST_MAX_POSTERS];
    uint64_t end_ns;
    sem_t done;
} post_account;

/* Called by each task on the loop's thread. */
static inline void post_ran(post_account *account, unsigned poster, size_t sequence) {
    if (sequence != account->next[poster])
        account->out_of_order++;
    account->next[poster] = sequence + 1;
    if (++account->ran == account->expected) {
        account->end_ns = cli_now_ns();
        sem_post(&account->done);
    }
}

/* Posts tasks 0 .. count-1 of one poster; returns how many were accepted. On a poster's thread. */
typedef size_t post_all(void *target, unsigned poster, size_t count);

/* Exits with 0 after --help, with 2 when the command line is wrong. */
void post_parse(int argc, char **argv, bool has_via, post_options *ret_options);

/* With --pin, the loop calls this with true and keeps the first CPU to itself; the posters share
 * the others. Without it the scheduler decides, and in a short run often lets loop and posters take
 * turns on one CPU, where they never meet. */
void post_pin(const post_options *options, bool is_loop);

size_t post_share(const post_options *options, unsigned poster);

void post_account_init(post_account *account, const post_options *options);

/* Runs the posters against a loop that is running, waits up to 60 s for the last task, prints one
 * line of JSON and returns the exit status: 0 if all that was posted ran once and in order, else 1.
 */
int post_measure(const char *name, const post_options *options, post_all *post, void *target,
                 post_account *account);

#endif
