/* Google Benchmark for C; shim.cc is the one C++ file. A benchmark is a C function that does its
 * work once for each repetition, and says by itself how long it took. */
#ifndef WEFT_BENCH_SHIM_H
#define WEFT_BENCH_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

struct bench_state; /* of one repetition */

void bench_register(const char *name, void (*fn)(struct bench_state *s, void *arg), void *arg);

void bench_took(struct bench_state *s, double seconds); /* required, once */
void bench_counter(struct bench_state *s, const char *name, double value);
void bench_label(struct bench_state *s, const char *text);

/* Instead of bench_took(): says why there is no time. */
void bench_give_up(struct bench_state *s, const char *reason);

/* The program's: called first in main(), to register what there is. */
void bench_prepare(void);

#ifdef __cplusplus
}
#endif

#endif
