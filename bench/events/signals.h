/* 100 000 real-time signals with a payload, sent to the process by a child of its own as fast as
 * the kernel queues them. Each receiver starts the sender, is ready, lets it go, counts what
 * arrives until the signal that ends the run, and finishes. */
#ifndef WEFT_BENCH_SIGNALS_H
#define WEFT_BENCH_SIGNALS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

enum { SIGNALS = 100000, SIGNALS_PACE = 64 };

#define SIGNAL_COUNTED SIGRTMIN
#define SIGNAL_END (SIGRTMIN + 1) /* sent when all have arrived, or when no more do */

/* In memory that receiver and sender share. */
struct signals {
    atomic_bool go, done;
    atomic_uint delivered; /* by the receiver alone */
    unsigned disordered;   /* payloads that were not the next one */
    double begin, last;    /* seconds; the last delivery to within SIGNALS_PACE of them */
    pid_t sender;
};

/* pace: at most so many under way at a time; 0: no limit */
struct signals *signals_start(unsigned pace);
void signals_go(struct signals *s);
void signals_count(struct signals *s);
void signals_take(struct signals *s, int payload); /* counts, and looks at the order */
double signals_finish(struct signals *s);          /* thousands a second */

double signals_weft(const void *arg);
double signals_signalfd(const void *arg);
double signals_uv(const void *arg);
double signals_uv_paced(const void *arg);

#endif
