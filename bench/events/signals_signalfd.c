/* The floor: a signalfd, read 64 at a time, in an epoll loop of one thread. */
#include "common/apart.h"
#include "events/signals.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { BATCH = 64 };

static int open_signalfd(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL_COUNTED);
    sigaddset(&set, SIGNAL_END);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return must_call("signalfd", signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

/* Is there more to come? */
static bool take_batch(struct signals *s, const struct signalfd_siginfo *batch, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (batch[i].ssi_signo == (unsigned)SIGNAL_END)
            return false;
        signals_take(s, batch[i].ssi_int);
    }
    return true;
}

double signals_signalfd(const void *arg) {
    struct signals *s = signals_start(0);
    struct signalfd_siginfo batch[BATCH];
    struct epoll_event event = {.events = EPOLLIN};
    (void)arg;
    int fd = open_signalfd(), epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    must_call("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    signals_go(s);
    for (bool more = true; more;) {
        must_call("epoll_wait", epoll_wait(epoll, &event, 1, -1));
        int size = must_call("read", (int)read(fd, batch, sizeof batch));
        more = take_batch(s, batch, (size_t)size / sizeof batch[0]);
    }
    return signals_finish(s);
}
