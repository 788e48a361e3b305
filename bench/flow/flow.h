/* What the tables of weft-flow share. Every run has a process of its own (apart.h). */
#ifndef WEFT_BENCH_FLOW_H
#define WEFT_BENCH_FLOW_H

#include "common/apart.h"
#include "common/rounds.h"

#include <stdbool.h>
#include <stddef.h>

/* Ties the calling thread to the first, second, ... of the CPUs that the program was given, or to
 * the last of them. */
void flow_pin(unsigned number);

/* Forks a peer, which runs on CPU 1, and returns our end of a TCP connection to it. */
int flow_connect(void (*peer)(int socket, const void *arg), const void *arg);
void flow_receive(int socket, size_t bytes); /* a peer's: reads and discards so many */

void table_of_wakeups(unsigned rounds);
void table_of_transfers(unsigned rounds);
void table_of_sends(unsigned rounds);
void table_of_moves(unsigned rounds);

#endif
