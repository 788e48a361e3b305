/* Contests: the same work by several contenders. Each contender is a benchmark of its own, named
 * family/case/contender, whose repetition is one run in a process of its own (apart.h). Who wants
 * ratios runs all once per round, in shuffled order, and compares within a round: what slows the
 * whole machine down for a while falls out of it.
 *
 * A benchmark's time is that of one operation, its counter `figure` is the contest's figure, and
 * its label says of that the unit and which direction is better. */
#ifndef WEFT_BENCH_CONTEST_H
#define WEFT_BENCH_CONTEST_H

#include "common/apart.h"
#include "common/rounds.h"

enum unit {
    COUNTER, /* no figure, but a counter beside the first figure */
    MILLIONS_PER_S,
    THOUSANDS_PER_S,
    PER_S,
    US,
    NS,
    GB_PER_S,
    MS_PER_GB,
};

struct contender {
    const char *name;
    double (*run)(const void *arg); /* the first figure of one run; negative: cannot be run */
};

/* A run may have several figures (apart_note()): each is a case then, and the run is made once for
 * all of them. */
struct contest {
    const char *family;
    struct {
        const char *name;
        enum unit unit;
    } cases[APART_FIGURES];
    const struct contender *contenders;
    unsigned count;
    const void *arg;
};

#define CONTENDERS(array) .contenders = array, .count = sizeof array / sizeof array[0]

void contest_register(const struct contest *contest); /* copied; what it points to stays */

#endif
