/* The end of a runtime: its four steps, and what becomes of tasks that are posted meanwhile. */
#include "rt.h"

#include <errno.h>
#include <string.h>

static _Atomic unsigned runs;

static void count(void *arg) {
    (void)arg;
    runs++;
}

static void count_task(weft_task *task) {
    (void)task;
    runs++;
}

/* --- stop and join --- */

WTEST(stop, is_idempotent) {
    weft_runtime *rt = rt_start(2);
    for (int i = 0; i < 5; i++)
        weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    for (int i = 0; i < 5; i++)
        weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0); /* at once */
    weft_runtime_destroy(rt);
}

WTEST(stop, before_start_takes_effect_there) {
    weft_runtime *rt = rt_create(3);
    CHECK_EQ(weft_broadcast(rt, count, NULL), 0);
    weft_runtime_stop(rt);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), count, NULL), 0); /* still accepted */
    CHECK_EQ(weft_runtime_run(rt), 0);
    CHECK_EQ(runs, 4);
    CHECK_EQ(weft_runtime_run(rt), -EALREADY);
    weft_runtime_destroy(rt);
}

static void stop_own(void *arg) {
    weft_runtime_stop(arg);
    count(NULL);
}

WTEST(stop, from_a_callback_ends_run) {
    weft_runtime *rt = rt_create(2);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 1), stop_own, rt), 0);
    CHECK_EQ(weft_runtime_run(rt), 0);
    CHECK_EQ(runs, 1);
    weft_runtime_destroy(rt);
}

static void *join_thread(void *arg) {
    return (void *)(intptr_t)weft_runtime_join(arg);
}

WTEST(stop, several_may_join) {
    enum { JOINERS = 5 };
    pthread_t threads[JOINERS];
    weft_runtime *rt = rt_start(2);
    for (int i = 0; i < JOINERS; i++)
        threads[i] = thread_begin(join_thread, rt);
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    for (int i = 0; i < JOINERS; i++) {
        void *result;
        CHECK_EQ(pthread_join(threads[i], &result), 0);
        CHECK_EQ((intptr_t)result, 0);
    }
    weft_runtime_destroy(rt);
}

static int joined, ran, logged_level;
static char logged[512];

static void keep_log(int level, const char *message, void *arg) {
    (void)arg;
    logged_level = level;
    strncpy(logged, message, sizeof logged - 1);
}

static void join_from_callback(void *arg) {
    joined = weft_runtime_join(arg);
    ran = weft_runtime_run(arg);
}

static void destroy_from_callback(void *arg) {
    weft_runtime_destroy(arg);
    count(NULL);
}

WTEST(stop, join_from_a_callback_is_refused) {
    weft_runtime *rt = rt_start(2);
    rt_call(weft_runtime_worker(rt, 0), join_from_callback, rt);
    CHECK_EQ(joined, -EDEADLK);
    CHECK_EQ(ran, -EALREADY);
    rt_turns(weft_runtime_worker(rt, 1), 1); /* goes on */
    rt_end(rt);
}

WTEST(stop, destroy_from_a_callback_logs_and_stops) {
    weft_set_log(keep_log, NULL);
    weft_runtime *rt = rt_create(2);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), destroy_from_callback, rt), 0);
    CHECK_EQ(weft_runtime_run(rt), 0);
    CHECK_EQ(runs, 1);
    CHECK_EQ(logged_level, WEFT_LOG_ERROR);
    CHECK(strstr(logged, "weft_runtime_destroy") != NULL);
    CHECK_EQ(weft_runtime_worker_count(rt), 2); /* still there */
    weft_set_log(NULL, NULL);
    weft_runtime_destroy(rt);
}

/* --- the four steps --- */

static char steps[64];
static _Atomic unsigned step_count, expired;

static void step(char letter) {
    steps[step_count++ % sizeof steps] = letter;
}

static void hold_first(weft_worker *w) {
    step('s');
    if (weft_worker_index(w) == 0)
        worker_hold(w);
}

static void release_first(void *arg) {
    (void)arg;
    step('r');
    worker_release(weft_worker_current());
}

static void step_task(void *arg) {
    step(*(const char *)arg);
}

static void step_stop(weft_worker *w, void *arg) {
    (void)w;
    (void)arg;
    step('e');
}

static void release_expired(weft_worker *w) {
    expired++;
    if (weft_worker_index(w) == 0)
        worker_release(w);
}

WTEST(stop, posts_are_accepted_until_all_workers_are_quiet) {
    probe_stop_fn = hold_first;
    const weft_runtime_options options = {
        .workers = 2, .grace_ns = WEFT_FOREVER, .on_worker_stop = step_stop};
    weft_runtime *rt = rt_start_with(&options);
    weft_runtime_stop(rt);
    rt_await(&step_count, 2);
    /* One worker is held, so the other's queue is open, and it works on. */
    rt_call(weft_runtime_worker(rt, 1), step_task, text("1"));
    rt_call(weft_runtime_worker(rt, 0), step_task, text("0"));
    CHECK_EQ(weft_broadcast(rt, count, NULL), 0);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), release_first, NULL), 0);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_STR(steps, "ss10ree");
    CHECK_EQ(runs, 2);
    weft_runtime_destroy(rt);
}

WTEST(stop, grace_time_ends_what_holds) {
    probe_stop_fn = hold_first;
    probe_expire_fn = release_expired;
    const weft_runtime_options options = {.workers = 2, .grace_ns = WEFT_MSEC(20)};
    weft_runtime *rt = rt_start_with(&options);
    uint64_t before_ns = now_ns();
    weft_runtime_stop(rt);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK(now_ns() - before_ns >= WEFT_MSEC(20)); /* but not before */
    CHECK_EQ(expired, 2);
    weft_runtime_destroy(rt);
}

static void start_timer_now(weft_worker *w, void *arg) {
    (void)arg;
    if (weft_post_fn(w, count, NULL) != -ESHUTDOWN)
        abort(); /* queues are closed by the last callback */
    step('e');
}

static void post_in_turn(void *arg) {
    if (weft_post_fn(weft_worker_current(), step_task, arg) == 0)
        runs++;
    step('t');
}

WTEST(stop, on_worker_stop_is_the_last_callback) {
    const weft_runtime_options options = {.workers = 1, .on_worker_stop = start_timer_now};
    for (int i = 0; i < 50; i++) {
        weft_runtime *rt = rt_start_with(&options);
        weft_worker *w = weft_runtime_worker(rt, 0);
        memset(steps, 0, sizeof steps);
        step_count = runs = 0;
        CHECK_EQ(weft_post_fn(w, post_in_turn, text("x")), 0);
        CHECK_EQ(weft_post_fn(w, post_in_turn, text("x")), 0);
        rt_end(rt);
        CHECK_EQ(step_count, 3 + runs); /* what they could post ran as well */
        CHECK(steps[step_count - 1] == 'e');
    }
}

/* --- accepted or refused, never lost --- */

struct chain {
    weft_task task;
    unsigned accepted, run;
};

static void chain_run(weft_task *task) {
    struct chain *chain = WEFT_CONTAINER_OF(task, struct chain, task);
    chain->run++;
    if (weft_post(weft_worker_current(), task) == 0)
        chain->accepted++;
}

WTEST(stop, task_that_posts_itself_for_ever_is_refused_at_last) {
    struct chain chains[10];
    weft_runtime *rt = rt_start(2);
    for (unsigned i = 0; i < 10; i++) {
        chains[i] = (struct chain){.task.run = chain_run, .accepted = 1};
        CHECK_EQ(weft_post(weft_runtime_worker(rt, i % 2), &chains[i].task), 0);
    }
    rt_turns(weft_runtime_worker(rt, 0), 3);
    rt_end(rt);
    for (unsigned i = 0; i < 10; i++)
        CHECK_EQ(chains[i].run, chains[i].accepted);
}

WTEST(stop, runs_a_batch_that_was_taken_but_not_finished) {
    enum { COUNT = 20000 };
    static weft_task tasks[COUNT];
    static struct hold hold;
    weft_runtime *rt = rt_start(1);
    weft_worker *w = weft_runtime_worker(rt, 0);
    hold_begin(&hold, w);
    weft_runtime_stop(rt);
    for (unsigned i = 0; i < COUNT; i++) {
        tasks[i].run = count_task;
        CHECK_EQ(weft_post(w, &tasks[i]), 0);
    }
    sem_post(&hold.release);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_EQ(runs, COUNT);
    weft_runtime_destroy(rt);
}

static sem_t stop_seen, ended;

static void note_stop_seen(weft_worker *w) {
    if (weft_worker_index(w) == 0)
        sem_post(&stop_seen);
}

static void note_ended(weft_worker *w, void *arg) {
    (void)arg;
    if (weft_worker_index(w) == 1)
        sem_post(&ended);
}

/* More than an iteration takes, behind the last message of the stop: worker 0 is told to finish by
 * worker 1, which has ended by then, and finds all of it in one batch. */
WTEST(stop, runs_what_the_budget_left_behind_the_end) {
    enum { COUNT = 20000 };
    static weft_task tasks[COUNT];
    static struct hold first, second;
    sem_make(&stop_seen);
    sem_make(&ended);
    probe_stop_fn = note_stop_seen;
    weft_runtime *rt =
        rt_start_with(&(weft_runtime_options){.workers = 2, .on_worker_stop = note_ended});
    hold_begin(&second, weft_runtime_worker(rt, 1));
    weft_runtime_stop(rt);
    sem_await(&stop_seen);
    hold_begin(&first, weft_runtime_worker(rt, 0));
    sem_post(&second.release);
    sem_await(&ended);
    for (unsigned i = 0; i < COUNT; i++) {
        tasks[i].run = count_task;
        CHECK_EQ(weft_post(weft_runtime_worker(rt, 0), &tasks[i]), 0);
    }
    sem_post(&first.release);
    CHECK_EQ(weft_runtime_join(rt), 0);
    CHECK_EQ(runs, COUNT);
    weft_runtime_destroy(rt);
}

enum { RACERS = 8, EACH = 64 };

static struct {
    weft_runtime *rt;
    pthread_barrier_t begin, end;
    bool over;
    struct race_task {
        weft_task task;
        unsigned run;
        bool accepted;
    } tasks[RACERS][EACH];
    _Atomic unsigned accepted, touched, wrong, posting;
} race;

static void race_run(weft_task *task) {
    WEFT_CONTAINER_OF(task, struct race_task, task)->run++;
    runs++;
}

/* Its tasks, and when these have run out, tasks of weft's, until it is refused. */
static void race_round(unsigned self) {
    weft_runtime *rt = race.rt;
    for (unsigned i = 0;; i++) {
        weft_worker *w = weft_runtime_worker(rt, (i + self) % 2);
        int r;
        if (i < EACH) {
            struct race_task *t = &race.tasks[self][i];
            memset(t, 0, sizeof *t);
            t->task = (weft_task){race_run, {&race, t}};
            r = weft_post(w, &t->task);
            t->accepted = r == 0;
            if (r != 0 && (t->task.run != race_run || t->task.reserved[0] != (void *)&race ||
                           t->task.reserved[1] != (void *)t))
                race.touched++;
        } else {
            sched_yield(); /* the stop wants its turn */
            r = weft_post_fn(w, count, NULL);
        }
        if (r != 0) {
            race.wrong += r != -ESHUTDOWN;
            for (unsigned j = i; ++j < EACH;)
                race.tasks[self][j].accepted = false;
            break;
        }
        race.accepted++;
        if (i == 3)
            race.posting++;
    }
    weft_runtime_unref(rt);
}

static void *race_thread(void *arg) {
    for (;;) {
        pthread_barrier_wait(&race.begin);
        if (race.over)
            return NULL;
        race_round((unsigned)(uintptr_t)arg);
        pthread_barrier_wait(&race.end);
    }
}

static void race_check(void) {
    CHECK_EQ(race.wrong, 0);
    CHECK_EQ(race.touched, 0);
    CHECK_EQ(runs, race.accepted);
    for (unsigned i = 0; i < RACERS; i++)
        for (unsigned j = 0; j < EACH; j++)
            CHECK_EQ(race.tasks[i][j].run, race.tasks[i][j].accepted);
}

WTEST(stop, eight_threads_posting_through_many_stops) {
    pthread_t threads[RACERS];
    pthread_barrier_init(&race.begin, NULL, RACERS + 1);
    pthread_barrier_init(&race.end, NULL, RACERS + 1);
    for (unsigned i = 0; i < RACERS; i++)
        threads[i] = thread_begin(race_thread, (void *)(uintptr_t)i);
    for (unsigned round = 0; round < 1000 / wtest_slowdown(); round++) {
        memset(race.tasks, 0, sizeof race.tasks);
        race.accepted = race.posting = runs = 0;
        race.rt = rt_start(2);
        for (unsigned i = 0; i < RACERS; i++)
            weft_runtime_ref(race.rt);
        pthread_barrier_wait(&race.begin);
        rt_await(&race.posting, round % (RACERS + 1)); /* the stop comes sooner or later */
        weft_runtime_stop(race.rt);
        weft_runtime_destroy(race.rt);
        pthread_barrier_wait(&race.end);
        race_check();
    }
    race.over = true;
    pthread_barrier_wait(&race.begin);
    for (unsigned i = 0; i < RACERS; i++)
        thread_end(threads[i]);
}
