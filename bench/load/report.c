#include "load/report.h"

#include <stdio.h>

typedef unsigned long long ull;

static const struct percentile {
    const char *name;
    uint32_t ppm;
} percentiles[] = {
    {"p50", 500000}, {"p90", 900000}, {"p99", 990000}, {"p99.9", 999000}, {"p99.99", 999900},
};

#define PERCENTILES (sizeof percentiles / sizeof percentiles[0])

static double us(uint64_t ns) {
    return (double)ns / 1000.0;
}

static double us_per(uint64_t ns, uint64_t requests) {
    return requests > 0 ? us(ns) / (double)requests : 0;
}

bool report_is_clean(const load_options *options, const load_result *result) {
    bool all = options->requests == 0 || result->requests == options->requests;
    return all && result->failures == 0 && result->bytes_mismatched == 0 &&
           result->bytes_sent == result->bytes_received && result->requests > 0;
}

static void print_json(const load_options *o, const load_result *r) {
    printf("{\"connections\": %u, \"pipeline\": %u, \"size\": %u, \"threads\": %u, "
           "\"verify\": %s, \"seconds\": %.6f, \"requests\": %llu, \"requests_per_s\": %.1f, ",
           o->connections, o->pipeline, o->size, o->threads, o->verify ? "true" : "false",
           (double)r->measured_ns / (double)CLI_NS_PER_SEC, (ull)r->requests, r->requests_per_s);
    printf("\"bytes_sent\": %llu, \"bytes_received\": %llu, \"bytes_mismatched\": %llu, "
           "\"failures\": %u, \"clean\": %s, ",
           (ull)r->bytes_sent, (ull)r->bytes_received, (ull)r->bytes_mismatched, r->failures,
           report_is_clean(o, r) ? "true" : "false");
    if (o->server_pid > 0)
        printf("\"server_cpu_us_per_request\": %.4f, \"server_cpu_s\": %.6f, ",
               us_per(r->server_cpu_ns, r->requests),
               (double)r->server_cpu_ns / (double)CLI_NS_PER_SEC);
    printf("\"generator_cpu_s\": %.6f, \"latency_us\": {\"min\": %.3f, \"mean\": %.3f",
           (double)r->own_cpu_ns / (double)CLI_NS_PER_SEC, us(r->latency.min),
           histogram_mean(&r->latency) / 1000.0);
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", \"%s\": %.3f", percentiles[i].name,
               us(histogram_percentile(&r->latency, percentiles[i].ppm)));
    printf(", \"max\": %.3f}}\n", us(r->latency.max));
}

static void print_text(const load_options *o, const load_result *r) {
    printf("%u connections, %u messages of %u bytes each, %.2f s\n", o->connections, o->pipeline,
           o->size, (double)r->measured_ns / (double)CLI_NS_PER_SEC);
    printf("  requests    %llu, %.0f/s\n", (ull)r->requests, r->requests_per_s);
    printf("  latency us  mean %.1f", histogram_mean(&r->latency) / 1000.0);
    for (size_t i = 0; i < PERCENTILES; i++)
        printf("  %s %.1f", percentiles[i].name,
               us(histogram_percentile(&r->latency, percentiles[i].ppm)));
    printf("  max %.1f\n", us(r->latency.max));
    if (o->server_pid > 0)
        printf("  server CPU  %.3f us per request\n", us_per(r->server_cpu_ns, r->requests));
    printf("  bytes       %llu sent, %llu received, %llu %s, %u connections failed\n",
           (ull)r->bytes_sent, (ull)r->bytes_received, (ull)r->bytes_mismatched,
           o->verify ? "differ" : "known to differ (not compared)", r->failures);
}

void report_print(const load_options *options, const load_result *result) {
    if (options->json)
        print_json(options, result);
    else if (!options->quiet)
        print_text(options, result);
}
