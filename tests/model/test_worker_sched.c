/* The shipped loop of a worker under the deterministic scheduler: it looks for work, arms its
 * queue, sleeps in epoll and wakes, while others post, write an fd that it watches, and while its
 * own idle hook makes work at the last moment. */
#include "runtime/runtime.h"

#include "sched_runtime.h"
#include "scheduler.h"
#include "wtest.h"

#include <string.h>
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
