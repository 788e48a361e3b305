/* Many children that all wait on one pipe: each that gets a byte of it ends, and all do at once
 * when its other end is closed. Before, each has said on a second pipe that it is there. */
#ifndef WEFT_BENCH_EXITS_H
#define WEFT_BENCH_EXITS_H

#include <stdatomic.h>
#include <stdbool.h>

struct exits_load {
    const char *name;
    unsigned children;
    unsigned singly; /* so many end one by one, each when the one before has been told of; then the
                        others, which are not measured. 0: all at once */
};

struct exits {
    const struct exits_load *load;
    int hold[2];       /* the children's 0 */
    int ready[2];      /* the children's 1 */
    double begin, end; /* seconds */
    atomic_uint told;
};

extern char *exits_argv[]; /* the waiter */

void exits_open(struct exits *e, const void *load);
void exits_release(struct exits *e);              /* when all children are there */
bool exits_told(struct exits *e, bool succeeded); /* of each exit; true: it was the last */
double exits_us_each(const struct exits *e);

/* arg: struct exits_load */
double exits_weft(const void *arg);
double exits_pidfd(const void *arg);
double exits_uv(const void *arg);

#endif
