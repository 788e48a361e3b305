/* The fault sweep: an operation is made again and again, and each time another one of the calls
 * that it makes fails: of each kind of call the 1st, the 2nd, ... with each errno of its man page,
 * until a run comes to its end without one. Allocations fail once, and then all of them from the
 * Nth on.
 *
 * After every failure the answer is exactly that -errno, or what is documented instead; nothing
 * has changed: open files, blocked signals, live allocations, and what the sweep's snapshot looks
 * at; and the same call now succeeds. When the world is closed again nothing of it is left. */
#ifndef WEFT_TESTS_FAULT_SWEEP_H
#define WEFT_TESTS_FAULT_SWEEP_H

#include "base/os.h"
#include "wtest.h"

#include <stdbool.h>
#include <stddef.h>

struct weft_selector;

enum sweep_scope {
    SWEEP_CALLER,  /* calls of the thread that operates */
    SWEEP_MARKED,  /* those of any thread between sweep_mark() and sweep_unmark() */
    SWEEP_WORKERS, /* those of all workers' threads */
    SWEEP_EVERYONE /* those of all threads */
};

/* What was made to fail. */
struct sweep_fault {
    enum os_call call;
    int error;  /* -errno */
    unsigned n; /* of this kind of call */
    bool for_ever;
};

static inline bool is_fault(const struct sweep_fault *fault, enum os_call call, int error) {
    return fault->call == call && fault->error == error;
}

struct sweep {
    const char *name;
    enum sweep_scope scope;
    unsigned least;      /* calls that can fail in one run, so that a sweep of nothing is noticed */
    void *(*open)(void); /* the world; fails the test if it cannot */
    int (*operate)(void *world); /* >= 0, or -errno; back when all is quiet */
    void (*close)(void *world);

    /* All optional. */
    /* Runs fn(arg) on the thread that is to operate, and is back after it. */
    void (*on_thread)(void *world, void (*fn)(void *arg), void *arg);
    bool (*may_fail)(enum os_call call, int error); /* false: not this one, as it cannot be */
    /* Is it the documented answer? By default r == fault->error. */
    bool (*is_answer)(void *world, const struct sweep_fault *fault, int r);
    /* What else a failure must leave as it was, as text: the bytes written, less than `size`. */
    size_t (*snapshot)(void *world, void *buffer, size_t size);
    int (*kernel)(enum os_call call); /* what is refused all the time, as -errno; 0: it is not */
    bool keeps_memory; /* a failed operation may leave memory that the world's close frees */
    bool once_only;    /* no allocations that fail for ever: somebody waits until there is memory */
    bool repeats;      /* what succeeded leaves no trace either, and may be done again */
};

/* Fails the test at the first thing that is wrong, and says which fault led to it. */
void sweep_run(const struct sweep *sweep);

/* 0-terminated, positive. */
const int *sweep_errnos(enum os_call call);

/* By hand: from now on the nth call of that kind fails (n 0: none does, all are counted); disarmed,
 * it tells whether that came to pass. */
void sweep_arm(const struct sweep *sweep, const struct sweep_fault *fault);
bool sweep_disarm(void);

/* For SWEEP_MARKED: what the calling thread does from here on is swept. */
void sweep_mark(void);
void sweep_unmark(void);

/* --- oracles --------------------------------------------------------------------------------- */

/* Open fds as text, one "number: what it is" each; so a difference can be printed. */
size_t sweep_fds(char *buffer, size_t size);

/* NULL, or what differs between the selector's table and the kernel's view of its epoll sets. While
 * nobody changes it. */
const char *sweep_selector_differs(struct weft_selector *s);

#endif
