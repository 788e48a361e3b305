#include "events/exits.h"

#include "common/apart.h"
#include "common/rounds.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OTHER_FDS = 64, OTHER_PROCESSES = 1000, BYTES_PER_CHILD = 512 * 1024 };

void exits_open(struct exits *e, const void *load) {
    *e = (struct exits){.load = load};
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

static uint64_t pid_max(void) {
    unsigned long max = 0;
    FILE *file = fopen("/proc/sys/kernel/pid_max", "re");
    if (!file || fscanf(file, "%lu", &max) != 1)
        max = UINT_MAX;
    if (file)
        fclose(file);
    return max;
}

static unsigned possible(unsigned wanted) {
    struct rlimit files = {0}, processes = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NPROC, &processes);
    uint64_t memory = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    const struct {
        const char *what;
        uint64_t limit, others;
    } limits[] = {
        {"open files (ulimit -n)", files.rlim_cur, OTHER_FDS},
        {"processes (ulimit -u)", processes.rlim_cur, OTHER_PROCESSES},
        {"kernel.pid_max", pid_max(), OTHER_PROCESSES},
        {"free memory", memory / BYTES_PER_CHILD, 0},
    };
    for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        uint64_t children = limits[i].limit - limits[i].others;
        if (limits[i].limit > limits[i].others && children < wanted) {
            wanted = (unsigned)children;
            printf("%u children at most, for the sake of %s\n", wanted, limits[i].what);
        }
    }
    return wanted;
}

/* The waiter lies beside this program. */
static void find_waiter(char path[PATH_MAX]) {
    static const char name[] = "weft-waiter";
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof name);
    must_call("/proc/self/exe", (int)length);
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
}

static void name_load(const struct exits_load *load, char *title, size_t size) {
    if (load->singly > 0)
        snprintf(title, size, "%u of %u children end one by one", load->singly, load->children);
    else
        snprintf(title, size, "%u children end at once", load->children);
}

void table_of_exits(unsigned rounds) {
    static char waiter[PATH_MAX], *argv[] = {waiter, NULL};
    static struct exits_load loads[] = {
        {100, 0, argv}, {1000, 0, argv}, {10000, 0, argv}, {1000, 100, argv}, {3000, 100, argv}};
    static const struct contender contenders[] = {
        {"weft, 2 workers", exits_weft},
        {"pidfd + epoll", exits_pidfd},
#ifdef WEFT_BENCH_UV
        {"libuv", exits_uv},
#endif
    };
    find_waiter(waiter);
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        char title[80];
        loads[i].children = possible(loads[i].children);
        name_load(&loads[i], title, sizeof title);
        const struct contest contest = {.title = title,
                                        .unit = "us per exit",
                                        .contenders = contenders,
                                        .count = sizeof contenders / sizeof contenders[0],
                                        .arg = &loads[i],
                                        .rounds = rounds};
        contest_run_apart(&contest);
    }
}
