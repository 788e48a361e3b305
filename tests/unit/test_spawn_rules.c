/* What weft_spawn() refuses, and what is left when the system refuses something: nothing. */
#include "log_keeper.h"
#include "process_fixture.h"

#include <errno.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* --- bad input --- */

static void check_invalid(const weft_spawn_options *options) {
    struct watched seen = {0};
    int fds = open_fd_count();
    CHECK_EQ(watched_try_spawn(&seen, worker, options), -EINVAL);
    CHECK_EQ(open_fd_count(), fds);
    no_children_left();
}

static void spawn_without_fn(void *arg) {
    const weft_spawn_options options = {.file = "true"};
    int *result = arg;
    *result = weft_spawn(worker, &options, NULL, NULL, NULL);
}

WTEST(spawn_rules, bad_options) {
    int result = 0;
    begin();
    check_invalid(NULL);
    check_invalid(&(weft_spawn_options){.file = NULL});
    for (unsigned bit = 4; bit < 32; bit++)
        check_invalid(&(weft_spawn_options){.file = "true", .flags = 1u << bit});
    for (unsigned i = 0; i < 8; i++) {
        weft_spawn_options options = {.file = "true"};
        options.reserved[i] = UINT64_C(1) << (i * 8);
        check_invalid(&options);
    }
    for (int i = 0; i < 3; i++) {
        weft_spawn_options options = {.file = "true"};
        options.stdio[i] = WEFT_STDIO_PIPE - 1;
        check_invalid(&options);
        options.stdio[i] = INT_MIN;
        check_invalid(&options);
    }
    check_invalid(&(weft_spawn_options){.file = "true", .fd_count = 1});
    rt_call(worker, spawn_without_fn, &result);
    CHECK_EQ(result, -EINVAL);
    CHECK_EQ(weft_spawn(NULL, &(weft_spawn_options){.file = "true"}, watched_ended, NULL, NULL),
             -EINVAL);
    rt_end(rt);
}

/* Who forgets the flag must not get a child with the parent's privilege. */
WTEST(spawn_rules, user_without_its_flag) {
    begin();
    check_invalid(&(weft_spawn_options){.file = "true", .uid = 1});
    check_invalid(&(weft_spawn_options){.file = "true", .gid = 1});
    check_invalid(&(weft_spawn_options){.file = "true", .uid = 1, .flags = WEFT_SPAWN_GID});
    check_invalid(&(weft_spawn_options){.file = "true", .gid = 1, .flags = WEFT_SPAWN_UID});
    check_invalid(&(weft_spawn_options){.file = "true", .uid = 1, .flags = WEFT_SPAWN_SETSID});
    rt_end(rt);
}

/* --- faults --- */

static struct {
    struct watched *watched;
    const weft_spawn_options *options;
    enum os_call call;
    unsigned n;
    int result, injected;
} attempt;

static void spawn_with_fault(void *arg) {
    (void)arg;
    fault_arm_call(attempt.call, attempt.n);
    attempt.result = watched_spawn_here(attempt.watched, attempt.options);
    attempt.injected = fault_disarm();
}

/* One of everything that can fail. Ends at once: its stdin is at its end. */
static const int some_fd = 2;
static const weft_spawn_options all_of_it = {
    .file = "cat",
    .stdio = {WEFT_STDIO_NULL, WEFT_STDIO_PIPE, WEFT_STDIO_PIPE},
    .fds = &some_fd,
    .fd_count = 1};

static void begin_faults(struct watched *seen, enum os_call call) {
    attempt.watched = seen;
    attempt.options = &all_of_it;
    attempt.call = call;
}

WTEST(spawn_rules, failed_spawn_leaves_nothing) {
    skip_where_spawn_is_impossible();
    static const struct {
        enum os_call call;
        unsigned at_least;
    } faults[] = {{OS_ALLOC, 3}, {OS_PIPE, 2}, {OS_FCNTL, 3}, {OS_CLONE, 1}};
    fault_begin();
    begin();
    for (size_t i = 0; i < array_length(faults); i++) {
        struct watched seen = {0};
        int fds = open_fd_count();
        begin_faults(&seen, faults[i].call);
        for (attempt.n = 1;; attempt.n++) {
            rt_call(worker, spawn_with_fault, NULL);
            if (attempt.injected == 0)
                break;
            CHECK_EQ(attempt.result, attempt.injected);
            CHECK_EQ(open_fd_count(), fds);
            no_children_left();
        }
        CHECK(attempt.n > faults[i].at_least);
        CHECK_EQ(attempt.result, 0);
        watched_expect(&seen, CLD_EXITED, 0);
        rt_turns(worker, 1);
        CHECK_EQ(open_fd_count(), fds);
    }
    rt_end(rt);
}

/* The program runs by then: it is too late to fail. */
WTEST(spawn_rules, child_whose_pidfd_cannot_be_waited_on_is_reported_all_the_same) {
    skip_where_spawn_is_impossible();
    static const enum os_call calls[] = {OS_EPOLL_CTL, OS_PIDFD_OPEN};
    fault_begin();
    log_keep();
    begin();
    for (size_t i = 0; i < array_length(calls); i++) {
        int fds = open_fd_count();
        bool injected = true;
        begin_faults(NULL, calls[i]);
        for (attempt.n = 1; injected; attempt.n++) {
            struct watched seen = {0};
            attempt.watched = &seen;
            rt_call(worker, spawn_with_fault, NULL);
            injected = attempt.injected != 0;
            CHECK_EQ(attempt.result, 0);
            watched_expect(&seen, CLD_EXITED, 0);
            rt_turns(worker, 1);
            CHECK_EQ(open_fd_count(), fds);
            no_children_left();
        }
        CHECK(attempt.n > 2);
    }
    rt_end(rt);
}
