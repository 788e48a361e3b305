/* Which program is started, with what, and what comes of those that are not. */
#include "process_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;
static char output[65536];

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

static void check_output(const weft_spawn_options *options, const char *expected) {
    program_output(worker, options, output, sizeof output);
    CHECK_STR(output, expected);
}

/* --- a place for programs --- */

static char place[] = "/tmp/weft-spawn-XXXXXX";

static void place_make(void) {
    skip_where_spawn_is_impossible();
    CHECK(mkdtemp(place) != NULL);
    CHECK_EQ(chmod(place, 0755), 0);
}

/* A path in it, in one of a few buffers. */
static char *in_place(const char *name) {
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", place, name);
    return path;
}

static void make_directory(const char *name) {
    CHECK_EQ(mkdir(in_place(name), 0755), 0);
}

static void make_file(const char *name, mode_t mode, const char *content) {
    int fd = open(in_place(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, content, strlen(content)), strlen(content));
    CHECK_EQ(fchmod(fd, mode), 0);
    close(fd);
}

static void place_remove(void) {
    char command[64];
    snprintf(command, sizeof command, "/bin/rm -rf %s", place);
    CHECK_EQ(system(command), 0);
}

/* PATH, of directories in the place. Before any other thread. */
static void set_path(const char *first, const char *second) {
    char path[300];
    snprintf(path, sizeof path, "%s:%s", in_place(first), in_place(second));
    CHECK_EQ(setenv("PATH", path, 1), 0);
}

/* --- how it ends --- */

WTEST(spawn, tells_how_the_program_ended) {
    struct watched seen[3] = {0};
    begin();
    watched_spawn(&seen[0], worker, &(weft_spawn_options){.file = "true"});
    watched_expect(&seen[0], CLD_EXITED, 0);
    watched_spawn(&seen[1], worker, &(weft_spawn_options){SHELL("exit 7")});
    watched_expect(&seen[1], CLD_EXITED, 7);
    watched_spawn(&seen[2], worker, &(weft_spawn_options){SHELL("kill -USR1 $$")});
    watched_expect(&seen[2], CLD_KILLED, SIGUSR1);
    rt_end(rt);
    no_children_left();
}

static struct watched lingering;

static void spawn_and_linger(void *arg) {
    const weft_spawn_options options = {.file = "true"};
    (void)arg;
    if (watched_spawn_here(&lingering, &options) != 0)
        abort();
    lingering.in_call = true;
    await_reaped(lingering.pid);
    lingering.in_call = false;
}

WTEST(spawn, fn_waits_for_a_later_iteration) {
    skip_where_spawn_is_impossible();
    begin();
    rt_call(worker, spawn_and_linger, NULL);
    watched_expect(&lingering, CLD_EXITED, 0);
    rt_end(rt);
}

WTEST(spawn, child_that_was_stopped_is_the_callers_to_reap) {
    struct watched seen = {0};
    const weft_spawn_options options = {SHELL("read x; exit 7"), .stdio = {WEFT_STDIO_PIPE}};
    int status = 0;
    begin();
    watched_spawn(&seen, worker, &options);
    watched_stop(&seen); /* closes the pipe */
    CHECK_EQ(waitpid(seen.pid, &status, 0), seen.pid);
    CHECK_EQ(status, 7 << 8);
    rt_end(rt);
    CHECK_EQ(seen.calls, 0);
}

/* --- with what --- */

WTEST(spawn, without_arguments_there_is_the_file_alone) {
    int ends[2];
    begin();
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    const char script[] = "echo $0 $#\n";
    CHECK_EQ(write(ends[1], script, sizeof script - 1), sizeof script - 1);
    close(ends[1]);
    check_output(&(weft_spawn_options){.file = "sh", .stdio = {WEFT_STDIO_FD(ends[0])}}, "sh 0\n");
    close(ends[0]);
    rt_end(rt);
}

WTEST(spawn, arguments_are_passed_as_they_are) {
    begin();
    char *const argv[] = {text("another name"), text("-c"), text("echo \"$0:$1:$2:$#\""), NULL};
    check_output(&(weft_spawn_options){.file = "sh", .argv = argv}, "another name:::0\n");
    char *const more[] = {text("sh"),   text("-c"),  text("echo \"$0:$1:$2:$#\""),
                          text("zero"), text("a b"), text(""),
                          NULL};
    check_output(&(weft_spawn_options){.file = "sh", .argv = more}, "zero:a b::2\n");
    rt_end(rt);
}

WTEST(spawn, environment_is_the_parents_or_the_given_one) {
    char *const envp[] = {text("A=1"), text("B=two words"), NULL}, *const empty[] = {NULL};
    CHECK_EQ(setenv("WEFT_TEST_VALUE", "from the parent", 1), 0);
    begin();
    check_output(&(weft_spawn_options){SHELL("echo $WEFT_TEST_VALUE")}, "from the parent\n");
    check_output(&(weft_spawn_options){.file = "env", .envp = envp}, "A=1\nB=two words\n");
    check_output(&(weft_spawn_options){.file = "env", .envp = empty}, "");
    rt_end(rt);
}

WTEST(spawn, directory_is_the_parents_or_the_given_one) {
    char here[PATH_MAX], expected[PATH_MAX + 1];
    CHECK(getcwd(here, sizeof here) != NULL);
    place_make();
    begin();
    snprintf(expected, sizeof expected, "%s\n", here);
    check_output(&(weft_spawn_options){.file = "/bin/pwd"}, expected);
    snprintf(expected, sizeof expected, "%s\n", place);
    check_output(&(weft_spawn_options){.file = "/bin/pwd", .cwd = place}, expected);
    rt_end(rt);
    place_remove();
}

/* --- where it is found --- */

WTEST(spawn, path_is_searched_in_its_order) {
    place_make();
    make_directory("one");
    make_directory("two");
    make_file("one/both", 0755, "#!/bin/sh\necho one\n");
    make_file("two/both", 0755, "#!/bin/sh\necho two\n");
    make_file("two/second", 0755, "#!/bin/sh\necho second\n");
    make_file("one/forbidden", 0644, "#!/bin/sh\necho forbidden\n");
    make_file("two/forbidden", 0755, "#!/bin/sh\necho allowed\n");
    set_path("one", "two");
    begin();
    check_output(&(weft_spawn_options){.file = "both"}, "one\n");
    check_output(&(weft_spawn_options){.file = "second"}, "second\n");
    check_output(&(weft_spawn_options){.file = "forbidden"}, "allowed\n");
    char *const envp[] = {text("PATH=/nowhere"), NULL}; /* is the child's, not for the search */
    check_output(&(weft_spawn_options){.file = "both", .envp = envp}, "one\n");
    rt_end(rt);
    place_remove();
}

WTEST(spawn, path_with_a_slash_is_not_searched_and_counts_from_cwd) {
    struct watched seen = {0};
    place_make();
    make_directory("bin");
    make_file("bin/program", 0755, "#!/bin/sh\necho here\n");
    set_path("bin", "bin");
    begin();
    check_output(&(weft_spawn_options){.file = "bin/program", .cwd = place}, "here\n");
    check_output(&(weft_spawn_options){.file = "./program", .cwd = in_place("bin")}, "here\n");
    check_output(&(weft_spawn_options){.file = in_place("bin/program")}, "here\n");
    CHECK_EQ(watched_try_spawn(&seen, worker, &(weft_spawn_options){.file = "./program"}), -ENOENT);
    rt_end(rt);
    place_remove();
}

WTEST(spawn, empty_part_of_path_is_the_current_directory) {
    static const char *const paths[] = {"", ":/nowhere", "/nowhere:", "/nowhere::/nowhere2"};
    place_make();
    make_file("program", 0755, "#!/bin/sh\necho here\n");
    for (size_t i = 0; i < array_length(paths); i++) {
        CHECK_EQ(setenv("PATH", paths[i], 1), 0);
        begin();
        check_output(&(weft_spawn_options){.file = "program", .cwd = place}, "here\n");
        rt_end(rt);
    }
    CHECK_EQ(unsetenv("PATH"), 0);
    begin();
    check_output(&(weft_spawn_options){.file = "echo"}, "\n"); /* in /bin or /usr/bin */
    rt_end(rt);
    place_remove();
}

/* --- what cannot be started --- */

static void block_sigchld(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static bool is_sigchld_pending(void) {
    sigset_t set;
    CHECK_EQ(sigpending(&set), 0);
    return sigismember(&set, SIGCHLD) == 1;
}

/* The answer, and no trace: no zombie, no fd, no signal. */
static void check_failure(const weft_spawn_options *options, int expected) {
    struct watched seen = {0};
    weft_spawn_options piped = *options;
    for (int i = 0; i < 3; i++)
        piped.stdio[i] = WEFT_STDIO_PIPE;
    int fds = open_fd_count();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(watched_try_spawn(&seen, worker, i == 0 ? options : &piped), expected);
        no_children_left();
        CHECK_EQ(open_fd_count(), fds);
        CHECK(!is_sigchld_pending());
    }
    rt_turns(worker, 1);
    CHECK_EQ(seen.calls, 0);
}

#define FAILS(expected, ...) check_failure(&(weft_spawn_options){__VA_ARGS__}, expected)

static void make_bad_programs(void) {
    place_make();
    make_directory("one");
    make_directory("two");
    make_file("good", 0755, "#!/bin/sh\n");
    make_file("one/forbidden", 0644, "#!/bin/sh\n");
    make_file("nonsense", 0755, "nothing that a kernel knows");
    make_file("empty", 0755, "");
    make_file("lost", 0755, "#!/nowhere/interpreter\n");
    set_path("one", "two");
    CHECK_EQ(symlink(in_place("loop"), in_place("loop")), 0);
}

WTEST(spawn, errors_of_the_exec_are_answers_and_leave_no_trace) {
    static char long_name[NAME_MAX + 10];
    block_sigchld();
    make_bad_programs();
    begin();
    FAILS(-ENOENT, .file = "no-such-program-anywhere");
    FAILS(-ENOENT, .file = "/no/such/program");
    FAILS(-ENOENT, .file = "");
    FAILS(-ENOENT, .file = in_place("lost"));
    FAILS(-EACCES, .file = "forbidden"); /* although the second directory has none */
    FAILS(-EACCES, .file = in_place("one/forbidden"));
    FAILS(-EACCES, .file = place); /* a directory */
    FAILS(-ENOEXEC, .file = in_place("nonsense"));
    FAILS(-ENOEXEC, .file = in_place("empty"));
    FAILS(-ENOTDIR, .file = in_place("good/program"));
    FAILS(-ELOOP, .file = in_place("loop"));
    memset(long_name, 'x', sizeof long_name - 1);
    FAILS(-ENAMETOOLONG, .file = in_place(""), .cwd = long_name);
    FAILS(-ENOENT, .file = in_place("good"), .cwd = "/no/such/directory");
    FAILS(-ENOTDIR, .file = in_place("good"), .cwd = in_place("good"));
    rt_end(rt);
    place_remove();
}

WTEST(spawn, too_many_arguments) {
    enum { COUNT = 200000 };
    char **argv = calloc(COUNT + 1, sizeof *argv);
    CHECK(argv != NULL);
    for (int i = 0; i < COUNT; i++)
        argv[i] = text("an argument of more than forty characters");
    block_sigchld();
    begin();
    FAILS(-E2BIG, .file = "true", .argv = argv);
    rt_end(rt);
    free(argv);
}

static _Atomic bool is_over;
static _Atomic unsigned taken;

static void *wait_for_any(void *arg) {
    (void)arg;
    while (!atomic_load(&is_over))
        if (waitpid(-1, NULL, WNOHANG) > 0)
            atomic_fetch_add(&taken, 1);
    return NULL;
}

WTEST(spawn, failed_exec_is_hidden_from_who_waits_for_any) {
    const weft_spawn_options options = {.file = "/no/such/program"};
    begin();
    pthread_t thief = thread_begin(wait_for_any, NULL);
    /* The moment in which there is something to take is short. */
    for (unsigned i = 0; i < 20 + 1480 / wtest_slowdown() && taken == 0; i++) {
        struct watched seen = {0};
        CHECK_EQ(watched_try_spawn(&seen, worker, &options), -ENOENT);
    }
    atomic_store(&is_over, true);
    thread_end(thief);
    CHECK_EQ(taken, 0);
    rt_end(rt);
}

/* --- many --- */

enum { WORKERS = 4, EACH = 50 };
static struct watched many[WORKERS][EACH];
static _Atomic unsigned refused;

static void spawn_many(void *arg) {
    (void)arg;
    unsigned index = weft_worker_index(weft_worker_current());
    for (int i = 0; i < EACH; i++) {
        char script[] = "exit 000";
        snprintf(script + 5, 4, "%d", i);
        const weft_spawn_options options = {SHELL(script)};
        if (watched_spawn_here(&many[index][i], &options) != 0)
            refused++;
    }
}

WTEST(spawn, two_hundred_at_once_from_four_workers) {
    skip_where_spawn_is_impossible();
    rt = rt_start(WORKERS);
    CHECK_EQ(weft_broadcast(rt, spawn_many, NULL), 0);
    for (int i = 0; i < WORKERS; i++)
        rt_turns(weft_runtime_worker(rt, (unsigned)i), 1);
    CHECK_EQ(refused, 0);
    for (int i = 0; i < WORKERS; i++)
        for (int j = 0; j < EACH; j++) {
            watched_expect(&many[i][j], CLD_EXITED, j);
            CHECK(many[i][j].worker == weft_runtime_worker(rt, (unsigned)i));
        }
    no_children_left();
    rt_end(rt);
}
