/* What measures in rounds: the clock, and what is printed of many runs. */
#ifndef WEFT_BENCH_ROUNDS_H
#define WEFT_BENCH_ROUNDS_H

enum { ROUNDS_MAX = 1001 };

/* The median, the lower and the upper quartile, by a format for these three. */
void bench_print_quartiles(const char *format, const double *values, unsigned count);

double bench_seconds(void); /* CLOCK_MONOTONIC */

#endif
