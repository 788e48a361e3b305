#include "sweep.h"

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
    _Atomic unsigned n, index;
    _Atomic bool for_ever;
    _Atomic bool armed, fired;
    _Atomic unsigned seen;
    struct sweep_fault fault; /* written by the one who sets `fired` */
} injection;

/* The index-th errno that the sweep lets it fail with; 0: there is none. */
static int error_at(enum os_call call, unsigned index) {
    const struct sweep *s = injection.sweep;
    for (const int *e = sweep_errnos(call); *e; e++)
        if ((!s->may_fail || s->may_fail(call, -*e)) && index-- == 0)
            return -*e;
    return 0;
}

static bool can_fail(enum os_call call) {
    return injection.for_ever ? call == OS_ALLOC : error_at(call, 0) != 0;
}

static int inject(enum os_call call) {
    const struct sweep *s = injection.sweep;
    int refused = s && s->kernel ? s->kernel(call) : 0;
    if (refused < 0)
        return refused;
    if (!atomic_load(&injection.armed) || (s->scope != SWEEP_EVERYONE && !is_marked) ||
        !can_fail(call))
        return 0;
    unsigned seen = atomic_fetch_add(&injection.seen, 1) + 1;
    if (seen < injection.n || (seen > injection.n && !injection.for_ever))
        return 0;
    int error = error_at(call, injection.for_ever ? 0 : injection.index);
    if (error == 0) /* threads raced, and another call is the nth */
        error = error_at(call, 0);
    if (seen == injection.n) {
        injection.fault = (struct sweep_fault){call, error, injection.n, injection.for_ever};
        atomic_store(&injection.fired, true);
    }
    return error;
}

/* There from the beginning, so that no thread ever sees it change. */
__attribute__((constructor)) static void inject_always(void) {
    seam_call_fn = inject;
}

void sweep_arm(const struct sweep *sweep, unsigned n, unsigned index, bool for_ever) {
    injection.sweep = sweep;
    injection.n = n;
    injection.index = index;
    injection.for_ever = for_ever;
    is_marked = sweep->scope == SWEEP_CALLER;
    atomic_store(&injection.seen, 0);
    atomic_store(&injection.fired, false);
    atomic_store(&injection.armed, true);
}

bool sweep_disarm(struct sweep_fault *ret_fault) {
    atomic_store(&injection.armed, false);
    is_marked = false;
    if (!atomic_load(&injection.fired))
        return false;
    *ret_fault = injection.fault;
    return true;
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

/* What was retired goes a grace period later, on other threads: wait for it, though not for ever. */
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
    snprintf(text, sizeof text, "call %u, %s, %s %s", f->n, seam_call_name(f->call),
             f->for_ever ? "and all later ones fail with" : "fails with",
             strerrorname_np(-f->error));
    return text;
}

static void check_same(const struct sweep *s, void *world, struct state *then, bool keeps_memory,
                       const char *when) {
    const char *difference = state_settles(then, &after, s, world, keeps_memory);
    CHECK_MSG(!difference,
              "%s: %s: %s differ\nbefore: %" PRId64 " allocations, fds\n%s\nafter: %" PRId64
              " allocations, fds\n%s",
              s->name, when, difference, then->allocations, then->fds, after.allocations,
              after.fds);
}

/* One run; false when no fault was injected. */
static bool run_once(const struct sweep *s, unsigned n, unsigned index, bool for_ever,
                     struct sweep_fault *ret_fault) {
    char when[160];
    state_take(&before_open, s, NULL);
    void *world = s->open();
    state_take(&before, s, world);
    sweep_arm(s, n, index, for_ever);
    int r = s->operate(world);
    bool injected = sweep_disarm(ret_fault);
    if (!injected) {
        CHECK_MSG(r >= 0, "%s: %s without a fault", s->name, strerrorname_np(-r));
        snprintf(when, sizeof when, "closed without a fault");
    } else {
        const char *fault = describe(ret_fault);
        bool is_answer = s->is_answer ? s->is_answer(world, ret_fault, r) : r == ret_fault->error;
        CHECK_MSG(is_answer, "%s: %s: the answer is %d (%s)", s->name, fault, r,
                  r < 0 ? strerrorname_np(-r) : "done");
        if (r < 0) {
            snprintf(when, sizeof when, "after %s", fault);
            check_same(s, world, &before, s->keeps_memory, when);
            r = s->operate(world);
            CHECK_MSG(r >= 0, "%s: %s: again, without a fault, it gets %s", s->name, fault,
                      strerrorname_np(-r));
        }
        snprintf(when, sizeof when, "closed after %s", fault);
    }
    s->close(world);
    check_same(s, NULL, &before_open, false, when);
    return injected;
}

/* What is made once in a process is made before anything is compared. */
static void warm_up(const struct sweep *s) {
    injection.sweep = s;
    void *world = s->open();
    int r = s->operate(world);
    CHECK_MSG(r >= 0, "%s: %s without a fault", s->name, strerrorname_np(-r));
    s->close(world);
}

static unsigned sweep_once_each(const struct sweep *s, unsigned *faults) {
    struct sweep_fault fault;
    unsigned n = 1, index = 0;
    while (n < N_LIMIT && run_once(s, n, index, false, &fault)) {
        ++*faults;
        index++;
        injection.sweep = s;
        if (error_at(fault.call, index) == 0) {
            index = 0;
            n++;
        }
    }
    return n - 1;
}

static unsigned sweep_for_ever(const struct sweep *s, unsigned *faults) {
    struct sweep_fault fault;
    unsigned n = 1;
    for (; n < N_LIMIT && run_once(s, n, 0, true, &fault); n++)
        ++*faults;
    return n - 1;
}

void sweep_run(const struct sweep *s) {
    unsigned faults = 0;
    warm_up(s);
    unsigned calls = sweep_once_each(s, &faults);
    unsigned allocations = s->once_only ? 0 : sweep_for_ever(s, &faults);
    CHECK_MSG(calls >= s->least && calls < N_LIMIT, "%s: %u calls could fail, expected %u or more",
              s->name, calls, s->least);
    printf("%s: %u calls, %u of them allocations; %u faults\n", s->name, calls, allocations,
           faults);
}
