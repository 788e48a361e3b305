/* Runs in a process of their own, which ends with the run: masks, handlers, memory, fds and
 * children go with it. A contender's function is called in the forked process, so it may fail at
 * any place by ending that. The process that forks must not have used weft. */
#ifndef WEFT_BENCH_APART_H
#define WEFT_BENCH_APART_H

#include <stddef.h>

/* What run(arg) returns; negative, with a line on stderr, if it failed or took over two minutes. */
double apart_run(double (*run)(const void *arg), const void *arg);

/* Zeroed memory that the runs made later share with whoever makes them. */
void *apart_shared(size_t size);

/* Both end the run with a message if result is negative, and else return it. */
int must(const char *what, int result);      /* -errno, as weft and libuv have it */
int must_call(const char *what, int result); /* -1 and errno, as system calls do */

#endif
