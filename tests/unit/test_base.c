/* The ground floor: errors, time, lists, log, process, and the seam that the other tests stand on.
 */
#include "wtest.h"

#include "base/base.h"
#include "weft/error.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

WTEST(base, error_texts_are_lower_case_and_never_null) {
    CHECK_STR(weft_strerror(0), "success");
    CHECK_STR(weft_strerror(-ECONNREFUSED), "connection refused");
    CHECK_STR(weft_strerror(-EHWPOISON), "memory page has hardware error");
    CHECK_STR(weft_strerror(-EL2HLT), "level 2 halted");
    CHECK_STR(weft_strerror(-EDOTDOT), "RFS specific error"); /* an acronym stays one */
    CHECK_STR(weft_strerror(-4095), "unknown error");
    CHECK_STR(weft_strerror(ECONNREFUSED), "unknown error");
    CHECK_STR(weft_strerror(INT_MIN), "unknown error");
    CHECK_STR(weft_strerror(INT_MAX), "unknown error");
    for (int e = 0; e > -200; e--)
        CHECK(weft_strerror(e) && weft_strerror(e)[0]);
}

WTEST(base, error_names) {
    CHECK_STR(weft_err_name(-ECONNREFUSED), "ECONNREFUSED");
    CHECK_STR(weft_err_name(-EAGAIN), "EAGAIN");
    CHECK_STR(weft_err_name(0), "OK");
    CHECK_STR(weft_err_name(EAGAIN), "UNKNOWN");
    CHECK_STR(weft_err_name(-4095), "UNKNOWN");
    CHECK_STR(weft_err_name(INT_MIN), "UNKNOWN");
}

static void *ask_for_text(void *ret_text) {
    *(const char **)ret_text = weft_strerror(-EPIPE);
    return NULL;
}

/* The texts are made by whoever asks first; the others must not see half of them. */
WTEST(base, error_texts_from_many_threads) {
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    const char *texts[THREADS] = {NULL};
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(os_thread_create(&threads[i], ask_for_text, &texts[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_STR(texts[i], "broken pipe");
}

WTEST(base, version_has_three_numbers) {
    unsigned major, minor, patch;
    char end;
    CHECK_EQ(sscanf(weft_version(), "%u.%u.%u%c", &major, &minor, &patch, &end), 3);
}

WTEST(base, time_add_saturates) {
    CHECK_EQ(time_add(2, 3), 5);
    CHECK(time_add(0, UINT64_MAX) == UINT64_MAX);
    CHECK(time_add(UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    CHECK(time_add(1, UINT64_MAX) == UINT64_MAX);
    CHECK(time_add(UINT64_MAX - 1, 1) == UINT64_MAX);
    CHECK(time_add(UINT64_MAX - 2, 1) == UINT64_MAX - 1);
    CHECK(time_add(UINT64_C(1) << 63, UINT64_C(1) << 63) == UINT64_MAX);
}

WTEST(base, clock_goes_forward_and_obeys_the_test_clock) {
    uint64_t first = clock_now_ns(), last = first;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns();
        CHECK(now >= last);
        last = now;
    }
    clock_test_ns = 42;
    CHECK_EQ(clock_now_ns(), 42);
    clock_test_ns = 0;
    CHECK(clock_now_ns() >= last);
}

struct item {
    int number;
    struct list link;
};

WTEST(base, list_keeps_order) {
    struct list head;
    struct item items[4];
    list_init(&head);
    CHECK(list_is_empty(&head));
    CHECK(!list_pop(&head));
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_append(&head, &items[i].link);
    }
    CHECK(!list_is_empty(&head));
    for (int i = 0; i < 4; i++) {
        struct list *node = list_pop(&head);
        CHECK(node);
        CHECK_EQ(container_of(node, struct item, link)->number, i);
    }
    CHECK(list_is_empty(&head));
}

WTEST(base, list_remove_is_idempotent) {
    struct list head, a, b, c;
    list_init(&head);
    list_append(&head, &a);
    list_append(&head, &b);
    list_append(&head, &c);
    list_remove(&b);
    list_remove(&b); /* must not unlink its former neighbours */
    CHECK(list_is_empty(&b));
    CHECK(list_pop(&head) == &a);
    CHECK(list_pop(&head) == &c);
    CHECK(list_is_empty(&head));
}

WTEST(base, list_splice_appends_and_empties) {
    struct list to, from, a, b, c;
    list_init(&to);
    list_init(&from);
    list_splice(&to, &from);
    CHECK(list_is_empty(&to) && list_is_empty(&from));
    list_append(&to, &a);
    list_append(&from, &b);
    list_append(&from, &c);
    list_splice(&to, &from);
    CHECK(list_is_empty(&from));
    CHECK(list_pop(&to) == &a);
    CHECK(list_pop(&to) == &b);
    CHECK(list_pop(&to) == &c);
    CHECK(list_is_empty(&to));
}

/* Whoever waits must never be woken before the deadline: a wait cut down to whole milliseconds
 * would spin through the last one. An empty set has nothing else that could end the wait. */
WTEST(base, epoll_wait_is_never_early) {
    static const uint64_t waits_ns[] = {1,       999,     400000,  999999,
                                        1000000, 1000001, 2500000, 12345678};
    struct epoll_event event;
    int epoll_fd = os_epoll_create();
    CHECK(epoll_fd >= 0);
    for (size_t i = 0; i < array_length(waits_ns); i++) {
        uint64_t start = clock_now_ns();
        CHECK_EQ(os_epoll_wait(epoll_fd, &event, 1, waits_ns[i]), 0);
        uint64_t waited = clock_now_ns() - start;
        CHECK_MSG(waited >= waits_ns[i], "waited %ju of %ju ns", (uintmax_t)waited,
                  (uintmax_t)waits_ns[i]);
    }
    CHECK_EQ(os_epoll_wait(epoll_fd, &event, 1, 0), 0);
    CHECK_EQ(os_close(epoll_fd), 0);
}

/* Durations that no counter of milliseconds or seconds in an int can hold: as good as for ever, and
 * neither an error nor a wait of 0, which would return before the timer in the set has expired. */
WTEST(base, epoll_wait_takes_the_longest_timeouts) {
    static const uint64_t waits_ns[] = {UINT64_C(2147483647) * 1000000,
                                        UINT64_C(2147483648) * 1000000,
                                        UINT64_C(4294967296) * 1000000,
                                        UINT64_C(1) << 63,
                                        UINT64_MAX - 1,
                                        UINT64_MAX};
    struct epoll_event event;
    int epoll_fd = os_epoll_create(), timer_fd = os_timerfd();
    CHECK(epoll_fd >= 0 && timer_fd >= 0);
    CHECK_EQ(os_epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, EPOLLIN, 7), 0);
    for (size_t i = 0; i < array_length(waits_ns); i++) {
        event.data.u64 = 0;
        CHECK_EQ(os_timerfd_set(timer_fd, 5000000, 0), 0);
        CHECK_EQ(os_epoll_wait(epoll_fd, &event, 1, waits_ns[i]), 1);
        CHECK_EQ(event.data.u64, 7);
    }
    os_close(timer_fd);
    os_close(epoll_fd);
}

/* The exit status of a forked child that runs fn. */
static int status_of_child(int (*fn)(void)) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    CHECK(pid > 0);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int child_is_refused(void) {
    return process_is_forked() && process_prepare() == -EPERM ? 0 : 1;
}

static int grandchild_is_refused(void) {
    return status_of_child(child_is_refused);
}

WTEST(base, forked_child_is_recognised) {
    CHECK(!process_is_forked());
    CHECK_EQ(process_prepare(), 0);
    CHECK_EQ(process_prepare(), 0);
    CHECK(!process_is_forked());
    CHECK_EQ(status_of_child(child_is_refused), 0);
    CHECK_EQ(status_of_child(grandchild_is_refused), 0);
    CHECK(!process_is_forked()); /* the parent is what it was */
}

WTEST(base, watchable_signals) {
    static const int never[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,  SIGFPE,
                                SIGILL,  0,       -1,      INT_MIN, INT_MAX};
    static const int always[] = {SIGHUP,  SIGINT,  SIGTERM,  SIGCHLD, SIGPIPE,
                                 SIGUSR1, SIGUSR2, SIGWINCH, SIGSYS};
    for (size_t i = 0; i < array_length(never); i++)
        CHECK_MSG(!signal_is_watchable(never[i]), "signal %d", never[i]);
    for (size_t i = 0; i < array_length(always); i++)
        CHECK_MSG(signal_is_watchable(always[i]), "signal %d", always[i]);
    /* The C library keeps the first real-time numbers for its threads. */
    CHECK(!signal_is_watchable(32));
    CHECK(!signal_is_watchable(SIGRTMIN - 1));
    CHECK(signal_is_watchable(SIGRTMIN));
    CHECK(signal_is_watchable(SIGRTMAX));
    CHECK(!signal_is_watchable(SIGRTMAX + 1));
}

WTEST(base, own_threads_block_all_but_faults) {
    sigset_t set;
    signal_mask_of_own_threads(&set);
    CHECK(sigismember(&set, SIGTERM) && sigismember(&set, SIGINT) && sigismember(&set, SIGCHLD));
    CHECK(sigismember(&set, SIGPIPE) && sigismember(&set, SIGRTMAX));
    CHECK(!sigismember(&set, SIGSEGV) && !sigismember(&set, SIGBUS) && !sigismember(&set, SIGFPE));
    CHECK(!sigismember(&set, SIGILL));
}

static enum os_call refused_call;
static int refused_with;
static unsigned refused_times;

static int refuse(enum os_call call) {
    if (call != refused_call)
        return 0;
    refused_times++;
    return refused_with;
}

static void refuse_call(enum os_call call, int error) {
    refused_call = call;
    refused_with = error;
    refused_times = 0;
    seam_call_fn = refuse;
}

WTEST(base, seam_returns_the_injected_error) {
    char byte = 'x';
    int fds[2];
    CHECK_EQ(pipe(fds), 0);

    refuse_call(OS_EPOLL_CREATE, -EMFILE);
    CHECK_EQ(os_epoll_create(), -EMFILE);
    CHECK_EQ(refused_times, 1);

    refuse_call(OS_WRITE, -ENOSPC);
    CHECK_EQ(os_write(fds[1], &byte, 1), -ENOSPC);

    refuse_call(OS_READ, -EIO);
    CHECK_EQ(os_read(fds[0], &byte, 1), -EIO);

    refuse_call(OS_THREAD_CREATE, -EAGAIN);
    pthread_t thread;
    const char *text = NULL;
    CHECK_EQ(os_thread_create(&thread, ask_for_text, &text), -EAGAIN);

    refuse_call(OS_ALLOC, -ENOMEM);
    CHECK(!mem_alloc(16) && !mem_zalloc(16) && !mem_zalloc_aligned(128, 16));
    CHECK_EQ(refused_times, 3);

    /* Closing is told of, and happens. */
    refuse_call(OS_CLOSE, -EIO);
    CHECK_EQ(os_close(fds[0]), 0);
    CHECK_EQ(refused_times, 1);
    CHECK_EQ(os_fd_check(fds[0]), -EBADF);

    seam_call_fn = NULL;
    CHECK_EQ(os_close(fds[1]), 0);
}

static size_t one_byte(enum os_call call, size_t length) {
    (void)call;
    return length < 1 ? length : 1;
}

WTEST(base, seam_shortens_sends_and_receives) {
    int fds[2];
    char buffer[8] = {0};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    seam_length_fn = one_byte;
    CHECK_EQ(os_send(fds[0], "abc", 3), 1);
    struct iovec iov[2] = {{.iov_base = (char[]){'d', 'e'}, .iov_len = 2},
                           {.iov_base = (char[]){'f'}, .iov_len = 1}};
    CHECK_EQ(os_sendv(fds[0], iov, 2, false), 1);
    CHECK_EQ(os_recv(fds[1], buffer, sizeof buffer), 1);
    seam_length_fn = NULL;
    CHECK_EQ(os_recv(fds[1], buffer + 1, sizeof buffer - 1), 1);
    CHECK_STR(buffer, "ad");
    CHECK_EQ(os_recv(fds[1], buffer, sizeof buffer), -EAGAIN);
    CHECK_EQ(os_sendv(fds[0], iov, 2, false), 3);
    os_close(fds[0]);
    os_close(fds[1]);
}

static unsigned blocked, yielded;

static bool give_up_the_second_time(void) {
    return ++blocked < 2;
}

static void count_yield(void) {
    yielded++;
}

WTEST(base, seam_takes_the_place_of_blocking) {
    struct epoll_event event;
    int epoll_fd = os_epoll_create();
    CHECK(epoll_fd >= 0);
    seam_block_fn = give_up_the_second_time;
    CHECK_EQ(os_epoll_wait(epoll_fd, &event, 1, UINT64_MAX), 0);
    CHECK_EQ(blocked, 2);
    CHECK_EQ(os_epoll_wait(epoll_fd, &event, 1, 0), 0); /* would not block: not asked */
    CHECK_EQ(blocked, 2);
    seam_block_fn = NULL;

    _Atomic uint32_t word = 0;
    seam_yield_fn = count_yield;
    atom_store(&word, 1, release);
    CHECK_EQ(atom_load(&word, acquire), 1);
    os_fd_check(epoll_fd);
    seam_yield_fn = NULL;
    CHECK_EQ(yielded, 3);
    os_close(epoll_fd);
}

WTEST(base, seam_names_every_call) {
    for (int call = 0; call < OS_CALL_COUNT; call++)
        CHECK_MSG(seam_call_name((enum os_call)call), "call %d has no name", call);
}

static int logged_level;
static char logged[64];
static void *logged_arg;

static void sink(int level, const char *message, void *arg) {
    logged_level = level;
    strncpy(logged, message, sizeof logged - 1);
    logged_arg = arg;
}

/* A sink that sets another one, and one that logs, must not meet a held lock. */
static void sink_that_resets(int level, const char *message, void *arg) {
    weft_set_log(sink, arg);
    log_line((enum log_level)level, "again: %s", message);
}

WTEST(base, log_goes_to_the_sink) {
    int token;
    weft_set_log(sink, &token);
    log_line(LOG_LEVEL_WARNING, "bind %s: %d", "127.0.0.1", 80);
    CHECK_EQ(logged_level, LOG_LEVEL_WARNING);
    CHECK_STR(logged, "bind 127.0.0.1: 80");
    CHECK(logged_arg == &token);
    log_misuse("posted twice"); /* only a debug build of the library stops here */
    CHECK_EQ(logged_level, LOG_LEVEL_ERROR);
    CHECK_STR(logged, "posted twice");

    weft_set_log(sink_that_resets, NULL);
    log_line(LOG_LEVEL_DEBUG, "x");
    CHECK_EQ(logged_level, LOG_LEVEL_DEBUG);
    CHECK_STR(logged, "again: x");
    CHECK(!logged_arg);
}

WTEST(base, log_without_sink_goes_to_stderr_from_warnings_up) {
    int fds[2], saved = dup(STDERR_FILENO);
    char text[128] = {0};
    CHECK_EQ(pipe(fds), 0);
    CHECK(dup2(fds[1], STDERR_FILENO) >= 0);
    weft_set_log(NULL, NULL);
    log_line(LOG_LEVEL_INFO, "quiet");
    log_line(LOG_LEVEL_WARNING, "loud");
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    CHECK(os_read(fds[0], text, sizeof text - 1) > 0);
    CHECK_STR(text, "weft: loud\n");
    os_close(saved);
    os_close(fds[0]);
    os_close(fds[1]);
}

WTEST(base, memory_is_zeroed_and_aligned) {
    /* Memory that was in use before, which allocators like to hand out again. */
    char *dirty = mem_alloc(1000);
    CHECK(dirty);
    memset(dirty, 0xff, 1000);
    mem_free(dirty, 1000);
    char *zeroed = mem_zalloc(1000);
    char *aligned = mem_zalloc_aligned(128, 200);
    void *plain = mem_alloc(1);
    CHECK(zeroed && aligned && plain);
    CHECK_EQ((uintptr_t)aligned % 128, 0);
    for (size_t i = 0; i < 1000; i++)
        CHECK_EQ(zeroed[i], 0);
    for (size_t i = 0; i < 200; i++)
        CHECK_EQ(aligned[i], 0);
    mem_free(zeroed, 1000);
    mem_free_aligned(aligned, 128, 200);
    mem_free(plain, 1);
    mem_free(NULL, 8);
}

static void *count_a_million(void *counter) {
    for (int i = 0; i < 1000000; i++)
        stat_add(counter, 1);
    return NULL;
}

/* One writer, any reader: values only grow and none is lost. */
WTEST(base, stat_counter_is_read_by_others) {
    stat_counter counter = {0};
    uint64_t last = 0;
    pthread_t thread;
    CHECK_EQ(os_thread_create(&thread, count_a_million, &counter), 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = stat_read(&counter);
        CHECK(now >= last);
        last = now;
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(stat_read(&counter), 1000000);
    stat_sub(&counter, 1);
    CHECK_EQ(stat_read(&counter), 999999);
}
