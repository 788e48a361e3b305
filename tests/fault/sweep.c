#include "sweep.h"

#include "weft/worker.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FDS_SIZE = 64 << 10, SNAPSHOT_SIZE = 64 << 10, SETTLE_S = 10, N_LIMIT = 10000 };

/* --- injection ------------------------------------------------------------------------------- */

static __thread bool is_marked;

/* Atomic: threads that outlive a run may still look while the next one is armed. */
static struct {
    const struct sweep *_Atomic sweep;
    _Atomic unsigned call, n; /* n 0: nothing is injected, the calls are counted */
    _Atomic int error;
    _Atomic bool for_ever, armed, fired;
    _Atomic unsigned seen[OS_CALL_COUNT];
} injection;

static bool may_fail(const struct sweep *s, enum os_call call, int error) {
    return !s->may_fail || s->may_fail(call, error);
}

static bool is_in_scope(void) {
    const struct sweep *s = atomic_load(&injection.sweep);
    return s->scope == SWEEP_EVERYONE ||
           (s->scope == SWEEP_WORKERS ? weft_worker_current() != NULL : is_marked);
}

static int inject(enum os_call call) {
    const struct sweep *s = injection.sweep;
    int refused = s && s->kernel ? s->kernel(call) : 0;
    if (refused < 0)
        return refused;
    if (!atomic_load(&injection.armed) || !is_in_scope())
        return 0;
    unsigned seen = atomic_fetch_add(&injection.seen[call], 1) + 1, n = atomic_load(&injection.n);
    if (call != atomic_load(&injection.call) || n == 0 || seen < n ||
        (seen > n && !atomic_load(&injection.for_ever)))
        return 0;
    atomic_store(&injection.fired, true);
    return atomic_load(&injection.error);
}

/* There from the beginning, so that no thread ever sees it change. */
__attribute__((constructor)) static void inject_always(void) {
    seam_call_fn = inject;
}

void sweep_arm(const struct sweep *sweep, const struct sweep_fault *fault) {
    atomic_store(&injection.sweep, sweep);
    atomic_store(&injection.call, fault->call);
    atomic_store(&injection.n, fault->n);
    atomic_store(&injection.error, fault->error);
    atomic_store(&injection.for_ever, fault->for_ever);
    for (int i = 0; i < OS_CALL_COUNT; i++)
        atomic_store(&injection.seen[i], 0);
    atomic_store(&injection.fired, false);
    atomic_store(&injection.armed, true);
}

bool sweep_disarm(void) {
    atomic_store(&injection.armed, false);
    return atomic_load(&injection.fired);
}

void sweep_mark(void) {
    is_marked = true;
}

void sweep_unmark(void) {
    is_marked = false;
}

/* --- what must not change -------------------------------------------------------------------- */

size_t sweep_fds(char *buffer, size_t size) {
    size_t length = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[300], target[200];
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        int put = snprintf(buffer + length, size - length, "%d: %s\n", fd, target);
        if (put < 0 || (size_t)put >= size - length)
            break;
        length += (size_t)put;
    }
    closedir(dir);
    return length;
}

struct state {
    char fds[FDS_SIZE];
    char more[SNAPSHOT_SIZE];
    size_t fds_length, more_length;
    int64_t allocations;
    sigset_t mask;
};

static void state_take(struct state *state, const struct sweep *s, void *world) {
    memset(state, 0, sizeof *state);
    state->fds_length = sweep_fds(state->fds, sizeof state->fds);
    state->allocations = seam_live_allocations();
    sigprocmask(SIG_SETMASK, NULL, &state->mask);
    if (s->snapshot && world)
        state->more_length = s->snapshot(world, state->more, sizeof state->more);
}

/* NULL, or what differs. */
static const char *state_differs(const struct state *a, const struct state *b, bool keeps_memory) {
    if (a->fds_length != b->fds_length || memcmp(a->fds, b->fds, a->fds_length) != 0)
        return "open files";
    if (a->allocations != b->allocations && !keeps_memory)
        return "live allocations";
    if (memcmp(&a->mask, &b->mask, sizeof a->mask) != 0)
        return "blocked signals";
    if (a->more_length != b->more_length || memcmp(a->more, b->more, a->more_length) != 0)
        return "the snapshot";
    return NULL;
}

/* What was retired goes a grace period later, on other threads: wait for it, but not for ever. */
static const char *state_settles(struct state *before, struct state *after, const struct sweep *s,
                                 void *world, bool keeps_memory) {
    const struct timespec turn = {.tv_nsec = 200 * 1000};
    time_t end = time(NULL) + SETTLE_S;
    for (;;) {
        state_take(after, s, world);
        const char *difference = state_differs(before, after, keeps_memory);
        if (!difference || time(NULL) > end)
            return difference;
        nanosleep(&turn, NULL);
    }
}

/* --- the sweep ------------------------------------------------------------------------------- */

static struct state before_open, before, after;

static const char *describe(const struct sweep_fault *f) {
    static char text[100];
    snprintf(text, sizeof text, "%s number %u %s %s", seam_call_name(f->call), f->n,
             f->for_ever ? "and all later ones fail with" : "fails with",
             strerrorname_np(-f->error));
    return text;
}

static void check_same(const struct sweep *s, void *world, struct state *then, bool keeps_memory,
                       const char *when) {
    const char *difference = state_settles(then, &after, s, world, keeps_memory);
    CHECK_MSG(!difference,
              "%s: %s: %s differ\nbefore: %" PRId64 " allocations, fds\n%s%s\nafter: %" PRId64
              " allocations, fds\n%s%s",
              s->name, when, difference, then->allocations, then->fds, then->more,
              after.allocations, after.fds, after.more);
}

struct attempt {
    const struct sweep *sweep;
    void *world;
    int result;
};

static void attempt(void *arg) {
    struct attempt *a = arg;
    is_marked = a->sweep->scope == SWEEP_CALLER;
    a->result = a->sweep->operate(a->world);
    is_marked = false;
}

static int operate(const struct sweep *s, void *world) {
    struct attempt a = {.sweep = s, .world = world};
    if (s->on_thread)
        s->on_thread(world, attempt, &a);
    else
        attempt(&a);
    return a.result;
}

static void check_faulted(const struct sweep *s, void *world, const struct sweep_fault *f, int r) {
    char when[160];
    const char *fault = describe(f);
    bool is_answer = s->is_answer ? s->is_answer(world, f, r) : r == f->error;
    CHECK_MSG(is_answer, "%s: %s: the answer is %d (%s)", s->name, fault, r,
              r < 0 ? strerrorname_np(-r) : "done");
    if (r >= 0 && !s->repeats)
        return;
    snprintf(when, sizeof when, "after %s", fault);
    check_same(s, world, &before, s->keeps_memory, when);
    r = operate(s, world);
    CHECK_MSG(r >= 0, "%s: %s: again, without a fault, it gets %s", s->name, fault,
              strerrorname_np(-r));
}

/* One run; false when the fault was not reached. */
static bool run_once(const struct sweep *s, const struct sweep_fault *fault) {
    char when[160];
    state_take(&before_open, s, NULL);
    void *world = s->open();
    state_take(&before, s, world);
    sweep_arm(s, fault);
    int r = operate(s, world);
    bool injected = sweep_disarm();
    if (injected)
        check_faulted(s, world, fault, r);
    else
        CHECK_MSG(r >= 0, "%s: %s without a fault", s->name, strerrorname_np(-r));
    snprintf(when, sizeof when, "closed after %s", injected ? describe(fault) : "no fault");
    s->close(world);
    check_same(s, NULL, &before_open, false, when);
    return injected;
}

/* What is made once in a process is made before anything is compared; and what calls there are. */
static void warm_up(const struct sweep *s, unsigned counts[OS_CALL_COUNT]) {
    injection.sweep = s;
    void *world = s->open();
    sweep_arm(s, &(struct sweep_fault){.n = 0});
    int r = operate(s, world);
    (void)sweep_disarm();
    CHECK_MSG(r >= 0, "%s: %s without a fault", s->name, strerrorname_np(-r));
    for (int i = 0; i < OS_CALL_COUNT; i++)
        counts[i] = atomic_load(&injection.seen[i]);
    s->close(world);
}

/* The nth call of a kind with every errno: the faults that were reached. Other threads may do with
 * fewer calls now and then. */
static unsigned sweep_call(const struct sweep *s, enum os_call call, unsigned n) {
    unsigned faults = 0;
    for (const int *e = sweep_errnos(call); *e; e++)
        if (may_fail(s, call, -*e))
            faults += run_once(s, &(struct sweep_fault){.call = call, .error = -*e, .n = n});
    return faults;
}

static unsigned sweep_kind(const struct sweep *s, enum os_call call, unsigned count,
                           unsigned *faults) {
    unsigned n = 1, calls = 0;
    for (unsigned made; n < N_LIMIT && ((made = sweep_call(s, call, n)) > 0 || n <= count); n++) {
        *faults += made;
        calls += made > 0;
    }
    return calls;
}

static unsigned sweep_for_ever(const struct sweep *s, unsigned *faults) {
    struct sweep_fault fault = {.call = OS_ALLOC, .error = -ENOMEM, .n = 1, .for_ever = true};
    if (s->once_only || !may_fail(s, OS_ALLOC, -ENOMEM))
        return 0;
    for (; fault.n < N_LIMIT && run_once(s, &fault); fault.n++)
        ++*faults;
    return fault.n - 1;
}

void sweep_run(const struct sweep *s) {
    unsigned counts[OS_CALL_COUNT], calls = 0, faults = 0;
    warm_up(s, counts);
    for (int call = 0; call < OS_CALL_COUNT; call++)
        if (counts[call] > 0)
            calls += sweep_kind(s, (enum os_call)call, counts[call], &faults);
    unsigned allocations = sweep_for_ever(s, &faults);
    CHECK_MSG(calls >= s->least && calls < N_LIMIT, "%s: %u calls could fail, expected %u or more",
              s->name, calls, s->least);
    printf("%s: %u calls, %u of them allocations; %u faults\n", s->name, calls, allocations,
           faults);
}
