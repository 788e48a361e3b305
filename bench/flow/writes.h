/* Turns of a loop, each of which makes a number of writes to one connection, whose peer reads on
 * CPU 1 until it has all and closes. */
#ifndef WEFT_BENCH_WRITES_H
#define WEFT_BENCH_WRITES_H

#include <stdbool.h>
#include <stddef.h>

struct writes {
    const char *name;
    unsigned turns, per_turn;
    size_t bytes; /* of each write */
};

extern const char writes_data[]; /* as many bytes as any wants */
extern const struct writes *writes;

/* Each contender: begin before it makes its first turn, on the thread that will, and end there when
 * the peer has closed. */
int writes_connect(const struct writes *load); /* a connection to the peer */
void writes_begin(void);
bool writes_again(void); /* before each turn: is there one? */
void writes_end(void);
double
writes_figure(void); /* of one turn, M/s until the peer had all; of more, ns of CPU for each */

/* arg: struct writes */
double writes_weft(const void *arg);
double writes_uv(const void *arg);
double writes_uv_try(const void *arg);
double writes_send(const void *arg);
double writes_writev(const void *arg);

#endif
