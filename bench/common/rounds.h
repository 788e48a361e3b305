/* Contenders measured in interleaved rounds. Each round runs every contender once, in an order
 * that rotates, and a ratio is taken within a round: what slows the whole machine down for a
 * while falls out of it. Medians with quartiles are printed. */
#ifndef WEFT_BENCH_ROUNDS_H
#define WEFT_BENCH_ROUNDS_H

enum { CONTENDERS_MAX = 8, ROUNDS_MAX = 1001 };

struct contender {
    const char *name;
    double (*run)(const void *arg); /* the figure of one run; negative: cannot be run */
};

struct contest {
    const char *title, *unit; /* "1 poster, owner sleeps", "M/s" */
    const struct contender *contenders;
    unsigned count; /* ratios are of the first to each other */
    const void *arg;
    unsigned rounds;
};

void contest_run(const struct contest *contest);
void contest_run_apart(const struct contest *contest); /* each run by apart_run() */

/* The median, the lower and the upper quartile, by a format for these three. */
void bench_print_quartiles(const char *format, const double *values, unsigned count);

double bench_seconds(void); /* CLOCK_MONOTONIC */

#endif
