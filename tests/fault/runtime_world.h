/* What the sweeps of the runtime and its workers share: a runtime per run, and operations on the
 * thread of its first worker. */
#ifndef WEFT_TESTS_FAULT_RUNTIME_WORLD_H
#define WEFT_TESTS_FAULT_RUNTIME_WORLD_H

#include "rt.h"
#include "selector_oracle.h"

#include <errno.h>

struct world {
    weft_runtime *rt;
    weft_worker *w; /* its first, asleep */
    _Atomic unsigned ran;
    int ends[2]; /* a pipe's */
    sigset_t mask;

    /* Of a test of its own. */
    void *handle;
    unsigned number;
};

/* A running runtime of two workers; its one world at a time. */
void *world_open(void);
void world_close(void *world);

/* The pieces, for worlds that have more in them: options NULL for those of world_open(). */
struct world *world_create(const weft_runtime_options *options);
void world_start(struct world *world);

/* operate(world) on its first worker, marked; the result. */
int world_on_worker(struct world *world, int (*operate)(struct world *world));

void world_count(void *world); /* a callback: ran++ */

/* Nobody has to be told: whoever made the call goes on as if it had been woken for nothing. */
bool is_loop_call(enum os_call call);

#endif
