/*
 * A log-linear histogram of durations, after Gil Tene's HdrHistogram: every power of two is split
 * into 64 equal buckets, so a value is known to 1 part in 64 over the whole range of uint64_t, and
 * recording is a shift and an increment. Values below 128 are exact.
 */
#ifndef WEFT_BENCH_HISTOGRAM_H
#define WEFT_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6u
#define HISTOGRAM_SUB_BUCKETS (1u << HISTOGRAM_SUB_BITS)
/* One run of 64 for the values below 64, then one for each highest bit from 6 to 63. */
#define HISTOGRAM_BUCKETS ((64u - HISTOGRAM_SUB_BITS + 1u) * HISTOGRAM_SUB_BUCKETS)

typedef struct histogram {
    uint64_t count;
    uint64_t min, max; /* exact; 0 while empty */
    double sum;        /* a double, so that huge values do not wrap the mean */
    uint64_t buckets[HISTOGRAM_BUCKETS];
} histogram;

static inline uint32_t histogram_bucket_of(uint64_t value) {
    if (value < HISTOGRAM_SUB_BUCKETS)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    /* value >> shift lies in 64..127: its 64 is what the next run of buckets starts with. */
    return (shift << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

/* The smallest and the largest value that a bucket stands for. */
uint64_t histogram_bucket_first(uint32_t bucket);
uint64_t histogram_bucket_last(uint32_t bucket);

void histogram_clear(histogram *h);
void histogram_record(histogram *h, uint64_t value, uint64_t times);
void histogram_merge(histogram *into, const histogram *from);

/* The value that ppm millionths of all recorded values do not exceed (p99.9 is 999 000): the last
 * value of its bucket, but never above the true maximum nor below the true minimum. Integers, since
 * 99.9 / 100 * 1000 in doubles rounds up to rank 1000. 0 while empty. */
uint64_t histogram_percentile(const histogram *h, uint32_t ppm);
double histogram_mean(const histogram *h);

#endif
