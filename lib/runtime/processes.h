/* What processes.c and spawn.c share: the handle of a child. */
#ifndef WEFT_LIB_RUNTIME_PROCESSES_H
#define WEFT_LIB_RUNTIME_PROCESSES_H

#include "runtime/inner.h"

#include "weft/process.h"

enum process_state {
    PROCESS_WATCHED, /* the sentinel's: it waits for the exit */
    PROCESS_REAPED,  /* the worker's again: a message with the status is on its way to it */
    PROCESS_STOPPED, /* the sentinel's: a message to forget it is on its way there */
};

struct weft_process {
    /* Immutable once it is watched. */
    weft_worker *worker;
    void (*fn)(weft_process *process, const siginfo_t *info, void *arg);
    void *arg;
    pid_t pid;
    int pidfd; /* -1 where the kernel refuses them */

    /* Guarded by the lock of all children. */
    enum process_state state;
    struct pid_node node;
    bool superseded;        /* its pid has gone to another child: somebody else has reaped it */
    struct list swept_link; /* in the runtime's `swept`, if it has to be */

    /* The sentinel's; registered with its selector by the worker. */
    struct worker_source source;

    /* The worker's; the message that changes the owner carries them over. */
    struct list link; /* in its worker's list */
    int ends[3];      /* the parent's ends of pipes, -1: none, or taken */
    bool muted;       /* stopped while the status was on its way */
    bool in_callback;
    siginfo_t info;
    weft_task task;
};

/* For w, not yet watched; NULL without memory. */
weft_process *process_create(weft_worker *w,
                             void (*fn)(weft_process *process, const siginfo_t *info, void *arg),
                             void *arg);
void process_free(weft_process *p); /* with its fds */

/* May w have children now, and would their status be kept? Room for one more, too. */
int process_may_watch(weft_worker *w);

/* From here on the sentinel waits for it. Cannot fail: a pidfd that cannot be waited on is swept.
 * The child is new: an older one of its pid that is still watched was reaped by somebody else. */
void process_begin(weft_process *p);

#endif
