/* Google Benchmark for C. shim.cc is the one C++ file; a benchmark is a C function that asks for
 * batches of work:
 *
 *     static void push_one(struct bench_state *s) {
 *         while (bench_keep_running(s, 1000))
 *             for (int i = 0; i < 1000; i++) ...
 *     }
 *     BENCH("queue/push", push_one, .threads = 2)
 *
 * The loop is asked once per batch, so its cost does not show in what is measured. */
#ifndef WEFT_BENCH_SHIM_H
#define WEFT_BENCH_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_state; /* of one thread of one run */

/* True: do `n` operations more. */
bool bench_keep_running(struct bench_state *s, int64_t n);

/* The value given as .argument. */
int64_t bench_argument(const struct bench_state *s);
int bench_thread(const struct bench_state *s);
int bench_threads(const struct bench_state *s);

/* What is between them is not measured. */
void bench_pause(struct bench_state *s);
void bench_resume(struct bench_state *s);

/* With .manual_time: what the last batch took. */
void bench_took(struct bench_state *s, double seconds);

/* Shown beside the time: as it is, or divided by the time of the run. */
void bench_counter(struct bench_state *s, const char *name, double value);
void bench_rate(struct bench_state *s, const char *name, double value);

/* Ends this benchmark and says why. */
void bench_give_up(struct bench_state *s, const char *reason);

struct bench_options {
    int threads;      /* 0: one */
    bool manual_time; /* bench_took() says the time; else real time is taken */
    int64_t argument;
    int64_t iterations; /* 0: as many as fill the minimal time */
};

void bench_register(const char *name, void (*fn)(struct bench_state *s),
                    const struct bench_options *options);

#ifndef __cplusplus
#define BENCH_JOIN_(a, b) a##b
#define BENCH_JOIN(a, b) BENCH_JOIN_(a, b)
#define BENCH(name, fn, ...)                                                                       \
    __attribute__((constructor)) static void BENCH_JOIN(bench_number_, __COUNTER__)(void) {        \
        static const struct bench_options options = {__VA_ARGS__};                                 \
        bench_register(name, fn, &options);                                                        \
    }
#endif

/* What the program does when its first argument is a word that the shim does not know: the tables
 * of rounds.h. Returns an exit status, or -1: go on with Google Benchmark. */
int bench_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif
