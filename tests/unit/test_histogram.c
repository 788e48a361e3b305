/* The latency histogram of the load generator: buckets that cover every value without a gap,
 * percentiles that agree with a sorted list to 1 part in 64, merging that loses nothing. */
#include "wtest.h"

/* The generator is no part of the library: its one source comes along. */
#include "load/histogram.c"

static const uint32_t all_ppm[] = {0, 1, 250000, 500000, 900000, 990000, 999000, 999900, 1000000};

static histogram *new_histogram(void) {
    histogram *h = malloc(sizeof *h);
    CHECK(h != NULL);
    histogram_clear(h);
    return h;
}

/* xorshift64, with magnitudes spread evenly over the powers of two. */
static uint64_t next_value(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> (*state & 63);
}

static int compare_values(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

WTEST(histogram, buckets_cover_every_value_once) {
    CHECK(histogram_bucket_first(0) == 0);
    for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t first = histogram_bucket_first(b), last = histogram_bucket_last(b);
        CHECK_MSG(first <= last, "bucket %u", b);
        CHECK_EQ(histogram_bucket_of(first), b);
        CHECK_EQ(histogram_bucket_of(last), b);
        if (b + 1 < HISTOGRAM_BUCKETS)
            CHECK_MSG(last + 1 == histogram_bucket_first(b + 1), "gap after bucket %u", b);
        else
            CHECK(last == UINT64_MAX);
        CHECK_MSG(last - first <= first / HISTOGRAM_SUB_BUCKETS, "bucket %u is too wide", b);
    }
}

WTEST(histogram, values_below_128_are_exact) {
    histogram *h = new_histogram();
    for (uint64_t v = 0; v < 128; v++) {
        histogram_clear(h);
        histogram_record(h, v, 3);
        histogram_record(h, 1000000, 1); /* so that the maximum does not hide the bucket */
        CHECK_EQ(histogram_percentile(h, 500000), v);
    }
    free(h);
}

WTEST(histogram, empty_and_single) {
    histogram *h = new_histogram();
    for (size_t i = 0; i < sizeof all_ppm / sizeof *all_ppm; i++)
        CHECK_EQ(histogram_percentile(h, all_ppm[i]), 0);
    CHECK(histogram_mean(h) == 0);
    histogram_record(h, 999999, 0); /* no times at all: leaves no trace */
    CHECK(h->count == 0 && h->max == 0);
    histogram_record(h, 123457, 1);
    for (size_t i = 0; i < sizeof all_ppm / sizeof *all_ppm; i++)
        CHECK_EQ(histogram_percentile(h, all_ppm[i]), 123457);
    CHECK_EQ(h->min, 123457);
    CHECK(histogram_mean(h) == 123457);
    free(h);
}

/* The 999th of 1000 is still the small value, the next rank is not. */
WTEST(histogram, ranks_are_exact) {
    histogram *h = new_histogram();
    histogram_record(h, 1, 999);
    histogram_record(h, 100, 1);
    CHECK_EQ(histogram_percentile(h, 999000), 1);
    CHECK_EQ(histogram_percentile(h, 999001), 100);
    CHECK_EQ(histogram_percentile(h, 1000000), 100);
    CHECK_EQ(histogram_percentile(h, 0), 1);
    CHECK(histogram_mean(h) == (999.0 + 100.0) / 1000.0);
    free(h);
}

/* count * ppm would wrap 64 bits here. */
WTEST(histogram, huge_counts_and_values) {
    histogram *h = new_histogram();
    uint64_t many = UINT64_C(1) << 60;
    histogram_record(h, 10, many);
    histogram_record(h, UINT64_MAX, many);
    CHECK_EQ(histogram_percentile(h, 500000), 10);
    CHECK(histogram_percentile(h, 500001) == UINT64_MAX);
    CHECK(h->max == UINT64_MAX);
    CHECK(histogram_mean(h) > 0x1p62);
    free(h);
}

WTEST(histogram, percentiles_agree_with_a_sorted_list) {
    enum { COUNT = 20000 };
    histogram *h = new_histogram();
    uint64_t *values = malloc(COUNT * sizeof *values);
    uint64_t state = 88172645463325252u;
    CHECK(values != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = next_value(&state);
        histogram_record(h, values[i], 1);
    }
    qsort(values, COUNT, sizeof *values, compare_values);
    CHECK(h->min == values[0] && h->max == values[COUNT - 1]);
    for (uint32_t ppm = 0; ppm <= 1000000; ppm += 50) {
        uint64_t rank = ((uint64_t)ppm * COUNT + 999999) / 1000000;
        uint64_t exact = values[rank > 0 ? rank - 1 : 0];
        uint64_t got = histogram_percentile(h, ppm);
        CHECK_MSG(got >= exact && got - exact <= exact / HISTOGRAM_SUB_BUCKETS,
                  "%u ppm: %ju, exactly %ju", ppm, (uintmax_t)got, (uintmax_t)exact);
    }
    free(values);
    free(h);
}

WTEST(histogram, merging_equals_recording_in_one) {
    histogram *all = new_histogram(), *sum = new_histogram(), *part = new_histogram();
    uint64_t state = 1234567;
    histogram_merge(sum, part); /* an empty one must not bring in its minimum of 0 */
    for (int p = 0; p < 4; p++) {
        histogram_clear(part);
        for (uint64_t i = 0; i < 1000; i++) {
            uint64_t value = next_value(&state) % 1000000 + 5;
            histogram_record(part, value, i % 3);
            histogram_record(all, value, i % 3);
        }
        histogram_merge(sum, part);
    }
    histogram_clear(part);
    histogram_merge(sum, part);
    CHECK(sum->sum == all->sum);
    CHECK(memcmp(sum, all, sizeof *sum) == 0);
    CHECK(sum->min >= 5);
    free(all);
    free(sum);
    free(part);
}
