/* Two CPUs and a connection between them: what crosses threads and sockets is measured with. */
#ifndef WEFT_BENCH_FLOW_H
#define WEFT_BENCH_FLOW_H

#include "micro/contest.h"
#include "micro/families.h"

#include <stdbool.h>
#include <stddef.h>
#include <weft.h>

void flow_prepare(void); /* once, before any thread is tied to a CPU */

/* Ties the calling thread to the first, second, ... of the CPUs that the program was given, or to
 * the last of them. */
void flow_pin(unsigned number);

/* What is done again and again for a while, and counted: a round trip mostly. */
struct trips {
    double seconds; /* for so long; the first ones only warm up */
    double begin, end;
    unsigned count;
};

bool trips_again(struct trips *t); /* after each; false: enough */
double trips_us_each(const struct trips *t);

/* Forks a peer, which runs on CPU 1, and returns our end of a TCP connection to it. */
int flow_connect(void (*peer)(int socket, const void *arg), const void *arg);
void flow_pair(int ends[2]);                 /* both ends of one, non-blocking */
void flow_receive(int socket, size_t bytes); /* a peer's: reads and discards so many */

size_t flow_ignore(weft_stream *s, const uint8_t *data, size_t len); /* on_data: takes all */

#endif
