#include "events/child.h"

#include "common/apart.h"

#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD /* glibc 2.36 */
#define P_PIDFD 3
#endif

static _Noreturn void become(const struct child *child) {
    for (int fd = 0; fd < 3; fd++)
        dup2(child->stdio[fd], fd);
    execve(child->argv[0], child->argv, environ);
    _exit(127);
}

pid_t child_vfork(const struct child *child) {
    pid_t pid = vfork();
    if (pid == 0)
        become(child);
    return must_call("vfork", pid);
}

pid_t child_fork(const struct child *child) {
    pid_t pid = fork();
    if (pid == 0)
        become(child);
    return must_call("fork", pid);
}

pid_t child_posix_spawn(const struct child *child) {
    pid_t pid = 0;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_adddup2(&actions, child->stdio[fd], fd);
    must("posix_spawn", -posix_spawn(&pid, child->argv[0], &actions, NULL, child->argv, environ));
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

int child_pidfd(pid_t pid) {
    return must_call("pidfd_open", (int)syscall(SYS_pidfd_open, pid, 0));
}

bool child_reap(int pidfd) {
    siginfo_t info = {0};
    must_call("waitid", waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED));
    close(pidfd);
    return info.si_code == CLD_EXITED && info.si_status == 0;
}
