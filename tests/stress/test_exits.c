/* Ten thousand children that end at the same moment: each is told once, with its own status, and
 * nothing of any of them is left. Fewer where the system allows no more. */
#include "process_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, WANTED = 10000, AT_LEAST = 1000, SPARE_FDS = 200, KIB_PER_CHILD = 512 };

static struct watched seen[WANTED];

static unsigned long kib_available(void) {
    unsigned long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* As many as fds and memory are there for. */
static unsigned children_possible(void) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    unsigned long count = WANTED / wtest_slowdown();
    if (count > limit.rlim_cur - SPARE_FDS)
        count = limit.rlim_cur - SPARE_FDS;
    if (count > kib_available() / KIB_PER_CHILD)
        count = kib_available() / KIB_PER_CHILD;
    return (unsigned)count;
}

/* Until the gate has no other end any more, which all of them see at once. */
_Noreturn static void wait_at(const int gate[2], unsigned index) {
    char byte;
    close(gate[1]);
    _exit(read(gate[0], &byte, 1) == 0 ? (int)(index % 251) : 255);
}

/* Returns how many there are: the system may have had enough. */
static unsigned children_make(const int gate[2], unsigned wanted, pid_t *pids) {
    for (unsigned i = 0; i < wanted; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            wait_at(gate, i);
        if (pids[i] < 0)
            return i;
    }
    return wanted;
}

static unsigned first_calls, later_calls;

static void check_all(unsigned count) {
    for (unsigned i = 0; i < count; i++)
        watched_expect(&seen[i], CLD_EXITED, (int)(i % 251));
}

WTEST(exits, ten_thousand_at_once_are_all_told) {
    static pid_t pids[WANTED];
    int gate[2];
    unsigned wanted = children_possible();
    CHECK_EQ(pipe(gate), 0);
    unsigned count = children_make(gate, wanted, pids);
    CHECK(count >= AT_LEAST / wtest_slowdown());
    weft_runtime *rt = rt_start(WORKERS);
    int fds = open_fd_count();
    for (unsigned i = 0; i < count; i++)
        watched_begin(&seen[i], weft_runtime_worker(rt, i % WORKERS), pids[i]);
    CHECK_EQ(open_fd_count(), fds + (int)count);
    uint64_t start = now_ns();
    close(gate[1]);
    check_all(count);
    uint64_t took = now_ns() - start;
    for (unsigned i = 0; i < WORKERS; i++)
        rt_turns(weft_runtime_worker(rt, i), 1);
    CHECK_EQ(open_fd_count(), fds - 1);
    no_children_left();
    rt_end(rt);
    check_all(count); /* not once more */
    close(gate[0]);
    printf("%u exits in %.0f ms\n", count, (double)took / 1e6);
}

/* --- cycles --- */

enum { CYCLE_CHILDREN = 4 };

static struct watched of_cycle[CYCLE_CHILDREN], spawned[2];
static pid_t pid_of[CYCLE_CHILDREN];

static void ignore_signal(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    (void)arg;
}

/* What it gets is checked afterwards: the stop may come first. */
static void begin_in_cycle(void *arg) {
    unsigned index = weft_worker_index(weft_worker_current());
    const weft_spawn_options options = {.file = "true", .stdio = {[1] = WEFT_STDIO_PIPE}};
    (void)arg;
    if (weft_signal_watch(weft_worker_current(), SIGUSR1, ignore_signal, NULL, NULL) != 0 ||
        watched_spawn_here(&spawned[index], &options) != 0)
        abort();
    for (unsigned i = index; i < CYCLE_CHILDREN; i += 2)
        if (watched_try_here(&of_cycle[i], pid_of[i]) != 0)
            abort();
}

/* Told of its end, or left to us. */
static void check_end(struct watched *c) {
    CHECK_EQ(c->calls, 1);
    if (c->has_info) {
        first_calls++;
        watched_check(c, CLD_EXITED, 0);
        return;
    }
    int status = -1;
    later_calls++;
    CHECK_EQ(waitpid(c->pid, &status, 0), c->pid);
    CHECK_EQ(status, 0);
}

static void cycle(unsigned number) {
    const int numbers[] = {SIGUSR1, 0};
    const weft_runtime_options options = {.workers = 2, .signals = numbers};
    weft_runtime *rt = rt_create_with(&options);
    memset(of_cycle, 0, sizeof of_cycle);
    memset(spawned, 0, sizeof spawned);
    for (int i = 0; i < CYCLE_CHILDREN; i++) {
        pid_of[i] = fork();
        if (pid_of[i] == 0)
            _exit(0);
        CHECK(pid_of[i] > 0);
    }
    CHECK_EQ(weft_broadcast(rt, begin_in_cycle, NULL), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    for (unsigned i = 0; i < number % 4; i++)
        rt_turns(weft_runtime_worker(rt, i % 2), 1);
    rt_end(rt);
    for (int i = 0; i < CYCLE_CHILDREN; i++)
        check_end(&of_cycle[i]);
    for (int i = 0; i < 2; i++)
        check_end(&spawned[i]);
}

static long resident_kib(void) {
    char line[128];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = atol(line + 6);
    if (file)
        fclose(file);
    return kib;
}

WTEST(exits, thousand_runtimes_with_children_and_signals_in_flight) {
    unsigned cycles = 1000 / wtest_slowdown(), warm = cycles / 3;
    int fds = open_fd_count();
    long warm_kib = 0;
    for (unsigned i = 0; i < cycles; i++) {
        cycle(i);
        CHECK_EQ(open_fd_count(), fds);
        if (i == warm)
            warm_kib = resident_kib();
    }
    no_children_left();
    long grown = resident_kib() - warm_kib;
    if (wtest_slowdown() == 1) /* sanitizers keep what was freed for a while */
        CHECK_MSG(grown < 1024, "%ld KiB more after %u cycles", grown, cycles - warm);
    printf("%u ends told, %u children left alone\n", first_calls, later_calls);
}
