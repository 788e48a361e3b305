/* The child's fds: exactly those that were named, whatever numbers they have here and there. Each
 * test runs with close_range(2), and without it as on kernels before 5.9. */
#include "process_fixture.h"

#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOTH_WAYS(name)                                                                            \
    static void name(void);                                                                        \
    WTEST(spawn_fds, name) {                                                                       \
        name();                                                                                    \
    }                                                                                              \
    WTEST(spawn_fds_one_by_one, name) {                                                            \
        refused_calls[OS_CLOSE_RANGE] = -ENOSYS;                                                   \
        refuse_calls();                                                                            \
        name();                                                                                    \
    }                                                                                              \
    static void name(void)

static weft_runtime *rt;
static weft_worker *worker;

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

static ino_t inode_of(int fd) {
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    return st.st_ino;
}

static ino_t null_inode(void) {
    struct stat st;
    CHECK_EQ(stat("/dev/null", &st), 0);
    return st.st_ino;
}

/* --- what a child has --- */

enum { MANY = 1024 };
static ino_t found[MANY]; /* by number; 0: not open */

/* Its stdout is a pipe to us. Returns how many it has. ls has one more, that of the directory, at
 * the lowest free number. */
static unsigned ask_child(const weft_spawn_options *options) {
    static char list[MANY * 32];
    weft_spawn_options listing = *options;
    unsigned count = 0;
    listing.file = "ls";
    listing.argv = ARGV(text("ls"), text("-1iLU"), text("/proc/self/fd"));
    program_output(worker, &listing, list, sizeof list);
    memset(found, 0, sizeof found);
    for (char *line = strtok(list, "\n"); line; line = strtok(NULL, "\n")) {
        uintmax_t inode;
        unsigned fd;
        CHECK_EQ(sscanf(line, "%ju %u", &inode, &fd), 2);
        CHECK(fd < MANY);
        found[fd] = (ino_t)inode;
        count++;
    }
    unsigned extra = 3 + (unsigned)options->fd_count;
    CHECK(found[extra] != 0);
    found[extra] = 0;
    return count - 1;
}

/* --- pipes to name; nobody else's inode is the same --- */

enum { PIPES = 8 };
static int pipes[PIPES];

static void pipes_make(int flags) {
    for (int i = 0; i < PIPES; i++) {
        int ends[2];
        CHECK_EQ(pipe2(ends, flags), 0);
        close(ends[0]);
        pipes[i] = ends[1];
    }
}

static void pipes_close(void) {
    for (int i = 0; i < PIPES; i++)
        close(pipes[i]);
}

/* --- what it gets when nothing is said --- */

BOTH_WAYS(by_default_three_times_dev_null_and_nothing_of_the_parents) {
    pipes_make(0); /* not close-on-exec */
    begin();
    CHECK_EQ(ask_child(&(weft_spawn_options){0}), 3);
    CHECK_EQ(found[0], null_inode());
    CHECK_EQ(found[2], null_inode());
    for (int i = 0; i < PIPES; i++)
        CHECK(found[1] != inode_of(pipes[i]));
    rt_end(rt);
    pipes_close();
}

BOTH_WAYS(dev_null_can_be_read_and_written) {
    char buffer[16];
    const weft_spawn_options options = {SHELL("cat <&0; echo x >&0; cat <&2; echo x >&2; echo ok")};
    begin();
    program_output(worker, &options, buffer, sizeof buffer);
    CHECK_STR(buffer, "ok\n");
    rt_end(rt);
}

BOTH_WAYS(high_ones_of_the_parent_stay_there) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int high = (int)(limit.rlim_cur < 4000 ? limit.rlim_cur : 4000) - 1;
    pipes_make(0);
    CHECK_EQ(dup2(pipes[0], high), high);
    CHECK_EQ(dup2(pipes[1], 500), 500);
    begin();
    CHECK_EQ(ask_child(&(weft_spawn_options){0}), 3);
    const int fds[] = {high, 500};
    CHECK_EQ(ask_child(&(weft_spawn_options){.fds = fds, .fd_count = 2}), 5);
    CHECK_EQ(found[3], inode_of(high));
    CHECK_EQ(found[4], inode_of(500));
    rt_end(rt);
    close(high);
    close(500);
    pipes_close();
}

/* --- stdio --- */

BOTH_WAYS(inherited_ones_are_the_parents) {
    begin();
    const weft_spawn_options options = {.stdio = {WEFT_STDIO_INHERIT, 0, WEFT_STDIO_INHERIT}};
    CHECK_EQ(ask_child(&options), 3);
    CHECK_EQ(found[0], inode_of(0));
    CHECK_EQ(found[2], inode_of(2));
    rt_end(rt);
}

/* What is opened next gets the number that is free: it must not be taken for the parent's stdin. */
BOTH_WAYS(closed_stdin_of_the_parent_is_dev_null) {
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 3);
    CHECK(saved >= 0);
    begin();
    int fds = open_fd_count();
    close(0);
    CHECK_EQ(ask_child(&(weft_spawn_options){.stdio = {WEFT_STDIO_INHERIT}}), 3);
    CHECK_EQ(found[0], null_inode());
    const weft_spawn_options all = {.stdio = {WEFT_STDIO_INHERIT, 0, WEFT_STDIO_PIPE}};
    CHECK_EQ(ask_child(&all), 3);
    CHECK_EQ(found[0], null_inode());
    const weft_spawn_options none = {.stdio = {WEFT_STDIO_NULL, 0, WEFT_STDIO_PIPE}};
    CHECK_EQ(ask_child(&none), 3);
    CHECK_EQ(found[0], null_inode());
    rt_turns(worker, 1); /* out of the last fn, behind which the handle goes */
    CHECK_EQ(dup2(saved, 0), 0);
    close(saved);
    CHECK_EQ(open_fd_count(), fds - 1);
    rt_end(rt);
}

/* With its 0 closed the parent gets the pipes' ends where the child's are to be. */
BOTH_WAYS(pipes_that_have_the_childs_numbers_already) {
    struct watched seen = {0};
    char buffer[16] = "";
    const weft_spawn_options options = {
        .file = "cat", .stdio = {WEFT_STDIO_PIPE, WEFT_STDIO_PIPE, WEFT_STDIO_PIPE}};
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 3);
    begin();
    close(0);
    watched_spawn(&seen, worker, &options);
    int in = watched_stdio(&seen, 0), out = watched_stdio(&seen, 1);
    CHECK_EQ(write(in, "through", 7), 7);
    close(in);
    watched_expect(&seen, CLD_EXITED, 0);
    CHECK_EQ(read(out, buffer, sizeof buffer), 7);
    CHECK_STR(buffer, "through");
    close(out);
    rt_end(rt);
    CHECK_EQ(dup2(saved, 0), 0);
    close(saved);
}

static void read_from(int fd, char *buffer, size_t size) {
    ssize_t n = read(fd, buffer, size - 1);
    CHECK(n >= 0);
    buffer[n] = 0;
    close(fd);
}

BOTH_WAYS(stdout_and_stderr_swapped) {
    int out[2], err[2], saved[2] = {fcntl(1, F_DUPFD_CLOEXEC, 3), fcntl(2, F_DUPFD_CLOEXEC, 3)};
    char from_out[16], from_err[16];
    struct watched seen = {0};
    const weft_spawn_options options = {SHELL("echo out; echo err >&2"),
                                        .stdio = {0, WEFT_STDIO_FD(2), WEFT_STDIO_FD(1)}};
    CHECK_EQ(pipe2(out, O_CLOEXEC) + pipe2(err, O_CLOEXEC), 0);
    begin();
    CHECK_EQ(dup2(out[1], 1), 1);
    CHECK_EQ(dup2(err[1], 2), 2);
    int r = watched_try_spawn(&seen, worker, &options);
    CHECK_EQ(dup2(saved[0], 1), 1);
    CHECK_EQ(dup2(saved[1], 2), 2);
    CHECK_EQ(r, 0);
    watched_expect(&seen, CLD_EXITED, 0);
    read_from(out[0], from_out, sizeof from_out);
    read_from(err[0], from_err, sizeof from_err);
    CHECK_STR(from_out, "err\n");
    CHECK_STR(from_err, "out\n");
    rt_end(rt);
    close(saved[0]);
    close(saved[1]);
    close(out[1]);
    close(err[1]);
}

/* --- further ones --- */

BOTH_WAYS(are_numbered_from_three_in_the_order_given) {
    int fds[PIPES + 1];
    pipes_make(O_CLOEXEC);
    begin();
    for (int i = 0; i < PIPES; i++)
        fds[i] = pipes[PIPES - 1 - i];
    fds[PIPES] = fds[2]; /* one of them twice */
    CHECK_EQ(ask_child(&(weft_spawn_options){.fds = fds, .fd_count = PIPES + 1}), 3 + PIPES + 1);
    for (int i = 0; i <= PIPES; i++)
        CHECK_EQ(found[3 + i], inode_of(fds[i]));
    rt_end(rt);
    pipes_close();
}

/* Sources and targets are the same numbers, in an order drawn by lot: some stay where they are,
 * some change places, some are named twice. */
BOTH_WAYS(may_overlap_in_any_way) {
    static int fds[MANY];
    const uint64_t seed = random_seed(20);
    pipes_make(O_CLOEXEC);
    begin();
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), highest = null_fd;
    for (int i = 0; i < PIPES; i++)
        highest = pipes[i] > highest ? pipes[i] : highest;
    unsigned count = (unsigned)highest + 1 - 3 + 2;
    for (unsigned round = 0; round < 10 + 30 / wtest_slowdown(); round++) {
        for (unsigned i = 0; i < count; i++)
            fds[i] = random_below(3) ? pipes[random_below(PIPES)] : null_fd;
        for (int i = 0; i < PIPES; i++)
            if (random_below(3) == 0)
                fds[pipes[i] - 3] = pipes[i];
        weft_spawn_options options = {.fds = fds, .fd_count = count};
        int zero = pipes[random_below(PIPES)], two = pipes[random_below(PIPES)];
        options.stdio[0] = WEFT_STDIO_FD(zero);
        options.stdio[2] = random_below(2) ? WEFT_STDIO_FD(two) : WEFT_STDIO_NULL;
        CHECK_EQ(ask_child(&options), 3 + count);
        CHECK_EQ(found[0], inode_of(zero));
        CHECK_EQ(found[2], options.stdio[2] ? inode_of(two) : null_inode());
        for (unsigned i = 0; i < count; i++)
            CHECK_MSG(found[3 + i] == inode_of(fds[i]), "fd %u, seed %ju", 3 + i, (uintmax_t)seed);
    }
    for (int i = 0; i < PIPES; i++)
        CHECK(fcntl(pipes[i], F_GETFD) & FD_CLOEXEC); /* the parent's are as they were */
    rt_end(rt);
    close(null_fd);
    pipes_close();
}

/* --- those that are not there --- */

static void check_bad(const weft_spawn_options *options) {
    struct watched seen = {0};
    int fds = open_fd_count();
    CHECK_EQ(watched_try_spawn(&seen, worker, options), -EBADF);
    CHECK_EQ(open_fd_count(), fds);
    no_children_left();
}

/* Also when the next that is opened, a pipe or the child's own pidfd, gets that number. */
BOTH_WAYS(that_are_not_open_are_refused) {
    begin();
    int closed = dup(0);
    close(closed);
    const int bad[] = {closed, -1, INT_MIN, INT_MAX, 100000};
    for (size_t i = 0; i < array_length(bad); i++) {
        check_bad(&(weft_spawn_options){.file = "true", .fds = &bad[i], .fd_count = 1});
        for (int k = 0; k < 3 && bad[i] >= 0 && bad[i] < INT_MAX; k++) {
            weft_spawn_options options = {.file = "true"};
            options.stdio[k] = WEFT_STDIO_FD(bad[i]);
            check_bad(&options);
            options.stdio[(k + 1) % 3] = WEFT_STDIO_PIPE;
            options.stdio[(k + 2) % 3] = WEFT_STDIO_PIPE;
            check_bad(&options);
        }
    }
    rt_end(rt);
}

BOTH_WAYS(more_than_a_process_may_have_are_refused) {
    skip_where_spawn_is_impossible();
    enum { LIMIT = 64 };
    struct rlimit few = {.rlim_cur = LIMIT, .rlim_max = LIMIT};
    struct watched seen = {0};
    static int fds[LIMIT * 2];
    const size_t counts[] = {LIMIT - 3, LIMIT - 2,    LIMIT,   LIMIT * 2,
                             INT_MAX,   SIZE_MAX - 2, SIZE_MAX};
    begin();
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < array_length(fds); i++)
        fds[i] = null_fd;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    int count = open_fd_count();
    for (size_t i = 0; i < array_length(counts); i++) {
        const weft_spawn_options options = {.file = "true", .fds = fds, .fd_count = counts[i]};
        CHECK_EQ(watched_try_spawn(&seen, worker, &options), -EMFILE);
    }
    CHECK_EQ(open_fd_count(), count);
    no_children_left();
    rt_end(rt);
    close(null_fd);
}
