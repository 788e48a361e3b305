#include "rt.h"

#include "runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

/* Tests that count system calls and sleeps want them whatever the machine: nobody spins who is not
 * asked to. */
weft_runtime *rt_create_with(const weft_runtime_options *options) {
    weft_runtime *rt = NULL;
    CHECK_EQ(weft_runtime_create(options, &rt), 0);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_NEVER), 0);
    CHECK(rt != NULL);
    return rt;
}

weft_runtime *rt_create(unsigned workers) {
    const weft_runtime_options options = {.workers = workers};
    return rt_create_with(&options);
}

weft_runtime *rt_start_with(const weft_runtime_options *options) {
    weft_runtime *rt = rt_create_with(options);
    CHECK_EQ(weft_runtime_start(rt), 0);
    return rt;
}

weft_runtime *rt_start(unsigned workers) {
    const weft_runtime_options options = {.workers = workers};
    return rt_start_with(&options);
}

void rt_end(weft_runtime *rt) {
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    weft_runtime_destroy(rt);
}

weft_stats rt_stats(weft_worker *w) {
    weft_stats stats;
    CHECK_EQ(weft_worker_stats(w, &stats, sizeof stats), 0);
    return stats;
}

void rt_call(weft_worker *w, void (*fn)(void *arg), void *arg) {
    CHECK_EQ(weft_call(w, fn, arg), 0);
}

static void nothing(void *arg) {
    (void)arg;
}

/* A task is never run in the iteration that it is posted in by who saw another one's end. */
void rt_turns(weft_worker *w, unsigned turns) {
    for (unsigned i = 0; i < turns; i++)
        rt_call(w, nothing, NULL);
}

void rt_await_armed(weft_worker *w) {
    while (atomic_load(&w->inbox.queue.head) != QUEUE_ARMED)
        sched_yield();
}

void rt_await_asleep(weft_runtime *rt) {
    uint64_t deadline_ns = now_ns() + 20 * NSEC_PER_SEC;
    while (atomic_load(&rt->watchdog.state) != WATCHDOG_ASLEEP ||
           !queue_is_armed(&rt->sentinel.inbox.queue)) {
        CHECK_MSG(now_ns() < deadline_ns, "the sentinel stays awake");
        sched_yield();
    }
}

void rt_await(_Atomic unsigned *counter, unsigned value) {
    while (atomic_load(counter) < value)
        sched_yield();
}

void sem_make(sem_t *sem) {
    CHECK_EQ(sem_init(sem, 0, 0), 0);
}

void sem_await(sem_t *sem) {
    while (sem_wait(sem) != 0)
        ;
}

static void hold_run(weft_task *task) {
    struct hold *hold = WEFT_CONTAINER_OF(task, struct hold, task);
    sem_post(&hold->entered);
    sem_await(&hold->release);
}

void hold_begin(struct hold *hold, weft_worker *w) {
    *hold = (struct hold){.task.run = hold_run};
    sem_make(&hold->entered);
    sem_make(&hold->release);
    CHECK_EQ(weft_post(w, &hold->task), 0);
    sem_await(&hold->entered);
}

void hold_end(struct hold *hold, weft_worker *w) {
    sem_post(&hold->release);
    rt_turns(w, 1);
}

pthread_t thread_begin(void *(*fn)(void *arg), void *arg) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, fn, arg), 0);
    return thread;
}

void thread_end(pthread_t thread) {
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

int open_fd_count(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void *echo_bytes(void *arg) {
    const int *ends = arg;
    char byte;
    while (read(ends[1], &byte, 1) == 1 && write(ends[1], &byte, 1) == 1)
        ;
    return NULL;
}

void let_others_run(void) {
    int ends[2];
    char byte = 'x';
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pthread_t thread = thread_begin(echo_bytes, ends);
    for (unsigned i = 0; i < 500 + 500 / wtest_slowdown(); i++) {
        CHECK_EQ(write(ends[0], &byte, 1), 1);
        CHECK_EQ(read(ends[0], &byte, 1), 1);
    }
    CHECK_EQ(shutdown(ends[0], SHUT_WR), 0);
    thread_end(thread);
    close(ends[0]);
    close(ends[1]);
}

bool is_blocked(int signo) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, signo) == 1;
}

/* --- the seam -------------------------------------------------------------------------------- */

static _Atomic uint64_t calls[OS_CALL_COUNT];

static int calls_count(enum os_call call) {
    atomic_fetch_add_explicit(&calls[call], 1, memory_order_relaxed);
    return 0;
}

void calls_watch(void) {
    for (int i = 0; i < OS_CALL_COUNT; i++)
        atomic_store(&calls[i], 0);
    seam_call_fn = calls_count;
}

void calls_unwatch(void) {
    seam_call_fn = NULL;
}

uint64_t calls_of(enum os_call call) {
    return atomic_load(&calls[call]);
}

uint64_t calls_total(void) {
    uint64_t total = 0;
    for (int i = 0; i < OS_CALL_COUNT; i++)
        total += i == OS_ALLOC ? 0 : atomic_load(&calls[i]);
    return total;
}

/* The errno of a failure that is possible and that nobody may ignore; 0: never injected. */
static int usual_error(enum os_call call) {
    switch (call) {
    case OS_ALLOC:
    case OS_EPOLL_CTL:
    case OS_AFFINITY: return -ENOMEM;
    case OS_THREAD_CREATE:
    case OS_CLONE: return -EAGAIN;
    case OS_FCNTL: return -EBADF;
    case OS_PIDFD_OPEN:
    case OS_PIPE:
    case OS_EPOLL_CREATE:
    case OS_EVENTFD:
    case OS_SIGNALFD: return -EMFILE;
    case OS_SIGMASK: return -EINVAL;
    case OS_GETRANDOM: return -ENOSYS;
    default: return 0;
    }
}

/* Of the arming thread: others pass. */
static __thread struct {
    bool armed;
    unsigned left;
    int only; /* an os_call, or -1 */
    bool for_ever;
    int injected;
} fault;

static int fault_call(enum os_call call) {
    int error = fault.armed ? usual_error(call) : 0;
    if (error == 0 || (fault.only >= 0 && fault.only != (int)call))
        return 0;
    if (fault.left > 1) {
        fault.left--;
        return 0;
    }
    if (fault.injected && !fault.for_ever)
        return 0;
    if (!fault.injected)
        fault.injected = error;
    return error;
}

void fault_begin(void) {
    seam_call_fn = fault_call;
}

static void arm(unsigned n, int only, bool for_ever) {
    fault.left = n;
    fault.only = only;
    fault.for_ever = for_ever;
    fault.injected = 0;
    fault.armed = true;
}

void fault_arm(unsigned n, bool for_ever) {
    arm(n, -1, for_ever);
}

void fault_arm_call(enum os_call call, unsigned n) {
    arm(n, (int)call, false);
}

int fault_disarm(void) {
    fault.armed = false;
    return fault.injected;
}

/* --- the probe ------------------------------------------------------------------------------- */

void (*probe_stop_fn)(weft_worker *w);
void (*probe_expire_fn)(weft_worker *w);
void (*probe_leave_fn)(weft_worker *w);

static void probe_stop(weft_worker *w, void *state) {
    (void)state;
    if (probe_stop_fn)
        probe_stop_fn(w);
}

static void probe_expire(weft_worker *w, void *state) {
    (void)state;
    if (probe_expire_fn)
        probe_expire_fn(w);
}

static void probe_leave(weft_worker *w, void *state) {
    (void)state;
    if (probe_leave_fn)
        probe_leave_fn(w);
}

static const struct worker_part probe = {
    .state_size = 1,
    .stop = probe_stop,
    .expire = probe_expire,
    .leave = probe_leave,
};

__attribute__((constructor)) static void probe_register(void) {
    worker_part_register(&probe);
}
