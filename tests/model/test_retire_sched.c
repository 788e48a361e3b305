/* Retirement under the deterministic scheduler: tasks, streams and hooks read what others replace
 * and retire. The read-side sections are the shipped ones; the grace periods are the test's own,
 * so that a seed says all: liburcu's call_rcu() is replaced here by one that waits, on a thread of
 * the schedule, until every worker that was in a section at the call has been seen outside. */
#include "runtime/runtime.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <urcu/urcu-memb.h>

enum { WORKERS = 2, WRITERS = 2, VERSIONS = 12, READS = 4, SCHEDULES = 4000, GRACES_MAX = 64 };

/* --- grace periods --------------------------------------------------------------------------- */

/* liburcu's word of each thread (urcu/static/urcu-common.h): its lower half counts the sections
 * that it is in. */
struct reader {
    unsigned long ctr;
};
extern __thread struct reader urcu_memb_reader;

struct grace {
    struct rcu_head *head;
    void (*fn)(struct rcu_head *head);
    bool waits_for[WORKERS];
};

static struct {
    bool is_ours;
    const struct reader *readers[WORKERS];
    struct grace queue[GRACES_MAX];
    unsigned first, end;
} graces;

static bool is_in_section(unsigned worker) {
    return graces.readers[worker] && (uint32_t)graces.readers[worker]->ctr != 0;
}

/* In place of liburcu's. */
void urcu_memb_call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head)) {
    if (!graces.is_ours || !sched_self()) {
        void (*real)(struct rcu_head *, void (*)(struct rcu_head *));
        *(void **)&real = dlsym(RTLD_NEXT, "urcu_memb_call_rcu");
        real(head, fn);
        return;
    }
    SCHED_CHECK(graces.end < GRACES_MAX);
    struct grace *g = &graces.queue[graces.end++];
    *g = (struct grace){.head = head, .fn = fn};
    for (unsigned i = 0; i < WORKERS; i++)
        g->waits_for[i] = is_in_section(i);
}

static bool is_over(struct grace *g) {
    bool waits = false;
    for (unsigned i = 0; i < WORKERS; i++) {
        g->waits_for[i] = g->waits_for[i] && is_in_section(i);
        waits = waits || g->waits_for[i];
    }
    return !waits;
}

/* --- objects --------------------------------------------------------------------------------- */

struct object {
    unsigned version;
    bool is_dead;
    unsigned buried;
};

static struct {
    weft_runtime *rt;
    struct object objects[VERSIONS + 1];
    struct object *_Atomic current;
    unsigned versions;
    weft_task tasks[WORKERS][READS], adopt;
    bool adopted, stopped, waited;
    unsigned writers_left;
    int fds[2];
} s;

/* As long as this runs, what it has found is there. */
static void read_for(uint64_t steps) {
    const struct object *o = atom_load(&s.current, acquire);
    for (uint64_t pause = sched_random(steps); pause > 0; pause--) {
        SCHED_CHECK(!o->is_dead);
        sched_step();
    }
    SCHED_CHECK(!o->is_dead);
}

static void read_current(void) {
    read_for(4);
}

static void bury(void *arg) {
    struct object *o = arg;
    SCHED_CHECK(o != atom_load(&s.current, relaxed) && !o->is_dead);
    o->is_dead = true;
    o->buried++;
}

static void replace(void) {
    if (s.versions == VERSIONS)
        return;
    struct object *fresh = &s.objects[++s.versions];
    struct object *old = atom_xchg(&s.current, fresh, acq_rel);
    SCHED_CHECK(weft_retire(bury, old) == 0);
}

/* --- who reads and who replaces -------------------------------------------------------------- */

static void note_reader(weft_worker *w, void *arg) {
    (void)arg;
    graces.readers[weft_worker_index(w)] = &urcu_memb_reader;
}

static void read_last(weft_worker *w, void *arg) {
    (void)w, (void)arg;
    read_for(64);
}

static void read_in_task(weft_task *task) {
    (void)task;
    read_current();
    if (sched_random(4) == 0)
        replace();
    read_current();
}

static void read_in_hook(void *arg) {
    (void)arg;
    read_current();
}

static size_t read_in_data(weft_stream *stream, const uint8_t *data, size_t len) {
    (void)stream, (void)data;
    read_current();
    return len;
}

static void read_in_stream(weft_stream *stream) {
    (void)stream;
    read_current();
}

static void read_at_close(weft_stream *stream, int error) {
    (void)stream, (void)error;
    read_current();
}

static const weft_protocol protocol = {
    .on_open = read_in_stream, .on_data = read_in_data, .on_close = read_at_close};

static void adopt(weft_task *task) {
    weft_stream *stream = NULL;
    (void)task;
    SCHED_CHECK(weft_hook_start(weft_worker_current(), WEFT_AFTER_WAIT, read_in_hook, NULL, NULL) ==
                0);
    SCHED_CHECK(weft_adopt(weft_worker_current(), s.fds[0], &protocol, NULL, &stream) == 0);
    s.adopted = true;
}

static bool has_adopted(void) {
    return s.adopted;
}

static void run_poster(void *arg) {
    (void)arg;
    sched_await(has_adopted);
    for (unsigned i = 0; i < READS; i++)
        for (unsigned w = 0; w < WORKERS; w++) {
            s.tasks[w][i].run = read_in_task;
            SCHED_CHECK(weft_post(weft_runtime_worker(s.rt, w), &s.tasks[w][i]) == 0);
            SCHED_CHECK(w > 0 || send(s.fds[1], "x", 1, MSG_NOSIGNAL) == 1);
        }
    (void)shutdown(s.fds[1], SHUT_WR); /* a close does not wait for it */
    s.stopped = true;
    weft_runtime_stop(s.rt);
}

static bool has_stopped(void) {
    return s.stopped;
}

/* Foreign threads: in no section, and not looking at what they replace. One of them replaces while
 * the workers come to their end. */
static void run_writer(void *arg) {
    if (arg)
        sched_await(has_stopped);
    for (unsigned i = 0; i < 3; i++) {
        for (uint64_t pause = sched_random(24); pause > 0; pause--)
            sched_step();
        replace();
    }
    s.writers_left--;
}

static bool has_ended(void) {
    for (unsigned i = 0; i < WORKERS; i++)
        if (atomic_load(&weft_runtime_worker(s.rt, i)->phase) != WORKER_CLOSED || is_in_section(i))
            return false;
    return s.writers_left == 0;
}

/* What weft_runtime_destroy() waits for. */
static void run_owner(void *arg) {
    (void)arg;
    sched_await(has_ended);
    retire_wait();
    for (unsigned i = 0; i <= s.versions; i++)
        SCHED_CHECK(s.objects[i].buried == (&s.objects[i] != s.current));
    s.waited = true;
}

static bool has_reclaimer_work(void) {
    return graces.first < graces.end ? is_over(&graces.queue[graces.first]) : s.waited;
}

/* In the order of the calls, as liburcu's does. */
static void run_reclaimer(void *arg) {
    (void)arg;
    for (;;) {
        sched_await(has_reclaimer_work);
        if (graces.first == graces.end)
            break;
        struct grace g = graces.queue[graces.first++];
        g.fn(g.head);
    }
}

static void setup(uint64_t seed) {
    static const char *const names[WRITERS] = {"writer-0", "writer-1"};
    const weft_runtime_options options = {
        .workers = WORKERS, .on_worker_start = note_reader, .on_worker_stop = read_last};
    (void)seed;
    memset(&s, 0, sizeof s);
    memset(&graces, 0, sizeof graces);
    graces.is_ours = true;
    s.current = &s.objects[0];
    s.writers_left = WRITERS;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, s.fds) < 0)
        abort();
    s.rt = sched_runtime_create(&options);
    s.adopt.run = adopt;
    if (weft_post(weft_runtime_worker(s.rt, 0), &s.adopt) < 0)
        abort();
    sched_spawn("poster", run_poster, NULL);
    for (uintptr_t i = 0; i < WRITERS; i++)
        sched_spawn(names[i], run_writer, (void *)i);
    sched_spawn("owner", run_owner, NULL);
    sched_spawn("reclaimer", run_reclaimer, NULL);
}

static const char *verdict(void) {
    graces.is_ours = false;
    close(s.fds[1]);
    return sched_runtime_destroy(s.rt, NULL);
}

WTEST(retire_sched, what_a_callback_has_found_is_there_until_it_ends) {
    static const struct sched_test test = {"retire and dispatch", setup, verdict};
    CHECK(sched_explore(&test, SCHEDULES));
}
