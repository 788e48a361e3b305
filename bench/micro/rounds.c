#include "micro/rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double bench_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_quartiles(const char *format, double *values, unsigned count) {
    qsort(values, count, sizeof *values, compare);
    printf(format, values[count / 2], values[count / 4], values[count - 1 - count / 4]);
}

void contest_run(const struct contest *c) {
    static double figures[CONTENDERS_MAX][ROUNDS_MAX], ratios[ROUNDS_MAX];
    unsigned rounds = c->rounds < ROUNDS_MAX ? c->rounds : ROUNDS_MAX;
    if (rounds == 0 || c->count == 0 || c->count > CONTENDERS_MAX)
        return;
    /* The first round warms up: pages, frequencies, branch predictors. */
    for (unsigned round = 0; round <= rounds; round++)
        for (unsigned i = 0; i < c->count; i++) {
            unsigned who = (i + round) % c->count;
            figures[who][round ? round - 1 : 0] = c->contenders[who].run(c->arg);
        }
    printf("%s, %s: median [quartiles] over %u rounds; %s / other within a round\n", c->title,
           c->unit, rounds, c->contenders[0].name);
    for (unsigned who = 0; who < c->count; who++) {
        for (unsigned round = 0; round < rounds; round++)
            ratios[round] = figures[0][round] / figures[who][round];
        printf("  %-18s", c->contenders[who].name);
        if (figures[who][0] < 0) {
            printf(" cannot be run here\n");
            continue;
        }
        if (who > 0) {
            static double sorted[ROUNDS_MAX];
            for (unsigned round = 0; round < rounds; round++)
                sorted[round] = figures[who][round];
            print_quartiles(" %8.2f [%.2f .. %.2f]", sorted, rounds);
            print_quartiles("   %.2f [%.2f .. %.2f]\n", ratios, rounds);
        } else {
            static double sorted[ROUNDS_MAX];
            for (unsigned round = 0; round < rounds; round++)
                sorted[round] = figures[who][round];
            print_quartiles(" %8.2f [%.2f .. %.2f]\n", sorted, rounds);
        }
    }
    fflush(stdout);
}
