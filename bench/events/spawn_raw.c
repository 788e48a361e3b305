/* The floor: start, pidfd, epoll, reap. It promises less than weft: no mask or disposition of
 * signals is put right, no error of the exec is told, what is not close-on-exec is inherited. */
#include "common/apart.h"
#include "events/child.h"
#include "events/spawn.h"

#include <fcntl.h>
#include <sys/epoll.h>

static double spawn_raw(const void *arg, pid_t (*start)(const struct child *child)) {
    spawn_prepare(arg);
    int null = must_call("/dev/null", open("/dev/null", O_RDWR | O_CLOEXEC));
    int epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    const struct child child = {.argv = spawn_argv, .stdio = {null, null, null}};
    struct spawns s;
    bool succeeded;
    spawn_begin(&s);
    do {
        int pidfd = child_pidfd(start(&child));
        struct epoll_event event = {.events = EPOLLIN};
        must_call("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &event));
        must_call("epoll_wait", epoll_wait(epoll, &event, 1, -1));
        succeeded = child_reap(pidfd);
    } while (spawn_again(&s, succeeded));
    return spawn_rate(&s);
}

double spawn_vfork(const void *arg) {
    return spawn_raw(arg, child_vfork);
}

double spawn_posix_spawn(const void *arg) {
    return spawn_raw(arg, child_posix_spawn);
}

double spawn_fork(const void *arg) {
    return spawn_raw(arg, child_fork);
}
