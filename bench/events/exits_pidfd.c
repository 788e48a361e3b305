/* The floor: vfork, one thread, a pidfd for each child in an epoll set. */
#include "common/apart.h"
#include "events/child.h"
#include "events/exits.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { BATCH = 64 };

/* The pidfds come after all children: each child would start with a copy of those before it. */
static void start_all(const struct exits *e, int epoll) {
    int null = must_call("/dev/null", open("/dev/null", O_RDWR | O_CLOEXEC));
    const struct child child = {.argv = exits_argv, .stdio = {e->hold[0], e->ready[1], null}};
    pid_t *pids = calloc(e->load->children, sizeof *pids);
    must_call("calloc", pids ? 0 : -1);
    for (unsigned i = 0; i < e->load->children; i++)
        pids[i] = child_vfork(&child);
    for (unsigned i = 0; i < e->load->children; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = child_pidfd(pids[i])};
        must_call("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event));
    }
    free(pids);
}

double exits_pidfd(const void *arg) {
    struct exits e;
    struct epoll_event events[BATCH];
    int epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    exits_open(&e, arg);
    start_all(&e, epoll);
    exits_release(&e);
    for (bool last = false; !last;) {
        int count = must_call("epoll_wait", epoll_wait(epoll, events, BATCH, -1));
        for (int i = 0; i < count; i++)
            last = exits_told(&e, child_reap(events[i].data.fd));
    }
    return exits_us_each(&e);
}
