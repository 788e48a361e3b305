/* Posting: accepted runs exactly once, in order, on its worker, and starves nobody. */
#include "rt.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- order and visibility -------------------------------------------------------------------- */

enum { POSTERS = 4 };

struct numbered {
    weft_task task;
    unsigned poster, number, payload;
};

static struct {
    weft_worker *worker;
    unsigned count;
    struct numbered *tasks[POSTERS];
    unsigned next[POSTERS]; /* the worker's */
    _Atomic unsigned run, disorders, strangers, refused;
} orders;

static void numbered_run(weft_task *task) {
    struct numbered *n = WEFT_CONTAINER_OF(task, struct numbered, task);
    if (weft_worker_current() != orders.worker)
        orders.strangers++;
    if (n->number != orders.next[n->poster] || n->payload != n->number * 7 + 1)
        orders.disorders++;
    orders.next[n->poster] = n->number + 1;
    orders.run++;
}

static void *numbered_post(void *arg) {
    unsigned poster = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < orders.count; i++) {
        struct numbered *n = &orders.tasks[poster][i];
        n->task.run = numbered_run;
        n->poster = poster;
        n->number = i;
        n->payload = i * 7 + 1; /* plain memory: visible through the post alone */
        if (weft_post(orders.worker, &n->task) != 0)
            orders.refused++;
    }
    return NULL;
}

WTEST(task, runs_once_in_the_order_of_each_poster) {
    weft_runtime *rt = rt_start(2);
    pthread_t threads[POSTERS];
    orders.worker = weft_runtime_worker(rt, 1);
    orders.count = 50000 / wtest_slowdown();
    for (unsigned i = 0; i < POSTERS; i++) {
        orders.tasks[i] = calloc(orders.count, sizeof *orders.tasks[i]);
        threads[i] = thread_begin(numbered_post, (void *)(uintptr_t)i);
    }
    for (unsigned i = 0; i < POSTERS; i++)
        thread_end(threads[i]);
    rt_await(&orders.run, POSTERS * orders.count);
    rt_turns(orders.worker, 3);
    CHECK_EQ(orders.run, POSTERS * orders.count);
    CHECK_EQ(orders.disorders, 0);
    CHECK_EQ(orders.strangers, 0);
    CHECK_EQ(orders.refused, 0);
    CHECK_EQ(rt_stats(weft_runtime_worker(rt, 0)).tasks, 0);
    CHECK(rt_stats(orders.worker).tasks >= orders.run);
    rt_end(rt);
    for (unsigned i = 0; i < POSTERS; i++)
        free(orders.tasks[i]);
}

static _Atomic unsigned runs;
static unsigned started_before;

static void count_run(weft_task *task) {
    (void)task;
    runs++;
}

static void note_start(weft_worker *w, void *arg) {
    (void)w;
    *(unsigned *)arg = runs;
}

WTEST(task, posted_before_start_runs_after_it_in_order) {
    static struct numbered tasks[100];
    started_before = 99;
    const weft_runtime_options options = {
        .workers = 1, .on_worker_start = note_start, .arg = &started_before};
    weft_runtime *rt = rt_create_with(&options);
    orders.worker = weft_runtime_worker(rt, 0);
    for (unsigned i = 0; i < 100; i++) {
        tasks[i] = (struct numbered){.task.run = numbered_run, .number = i, .payload = i * 7 + 1};
        CHECK_EQ(weft_post(orders.worker, &tasks[i].task), 0);
    }
    CHECK_EQ(orders.run, 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_await(&orders.run, 100);
    rt_end(rt);
    CHECK_EQ(orders.run, 100);
    CHECK_EQ(orders.disorders, 0);
    CHECK_EQ(started_before, 0); /* on_worker_start came before the first of them */
}

/* --- never inline, never in the same iteration ------------------------------------------------ */

static struct {
    weft_task first, second;
    uint64_t first_turn, second_turn;
    bool inside, was_inline;
    sem_t done;
} nested;

static void second_run(weft_task *task) {
    (void)task;
    nested.was_inline = nested.inside;
    nested.second_turn = rt_stats(weft_worker_current()).iterations;
    sem_post(&nested.done);
}

static void first_run(weft_task *task) {
    (void)task;
    nested.inside = true;
    nested.first_turn = rt_stats(weft_worker_current()).iterations;
    if (weft_post(weft_worker_current(), &nested.second) != 0)
        abort();
    nested.inside = false;
}

WTEST(task, posted_by_a_task_waits_for_the_next_iteration) {
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    sem_make(&nested.done);
    nested.first.run = first_run;
    nested.second.run = second_run;
    for (int i = 0; i < 20; i++) {
        nested.was_inline = true;
        CHECK_EQ(weft_post(w, &nested.first), 0);
        sem_await(&nested.done);
        CHECK(!nested.was_inline);
        CHECK(nested.second_turn > nested.first_turn);
        rt_turns(w, 1);
    }
    rt_end(rt);
}

/* --- run owns its task ------------------------------------------------------------------------ */

struct relay {
    weft_task task;
    weft_runtime *rt;
    unsigned left;
    sem_t *done;
};

static void relay_run(weft_task *task) {
    struct relay *relay = WEFT_CONTAINER_OF(task, struct relay, task);
    unsigned at = weft_worker_index(weft_worker_current());
    if (relay->left-- > 0) {
        if (weft_post(weft_runtime_worker(relay->rt, 1 - at), task) != 0)
            abort();
        return;
    }
    sem_t *done = relay->done;
    free(relay);
    sem_post(done);
}

WTEST(task, run_may_post_again_and_may_free) {
    weft_runtime *rt = rt_start(2);
    sem_t done;
    sem_make(&done);
    for (int i = 0; i < 8; i++) {
        struct relay *relay = malloc(sizeof *relay);
        *relay = (struct relay){.task.run = relay_run, .rt = rt, .left = 500, .done = &done};
        CHECK_EQ(weft_post(weft_runtime_worker(rt, 0), &relay->task), 0);
    }
    for (int i = 0; i < 8; i++)
        sem_await(&done);
    rt_end(rt);
    sem_destroy(&done);
}

/* --- fairness ------------------------------------------------------------------------------- */

static struct {
    weft_task task;
    weft_timer timer;
    _Atomic unsigned posts, fires, echoes;
    _Atomic bool over;
    int fd;
} starving;

static void repost(weft_task *task) {
    starving.posts++;
    if (!starving.over && weft_post(weft_worker_current(), task) != 0)
        abort();
}

static void fired(weft_timer *timer) {
    (void)timer;
    starving.fires++;
}

static void echo(weft_watch *watch, uint32_t events, void *arg) {
    char byte;
    (void)events;
    (void)arg;
    if (read(weft_watch_fd(watch), &byte, 1) == 1 && write(weft_watch_fd(watch), &byte, 1) == 1)
        starving.echoes++;
}

static void starving_setup(void *arg) {
    starving.task.run = repost;
    starving.timer.fn = fired;
    weft_timer_start(arg, &starving.timer, WEFT_MSEC(10), WEFT_MSEC(10));
    if (weft_watch_start(arg, starving.fd, WEFT_READ, echo, NULL, NULL) != 0)
        abort();
    weft_post(arg, &starving.task);
}

WTEST(task, self_posting_starves_neither_watch_nor_timer) {
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    starving.fd = ends[1];
    rt_call(w, starving_setup, w);
    for (unsigned i = 0; i < 200; i++) {
        char byte = 'x';
        unsigned before = starving.posts;
        CHECK_EQ(write(ends[0], &byte, 1), 1);
        CHECK_EQ(read(ends[0], &byte, 1), 1);
        rt_await(&starving.posts, before + 1); /* the flood itself goes on */
    }
    rt_await(&starving.fires, 5);
    rt_await(&starving.echoes, 200); /* the last is counted after its byte was written */
    CHECK_EQ(starving.echoes, 200);
    starving.over = true;
    rt_end(rt);
    close(ends[0]);
    close(ends[1]);
}

/* A task of a batch that is taken at once, each longer than most. */
static void slow_run(weft_task *task) {
    uint64_t until = now_ns() + WEFT_USEC(500);
    (void)task;
    while (now_ns() < until)
        ;
    starving.posts++;
}

static unsigned fires_in_batch;

static void read_fires(void *arg) {
    (void)arg;
    fires_in_batch = starving.fires;
}

static void start_fast_timer(void *arg) {
    starving.timer.fn = fired;
    weft_timer_start(arg, &starving.timer, WEFT_MSEC(2), WEFT_MSEC(2));
}

WTEST(task, batch_of_slow_tasks_lets_timers_through) {
    enum { COUNT = 200 };
    static weft_task tasks[COUNT];
    static struct hold hold;
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    rt_call(w, start_fast_timer, w);
    hold_begin(&hold, w);
    starving.fires = 0;
    for (int i = 0; i < COUNT; i++) {
        tasks[i].run = slow_run;
        CHECK_EQ(weft_post(w, &tasks[i]), 0);
    }
    CHECK_EQ(weft_post_fn(w, read_fires, NULL), 0);
    hold_end(&hold, w);
    CHECK_EQ(starving.posts, COUNT);
    /* 100 ms of tasks: without a budget for time they are one iteration, of one expiry at most. */
    CHECK_MSG(fires_in_batch >= 5, "%u expiries beside %d slow tasks", fires_in_batch, COUNT);
    rt_end(rt);
}

/* What the budget leaves over is no reason to sleep, even if nobody posts or wakes any more. */
WTEST(task, rest_of_a_batch_keeps_the_worker_awake) {
    enum { COUNT = 10000 };
    static weft_task tasks[COUNT];
    static struct hold hold;
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    hold_begin(&hold, w);
    for (int i = 0; i < COUNT; i++) {
        tasks[i].run = count_run;
        CHECK_EQ(weft_post(w, &tasks[i]), 0);
    }
    sem_post(&hold.release);
    rt_await_armed(w);
    CHECK_EQ(runs, COUNT);
    rt_end(rt);
}

/* --- wake-ups ------------------------------------------------------------------------------- */

enum { CROWD = 8 };

static struct {
    weft_worker *worker;
    unsigned count;
    weft_task *tasks[CROWD];
    _Atomic unsigned failed;
} crowd;

static void *crowd_post(void *arg) {
    unsigned self = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < crowd.count; i++) {
        crowd.tasks[self][i].run = count_run;
        if (weft_post(crowd.worker, &crowd.tasks[self][i]) != 0)
            crowd.failed++;
    }
    return NULL;
}

static void crowd_run(unsigned count) {
    pthread_t threads[CROWD];
    crowd.count = count;
    for (unsigned i = 0; i < CROWD; i++) {
        crowd.tasks[i] = calloc(count, sizeof *crowd.tasks[i]);
        threads[i] = thread_begin(crowd_post, (void *)(uintptr_t)i);
    }
    for (unsigned i = 0; i < CROWD; i++)
        thread_end(threads[i]);
    CHECK_EQ(crowd.failed, 0);
}

static void crowd_free(void) {
    for (unsigned i = 0; i < CROWD; i++)
        free(crowd.tasks[i]);
}

WTEST(task, sleeping_worker_costs_one_write_per_sleep) {
    static struct hold hold;
    calls_watch();
    weft_runtime *rt = rt_start(1);
    crowd.worker = weft_runtime_worker(rt, 0);
    rt_await_armed(crowd.worker);
    uint64_t writes = calls_of(OS_WRITE), sent = rt_stats(crowd.worker).wakeups_sent;

    /* One sleep: the first post ends it, and whoever comes while the worker is awake pays nothing.
     */
    hold_begin(&hold, crowd.worker);
    crowd_run(1000);
    CHECK_EQ(calls_of(OS_WRITE), writes + 1);
    CHECK_EQ(rt_stats(crowd.worker).wakeups_sent, sent + 1);
    hold_end(&hold, crowd.worker);
    CHECK_EQ(runs, CROWD * 1000);
    rt_end(rt);
    calls_unwatch();
    crowd_free();
}

WTEST(task, many_posters_write_no_more_than_the_worker_slept) {
    calls_watch();
    weft_runtime *rt = rt_start(1);
    unsigned count = 20000 / wtest_slowdown();
    crowd.worker = weft_runtime_worker(rt, 0);
    rt_await_armed(crowd.worker);
    uint64_t writes = calls_of(OS_WRITE);
    crowd_run(count);
    rt_await(&runs, CROWD * count);
    rt_await_armed(crowd.worker);
    weft_stats stats = rt_stats(crowd.worker);
    CHECK_EQ(calls_of(OS_WRITE) - writes, stats.wakeups_sent);
    CHECK(stats.wakeups_sent <= stats.waits);
    CHECK(stats.waits <= stats.iterations);
    rt_end(rt);
    calls_unwatch();
    crowd_free();
}

WTEST(task, posts_to_a_stalled_worker_all_return) {
    static struct hold hold;
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    unsigned count = 1000000 / wtest_slowdown();
    weft_task *tasks = calloc(count, sizeof *tasks);
    hold_begin(&hold, w);
    for (unsigned i = 0; i < count; i++) {
        tasks[i].run = count_run;
        CHECK_EQ(weft_post(w, &tasks[i]), 0);
    }
    CHECK_EQ(runs, 0);
    hold_end(&hold, w);
    CHECK_EQ(runs, count);
    rt_end(rt);
    free(tasks);
}

/* --- errno and refusal ------------------------------------------------------------------------ */

static void check_errno_kept(weft_worker *w, weft_task *task, int expected) {
    errno = ENOTNAM;
    int r = weft_post(w, task);
    int after = errno;
    CHECK_EQ(r, expected);
    CHECK_EQ(after, ENOTNAM);
}

WTEST(task, post_keeps_errno) {
    static struct hold hold;
    static weft_task tasks[3] = {{.run = count_run}, {.run = count_run}, {.run = count_run}};
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    rt_await_armed(w);
    check_errno_kept(w, &tasks[0], 0); /* asleep */
    hold_begin(&hold, w);
    check_errno_kept(w, &tasks[1], 0); /* awake */
    hold_end(&hold, w);
    weft_runtime_ref(rt);
    rt_end(rt);
    check_errno_kept(w, &tasks[2], -ESHUTDOWN);
    weft_runtime_unref(rt);
    CHECK_EQ(runs, 2);
}

WTEST(task, refused_task_is_untouched) {
    weft_runtime *rt = weft_runtime_ref(rt_start(1));
    weft_worker *w = weft_runtime_worker(rt, 0);
    rt_end(rt);
    weft_task task, before;
    memset(&task, 0x5a, sizeof task);
    task.run = count_run;
    before = task;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_post(w, &task), -ESHUTDOWN);
    CHECK(memcmp(&task, &before, sizeof task) == 0);
    CHECK_EQ(weft_post_fn(w, (void (*)(void *))abort, NULL), -ESHUTDOWN);
    weft_runtime_unref(rt);
    CHECK_EQ(runs, 0);
}
