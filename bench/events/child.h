/* Children without a library: three ways to start them, and a pidfd to wait for one. */
#ifndef WEFT_BENCH_CHILD_H
#define WEFT_BENCH_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
    char *const *argv; /* argv[0] is the path */
    int stdio[3];      /* fds that become the child's 0, 1 and 2 */
};

/* Each returns the pid; an error ends the run. */
pid_t child_vfork(const struct child *child);
pid_t child_posix_spawn(const struct child *child);
pid_t child_fork(const struct child *child);

int child_pidfd(pid_t pid);
bool child_reap(int pidfd); /* closes it; did the child exit with 0? */

#endif
