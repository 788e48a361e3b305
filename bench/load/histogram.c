#include "load/histogram.h"

#include <string.h>

#define PPM 1000000u

uint64_t histogram_bucket_first(uint32_t bucket) {
    if (bucket < 2 * HISTOGRAM_SUB_BUCKETS)
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t top = HISTOGRAM_SUB_BUCKETS + (bucket & (HISTOGRAM_SUB_BUCKETS - 1));
    return top << shift;
}

uint64_t histogram_bucket_last(uint32_t bucket) {
    /* The bucket after the last would start at 2^64: that wraps to 0, and 0 - 1 is right again. */
    return histogram_bucket_first(bucket + 1) - 1;
}

void histogram_clear(histogram *h) {
    memset(h, 0, sizeof *h);
}

void histogram_record(histogram *h, uint64_t value, uint64_t times) {
    if (times == 0)
        return;
    if (h->count == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count += times;
    h->sum += (double)value * (double)times;
    h->buckets[histogram_bucket_of(value)] += times;
}

void histogram_merge(histogram *into, const histogram *from) {
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

/* ceil(count * ppm / PPM), split so that the product cannot wrap. */
static uint64_t rank_of(uint64_t count, uint32_t ppm) {
    uint64_t rest = (count % PPM) * ppm;
    return count / PPM * ppm + (rest + PPM - 1) / PPM;
}

uint64_t histogram_percentile(const histogram *h, uint32_t ppm) {
    if (h->count == 0)
        return 0;
    uint64_t rank = rank_of(h->count, ppm < PPM ? ppm : PPM);
    if (rank == 0)
        return h->min;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            uint64_t last = histogram_bucket_last(i);
            return last < h->max ? last : h->max;
        }
    }
    return h->max;
}

double histogram_mean(const histogram *h) {
    return h->count > 0 ? h->sum / (double)h->count : 0;
}
