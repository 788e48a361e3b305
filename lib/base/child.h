/* A child process, from clone to exec.
 *
 * The child runs in its parent's memory while the calling thread of the parent waits (vfork(2)
 * semantics), so what it costs does not grow with that memory. Until it execs it may therefore
 * touch nothing that other threads of the parent use: only raw system calls, no lock, no
 * allocation, no errno, and a stack of its own. The plan says everything it needs. */
#ifndef WEFT_LIB_BASE_CHILD_H
#define WEFT_LIB_BASE_CHILD_H

#include <stdint.h>
#include <sys/types.h>

/* child_plan.flags */
enum {
    CHILD_UID = 1u << 0,
    CHILD_GID = 1u << 1,
    CHILD_SESSION = 1u << 2,
    CHILD_GROUP = 1u << 3,
};

/* child_plan.sources, beside the parent's fds */
enum { CHILD_FD_NULL = -1 /* /dev/null */ };

struct child_plan {
    char *const *files; /* paths to try, one after the other as execvp(3) does; NULL at the end */
    char *const *argv;
    char *const *envp;
    const char *cwd; /* NULL: the parent's */
    int *sources;    /* what becomes the child's fd 0, 1, ...; the child writes here, too */
    unsigned fd_count;
    uid_t uid;
    gid_t gid;
    uint32_t flags;

    /* Between child_start() and the child. */
    int error;         /* of the exec, or of what came before it */
    int files_refused; /* the kernel has no close_range(2) */
};

/* Starts it, and returns once the exec has succeeded or anything before it has failed; then nothing
 * of the child is left. *ret_pidfd is -1 where the kernel gives none.
 *
 * 0, or what clone(2), chdir(2), setuid(2), execve(2) and the calls on fds say. */
int child_start(struct child_plan *plan, pid_t *ret_pid, int *ret_pidfd);

#endif
