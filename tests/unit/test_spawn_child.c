/* What a spawned child is: its signals, its session, its user; and what the parent is not to it. */
#include "process_fixture.h"

#include "base/sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;
static char status[8192];

static void begin(void) {
    rt = rt_start(1);
    worker = weft_runtime_worker(rt, 0);
}

/* The child shows /proc/self/status, its own. */
static void ask_status(const weft_spawn_options *options) {
    weft_spawn_options asking = *options;
    asking.file = "/bin/cat";
    asking.argv = ARGV(text("cat"), text("/proc/self/status"));
    program_output(worker, &asking, status, sizeof status);
}

/* Behind "label:", up to the end of the line, without white space around it. */
static const char *field(const char *label) {
    static char value[256];
    char *at = strstr(status, label);
    CHECK(at != NULL);
    at += strlen(label);
    at += strspn(at, ": \t");
    size_t length = *at == '\n' ? 0 : strcspn(at, "\n");
    while (length > 0 && (at[length - 1] == ' ' || at[length - 1] == '\t'))
        length--;
    snprintf(value, sizeof value, "%.*s", (int)length, at);
    return value;
}

/* --- signals --- */

static void do_nothing(int signo) {
    (void)signo;
}

static void block_everything(void *arg) {
    sigset_t all;
    (void)arg;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
}

WTEST(spawn_child, has_an_empty_mask_and_default_dispositions) {
    block_everything(NULL);
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (signal_is_watchable(signo) && signo != SIGCHLD)
            signal(signo, signo % 2 ? SIG_IGN : do_nothing);
    begin();
    rt_call(worker, block_everything, NULL);
    ask_status(&(weft_spawn_options){0});
    CHECK_STR(field("SigBlk"), "0000000000000000");
    CHECK_STR(field("SigIgn"), "0000000000000000");
    CHECK_STR(field("SigCgt"), "0000000000000000");
    rt_end(rt);
}

static sigset_t mask_before, mask_after;

static void compare_masks(void *arg) {
    struct watched *c = arg;
    const weft_spawn_options options = {.file = "true"}, bad = {.file = "/no/such/program"};
    struct watched other = {0};
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    if (watched_spawn_here(c, &options) != 0 || watched_spawn_here(&other, &bad) != -ENOENT)
        abort();
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
}

WTEST(spawn_child, leaves_the_parents_mask_and_dispositions_alone) {
    skip_where_spawn_is_impossible();
    struct watched seen = {0};
    struct sigaction now;
    signal(SIGTERM, SIG_IGN);
    signal(SIGUSR1, do_nothing);
    begin();
    rt_call(worker, compare_masks, &seen);
    watched_expect(&seen, CLD_EXITED, 0);
    CHECK(memcmp(&mask_before, &mask_after, sizeof mask_before) == 0);
    CHECK_EQ(sigaction(SIGTERM, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_IGN);
    CHECK_EQ(sigaction(SIGUSR1, NULL, &now), 0);
    CHECK(now.sa_handler == do_nothing);
    rt_end(rt);
}

WTEST(spawn_child, is_killed_by_a_signal_that_its_parent_ignores) {
    struct watched seen = {0};
    const weft_spawn_options options = {.file = "cat", .stdio = {WEFT_STDIO_PIPE}};
    signal(SIGTERM, SIG_IGN);
    begin();
    watched_spawn(&seen, worker, &options);
    CHECK_EQ(watched_kill(&seen, SIGTERM), 0);
    watched_expect(&seen, CLD_KILLED, SIGTERM);
    rt_end(rt);
}

/* --- session and group --- */

static void check_ids(uint32_t flags, bool own_session, bool own_group) {
    struct watched seen = {0};
    const weft_spawn_options options = {.file = "cat", .stdio = {WEFT_STDIO_PIPE}, .flags = flags};
    watched_spawn(&seen, worker, &options);
    CHECK_EQ(getsid(seen.pid), own_session ? seen.pid : getsid(0));
    CHECK_EQ(getpgid(seen.pid), own_group ? seen.pid : getpgid(0));
    CHECK_EQ(watched_kill(&seen, SIGKILL), 0);
    watched_expect(&seen, CLD_KILLED, SIGKILL);
}

WTEST(spawn_child, leads_a_session_or_a_group_if_it_is_to) {
    begin();
    check_ids(0, false, false);
    check_ids(WEFT_SPAWN_PGROUP, false, true);
    check_ids(WEFT_SPAWN_SETSID, true, true);
    check_ids(WEFT_SPAWN_SETSID | WEFT_SPAWN_PGROUP, true, true);
    rt_end(rt);
}

/* --- user and groups --- */

enum { NOBODY = 65534 };

static void need_root(void) {
    if (geteuid() != 0)
        wtest_skip("only root can become somebody else");
}

static void check_user(const char *uids, const char *gids, const char *groups) {
    CHECK_STR(field("\nUid"), uids);
    CHECK_STR(field("\nGid"), gids);
    CHECK_STR(field("\nGroups"), groups);
}

#define NOBODYS "65534\t65534\t65534\t65534"
#define ROOTS "0\t0\t0\t0"

WTEST(spawn_child, becomes_another_user_without_supplementary_groups) {
    const gid_t groups[] = {7, 8, 9};
    need_root();
    CHECK_EQ(setgroups(3, groups), 0);
    begin();
    ask_status(&(weft_spawn_options){0});
    check_user(ROOTS, ROOTS, "7 8 9");
    ask_status(&(weft_spawn_options){.uid = NOBODY, .flags = WEFT_SPAWN_UID});
    check_user(NOBODYS, ROOTS, "");
    ask_status(&(weft_spawn_options){.gid = NOBODY, .flags = WEFT_SPAWN_GID});
    check_user(ROOTS, NOBODYS, "");
    ask_status(&(weft_spawn_options){
        .uid = NOBODY, .gid = NOBODY, .flags = WEFT_SPAWN_UID | WEFT_SPAWN_GID});
    check_user(NOBODYS, NOBODYS, "");
    ask_status(&(weft_spawn_options){.flags = WEFT_SPAWN_UID | WEFT_SPAWN_GID}); /* root again */
    check_user(ROOTS, ROOTS, "");
    CHECK_EQ(geteuid(), 0); /* and the parent is who it was */
    CHECK_EQ(getgroups(0, NULL), 3);
    rt_end(rt);
}

WTEST(spawn_child, privilege_is_given_up_after_cwd_and_before_the_exec) {
    char place[] = "/tmp/weft-user-XXXXXX", program[64];
    struct watched seen[2] = {0};
    need_root();
    skip_where_spawn_is_impossible();
    CHECK(mkdtemp(place) != NULL); /* for root alone */
    snprintf(program, sizeof program, "%s/true", place);
    CHECK_EQ(symlink("/bin/true", program), 0);
    begin();
    const weft_spawn_options inside = {
        .file = "/bin/true", .cwd = place, .uid = NOBODY, .flags = WEFT_SPAWN_UID};
    watched_spawn(&seen[0], worker, &inside);
    watched_expect(&seen[0], CLD_EXITED, 0);
    const weft_spawn_options hidden = {.file = program, .uid = NOBODY, .flags = WEFT_SPAWN_UID};
    CHECK_EQ(watched_try_spawn(&seen[1], worker, &hidden), -EACCES);
    no_children_left();
    rt_end(rt);
    unlink(program);
    rmdir(place);
}

WTEST(spawn_child, without_privilege_only_its_own_user) {
    char place[] = "/tmp/weft-user-XXXXXX";
    struct watched seen = {0};
    weft_spawn_options options = {.file = "true", .uid = 1, .flags = WEFT_SPAWN_UID};
    skip_where_spawn_is_impossible();
    CHECK(mkdtemp(place) != NULL);
    CHECK_EQ(chmod(place, 0), 0);
    if (geteuid() == 0) {
        CHECK_EQ(setgroups(0, NULL), 0);
        CHECK_EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
        CHECK_EQ(setresuid(NOBODY, NOBODY, 0), 0); /* until the end */
    }
    begin();
    int fds = open_fd_count();
    CHECK_EQ(watched_try_spawn(&seen, worker, &options), -EPERM);
    options = (weft_spawn_options){.file = "true", .gid = 1, .flags = WEFT_SPAWN_GID};
    CHECK_EQ(watched_try_spawn(&seen, worker, &options), -EPERM);
    options = (weft_spawn_options){.file = "true", .cwd = place};
    CHECK_EQ(watched_try_spawn(&seen, worker, &options), -EACCES);
    CHECK_EQ(open_fd_count(), fds);
    no_children_left();
    options = (weft_spawn_options){.file = "true",
                                   .uid = geteuid(),
                                   .gid = getegid(),
                                   .flags = WEFT_SPAWN_UID | WEFT_SPAWN_GID};
    watched_spawn(&seen, worker, &options);
    watched_expect(&seen, CLD_EXITED, 0);
    rt_end(rt);
    CHECK(setuid(0) == 0 || getuid() != NOBODY);
    CHECK_EQ(rmdir(place), 0);
}

/* --- what it shares with its parent --- */

WTEST(spawn_child, has_its_parents_umask) {
    mode_t before = umask(0123);
    char buffer[64];
    begin();
    program_output(worker, &(weft_spawn_options){SHELL("umask")}, buffer, sizeof buffer);
    CHECK_STR(buffer, "0123\n");
    rt_end(rt);
    umask(before);
}

static uint64_t fork_and_exec_ns(void) {
    uint64_t start = now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(99);
    }
    uint64_t took = now_ns() - start;
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    return took;
}

static uint64_t spawn_ns;

static void spawn_in_time(void *arg) {
    const weft_spawn_options options = {.file = "/bin/true"};
    uint64_t start = now_ns();
    if (watched_spawn_here(arg, &options) != 0)
        abort();
    spawn_ns = now_ns() - start;
}

/* fork() copies the page tables, and takes longer even without the exec. */
WTEST(spawn_child, costs_nothing_for_the_parents_memory) {
    skip_where_spawn_is_impossible();
    const size_t size = (size_t)1 << 30;
    uint64_t best_fork = UINT64_MAX, best_spawn = UINT64_MAX;
    if (wtest_slowdown() > 1 || sysconf(_SC_AVPHYS_PAGES) < (long)(2 * size / 4096))
        wtest_skip("needs a gigabyte of memory, and a healthy speed");
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    (void)madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
    begin();
    for (int i = 0; i < 5; i++) {
        struct watched seen = {0};
        rt_call(worker, spawn_in_time, &seen);
        watched_expect(&seen, CLD_EXITED, 0);
        best_spawn = spawn_ns < best_spawn ? spawn_ns : best_spawn;
        uint64_t took = fork_and_exec_ns();
        best_fork = took < best_fork ? took : best_fork;
    }
    rt_end(rt);
    CHECK_MSG(best_spawn < best_fork, "%ju ns, and a fork %ju ns", (uintmax_t)best_spawn,
              (uintmax_t)best_fork);
    CHECK_EQ(munmap(memory, size), 0);
}
