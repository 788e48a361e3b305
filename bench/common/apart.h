/* Runs in a process of their own, which ends with the run: masks, handlers, memory, fds and
 * children go with it. A contender's function is called in the forked process, so it may fail at
 * any place by ending that. The process that forks must not have used weft. */
#ifndef WEFT_BENCH_APART_H
#define WEFT_BENCH_APART_H

#include <stddef.h>

enum { APART_FIGURES = 4 };

/* The figures of one run: first what run(arg) returns, then those it notes, NAN where it does not.
 * The first is negative, with a line on stderr, if it failed or took over two minutes. */
void apart_run(double (*run)(const void *arg), const void *arg, double figures[APART_FIGURES]);

/* A further figure of this run, from 1 on. */
void apart_note(unsigned number, double figure);

/* Zeroed memory that the processes forked later share with whoever makes it. */
void *apart_shared(size_t size);

/* Both end the run with a message if result is negative, and else return it. */
int must(const char *what, int result);      /* -errno, as weft and libuv have it */
int must_call(const char *what, int result); /* -1 and errno, as system calls do */

#endif
