/* What the selector's sweeps share: a selector with one entry of each sort, and the kernel's list
 * of its sets as the oracle. */
#ifndef WEFT_TESTS_FAULT_SELECTOR_SCENE_H
#define WEFT_TESTS_FAULT_SELECTOR_SCENE_H

#include "test_selector.h"
#include "selector_oracle.h"

struct scene {
    weft_selector *s;
    weft_event *ev, *ev_in;
    int active[2], paused[2], fired[2], exclusive[2], fresh[2], far;
    int timer, signal;
    int extra;   /* an fd of `prepare`'s, -1: none */
    pid_t child; /* a child of its, 0: none */
    weft_ready ready[16];
    bool may_leave; /* a source's fd was taken for somebody else's, and so left open */
    bool is_stale;  /* a number has passed to another file, behind the table's back */
    sigset_t mask;
};

/* The table agrees with both sets of the kernel, which hold nothing else. */
void scene_check_table(const struct scene *c);

/* By hand: one at a time. */
struct scene *scene_make(void (*prepare)(struct scene *c));
void scene_end(struct scene *c);

/* One sweep of an operation on a scene that `prepare`, if any, has changed. */
struct scene_sweep {
    const char *name;
    void (*prepare)(struct scene *c);
    int (*operate)(struct scene *c);
    bool (*is_answer)(struct scene *c, const struct sweep_fault *fault,
                      int r); /* NULL: the error */
    unsigned least;
};
void scene_sweep(const struct scene_sweep *sweep);

/* Those of selector_oracle.h. */
bool answer_of_add(struct scene *c, const struct sweep_fault *fault, int r);
bool answer_of_update(struct scene *c, const struct sweep_fault *fault, int r);

#endif
