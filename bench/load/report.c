#include "load/report.h"

#include "load/load_thread.h"

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

static double seconds(uint64_t ns) {
    return (double)ns / (double)CLI_NS_PER_SEC;
}

static double us_at(const histogram *h, uint32_t ppm) {
    return us(histogram_percentile(h, ppm));
}

bool report_is_clean(const load_options *options, const load_result *result) {
    bool all = options->requests == 0 || result->latency.count == options->requests;
    return all && result->failures == 0 && result->bytes_mismatched == 0 &&
           result->bytes_sent == result->bytes_received && result->requests > 0;
}

static const char *mode_of(const load_options *o) {
    return o->churn ? "churn" : o->rate > 0 ? "open" : "closed";
}

static void print_json_mode(const load_options *o, const load_result *r) {
    if (o->sizes_text != NULL)
        printf("\"sizes\": \"%s\", ", o->sizes_text);
    if (o->rate > 0)
        printf("\"rate\": %llu, \"planned\": %llu, \"sent\": %llu, \"waited\": %llu, "
               "\"lateness_us\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}, ",
               (ull)o->rate, (ull)r->planned, (ull)r->sent, (ull)r->waited,
               us_at(&r->lateness, 500000), us_at(&r->lateness, 990000), us(r->lateness.max));
    if (o->churn)
        printf("\"connections_measured\": %llu, \"connections_made\": %llu, "
               "\"connections_per_s\": %.1f, ",
               (ull)r->latency.count, (ull)r->dialled, r->per_s);
    if (o->churn && o->server_pid > 0)
        printf("\"server_cpu_us_per_connection\": %.4f, ",
               us_per(r->server_cpu_ns, r->latency.count));
}

static void print_json(const load_options *o, const load_result *r) {
    printf("{\"mode\": \"%s\", \"connections\": %u, \"pipeline\": %u, \"size\": %.10g, "
           "\"threads\": %u, \"verify\": %s, \"seconds\": %.6f, \"requests\": %llu, "
           "\"requests_per_s\": %.1f, ",
           mode_of(o), o->connections, o->pipeline, sizes_mean(&o->sizes), o->threads,
           o->verify ? "true" : "false", seconds(r->measured_ns), (ull)r->requests,
           r->requests_per_s);
    print_json_mode(o, r);
    printf("\"bytes_sent\": %llu, \"bytes_received\": %llu, \"bytes_mismatched\": %llu, "
           "\"failures\": %u, \"clean\": %s, ",
           (ull)r->bytes_sent, (ull)r->bytes_received, (ull)r->bytes_mismatched, r->failures,
           report_is_clean(o, r) ? "true" : "false");
    if (o->server_pid > 0)
        printf("\"server_cpu_us_per_request\": %.4f, \"server_cpu_s\": %.6f, "
               "\"context_switches\": %llu, ",
               us_per(r->server_cpu_ns, r->requests), seconds(r->server_cpu_ns),
               (ull)r->context_switches);
    printf("\"generator_cpu_s\": %.6f, \"latency_us\": {\"min\": %.3f, \"mean\": %.3f",
           seconds(r->own_cpu_ns), us(r->latency.min), histogram_mean(&r->latency) / 1000.0);
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", \"%s\": %.3f", percentiles[i].name, us_at(&r->latency, percentiles[i].ppm));
    printf(", \"max\": %.3f}}\n", us(r->latency.max));
}

static void print_text_mode(const load_options *o, const load_result *r) {
    if (o->churn)
        printf("  connections %llu, %.0f/s\n", (ull)r->latency.count, r->per_s);
    if (o->rate == 0)
        return;
    printf("  planned     %llu, %llu/s; %llu sent, %llu of them waited for their connection\n",
           (ull)r->planned, (ull)o->rate, (ull)r->sent, (ull)r->waited);
    printf("  late by us  p50 %.1f  p99 %.1f  max %.1f (the generator, where none waited)\n",
           us_at(&r->lateness, 500000), us_at(&r->lateness, 990000), us(r->lateness.max));
}

static void print_text(const load_options *o, const load_result *r) {
    printf("%u connections, %u messages of %.10g bytes each, %.2f s, %s\n", o->connections,
           o->pipeline, sizes_mean(&o->sizes), seconds(r->measured_ns), mode_of(o));
    printf("  requests    %llu, %.0f/s\n", (ull)r->requests, r->requests_per_s);
    print_text_mode(o, r);
    printf("  latency us  mean %.1f", histogram_mean(&r->latency) / 1000.0);
    for (size_t i = 0; i < PERCENTILES; i++)
        printf("  %s %.1f", percentiles[i].name, us_at(&r->latency, percentiles[i].ppm));
    printf("  max %.1f\n", us(r->latency.max));
    if (o->server_pid > 0)
        printf("  server CPU  %.3f us per %s, %llu context switches\n",
               us_per(r->server_cpu_ns, r->latency.count), o->churn ? "connection" : "request",
               (ull)r->context_switches);
    printf("  bytes       %llu sent, %llu received, %llu %s, %u connections failed\n",
           (ull)r->bytes_sent, (ull)r->bytes_received, (ull)r->bytes_mismatched,
           o->verify ? "differ" : "known to differ (not compared)", r->failures);
}

void report_print(const load_options *options, const load_result *result) {
    if (options->rate > 0 && result->sent < result->planned)
        fprintf(stderr,
                "weft-load: %llu requests were still waiting to be sent %llu s after the plan's "
                "end; no latency above counts them\n",
                (ull)(result->planned - result->sent), LOAD_STALL_NS / CLI_NS_PER_SEC);
    if (options->json)
        print_json(options, result);
    else if (!options->quiet)
        print_text(options, result);
}
