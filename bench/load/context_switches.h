#ifndef WEFT_BENCH_CONTEXT_SWITCHES_H
#define WEFT_BENCH_CONTEXT_SWITCHES_H

#include <stdint.h>
#include <sys/types.h>

/* Of all threads that the process has now, voluntary and not, since they began. A thread that ends
 * takes its own along, so a difference of two counts is right only where threads stay. 0 or
 * -errno. */
int context_switches_read(pid_t pid, uint64_t *ret_count);

#endif
