#include "common/rounds.h"

#include "common/apart.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double figures[CONTENDERS_MAX][ROUNDS_MAX];

double bench_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_print_quartiles(const char *format, const double *values, unsigned count) {
    static double sorted[ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare);
    printf(format, sorted[count / 2], sorted[count / 4], sorted[count - 1 - count / 4]);
}

static bool could_run(unsigned who, unsigned rounds) {
    for (unsigned round = 0; round < rounds; round++)
        if (figures[who][round] < 0)
            return false;
    return true;
}

static void print_contender(const struct contest *c, unsigned who, unsigned rounds) {
    static double ratios[ROUNDS_MAX];
    printf("  %-18s", c->contenders[who].name);
    if (!could_run(who, rounds)) {
        printf(" cannot be run here\n");
        return;
    }
    bench_print_quartiles(" %8.2f [%.2f .. %.2f]", figures[who], rounds);
    for (unsigned round = 0; round < rounds; round++)
        ratios[round] = figures[0][round] / figures[who][round];
    if (who > 0 && could_run(0, rounds))
        bench_print_quartiles("   %.2f [%.2f .. %.2f]", ratios, rounds);
    putchar('\n');
}

static void compete(const struct contest *c, bool apart) {
    unsigned rounds = c->rounds < ROUNDS_MAX ? c->rounds : ROUNDS_MAX;
    if (rounds == 0 || c->count == 0 || c->count > CONTENDERS_MAX)
        return;
    /* Round 0 warms up: pages, frequencies, branch predictors. A new process is cold each time. */
    for (unsigned round = apart ? 1 : 0; round <= rounds; round++)
        for (unsigned i = 0; i < c->count; i++) {
            unsigned who = (i + round) % c->count;
            double (*run)(const void *) = c->contenders[who].run;
            figures[who][round ? round - 1 : 0] = apart ? apart_run(run, c->arg) : run(c->arg);
        }
    printf("%s, %s: median [quartiles] over %u rounds; %s / other within a round\n", c->title,
           c->unit, rounds, c->contenders[0].name);
    for (unsigned who = 0; who < c->count; who++)
        print_contender(c, who, rounds);
    fflush(stdout);
}

void contest_run(const struct contest *contest) {
    compete(contest, false);
}

void contest_run_apart(const struct contest *contest) {
    compete(contest, true);
}
