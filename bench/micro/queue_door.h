/* The small door behind which the queues under test stand, and the drivers that push through it.
 *
 * A queue is a file that defines `struct door` and the six static functions below, names itself by
 * DOOR_NAME and includes queue_drive.h, which is compiled into it: nobody pays for a call through
 * a pointer that another does not pay for.
 *
 *     void door_init(struct door *d);
 *     void door_push(struct door *d, struct post *p); wakes the owner if it must, by door_wake()
 *     unsigned door_take(struct door *d);                  runs all, in order; 0: there was nothing
 *     bool door_may_sleep(struct door *d);                 false: there is work
 *     void door_woken(struct door *d);                     after a sleep
 *     void door_destroy(struct door *d);
 */
#ifndef WEFT_BENCH_QUEUE_DOOR_H
#define WEFT_BENCH_QUEUE_DOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* As large as a weft_task. The link is each queue's own: one word, first. */
struct post {
    void *link;
    void (*run)(struct post *p);
    uint64_t number;
};

struct post_load {
    unsigned posters;
    unsigned posts; /* of all posters together */
    bool spins;     /* the owner: else it sleeps in epoll */
    bool pins;      /* the owner to CPU 0, the posters to CPU 1: else the scheduler places them */
    /* One poster, which waits for each post to be run: the queue is always empty. */
    bool one_by_one;
};

/* Million posts per second, from the first push to the last run. */
double post_weft(const void *load);
double post_weft_guess(const void *load);
double post_weft_prefetch(const void *load);
double post_weft_back_off(const void *load);
double post_wfcqueue(const void *load);
double post_lfstack(const void *load);
double post_mutex(const void *load);

static inline void door_wake(int fd) {
    static const uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0)
        return; /* full: the owner is awake */
}

static inline void door_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

#endif
