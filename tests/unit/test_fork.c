/* A forked child that did not exec: every call is refused, and the parent goes on. */
#include "rt.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static weft_runtime *rt;
static weft_worker *worker;
static weft_watch *watch;
static weft_hook *hook;
static weft_timer timer;
static int ends[2];
static _Atomic unsigned runs;

static void count(void *arg) {
    (void)arg;
    runs++;
}

static void count_task(weft_task *task) {
    (void)task;
    runs++;
}

static void count_watch(weft_watch *w, uint32_t events, void *arg) {
    (void)w;
    (void)events;
    (void)arg;
    runs++;
}

static void count_timer(weft_timer *t) {
    (void)t;
    runs++;
}

/* In the child: 0, or the line of the first wrong answer. */
#define REFUSED(call)                                                                              \
    do {                                                                                           \
        if ((call) != -EPERM)                                                                      \
            return __LINE__ - first_line;                                                          \
    } while (0)

static int wrong_answer(void) {
    const int first_line = __LINE__;
    weft_runtime *created = NULL;
    weft_task task = {.run = count_task};
    weft_stats stats;
    REFUSED(weft_runtime_create(NULL, &created));
    REFUSED(weft_runtime_start(rt));
    REFUSED(weft_runtime_join(rt));
    REFUSED(weft_runtime_run(rt));
    REFUSED(weft_runtime_stop_on(rt, SIGTERM));
    REFUSED(weft_post(worker, &task));
    REFUSED(weft_post_fn(worker, count, NULL));
    REFUSED(weft_broadcast(rt, count, NULL));
    REFUSED(weft_call(worker, count, NULL));
    REFUSED(weft_retire(count, NULL));
    REFUSED(weft_worker_stats(worker, &stats, sizeof stats));
    REFUSED(weft_watch_start(worker, ends[1], WEFT_WRITE, count_watch, NULL, NULL));
    REFUSED(weft_watch_update(watch, WEFT_READ));
    REFUSED(weft_watch_fd(watch));
    REFUSED(weft_hook_start(worker, WEFT_IDLE, count, NULL, NULL));
    /* The others do nothing, and come back. */
    weft_timer t = {.fn = count_timer};
    weft_timer_start(worker, &t, 0, 0);
    weft_timer_start_at(worker, &t, 0);
    weft_watch_stop(watch);
    weft_hook_stop(hook);
    weft_timer_stop(&timer);
    weft_runtime_stop(rt);
    weft_runtime_unref(rt);
    weft_runtime_destroy(rt);
    return weft_worker_current() || weft_timer_is_pending(&t) ? __LINE__ - first_line : 0;
}

static int fork_and_ask(void) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(wrong_answer());
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void setup(void *arg) {
    (void)arg;
    timer.fn = count_timer;
    weft_timer_start(worker, &timer, WEFT_SEC(3600), 0);
    if (weft_watch_start(worker, ends[0], WEFT_READ, count_watch, NULL, &watch) != 0 ||
        weft_hook_start(worker, WEFT_AFTER_WAIT, count, NULL, &hook) != 0)
        abort();
}

static void check_parent_goes_on(void) {
    unsigned before = runs;
    rt_turns(worker, 2);
    CHECK(runs >= before + 2);                                            /* the hook is there, */
    CHECK(weft_selector_contains(weft_worker_selector(worker), ends[0])); /* and so is the watch */
    rt_call(worker, count, NULL);
}

static int answer_in_worker;

static void fork_in_worker(void *arg) {
    (void)arg;
    answer_in_worker = fork_and_ask();
}

WTEST(fork, child_is_refused_and_parent_goes_on) {
    CHECK_EQ(pipe(ends), 0);
    rt = rt_start(2);
    worker = weft_runtime_worker(rt, 0);
    rt_call(worker, setup, NULL);
    CHECK_EQ(fork_and_ask(), 0);
    check_parent_goes_on();
    rt_call(worker, fork_in_worker, NULL);
    CHECK_EQ(answer_in_worker, 0);
    check_parent_goes_on();
    rt_end(rt);
    close(ends[0]);
    close(ends[1]);
}
