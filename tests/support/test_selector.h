/* What the selector's tests share: the kernel's own list of an epoll set as an oracle, pairs of
 * connected files, and the count of open fds. */
#ifndef WEFT_TESTS_TEST_SELECTOR_H
#define WEFT_TESTS_TEST_SELECTOR_H

#include "weft/event.h"
#include "weft/selector.h"
#include "wtest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One `tfd:` line of /proc/self/fdinfo/<epoll fd> (proc_pid_fdinfo(5)). */
struct tfd {
    int fd;
    uint32_t events; /* without EPOLLERR and EPOLLHUP, which the kernel adds */
    uint64_t cookie;
};

static inline int tfd_open(int epoll_fd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll_fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* All lines, from an fdinfo file that is open already: the random test reads it a million times. */
static inline int tfd_read(int fdinfo, struct tfd *list, int capacity) {
    static char text[1 << 16];
    ssize_t size = pread(fdinfo, text, sizeof text - 1, 0);
    CHECK(size >= 0);
    text[size] = 0;
    int count = 0;
    for (const char *p = text; (p = strstr(p, "tfd:")) != NULL; count++) {
        char *end;
        CHECK(count < capacity);
        list[count].fd = (int)strtol(p + 4, &end, 10);
        p = strstr(end, "events:") + 7;
        list[count].events = (uint32_t)strtoul(p, &end, 16) & ~(uint32_t)(EPOLLERR | EPOLLHUP);
        p = strstr(end, "data:") + 5;
        list[count].cookie = strtoull(p, &end, 16);
        p = end;
    }
    return count;
}

static inline int tfd_list(weft_selector *s, struct tfd *list, int capacity) {
    int fdinfo = tfd_open(weft_selector_fd(s));
    int count = tfd_read(fdinfo, list, capacity);
    close(fdinfo);
    return count;
}

static inline int tfd_count(weft_selector *s) {
    static struct tfd list[1024];
    return tfd_list(s, list, 1024);
}

/* The epoll bits with which the kernel has fd, or -1. */
static inline int64_t tfd_events(weft_selector *s, int fd) {
    static struct tfd list[1024];
    int count = tfd_list(s, list, 1024);
    for (int i = 0; i < count; i++)
        if (list[i].fd == fd)
            return list[i].events;
    return -1;
}

static inline int open_fds(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static inline weft_selector *make_selector(void) {
    weft_selector *s = NULL;
    CHECK_EQ(weft_selector_create(&s), 0);
    return s;
}

/* Connected stream sockets, non-blocking. */
static inline void make_pair(int ends[2]) {
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static inline void make_pipe(int ends[2]) {
    CHECK_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
}

static inline void put_byte(int fd) {
    CHECK_EQ(write(fd, "x", 1), 1);
}

static inline void close_both(const int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Looks without waiting. */
static inline int look(weft_selector *s, weft_ready *ready, size_t capacity) {
    return weft_selector_select(s, 0, ready, capacity);
}

/* The one event that there is, or fails. */
static inline weft_ready expect_one(weft_selector *s) {
    weft_ready ready[4];
    memset(ready, 0xee, sizeof ready);
    CHECK_EQ(weft_selector_select(s, WEFT_SEC(10), ready, 4), 1);
    return ready[0];
}

static inline void expect_none(weft_selector *s) {
    weft_ready ready[4];
    CHECK_EQ(look(s, ready, 4), 0);
}

/* A distinct pointer for use as data. */
static inline void *tag(uintptr_t n) {
    return (void *)(n << 4); // NOLINT
}

static inline void *data_of(weft_selector *s, int fd) {
    void *data = NULL;
    CHECK_EQ(weft_selector_get_data(s, fd, &data), 0);
    return data;
}

#endif
