/* DESIGN
 *
 * clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_FILES), each flag for a reason:
 *
 *   VM, VFORK  no copy of the page tables; the parent's thread, alone, waits until the exec
 *   PIDFD      a handle that names this child and no later one with its pid
 *   FILES      the table of fds is shared at first, and the child's first step is
 *              close_range(CLOSE_RANGE_UNSHARE): the kernel then copies the part up to the highest
 *              fd that is needed, where clone() would copy, and the exec close, all of it
 *   exit signal 0  until its exec the child is nobody's business: when the exec fails no SIGCHLD is
 *              sent, and no waitpid(-1) of another thread can take what we are about to reap. An
 *              exec sets SIGCHLD (de_thread() in fs/exec.c)
 *
 * All signals are blocked before, so that no handler of the parent's runs in the child; the child
 * sets every disposition to its default, those that are ignored included, before it unblocks. (It
 * has a table of its own, without CLONE_SIGHAND. CLONE_CLEAR_SIGHAND would leave the ignored ones,
 * and so save none of these calls: docs/decisions/011.) */
#include "base/child.h"

#include "base/mutant.h"
#include "base/os.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { CHILD_STACK = 8 << 10, SIGNAL_COUNT = 64 };

#ifdef THREAD_SANITIZER
/* Its interceptor takes every clone() without a thread for a fork(), after which it would begin
 * anew in the child, in memory that is the parent's. The C library's own name it leaves alone. */
int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...); // NOLINT
#define clone __clone
#endif

#define RAW(number, ...) RAW_(number, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define RAW_(number, a, b, c, d, e, f, ...)                                                        \
    syscall_raw(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* --- in the child ----------------------------------------------------------------------------- */

/* For kernels before 5.9. The directory's own fd is the last to go. */
NO_SANITIZER static long close_listed(unsigned from) {
    struct entry { /* getdents64(2) */
        uint64_t inode, offset;
        uint16_t length;
        uint8_t type;
        char name[];
    };
    _Alignas(8) char buffer[1024];
    long directory = RAW(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return directory;
    long n;
    while ((n = RAW(SYS_getdents64, directory, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(buffer + at);
            unsigned fd = 0;
            const char *digit = e->name;
            for (; *digit >= '0' && *digit <= '9'; digit++) // NOLINT: written by the kernel
                fd = fd * 10 + (unsigned)(*digit - '0');
            if (*digit == 0 && fd >= from && fd != (unsigned)directory)
                (void)RAW(SYS_close, fd);
            at += e->length;
        }
    (void)RAW(SYS_close, directory);
    return n;
}

NO_SANITIZER static long close_others(const struct child_plan *plan) {
    long r = -ENOSYS;
    if (MUTANT("spawn-fds-left"))
        return 0;
    if (!plan->files_refused)
        r = RAW(SYS_close_range, plan->fd_count, ~0u, 0);
    return r == -ENOSYS ? close_listed(plan->fd_count) : r;
}

/* Parts with the parent's table of fds, taking along those that are needed. */
NO_SANITIZER static long files_unshare(const struct child_plan *plan) {
    int highest = -1;
    for (unsigned i = 0; i < plan->fd_count; i++)
        if (plan->sources[i] > highest)
            highest = plan->sources[i];
    return RAW(SYS_close_range, (unsigned)(highest + 1), ~0u, CLOSE_RANGE_UNSHARE);
}

/* Every source that stands where another one is to go moves above the target range first; then each
 * can be put into its place in any order. One that is in its own place stays: nobody else's way
 * leads there. */
NO_SANITIZER static long fds_make_way(struct child_plan *plan) {
    for (unsigned i = 0; i < plan->fd_count; i++) {
        int *source = &plan->sources[i];
        if (*source < 0 || *source >= (int)plan->fd_count || *source == (int)i)
            continue;
        if (MUTANT("spawn-fds-in-the-way"))
            continue;
        long moved = RAW(SYS_fcntl, *source, F_DUPFD_CLOEXEC, plan->fd_count);
        if (moved < 0)
            return moved == -EINVAL ? -EMFILE : moved; /* no number is left above the range */
        *source = (int)moved;
    }
    return 0;
}

NO_SANITIZER static long fds_place(const struct child_plan *plan) {
    for (unsigned i = 0; i < plan->fd_count; i++) {
        int source = plan->sources[i];
        long r = 0;
        if (source == (int)i) /* it shall not be close-on-exec */
            r = MUTANT("spawn-fds-lost-at-exec") ? 0 : RAW(SYS_fcntl, i, F_SETFD, 0);
        else if (source >= 0)
            r = RAW(SYS_dup3, source, i, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Last, when every other target is taken: the number that open() finds free is one of these, or
 * above the range and closed with the rest. */
NO_SANITIZER static long fds_place_null(const struct child_plan *plan) {
    long null = -1;
    for (unsigned i = 0; i < plan->fd_count; i++) {
        if (plan->sources[i] != CHILD_FD_NULL)
            continue;
        if (null < 0)
            null = RAW(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
        if (null < 0)
            return null;
        if (null != (long)i) {
            long r = RAW(SYS_dup3, null, i, 0);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

NO_SANITIZER static long fds_arrange(struct child_plan *plan) {
    long r = fds_make_way(plan);
    if (r >= 0)
        r = fds_place(plan);
    if (r >= 0)
        r = fds_place_null(plan);
    return r < 0 ? r : close_others(plan);
}

/* Groups first: afterwards there is no privilege left to drop them with. Raw, because the C
 * library's functions change all threads of the process, and those are the parent's. Somebody who
 * asks to be what they are has nothing to drop and may lack the privilege. */
NO_SANITIZER static long become(const struct child_plan *plan) {
    long uid = RAW(SYS_geteuid, 0), gid = RAW(SYS_getegid, 0), r = 0;
    bool by_uid = plan->flags & CHILD_UID, by_gid = plan->flags & CHILD_GID;
    if (!by_uid && !by_gid)
        return 0;
    if (uid == 0 || (by_uid && uid != (long)plan->uid) || (by_gid && gid != (long)plan->gid))
        r = MUTANT("spawn-groups-kept") ? 0 : RAW(SYS_setgroups, 0, 0);
    if (r >= 0 && by_gid)
        r = RAW(SYS_setgid, plan->gid);
    if (r >= 0 && by_uid)
        r = RAW(SYS_setuid, plan->uid);
    return r;
}

NO_SANITIZER static void signals_reset(void) {
    static const uint64_t by_default[8]; /* the kernel's struct sigaction, all zero: SIG_DFL */
    static const uint64_t none;
    for (int signo = 1; signo <= SIGNAL_COUNT; signo++)
        if (!MUTANT("spawn-ignores"))
            (void)RAW(SYS_rt_sigaction, signo, by_default, 0, sizeof none);
    if (!MUTANT("spawn-blocks"))
        (void)RAW(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
}

NO_SANITIZER static bool try_the_next(long error) {
    switch (-error) {
    case EACCES:
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ESTALE:
    case ENODEV:
    case ETIMEDOUT: return true;
    default: return false;
    }
}

/* As execvp(3) searches: a file that is there but may not be executed is the better explanation. */
NO_SANITIZER static long exec_first(const struct child_plan *plan) {
    long error = -ENOENT;
    bool forbidden = false;
    for (char *const *file = plan->files; *file; file++) {
        error = RAW(SYS_execve, *file, plan->argv, plan->envp);
        if (!try_the_next(error))
            return error;
        forbidden |= error == -EACCES && !MUTANT("spawn-forbidden-forgotten");
    }
    return forbidden ? -EACCES : error;
}

NO_SANITIZER static long prepare(struct child_plan *plan) {
    long r = 0;
    if (plan->flags & CHILD_SESSION)
        r = RAW(SYS_setsid, 0);
    else if (plan->flags & CHILD_GROUP)
        r = RAW(SYS_setpgid, 0, 0);
    if (r >= 0)
        r = fds_arrange(plan);
    if (r >= 0 && plan->cwd)
        r = RAW(SYS_chdir, plan->cwd);
    return r < 0 ? r : become(plan);
}

/* The whole of it, and not by way of anything that belongs to the parent. */
NO_SANITIZER static int child_ends(struct child_plan *plan, long error) {
    plan->error = (int)error;
    (void)RAW(SYS_exit_group, 127);
    return 127;
}

NO_SANITIZER static int child_with_own_files(void *arg) {
    struct child_plan *plan = arg;
    long r = prepare(plan);
    if (r >= 0) {
        if (!MUTANT("spawn-keeps-signals"))
            signals_reset();
        r = exec_first(plan);
    }
    return child_ends(plan, r);
}

NO_SANITIZER static int child_with_shared_files(void *arg) {
    struct child_plan *plan = arg;
    long r = files_unshare(plan);
    if (r >= 0)
        return child_with_own_files(plan);
    plan->files_refused = r == -ENOSYS || r == -EINVAL || r == -EPERM;
    return child_ends(plan, r);
}

/* --- in the parent ---------------------------------------------------------------------------- */

/* Ours, since nobody else's wait sees a child without exit signal. */
static void reap_failed(pid_t pid, int pidfd) {
    while (!MUTANT("spawn-zombie") && RAW(SYS_wait4, pid, 0, __WALL, 0) == -EINTR)
        ;
    if (pidfd >= 0)
        os_close(pidfd);
}

static int child_clone(int (*body)(void *arg), int flags, struct child_plan *plan, pid_t *ret_pid,
                       int *ret_pidfd) {
    _Alignas(16) char stack[CHILD_STACK];
    uint64_t all = UINT64_MAX, old = 0;
    int pidfd = -1;
    int saved = errno;
    plan->error = 0;
    (void)RAW(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof all);
    pid_t pid = clone(body, stack + sizeof stack, flags, plan, &pidfd);
    int error = pid < 0 ? -errno : plan->error;
    (void)RAW(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof old);
    errno = saved;
    if (pid < 0)
        return error;
    if (error < 0) {
        reap_failed(pid, pidfd);
        return error;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}

int child_start(struct child_plan *plan, pid_t *ret_pid, int *ret_pidfd) {
    /* Finding out twice that the kernel is too old costs one clone. */
    static _Atomic bool files_refused;
    OS_SEAM(OS_CLONE);
    int flags = CLONE_VM | CLONE_VFORK | (MUTANT("spawn-exit-signal") ? SIGCHLD : 0);
    if (!os_seam_refuses(OS_PIDFD_OPEN))
        flags |= CLONE_PIDFD;
    plan->files_refused = os_seam_refuses(OS_CLOSE_RANGE) ||
                          atomic_load_explicit(&files_refused, memory_order_relaxed);
    if (!plan->files_refused) {
        int r = child_clone(child_with_shared_files, flags | CLONE_FILES, plan, ret_pid, ret_pidfd);
        bool clone_refused = plan->error == 0 && (r == -EINVAL || r == -ENOSYS);
        if (!plan->files_refused && !clone_refused)
            return r;
        atomic_store_explicit(&files_refused, true, memory_order_relaxed);
        plan->files_refused = 1;
    }
    return child_clone(child_with_own_files, flags, plan, ret_pid, ret_pidfd);
}
