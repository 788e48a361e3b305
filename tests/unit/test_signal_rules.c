/* Signals: what has to be blocked where, whose a number is, and what a wrong call gets. */
#include "signal_fixture.h"

#include "log_keeper.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static struct sight a, b;

static int change_mask(int how, int signo) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return pthread_sigmask(how, &set, NULL);
}

/* --- blocked by the creator --- */

WTEST(signal_rules, a_number_that_the_creator_does_not_block_is_busy) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    weft_worker *w = weft_runtime_worker(rt, 0);
    CHECK_EQ(sight_try(&a, w, SIGUSR2), -EBUSY);
    CHECK_EQ(sight_try(&a, w, SIGUSR1), 0);
    /* As things are now, not as they were. */
    CHECK_EQ(change_mask(SIG_BLOCK, SIGUSR2), 0);
    CHECK_EQ(sight_try(&b, w, SIGUSR2), 0);
    send_signal(SIGUSR2);
    rt_await(&b.count, 1);
    rt_end(rt);
}

static void *create_and_end(void *arg) {
    const int numbers[] = {SIGUSR1, 0};
    const weft_runtime_options options = {.workers = 1, .signals = numbers};
    weft_runtime **rt = arg;
    return weft_runtime_create(&options, rt) == 0 ? rt : NULL;
}

WTEST(signal_rules, a_creator_that_has_ended_counts_as_it_was) {
    weft_runtime *rt = NULL;
    change_mask(SIG_BLOCK, SIGUSR1);
    thread_end(thread_begin(create_and_end, &rt));
    CHECK(rt != NULL);
    CHECK_EQ(weft_runtime_start(rt), 0);
    CHECK_EQ(sight_try(&a, weft_runtime_worker(rt, 0), SIGUSR1), 0);
    CHECK_EQ(sight_try(&b, weft_runtime_worker(rt, 0), SIGUSR2), -EBUSY);
    rt_end(rt);
}

WTEST(signal_rules, a_number_belongs_to_one_runtime_at_a_time) {
    const int numbers[] = {SIGUSR1, 0}, none[] = {0};
    weft_runtime *first = signals_start(1, numbers), *second = signals_start(1, none);
    weft_worker *w = weft_runtime_worker(second, 0);
    CHECK_EQ(sight_try(&b, w, SIGUSR1), -EBUSY);
    weft_runtime_destroy(first);
    CHECK_EQ(sight_try(&b, w, SIGUSR1), 0);
    send_signal(SIGUSR1);
    rt_await(&b.count, 1);
    rt_end(second);
}

/* --- threads that leave it unblocked --- */

struct careless {
    sem_t ready, end;
    const char *name;
};

static void *careless_main(void *arg) {
    struct careless *careless = arg;
    pthread_setname_np(pthread_self(), careless->name);
    change_mask(SIG_UNBLOCK, SIGUSR1);
    change_mask(SIG_UNBLOCK, SIGUSR2);
    sem_post(&careless->ready);
    sem_await(&careless->end);
    return NULL;
}

static pthread_t careless_begin(struct careless *careless, const char *name) {
    careless->name = name;
    sem_make(&careless->ready);
    sem_make(&careless->end);
    pthread_t thread = thread_begin(careless_main, careless);
    sem_await(&careless->ready);
    return thread;
}

WTEST(signal_rules, a_thread_that_leaves_it_unblocked_is_named_once) {
    static struct careless one, two;
    const int numbers[] = {SIGUSR1, SIGUSR2, 0};
    weft_runtime *rt = signals_start(2, numbers);
    pthread_t thread = careless_begin(&one, "careless-1");
    log_keep();
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGUSR1);
    CHECK_EQ(log_count("\"careless-1\""), 1);
    CHECK_EQ(log_count("(SIGUSR1)"), 1);
    CHECK_EQ(log_count("pthread_sigmask"), 1); /* what to do */
    sight_end(&a);
    sight_begin(&a, weft_runtime_worker(rt, 1), SIGUSR1);
    CHECK_EQ(log_count(""), 1); /* not again; and no other thread, weft's own included */
    sight_begin(&b, weft_runtime_worker(rt, 1), SIGUSR2);
    CHECK_EQ(log_count("\"careless-1\""), 2); /* another number is another matter */
    /* A number that stops is watched, too; of it the first thread was told. */
    pthread_t later = careless_begin(&two, "careless-2");
    CHECK_EQ(weft_runtime_stop_on(rt, SIGUSR1), 0);
    CHECK_EQ(log_count("\"careless-1\""), 2);
    CHECK_EQ(log_count("\"careless-2\""), 1);
    sem_post(&one.end);
    sem_post(&two.end);
    thread_end(thread);
    thread_end(later);
    rt_end(rt);
}

/* --- weft's own threads --- */

static uint64_t blocked_by(const char *tid, char *name, size_t size) {
    char path[300], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "Name:\t", 6) == 0)
            snprintf(name, size, "%.*s", (int)strcspn(line + 6, "\n"), line + 6);
        (void)sscanf(line, "SigBlk: %llx", &mask);
    }
    fclose(file);
    return mask;
}

static void retired(void *arg) {
    sem_post(arg);
}

/* jemalloc starts its threads where it is linked and asked to. */
static bool start_jemallocs_threads(void) {
    typedef int mallctl_fn(const char *name, void *old, size_t *old_size, void *new_value,
                           size_t new_size);
    mallctl_fn *mallctl = (mallctl_fn *)(uintptr_t)dlsym(RTLD_DEFAULT, "mallctl");
    bool on = true;
    return mallctl && mallctl("background_thread", NULL, NULL, &on, sizeof on) == 0;
}

WTEST(signal_rules, own_threads_block_everything_but_faults) {
    uint64_t faults = 0;
    const int may[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP};
    for (unsigned i = 0; i < array_length(may); i++)
        faults |= signal_bit(may[i]);
    /* The C library's own cannot be blocked with its functions. */
    for (int signo = 32; signo < SIGRTMIN; signo++)
        faults |= signal_bit(signo);
    bool jemalloc = start_jemallocs_threads();
    weft_runtime *rt = rt_start(2);
    sem_t done;
    sem_make(&done);
    CHECK_EQ(weft_retire(retired, &done), 0);
    sem_await(&done);
    rt_await_asleep(rt); /* all of them have come as far as their names */
    unsigned weft = 0, others = 0;
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char name[32] = "";
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        uint64_t open = ~blocked_by(entry->d_name, name, sizeof name) & ~faults;
#ifdef THREAD_SANITIZER /* has one of its own */
        open = 0;
#endif
        CHECK_MSG(open == 0, "thread %s leaves %jx unblocked", name, (uintmax_t)open);
        weft += strncmp(name, "weft-", 5) == 0;
        others += strncmp(name, "weft-", 5) != 0;
    }
    closedir(directory);
    CHECK_EQ(weft, 3);
    CHECK(others >= (jemalloc ? 2u : 1u)); /* the reclaimer, and jemalloc's */
    rt_end(rt);
}

WTEST(signal_rules, own_threads_block_a_trap_that_is_watched) {
#ifdef THREAD_SANITIZER
    wtest_skip("ThreadSanitizer has a thread of its own, which does not block them");
#endif
    const int numbers[] = {SIGTRAP, SIGSYS, 0};
    weft_runtime *rt = signals_start(2, numbers);
    sight_begin(&a, weft_runtime_worker(rt, 0), SIGTRAP);
    sight_begin(&b, weft_runtime_worker(rt, 1), SIGSYS);
    send_signal(SIGTRAP);
    send_signal(SIGSYS);
    rt_await(&a.count, 1);
    rt_await(&b.count, 1);
    rt_end(rt);
}

/* --- wrong calls --- */

static void nothing(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    (void)arg;
}

static void wrong_calls(void *arg) {
    weft_worker *w = arg;
    weft_signal *untouched = NULL;
    const int bad[] = {0,      -1,     SIGKILL, SIGSTOP, SIGSEGV,      SIGBUS,
                       SIGFPE, SIGILL, 32,      33,      SIGRTMAX + 1, 1 << 20};
    for (unsigned i = 0; i < array_length(bad); i++)
        CHECK_EQ(weft_signal_watch(w, bad[i], nothing, NULL, &untouched), -EINVAL);
    CHECK_EQ(weft_signal_watch(w, SIGUSR1, NULL, NULL, &untouched), -EINVAL);
    CHECK_EQ(weft_signal_watch(NULL, SIGUSR1, nothing, NULL, &untouched), -EINVAL);
    CHECK(untouched == NULL);
    weft_signal_stop(NULL);
}

static void on_start(weft_worker *w, void *arg) {
    (void)arg;
    wrong_calls(w); /* a failing check ends the process here, as on the test's thread */
}

static _Atomic int late_result;

static void on_stop(weft_worker *w, void *arg) {
    (void)arg;
    late_result = weft_signal_watch(w, SIGUSR1, nothing, NULL, NULL);
}

WTEST(signal_rules, wrong_calls_are_answered) {
    const int numbers[] = {SIGUSR1, 0};
    const weft_runtime_options options = {
        .workers = 1, .signals = numbers, .on_worker_start = on_start, .on_worker_stop = on_stop};
    weft_runtime *rt = rt_create_with(&options);
    weft_worker *w = weft_runtime_worker(rt, 0);
    CHECK_EQ(weft_signal_watch(w, SIGUSR1, nothing, NULL, NULL), -EPERM);
    CHECK_EQ(weft_runtime_start(rt), 0);
    CHECK_EQ(weft_signal_watch(w, SIGUSR1, nothing, NULL, NULL), -EPERM);
    sight_begin(&a, w, SIGUSR1);
    log_keep();
    weft_signal_stop(a.handle); /* not ours: does nothing, and says so */
    CHECK_EQ(log_count("weft_signal_stop"), 1);
    send_signal(SIGUSR1);
    rt_await(&a.count, 1);
    rt_end(rt);
    CHECK_EQ(late_result, -ESHUTDOWN);
}

static _Atomic int forked_status = -1;

static void fork_and_watch(void *arg) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(weft_signal_watch(arg, SIGUSR1, nothing, NULL, NULL) == -EPERM ? 0 : 1);
    int status = -1;
    waitpid(pid, &status, 0);
    forked_status = status;
}

WTEST(signal_rules, a_forked_child_is_refused) {
    const int numbers[] = {SIGUSR1, 0};
    weft_runtime *rt = signals_start(1, numbers);
    rt_call(weft_runtime_worker(rt, 0), fork_and_watch, weft_runtime_worker(rt, 0));
    CHECK_EQ(forked_status, 0);
    rt_end(rt);
}

/* --- failures --- */

static struct {
    unsigned n;
    int result, injected;
} failing;

static void watch_failing(void *arg) {
    fault_arm(failing.n, false);
    failing.result = weft_signal_watch(arg, SIGUSR1, nothing, NULL, &a.handle);
    failing.injected = fault_disarm();
}

WTEST(signal_rules, a_failed_watch_leaves_nothing) {
    const int numbers[] = {SIGUSR1, 0};
    fault_begin();
    for (failing.n = 1;; failing.n++) {
        weft_runtime *rt = signals_start(1, numbers);
        weft_worker *w = weft_runtime_worker(rt, 0);
        int fds = open_fd_count();
        rt_call(w, watch_failing, w);
        if (failing.injected == 0) {
            rt_end(rt);
            break;
        }
        CHECK_EQ(failing.result, failing.injected);
        CHECK_EQ(open_fd_count(), fds);
        sight_begin(&b, w, SIGUSR1);
        send_signal(SIGUSR1);
        rt_await(&b.count, failing.n);
        rt_end(rt);
    }
    CHECK(failing.n >= 4); /* the handle, the signalfd, its place in the selector */
}

/* --- cycles --- */

WTEST(signal_rules, cycles_with_signals_in_flight_leave_nothing) {
    const int number = SIGRTMIN, numbers[] = {number, 0};
    int fds = open_fd_count();
    for (unsigned i = 0; i < 100 / wtest_slowdown() + 5; i++) {
        weft_runtime *rt = signals_start(2, numbers);
        sight_begin(&a, weft_runtime_worker(rt, 0), number);
        sight_begin(&b, weft_runtime_worker(rt, 1), number);
        for (int j = 0; j < 200; j++)
            send_payload(number, j);
        rt_end(rt);
        CHECK_EQ(open_fd_count(), fds);
    }
}
