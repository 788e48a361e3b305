#include "events/exits.h"

#include "micro/contest.h"
#include "micro/families.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OTHER_FDS = 64, OTHER_PROCESSES = 1000, BYTES_PER_CHILD = 512 * 1024 };

char *exits_argv[] = {(char[PATH_MAX]){0}, NULL};

static uint64_t pid_max(void) {
    unsigned long max = 0;
    FILE *file = fopen("/proc/sys/kernel/pid_max", "re");
    if (!file || fscanf(file, "%lu", &max) != 1)
        max = UINT_MAX;
    if (file)
        fclose(file);
    return max;
}

static void must_fit(const char *what, uint64_t limit, unsigned children) {
    must(what, limit >= children ? 0 : -EAGAIN);
}

/* Before children are started in vain, or in so many numbers that the machine suffers. */
static void must_be_possible(unsigned children) {
    struct rlimit files = {0}, processes = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NPROC, &processes);
    uint64_t memory = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    must_fit("open files (ulimit -n)", files.rlim_cur, children + OTHER_FDS);
    must_fit("processes (ulimit -u)", processes.rlim_cur, children + OTHER_PROCESSES);
    must_fit("kernel.pid_max", pid_max(), children + OTHER_PROCESSES);
    must_fit("free memory", memory / BYTES_PER_CHILD, children);
}

void exits_open(struct exits *e, const void *load) {
    *e = (struct exits){.load = load};
    must_be_possible(e->load->children);
    must_call("pipe2", pipe2(e->hold, O_CLOEXEC));
    must_call("pipe2", pipe2(e->ready, O_CLOEXEC));
}

/* When so many have been told of. The kernel gives a byte to one reader, and the end to all. */
static void let_go(const struct exits *e, unsigned told) {
    if (told < e->load->singly)
        must_call("write", (int)write(e->hold[1], "", 1));
    else if (told == e->load->singly)
        close(e->hold[1]);
}

void exits_release(struct exits *e) {
    char said[4096];
    for (unsigned there = 0; there < e->load->children;)
        there += (unsigned)must_call("read", (int)read(e->ready[0], said, sizeof said));
    e->begin = bench_seconds();
    let_go(e, 0);
}

static unsigned measured(const struct exits *e) {
    return e->load->singly > 0 ? e->load->singly : e->load->children;
}

bool exits_told(struct exits *e, bool succeeded) {
    must("a waiter failed", succeeded ? 0 : -ECHILD);
    unsigned told = atomic_fetch_add(&e->told, 1) + 1;
    if (told == measured(e))
        e->end = bench_seconds();
    let_go(e, told);
    return told == e->load->children;
}

double exits_us_each(const struct exits *e) {
    return (e->end - e->begin) * 1e6 / measured(e);
}

/* The waiter lies beside this program. */
static void find_waiter(void) {
    static const char name[] = "weft-waiter";
    char *path = exits_argv[0];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof name);
    must_call("/proc/self/exe", (int)length);
    path[length] = '\0';
    memcpy(strrchr(path, '/') + 1, name, sizeof name);
}

void register_exits(void) {
    static const struct exits_load loads[] = {{"100_at_once", 100, 0},
                                              {"1000_at_once", 1000, 0},
                                              {"10000_at_once", 10000, 0},
                                              {"1000_one_by_one", 1000, 100},
                                              {"3000_one_by_one", 3000, 100}};
    static const struct contender contenders[] = {
        {"weft", exits_weft},
        {"raw", exits_pidfd},
#ifdef WEFT_BENCH_UV
        {"libuv", exits_uv},
#endif
    };
    find_waiter();
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "exits",
                                           .cases = {{loads[i].name, US}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
}
