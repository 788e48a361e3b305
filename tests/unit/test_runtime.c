/* Creating and starting runtimes: what the options say, what failures leave behind (nothing), and
 * what an idle one costs (nothing). */
#include "rt.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void nothing(void *arg) {
    (void)arg;
}

/* --- options --- */

WTEST(runtime, has_a_worker_per_allowed_cpu) {
    cpu_set_t set;
    CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    const weft_runtime_options zero = {0};
    weft_runtime *by_default = rt_create_with(NULL), *by_zero = rt_create_with(&zero);
    CHECK_EQ(weft_runtime_worker_count(by_default), CPU_COUNT(&set));
    CHECK_EQ(weft_runtime_worker_count(by_zero), CPU_COUNT(&set));
    weft_runtime_destroy(by_default);
    weft_runtime_destroy(by_zero);
}

WTEST(runtime, has_as_many_workers_as_asked_for) {
    weft_runtime *rt = rt_start(7);
    CHECK_EQ(weft_runtime_worker_count(rt), 7);
    for (unsigned i = 0; i < 7; i++) {
        CHECK(weft_runtime_worker(rt, i) != NULL);
        CHECK_EQ(weft_worker_index(weft_runtime_worker(rt, i)), i);
        rt_turns(weft_runtime_worker(rt, i), 1);
    }
    CHECK(weft_runtime_worker(rt, 7) == NULL);
    CHECK(weft_runtime_worker(rt, (unsigned)-1) == NULL);
    rt_end(rt);
}

WTEST(runtime, pick_goes_round_the_workers) {
    weft_runtime *rt = rt_create(4);
    bool seen[4] = {false};
    for (int i = 0; i < 40; i++) {
        weft_worker *w = weft_runtime_pick(rt);
        CHECK(w == weft_runtime_worker(rt, weft_worker_index(w)));
        seen[weft_worker_index(w)] = true;
    }
    for (int i = 0; i < 4; i++)
        CHECK(seen[i]);
    weft_runtime_destroy(rt);
}

struct affinity {
    cpu_set_t set;
};

static void read_affinity(void *arg) {
    struct affinity *a = arg;
    CPU_ZERO(&a->set);
    if (sched_getaffinity(0, sizeof a->set, &a->set) != 0)
        abort();
}

WTEST(runtime, pins_workers_to_the_allowed_cpus_in_turn) {
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    unsigned cpus = (unsigned)CPU_COUNT(&allowed);
    const weft_runtime_options options = {.workers = cpus + 1, .flags = WEFT_PIN_WORKERS};
    weft_runtime *rt = rt_start_with(&options);
    struct affinity first = {0}, a = {0};
    cpu_set_t all;
    CPU_ZERO(&all);
    for (unsigned i = 0; i <= cpus; i++) {
        rt_call(weft_runtime_worker(rt, i), read_affinity, &a);
        CHECK_EQ(CPU_COUNT(&a.set), 1);
        CPU_OR(&all, &all, &a.set);
        if (i == 0)
            first = a;
    }
    CHECK(CPU_EQUAL(&all, &allowed));
    CHECK(CPU_EQUAL(&a.set, &first.set)); /* once round */
    rt_end(rt);
    CHECK_EQ(sched_getaffinity(0, sizeof a.set, &a.set), 0);
    CHECK(CPU_EQUAL(&a.set, &allowed)); /* the program's own thread is not touched */

    rt = rt_start(1);
    rt_call(weft_runtime_worker(rt, 0), read_affinity, &a);
    CHECK(CPU_EQUAL(&a.set, &allowed));
    rt_end(rt);
}

static _Atomic unsigned starts, stops, strangers;

static void on_start(weft_worker *w, void *arg) {
    strangers += weft_worker_current() != w || arg != &starts || stops != 0;
    starts++;
}

static void on_stop(weft_worker *w, void *arg) {
    strangers += weft_worker_current() != w || arg != &starts;
    stops++;
}

WTEST(runtime, tells_each_worker_of_its_start_and_stop) {
    const weft_runtime_options options = {
        .workers = 5, .on_worker_start = on_start, .on_worker_stop = on_stop, .arg = &starts};
    weft_runtime *rt = rt_create_with(&options);
    CHECK_EQ(starts, 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_await(&starts, 5);
    CHECK_EQ(stops, 0);
    rt_end(rt);
    CHECK_EQ(starts, 5);
    CHECK_EQ(stops, 5);
    CHECK_EQ(strangers, 0);
}

WTEST(runtime, several_live_side_by_side) {
    enum { COUNT = 4 };
    weft_runtime *rts[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        rts[i] = rt_start(2);
    for (unsigned i = 0; i < COUNT; i++) {
        for (unsigned j = 0; j < COUNT; j++)
            if (rts[j])
                rt_turns(weft_runtime_worker(rts[j], 1), 3);
        rt_end(rts[(i + 2) % COUNT]);
        rts[(i + 2) % COUNT] = NULL;
    }
}

/* --- threads --- */

/* Of the thread with this id: a line of its status file, "" if the thread is gone. */
static void status_line(long tid, const char *key, char *line, int size) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", tid);
    FILE *file = fopen(path, "re");
    line[0] = 0;
    while (file && fgets(text, sizeof text, file))
        if (strncmp(text, key, strlen(key)) == 0)
            snprintf(line, (size_t)size, "%s", text + strlen(key));
    if (file)
        fclose(file);
}

/* Threads of the process whose names begin so. */
static unsigned threads_named(const char *prefix, long *tids, unsigned capacity) {
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char line[64];
        long tid = atol(entry->d_name);
        if (tid <= 0)
            continue;
        status_line(tid, "Name:\t", line, sizeof line);
        if (strncmp(line, prefix, strlen(prefix)) == 0 && count < capacity)
            tids[count++] = tid;
    }
    closedir(dir);
    return count;
}

/* Blocks all signals but the synchronous faults. KILL and STOP cannot be, 32 and 33 are glibc's. */
static void check_blocks_all(long tid) {
    char line[64];
    status_line(tid, "SigBlk:\t", line, sizeof line);
    uint64_t blocked = strtoull(line, NULL, 16);
    const int never[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
                         SIGILL,  SIGTRAP, SIGSYS,  32,     33};
    uint64_t expected = UINT64_MAX;
    for (size_t i = 0; i < array_length(never); i++)
        expected &= ~(UINT64_C(1) << (never[i] - 1));
    CHECK_MSG(blocked == expected, "thread %ld blocks %llx, not %llx", tid,
              (unsigned long long)blocked, (unsigned long long)expected);
}

static _Atomic long reclaimer_tid;

static void note_tid(void *arg) {
    (void)arg;
    reclaimer_tid = syscall(SYS_gettid);
}

WTEST(runtime, its_threads_block_every_signal_and_have_names) {
    long tids[8];
    weft_runtime *rt = rt_start(3);
    for (unsigned i = 0; i < 3; i++)
        rt_turns(weft_runtime_worker(rt, i), 1);
    while (threads_named("weft-", tids, 8) < 4)
        sched_yield();
    CHECK_EQ(threads_named("weft-sentinel", tids, 8), 1);
    CHECK_EQ(threads_named("weft-2", tids, 8), 1);
    CHECK_EQ(threads_named("weft-", tids, 8), 4);
    for (int i = 0; i < 4; i++)
        check_blocks_all(tids[i]);
    CHECK_EQ(weft_retire(note_tid, NULL), 0);
    while (reclaimer_tid == 0)
        sched_yield();
    check_blocks_all(reclaimer_tid);
    rt_end(rt);
    /* The program's own thread blocks nothing for it. */
    for (int signo = 1; signo < 32; signo++)
        CHECK(!is_blocked(signo));
}

/* --- failures --- */

static bool create_once(unsigned n, bool for_ever) {
    const int signals[] = {SIGUSR1, SIGUSR2, 0};
    const weft_runtime_options options = {
        .workers = 2, .flags = WEFT_PIN_WORKERS, .signals = signals};
    weft_runtime *const untouched = (weft_runtime *)(uintptr_t)8;
    weft_runtime *rt = untouched;
    int fds = open_fd_count();
    fault_arm(n, for_ever);
    int r = weft_runtime_create(&options, &rt);
    int injected = fault_disarm();
    CHECK_EQ(r, injected);
    if (r == 0) {
        weft_runtime_destroy(rt);
        return false;
    }
    CHECK(rt == untouched);
    CHECK_EQ(open_fd_count(), fds);
    CHECK(!is_blocked(SIGUSR1));
    CHECK_EQ(weft_runtime_create(&options, &rt),
             0); /* the same call succeeds now: the signals are free */
    weft_runtime_destroy(rt);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return true;
}

WTEST(runtime, failed_create_leaves_nothing) {
    fault_begin();
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        unsigned n = 1;
        while (create_once(n, for_ever))
            n++;
        CHECK(n > 15); /* allocations, eventfds, epoll sets, their entries, the mask */
        sigset_t none;
        sigemptyset(&none);
        pthread_sigmask(SIG_SETMASK, &none, NULL);
    }
}

WTEST(runtime, create_without_fds_left_says_so) {
    const weft_runtime_options options = {.workers = 4};
    struct rlimit old, limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    int fds = open_fd_count(), failures = 0, r;
    for (rlim_t fd_limit = 0;; fd_limit++) {
        weft_runtime *rt = NULL;
        limit = old;
        limit.rlim_cur = fd_limit;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        r = weft_runtime_create(&options, &rt);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
        CHECK((r == 0) == (rt != NULL));
        weft_runtime_destroy(rt);
        CHECK_EQ(open_fd_count(), fds);
        if (r != -EMFILE)
            break;
        failures++;
    }
    CHECK_EQ(r, 0);
    CHECK(failures >= 10); /* four workers of two each, the sentinel's two */
}

static void *no_thread(void *arg) {
    return arg;
}

static unsigned thread_count(void) {
    long tids[64];
    return threads_named("", tids, 64);
}

WTEST(runtime, failed_start_leaves_no_thread_and_may_be_repeated) {
    fault_begin();
    starts = 0;
    const weft_runtime_options options = {
        .workers = 4, .on_worker_start = on_start, .arg = &starts};
    weft_runtime *rt = rt_create_with(&options);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), nothing, NULL), 0);
    thread_end(thread_begin(no_thread, NULL)); /* ThreadSanitizer brings one of its own */
    unsigned threads = thread_count();
    for (unsigned n = 1; n <= 5; n++) { /* four workers and the sentinel */
        fault_arm_call(OS_THREAD_CREATE, n);
        int r = weft_runtime_start(rt);
        CHECK_EQ(fault_disarm(), -EAGAIN);
        CHECK_EQ(r, -EAGAIN);
        CHECK_EQ(starts, 0); /* not even for a moment */
        /* A joined thread may be listed for a moment longer; one that was left stays. */
        for (int patience = 0; thread_count() != threads; patience++)
            CHECK_MSG(patience < 2000, "%u threads left", thread_count() - threads);
        CHECK_EQ(weft_runtime_join(rt), -EINVAL); /* still not started */
        CHECK(!is_blocked(SIGTERM));
    }
    fault_arm_call(OS_SIGMASK, 1);
    CHECK_EQ(weft_runtime_start(rt), -EINVAL);
    CHECK_EQ(fault_disarm(), -EINVAL);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_await(&starts, 4);
    CHECK(rt_stats(weft_runtime_worker(rt, 0)).iterations > 0 || starts == 4);
    rt_end(rt);
}

/* --- idleness --- */

WTEST(runtime, idle_makes_no_system_call) {
    calls_watch();
    weft_runtime *rt = rt_start(3);
    for (unsigned i = 0; i < 3; i++) {
        rt_turns(weft_runtime_worker(rt, i), 2);
        rt_await_armed(weft_runtime_worker(rt, i));
    }
    rt_await_asleep(rt);
    let_others_run(); /* the last of them have reached their waits */
    uint64_t before = calls_total(), turns = 0;
    for (unsigned i = 0; i < 3; i++)
        turns += rt_stats(weft_runtime_worker(rt, i)).iterations;
    for (int i = 0; i < 3; i++)
        let_others_run();
    CHECK_EQ(calls_total(), before);
    for (unsigned i = 0; i < 3; i++)
        turns -= rt_stats(weft_runtime_worker(rt, i)).iterations;
    CHECK_EQ(turns, 0);
    rt_end(rt);
    calls_unwatch();
}
