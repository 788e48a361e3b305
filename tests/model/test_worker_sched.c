/* The shipped loop of a worker under the deterministic scheduler: it looks for work, arms its
 * queue, sleeps in epoll and wakes, while others post, write an fd that it watches, and while its
 * own idle hook makes work at the last moment. */
#include "runtime/runtime.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { POSTERS = 2, EACH = 3, SCHEDULES = 4000 };

/* Every thread is scheduled, so plain memory will do. */
static struct {
    weft_runtime *rt;
    weft_task tasks[POSTERS][EACH], own, watch;
    unsigned next[POSTERS]; /* the number that is to run next */
    unsigned events_due, events, left, own_left;
    bool idle_posts, is_inside;
    unsigned wakes; /* writes that posting cost */
    int ends[2];    /* of a pipe */
} s;

static void one_less(void) {
    SCHED_CHECK(s.left > 0);
    if (--s.left == 0)
        weft_runtime_stop(s.rt);
}

static void run_task(weft_task *task) {
    size_t i = (size_t)(task - s.tasks[0]);
    SCHED_CHECK(i % EACH == s.next[i / EACH]++); /* in posting order, each once */
    one_less();
}

/* One byte at a time, so that what is left keeps the fd readable. */
static void watch_ready(weft_watch *watch, uint32_t events, void *arg) {
    char byte;
    (void)events, (void)arg;
    SCHED_CHECK(read(weft_watch_fd(watch), &byte, 1) == 1);
    s.events++;
    one_less();
}

static void run_own(weft_task *task) {
    (void)task;
    s.is_inside = false;
    one_less();
}

/* Between the decision to wait and the arming. */
static void idle(void *arg) {
    (void)arg;
    if (s.own_left == 0 || s.is_inside)
        return;
    s.own_left--;
    s.is_inside = true;
    SCHED_CHECK(weft_post(weft_worker_current(), &s.own) == 0);
}

static void start_watching(weft_task *task) {
    weft_worker *w = weft_worker_current();
    (void)task;
    SCHED_CHECK(weft_watch_start(w, s.ends[0], WEFT_READ, watch_ready, NULL, NULL) == 0);
    if (s.idle_posts)
        SCHED_CHECK(weft_hook_start(w, WEFT_IDLE, idle, NULL, NULL) == 0);
}

/* Posts at once, or when its last has run: then the worker is about to sleep. */
static void run_poster(void *arg) {
    unsigned me = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < EACH; i++) {
        while (s.next[me] < i && sched_random(8) != 0)
            sched_step();
        s.tasks[me][i].run = run_task;
        SCHED_CHECK(weft_post(weft_runtime_worker(s.rt, 0), &s.tasks[me][i]) == 0);
    }
}

static void run_writer(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < s.events_due; i++) {
        sched_step();
        SCHED_CHECK(write(s.ends[1], "x", 1) == 1);
    }
}

/* The clock moves with each look at the selector, so that the end of a spin is the seed's, too. */
static int on_call(enum os_call call) {
    if (call == OS_EPOLL_WAIT)
        clock_test_ns += 10000;
    s.wakes += call == OS_WRITE && strncmp(sched_self(), "poster", 6) == 0;
    return 0;
}

static void setup(uint64_t seed) {
    static const char *const names[POSTERS] = {"poster-0", "poster-1"};
    memset(&s, 0, sizeof s);
    clock_test_ns = WEFT_SEC(1);
    seam_preemptions = 1;
    if (pipe(s.ends) < 0)
        abort();
    s.rt = sched_runtime_create(&(const weft_runtime_options){.workers = 1});
    (void)weft_runtime_set_spin(s.rt, seed % 4 == 0 ? WEFT_SPIN_ALWAYS : WEFT_SPIN_NEVER);
    s.idle_posts = seed / 4 % 2;
    s.own_left = s.idle_posts ? 2 : 0;
    s.events_due = (unsigned)(seed / 8 % 3);
    s.left = POSTERS * EACH + s.events_due + s.own_left;
    s.own.run = run_own;
    s.watch.run = start_watching;
    sched_on_call(on_call);
    if (weft_post(weft_runtime_worker(s.rt, 0), &s.watch) < 0)
        abort();
    for (uintptr_t i = 0; i < POSTERS; i++)
        sched_spawn(names[i], run_poster, (void *)i);
    sched_spawn("writer", run_writer, NULL);
}

static const char *verdict(void) {
    const char *wrong = NULL;
    weft_stats stats = {0};
    (void)weft_worker_stats(weft_runtime_worker(s.rt, 0), &stats, sizeof stats);
    if (s.left || s.events != s.events_due)
        wrong = "something posted, written or made by the hook was not seen";
    if (s.wakes > stats.waits)
        wrong = "a poster wrote to a worker that was awake";
    sched_on_call(NULL);
    clock_test_ns = seam_preemptions = 0;
    wrong = sched_runtime_destroy(s.rt, wrong);
    close(s.ends[0]);
    close(s.ends[1]);
    return wrong;
}

WTEST(worker_sched, who_falls_asleep_sees_every_post_and_every_event) {
    static const struct sched_test test = {"post and sleep in a worker", setup, verdict};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- watches that are stopped ---------------------------------------------------------------- */

enum { FIRST, SECOND, OTHER, WATCHES };

static struct {
    weft_runtime *rt;
    weft_task start, replace, finish;
    weft_watch *watches[WATCHES];
    int fds[WATCHES], dup_of_first;
    bool written[WATCHES], stopped[WATCHES];
    unsigned calls[WATCHES], left;
} reuse;

static void reuse_done(void) {
    if (--reuse.left == 0)
        SCHED_CHECK(weft_post(weft_runtime_worker(reuse.rt, 0), &reuse.finish) == 0);
}

static void reuse_called(weft_watch *watch, uint32_t events, void *arg) {
    unsigned i = (unsigned)(uintptr_t)arg;
    uint64_t value = 0;
    (void)events;
    SCHED_CHECK(!reuse.stopped[i] && reuse.written[i]);
    SCHED_CHECK(os_read(weft_watch_fd(watch), &value, sizeof value) == sizeof value);
    if (++reuse.calls[i] == 1 && i != FIRST)
        reuse_done();
}

static void reuse_watch(unsigned i) {
    SCHED_CHECK(weft_watch_start(weft_worker_current(), reuse.fds[i], WEFT_READ, reuse_called,
                                 (void *)(uintptr_t)i, &reuse.watches[i]) == 0);
}

static void reuse_start(weft_task *task) {
    (void)task;
    reuse_watch(FIRST);
    reuse_watch(OTHER);
}

/* The first's file lives on in a duplicate, which may be written, and its number is another's. */
static void reuse_replace(weft_task *task) {
    (void)task;
    bool close_first = sched_random(8) == 0;
    if (close_first)
        close(reuse.fds[FIRST]);
    weft_watch_stop(reuse.watches[FIRST]);
    reuse.stopped[FIRST] = true;
    if (!close_first)
        close(reuse.fds[FIRST]);
    reuse.fds[SECOND] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    reuse_watch(SECOND);
    reuse_done();
}

static void reuse_finish(weft_task *task) {
    (void)task;
    weft_runtime_stop(reuse.rt);
}

static void reuse_write(unsigned i, int fd) {
    static const uint64_t one = 1;
    reuse.written[i] = true;
    SCHED_CHECK(os_write(fd, &one, sizeof one) == sizeof one);
}

static bool has_second(void) {
    return reuse.watches[SECOND] != NULL;
}

static void run_first_writer(void *arg) {
    (void)arg;
    for (uint64_t writes = 1 + sched_random(3); writes > 0; writes--)
        reuse_write(FIRST, reuse.dup_of_first);
    sched_await(has_second);
    reuse_write(SECOND, reuse.fds[SECOND]);
}

static void run_other_writer(void *arg) {
    (void)arg;
    SCHED_CHECK(weft_post(weft_runtime_worker(reuse.rt, 0), &reuse.replace) == 0);
    reuse_write(OTHER, reuse.fds[OTHER]);
}

static void setup_reuse(uint64_t seed) {
    (void)seed;
    memset(&reuse, 0, sizeof reuse);
    reuse.left = 3; /* the replacement, and a call of each that is not stopped */
    reuse.start.run = reuse_start;
    reuse.replace.run = reuse_replace;
    reuse.finish.run = reuse_finish;
    reuse.fds[FIRST] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    reuse.fds[OTHER] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    reuse.dup_of_first = dup(reuse.fds[FIRST]);
    reuse.rt = sched_runtime_create(&(const weft_runtime_options){.workers = 1});
    if (weft_post(weft_runtime_worker(reuse.rt, 0), &reuse.start) < 0)
        abort();
    sched_spawn("first", run_first_writer, NULL);
    sched_spawn("other", run_other_writer, NULL);
}

static const char *verdict_reuse(void) {
    const char *wrong = sched_runtime_destroy(reuse.rt, NULL);
    close(reuse.dup_of_first);
    close(reuse.fds[SECOND]);
    close(reuse.fds[OTHER]);
    return wrong;
}

WTEST(worker_sched, a_stopped_watch_is_not_called_and_its_number_is_free) {
    static const struct sched_test test = {"unwatch and event", setup_reuse, verdict_reuse};
    CHECK(sched_explore(&test, SCHEDULES));
}
