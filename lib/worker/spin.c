/* Spinning: a worker with nothing to do looks for work a little longer before it sleeps. Waking a
 * sleeper costs its waker a system call and both of them a trip through the scheduler, some ten
 * microseconds; whoever looks finds a post in a fraction of one. It is worth that only where no one
 * else has a use for the CPU, so the runtime allows it only where CPUs are spare (create.c), and
 * each worker watches what comes of it:
 *
 *   - a look that found nothing makes the next ones rarer, one that did makes them frequent again,
 *     so that a worker to which little comes burns nothing;
 *   - a worker that the scheduler had to take off its CPU for another thread does not look for a
 *     long time, twice as long each time (getrusage(2), ru_nivcsw).
 *
 * The queue is not armed meanwhile, so posters make no system call. */
#include "worker/inner.h"

enum {
    GLANCES = 16,      /* at the queue, for one at the selector, which is a system call */
    ROUNDS = 128,      /* of those, and not longer than */
    SPIN_NS = 30000,   /* twice what a sleep and a wake-up cost */
    SKIPS_MAX = 1023,  /* sleeps without a look, after many in vain */
    CHECK_EVERY = 32,  /* looks; then whether others want the CPU */
    SHARED_MIN = 1024, /* sleeps without a look where they do */
    SHARED_MAX = 1 << 16,
};

void worker_set_spin(weft_worker *w, bool may) {
    w->spin.is_allowed = may;
    w->spin.shared_next = SHARED_MIN;
}

static bool found_task(weft_worker *w) {
    for (int i = 0; i < GLANCES; i++) {
        if (!queue_looks_empty(&w->inbox.queue))
            return true;
        cpu_relax();
    }
    return false;
}

/* True: there is work; events as the selector reported them. */
static bool look(weft_worker *w, struct epoll_event *events, uint64_t limit_ns, int *ret_count) {
    uint64_t start_ns = clock_now_ns(), spent_ns = 0;
    bool found = false;
    for (int i = 0; i < ROUNDS && spent_ns < limit_ns && !found; i++) {
        found = found_task(w);
        int n = found ? 0 : selector_wait(w->selector, events, WORKER_EVENTS, 0);
        if (n > 0) {
            *ret_count = n;
            found = true;
        }
        spent_ns = clock_now_ns() - start_ns;
    }
    stat_add(&w->stats.spins, 1);
    stat_add(&w->stats.spins_hit, found);
    stat_add(&w->stats.spin_ns, spent_ns);
    return found;
}

/* Does somebody else want this CPU? */
static bool is_shared(struct worker_spin *spin) {
    if (++spin->looks < CHECK_EVERY)
        return false;
    spin->looks = 0;
    uint64_t before = spin->preemptions;
    spin->preemptions = os_thread_preemptions();
    return spin->preemptions > before + 1 && !MUTANT("spin-elbows");
}

static void adapt(struct worker_spin *spin, bool found) {
    if (is_shared(spin)) {
        spin->skips = spin->shared_next;
        spin->shared_next = spin->shared_next < SHARED_MAX ? 2 * spin->shared_next : SHARED_MAX;
        return;
    }
    if (spin->looks == 0)
        spin->shared_next = SHARED_MIN;
    if (found)
        spin->skips_next /= 2;
    else
        spin->skips_next = spin->skips_next < SKIPS_MAX ? 2 * spin->skips_next + 1 : SKIPS_MAX;
    spin->skips = MUTANT("spin-burns") ? 0 : spin->skips_next;
}

bool worker_spin(weft_worker *w, struct epoll_event *events, uint64_t timeout_ns, int *ret_count) {
    struct worker_spin *spin = &w->spin;
    if (spin->skips > 0) {
        spin->skips--;
        return false;
    }
    bool found = look(w, events, timeout_ns < SPIN_NS ? timeout_ns : SPIN_NS, ret_count);
    adapt(spin, found);
    return found;
}
