#include "micro/contest.h"
#include "micro/selectors.h"

#include <stdint.h>
#include <sys/epoll.h>

static int epoll;

static void control_all(int op, uint32_t events) {
    for (unsigned i = 0; i < selectors_count; i++) {
        struct epoll_event event = {.events = events, .data.ptr = &selectors_fds[i]};
        must_call("epoll_ctl", epoll_ctl(epoll, op, selectors_fds[i], &event));
    }
}

static void register_all(void) {
    control_all(EPOLL_CTL_ADD, EPOLLIN);
}

static void update_all(void) {
    control_all(EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void unregister_all(void) {
    control_all(EPOLL_CTL_DEL, 0);
}

static void dispatch(void) {
    static struct epoll_event events[SELECTORS_BATCH];
    int count = must_call("epoll_wait", epoll_wait(epoll, events, SELECTORS_BATCH, 0));
    for (int i = 0; i < count; i++)
        selectors_ready(events[i].data.ptr);
}

double selectors_epoll(const void *arg) {
    static const struct selectors_kind kind = {register_all, update_all, unregister_all, dispatch};
    selectors_open(arg);
    epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    return selectors_run(&kind);
}
