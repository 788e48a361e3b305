/* weft/process.h: child processes: start them, learn how they ended, on a worker.
 *
 * weft_spawn() starts a program and watches it; weft_process_watch() watches a child that was
 * started in another way. The runtime's sentinel holds a pidfd of each child and reaps exactly that
 * child when it has ended; then fn runs on the worker that asked, once. Nobody else's children are
 * ever waited for, so libraries that start and reap their own are left in peace.
 *
 *     static void ended(weft_process *process, const siginfo_t *info, void *arg) {
 *         if (info && info->si_code == CLD_EXITED)
 *             printf("exit status %d\n", info->si_status);
 *     }
 *
 *     char *argv[] = {"ls", "-l", NULL};
 *     weft_spawn_options options = {.file = "ls", .argv = argv,
 *                                   .stdio = {[1] = WEFT_STDIO_INHERIT}};
 *     int r = weft_spawn(w, &options, ended, NULL, NULL);
 *
 * Where pidfds are refused (kernels before 5.4, or a filter of system calls) SIGCHLD does their
 * work if the program lets it: name SIGCHLD in weft_runtime_options.signals. Otherwise weft looks
 * at its children every 20 ms, and says so once.
 */
#ifndef WEFT_PROCESS_H
#define WEFT_PROCESS_H

#include <signal.h>
#include <sys/types.h>
#if defined(__has_include) && !defined(__cplusplus)
#if __has_include(<bits/types/siginfo_t.h>)
#include <bits/types/siginfo_t.h> /* which signal.h keeps from a program in strict C11 */
#endif
#endif
#include <weft/api.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_process weft_process;

/* weft_spawn_options.stdio */
enum {
    WEFT_STDIO_NULL    = 0,  /* /dev/null, open for reading and writing */
    WEFT_STDIO_INHERIT = -1, /* the parent's fd of that number; /dev/null where it has none */
    WEFT_STDIO_PIPE    = -2, /* one end of a new pipe(2); the other: weft_process_stdio() */
};
/* This fd of the parent's, which stays the parent's. */
#define WEFT_STDIO_FD(fd) ((fd) + 1)

/* weft_spawn_options.flags */
enum {
    WEFT_SPAWN_UID    = 1u << 0, /* become uid; supplementary groups are dropped, but for those of
                                    an unprivileged parent that names its own uid and gid */
    WEFT_SPAWN_GID    = 1u << 1, /* become gid; likewise */
    WEFT_SPAWN_SETSID = 1u << 2, /* lead a new session, and so a new process group (setsid(2)) */
    WEFT_SPAWN_PGROUP = 1u << 3, /* lead a new process group (setpgid(2)) */
};

/* All zero but file: runs it without arguments, with the parent's environment and directory, and
 * /dev/null for 0, 1 and 2. */
typedef struct weft_spawn_options {
    const char *file;     /* searched in the parent's PATH unless it has a slash; a relative path
                                counts from cwd */
    char *const *argv;    /* with argv[0], NULL at the end; NULL: file alone */
    char *const *envp;    /* NULL at the end; NULL: the parent's */
    const char *cwd;      /* NULL: the parent's */
    int stdio[3];         /* the child's 0, 1, 2: WEFT_STDIO_NULL, _INHERIT, _PIPE or _FD(fd) */
    const int *fds;       /* fds of the parent's that become the child's 3, 4, 5, ... */
    size_t fd_count;      /* how many */
    uid_t uid;            /* with WEFT_SPAWN_UID, else 0 */
    gid_t gid;            /* with WEFT_SPAWN_GID, else 0 */
    uint32_t flags;       /* WEFT_SPAWN_* */
    uint64_t reserved[8]; /* zero */
} weft_spawn_options;

/* Starts a program. The child has exactly the fds named, an empty signal mask and default
 * dispositions (also where the parent ignores a signal); everything else is the parent's. Numbers
 * in stdio and fds may overlap the child's in any way, and one fd may be named twice. The order in
 * the child: session or process group, fds, cwd, groups, gid, uid, exec.
 *
 * The worker stands still until the exec, usually well under a millisecond; the cost does not grow
 * with the parent's memory (vfork(2) semantics), nor with its open fds beyond the highest one
 * named. An error of the exec, or of anything before it, is returned here, and leaves no zombie and
 * no fd.
 *
 * Thread:  owner of w.
 * Owns:    the handle is valid until fn returns, or until weft_process_stop(); ret_process may be
 *          NULL, for fn gets it too. fds stay the caller's. options and all it points to are read
 *          before the call returns.
 * Calls:   fn once, on w, never before this call has returned: with the status, after the child was
 *          reaped; or with info NULL when the runtime stops first, the child left alone.
 *          info->si_code is CLD_EXITED, CLD_KILLED or CLD_DUMPED, si_status the exit status or
 *          signal (waitid(2)); si_code 0 and si_pid 0 say that somebody else took the status (or
 *          that waitid(2) would not give it).
 * Returns: 0, or
 *          -EINVAL  w, options, file or fn is NULL, an unknown flag, an unknown stdio, uid or gid
 *                   without its flag, fds NULL with a count, reserved not zero
 *          -ENOENT  no such file, in PATH or at its path; no such cwd; its interpreter is missing
 *          -EACCES  no permission to execute it, or to enter cwd
 *          -EBADF   an fd named in stdio or fds is not open
 *          -EBUSY   SIGCHLD is ignored, or SA_NOCLDWAIT is set: no status would be kept
 *          -ENOEXEC, -E2BIG, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -ETXTBSY, -EIO, ...  as execve(2)
 *                   and chdir(2) say
 *          -EPERM   no privilege for uid or gid; on another thread; in a forked child
 *          -EMFILE, -ENFILE  no file descriptor left (a child holds one, each pipe two, of which
 *                   one stays)
 *          -EAGAIN  no process left (RLIMIT_NPROC, pid_max)
 *          -ESHUTDOWN  the runtime's sentinel has ended
 *          -ENOMEM  no memory
 * See:     clone(2): CLONE_VM, CLONE_VFORK, CLONE_PIDFD; close_range(2); execve(2).
 */
WEFT_API int weft_spawn(weft_worker *w, const weft_spawn_options *options,
                        void (*fn)(weft_process *process, const siginfo_t *info, void *arg),
                        void *arg, weft_process **ret_process);

/* Watches a child of this process that was started in another way, also one that is dead already.
 * fn as for weft_spawn(): it runs once, after weft has reaped the child.
 *
 * Thread:  owner of w.
 * Owns:    the handle, as for weft_spawn(); so is reaping the child, until weft_process_stop().
 * Returns: 0, or
 *          -EINVAL  w or fn is NULL, pid is not positive, or is a thread's
 *          -ESRCH   no such process
 *          -ECHILD  not a child of this process
 *          -EEXIST  watched already; -EBUSY  by another runtime
 *          -EBUSY   SIGCHLD is ignored, or SA_NOCLDWAIT is set: no status would be kept
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ESHUTDOWN  the runtime's sentinel has ended
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -EPERM   on another thread; in a forked child
 * See:     pidfd_open(2); waitid(2), P_PIDFD; sigaction(2), SA_NOCLDWAIT.
 */
WEFT_API int weft_process_watch(weft_worker *w, pid_t pid,
                                void (*fn)(weft_process *process, const siginfo_t *info, void *arg),
                                void *arg, weft_process **ret_process);

/* The child's pid.
 *
 * Thread:  any, while the handle lives.
 * Returns: the pid, or
 *          -EINVAL  process is NULL
 *          -EPERM   in a forked child
 * See:     weft_process_kill(), which is safe where kill(2) with this pid is not.
 */
WEFT_API pid_t weft_process_pid(const weft_process *process);

/* Sends the child a signal, by its pidfd: never to another process that got its pid since.
 *
 * Thread:  owner.
 * Returns: 0, also when the child has ended and was not reaped yet, or
 *          -EINVAL  process is NULL, or signo is no signal (0 only asks whether it could be sent)
 *          -ESRCH   the child was reaped, as it is once fn runs with a status
 *          -EPERM   no permission: the child has become another user; on another thread; in a
 *                   forked child
 * See:     pidfd_send_signal(2), kill(2).
 */
WEFT_API int weft_process_kill(weft_process *process, int signo);

/* The parent's end of a WEFT_STDIO_PIPE: to write to for 0, to read from for 1 and 2; non-blocking
 * and close-on-exec. Watch it with weft_watch_start().
 *
 * Thread:  owner.
 * Owns:    the end is the caller's from then on, also after the handle's end. Ends that were never
 *          asked for close with the handle.
 * Returns: the fd, or
 *          -EINVAL  process is NULL, or fd is not 0, 1 or 2
 *          -ENOENT  it is no pipe, or was asked for before
 *          -EPERM   on another thread; in a forked child
 * See:     pipe(2).
 */
WEFT_API int weft_process_stdio(weft_process *process, int fd);

/* Ends the watch: fn is never called after this returns. The child goes on, and reaping it is the
 * caller's again, unless weft has done so already (waitpid() then says ECHILD). Inside fn it does
 * nothing, since the handle ends there anyway.
 *
 * Thread:  owner.
 * Owns:    the handle ends here, and with it the pipe ends that were never asked for.
 * Returns: nothing; NULL is ignored.
 * See:     waitid(2).
 */
WEFT_API void weft_process_stop(weft_process *process);

WEFT_END_DECLS

#endif
