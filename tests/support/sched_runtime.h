/* A runtime whose threads are threads of the next schedule (scheduler.h): it is created and
 * destroyed outside of it, and never started. */
#ifndef WEFT_TESTS_SCHED_RUNTIME_H
#define WEFT_TESTS_SCHED_RUNTIME_H

#include <weft.h>

/* The runtime alone, and its workers, where a test brings another sentinel or no thread at all. */
weft_runtime *sched_runtime_make(const weft_runtime_options *options);
void sched_runtime_spawn_workers(weft_runtime *rt);

/* Both, with sentinel; at most four workers. They do not spin; durations of 0 are for ever. */
weft_runtime *sched_runtime_create(const weft_runtime_options *options);

/* `wrong`, or, if that is NULL, what else is. */
const char *sched_runtime_destroy(weft_runtime *rt, const char *wrong);

#endif
