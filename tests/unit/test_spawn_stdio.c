/* The parent's ends of the child's pipes: which way they go, and whose they are. */
#include "process_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

#define ALL_PIPES .stdio = {WEFT_STDIO_PIPE, WEFT_STDIO_PIPE, WEFT_STDIO_PIPE}

static const weft_spawn_options run_cat = {.file = "cat", ALL_PIPES};

/* Blocks, although fd does not. */
static size_t read_some(int fd, char *buffer, size_t size) {
    ssize_t n;
    while ((n = read(fd, buffer, size)) < 0)
        CHECK_EQ(errno, EAGAIN);
    return (size_t)n;
}

static void end_cat(struct watched *c, int in) {
    CHECK_EQ(close(in), 0);
    watched_expect(c, CLD_EXITED, 0);
}

WTEST(spawn_stdio, pipes_carry_what_is_written) {
    struct watched seen = {0};
    const weft_spawn_options options = {SHELL("read x; echo out $x; echo err $x >&2"), ALL_PIPES};
    char out[32] = "", err[32] = "";
    begin();
    watched_spawn(&seen, worker, &options);
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = watched_stdio(&seen, i);
    CHECK_EQ(write(fds[0], "word\n", 5), 5);
    CHECK_EQ(read_some(fds[1], out, sizeof out - 1), 9);
    CHECK_EQ(read_some(fds[2], err, sizeof err - 1), 9);
    CHECK_STR(out, "out word\n");
    CHECK_STR(err, "err word\n");
    CHECK_EQ(read_some(fds[1], out, sizeof out), 0); /* nobody else holds the child's ends */
    CHECK_EQ(read_some(fds[2], err, sizeof err), 0);
    watched_expect(&seen, CLD_EXITED, 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    rt_end(rt);
}

WTEST(spawn_stdio, ends_are_one_way_non_blocking_and_close_on_exec) {
    struct watched seen = {0};
    begin();
    watched_spawn(&seen, worker, &run_cat);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = watched_stdio(&seen, i);
        CHECK(fds[i] > 2);
        CHECK_EQ(fcntl(fds[i], F_GETFL) & O_ACCMODE, i == 0 ? O_WRONLY : O_RDONLY);
        CHECK(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    }
    end_cat(&seen, fds[0]);
    close(fds[1]);
    close(fds[2]);
    rt_end(rt);
}

/* Most programs do not expect anything else. */
WTEST(spawn_stdio, childs_ends_block) {
    struct watched seen = {0};
    char path[64], line[256] = "";
    begin();
    watched_spawn(&seen, worker, &run_cat);
    int in = watched_stdio(&seen, 0);
    for (int i = 0; i < 3; i++) {
        unsigned flags = O_NONBLOCK;
        snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)seen.pid, i);
        FILE *file = fopen(path, "re");
        CHECK(file != NULL);
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "flags: %o", &flags) == 1)
                break;
        fclose(file);
        CHECK_EQ(flags & (O_NONBLOCK | O_ACCMODE), i == 0 ? O_RDONLY : O_WRONLY);
    }
    end_cat(&seen, in);
    rt_end(rt);
}

WTEST(spawn_stdio, ends_are_given_once_and_only_where_there_is_a_pipe) {
    struct watched seen = {0};
    const weft_spawn_options options = {.file = "cat", .stdio = {WEFT_STDIO_PIPE}};
    begin();
    watched_spawn(&seen, worker, &options);
    int in = watched_stdio(&seen, 0);
    CHECK(in >= 0);
    CHECK_EQ(watched_stdio(&seen, 0), -ENOENT);
    CHECK_EQ(watched_stdio(&seen, 1), -ENOENT);
    CHECK_EQ(watched_stdio(&seen, 2), -ENOENT);
    CHECK_EQ(watched_stdio(&seen, 3), -EINVAL);
    CHECK_EQ(watched_stdio(&seen, -1), -EINVAL);
    end_cat(&seen, in);
    rt_end(rt);
}

WTEST(spawn_stdio, watched_child_has_none) {
    struct child c;
    struct watched seen = {0};
    begin();
    child_make(&c, 0);
    watched_begin(&seen, worker, c.pid);
    CHECK_EQ(watched_stdio(&seen, 1), -ENOENT);
    child_let_go(&c);
    watched_expect(&seen, CLD_EXITED, 0);
    rt_end(rt);
}

/* --- whose they are --- */

static int taken_in_fn;

static void take_out(struct watched *c) {
    taken_in_fn = weft_process_stdio(c->process, 1);
}

WTEST(spawn_stdio, what_is_taken_outlives_the_handle) {
    struct watched seen = {.then = take_out};
    const weft_spawn_options options = {SHELL("echo last words"), ALL_PIPES};
    char buffer[32] = "";
    begin();
    int fds = open_fd_count();
    watched_spawn(&seen, worker, &options);
    watched_expect(&seen, CLD_EXITED, 0);
    rt_turns(worker, 1);
    CHECK_EQ(open_fd_count(), fds + 1); /* the two others went with the handle */
    CHECK_EQ(read_some(taken_in_fn, buffer, sizeof buffer - 1), 11);
    CHECK_STR(buffer, "last words\n");
    close(taken_in_fn);
    rt_end(rt);
}

WTEST(spawn_stdio, child_holds_one_fd_here_and_each_pipe_one) {
    struct watched seen = {0};
    begin();
    int fds = open_fd_count();
    watched_spawn(&seen, worker, &run_cat);
    CHECK_EQ(open_fd_count(), fds + 4);
    end_cat(&seen, watched_stdio(&seen, 0));
    rt_turns(worker, 1);
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
}

WTEST(spawn_stdio, stop_closes_those_that_nobody_took) {
    struct watched seen = {0};
    int status = -1;
    begin();
    int fds = open_fd_count();
    watched_spawn(&seen, worker, &run_cat);
    int out = watched_stdio(&seen, 1);
    watched_stop(&seen);
    CHECK_EQ(waitpid(seen.pid, &status, 0), seen.pid); /* it has seen the end of its input */
    CHECK_EQ(status, 0);
    sentinel_turn(rt);
    CHECK_EQ(open_fd_count(), fds + 1);
    close(out);
    rt_end(rt);
}

WTEST(spawn_stdio, end_of_the_runtime_closes_those_that_nobody_took) {
    struct watched seen = {0};
    int status = -1;
    begin();
    int fds = open_fd_count();
    watched_spawn(&seen, worker, &run_cat);
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    watched_check_abandoned(&seen);
    CHECK_EQ(waitpid(seen.pid, &status, 0), seen.pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(open_fd_count(), fds);
    weft_runtime_destroy(rt);
}

static _Atomic unsigned bytes_seen;
static weft_watch *watch_of_out;

static void out_is_ready(weft_watch *watch, uint32_t events, void *arg) {
    char buffer[64];
    (void)arg;
    (void)events;
    ssize_t n;
    while ((n = read(weft_watch_fd(watch), buffer, sizeof buffer)) > 0)
        bytes_seen += (unsigned)n;
}

static void watch_out(void *arg) {
    struct watched *c = arg;
    taken_in_fn = weft_process_stdio(c->process, 1);
    if (weft_watch_start(worker, taken_in_fn, WEFT_READ, out_is_ready, NULL, &watch_of_out) != 0)
        abort();
}

static void stop_watch(void *arg) {
    (void)arg;
    weft_watch_stop(watch_of_out);
}

WTEST(spawn_stdio, end_may_be_watched) {
    struct watched seen = {0};
    begin();
    watched_spawn(&seen, worker, &run_cat);
    int in = watched_stdio(&seen, 0);
    rt_call(worker, watch_out, &seen);
    CHECK_EQ(write(in, "0123456789", 10), 10);
    rt_await(&bytes_seen, 10);
    rt_call(worker, stop_watch, NULL);
    close(taken_in_fn);
    end_cat(&seen, in);
    rt_end(rt);
}
