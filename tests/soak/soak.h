/* The soak: everything that weft does, at once, again and again; and books of all that goes in and
 * comes out.
 *
 * The time is cut into epochs. Each has a runtime of its own, which the parts below load while it
 * starts, works and stops; after it everything that went in must have come out, and the process
 * must hold the fds, threads, children and memory that it held before. */
#ifndef WEFT_TESTS_SOAK_H
#define WEFT_TESTS_SOAK_H

#include <weft.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORKERS = 3, MAX_OUTS = 3, MAX_ACCOUNTS = 5 };

/* --- the running epoch ------------------------------------------------------------------------ */

struct epoch {
    unsigned number, workers;
    weft_runtime *rt;      /* of which the epoch holds a reference until the parts have ended */
    _Atomic bool draining; /* nothing new is to be begun */
    _Atomic bool stopping; /* from before the stop is asked for: streams may be cut off */
    _Atomic bool over;     /* the runtime has gone; what is posted is refused */
};

extern struct epoch epoch;
extern uint64_t soak_seed;

weft_worker *worker_at(unsigned index); /* modulo their number */
weft_worker *next_worker(weft_worker *w);

/* --- the books -------------------------------------------------------------------------------- */

/* At the end of an epoch `in` is the sum of the outs, if there are any. Counts are of the whole
 * soak. */
struct tally {
    const char *name;
    _Atomic uint64_t count;
};

struct account {
    struct tally in, out[MAX_OUTS];
};

static inline void tally(struct tally *t) {
    atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
}

static inline void tally_many(struct tally *t, uint64_t count) {
    atomic_fetch_add_explicit(&t->count, count, memory_order_relaxed);
}

static inline uint64_t tallied(const struct tally *t) {
    return atomic_load_explicit(&t->count, memory_order_relaxed);
}

/* What has gone in and has not come out yet. */
uint64_t account_open(const struct account *a);

/* --- the parts -------------------------------------------------------------------------------- */

/* All on the main thread. */
struct part {
    const char *name;
    struct account *accounts;
    unsigned account_count;
    void (*begin)(void);      /* the runtime has started */
    bool (*is_drained)(void); /* asked again and again once epoch.draining; NULL: always */
    void (*end)(void);        /* the runtime has gone: ends its threads, frees, checks */
};

extern const struct part streams_part, mail_part, posts_part, timers_part, children_part,
    signals_part, watches_part, scarcity_part;

/* --- what the parts share --------------------------------------------------------------------- */

/* Any thread: something is wrong. The first one ends the soak with the epoch. */
void soak_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool soak_has_failed(void);

uint64_t mix(uint64_t x);
uint64_t roll(uint64_t *state, uint64_t limit); /* a random number below the limit */

/* Bytes [from, from + length) of the sequence of that key. */
void fill(uint64_t key, uint64_t from, uint8_t *buffer, size_t length);
bool is_filled(uint64_t key, uint64_t from, const uint8_t *data, size_t length);

uint64_t now_ns(void);
void pause_us(unsigned us); /* of a foreign thread between two bursts */
pthread_t thread_begin(void *(*fn)(void *arg), void *arg);
void thread_end(pthread_t thread);

/* fn(arg) on each worker, and back. */
void on_each_worker(void (*fn)(void *arg), void *arg);

#endif
