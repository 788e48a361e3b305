/* timer: what a worker's timers can do, and how late they are.
 *
 *   timer
 *
 * A one-shot timer; one that is stopped before its time; a periodic one; and a timeout, which is
 * no more than a one-shot that every sign of life restarts. A timer is never early. How late it is
 * depends on the machine, and is printed; the order is not left to it: a timer that is stopped or
 * restarted by one that was due before it does not fire, even where both come up together. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weft.h>

#define ONE_SHOT_NS WEFT_MSEC(10)
#define STOPPED_NS WEFT_MSEC(20)
#define PERIOD_NS WEFT_MSEC(5)
#define TIMEOUT_NS WEFT_MSEC(40)

enum { CALLS = 20 };

/* All on one worker's thread: nothing here needs a lock. */
struct program {
    weft_runtime *runtime;
    weft_timer one_shot, stopped, periodic, timeout;
    uint64_t started_ns;        /* when the first three were */
    uint64_t restarted_ns;      /* when the timeout was, most recently */
    uint64_t calls;             /* of the periodic one */
    uint64_t least_ns, most_ns; /* its lateness */
    bool is_wrong;
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return WEFT_SEC(t.tv_sec) + (uint64_t)t.tv_nsec;
}

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static void wrong(struct program *p, const char *what) {
    fprintf(stderr, "timer: %s\n", what);
    p->is_wrong = true;
}

/* How long after due_ns is it now? */
static uint64_t lateness(struct program *p, uint64_t due_ns) {
    uint64_t now = now_ns();
    if (now < due_ns)
        wrong(p, "a timer was early");
    return now < due_ns ? 0 : now - due_ns;
}

static void one_shot_fired(weft_timer *timer) {
    struct program *p = WEFT_CONTAINER_OF(timer, struct program, one_shot);
    printf("one-shot, %.0f ms: %.3f ms late\n", ms(ONE_SHOT_NS),
           ms(lateness(p, p->started_ns + ONE_SHOT_NS)));
    if (!weft_timer_stop(&p->stopped))
        wrong(p, "the timer to be stopped was not pending");
}

static void stopped_fired(weft_timer *timer) {
    wrong(WEFT_CONTAINER_OF(timer, struct program, stopped), "a stopped timer fired");
}

static void restart_timeout(struct program *p) {
    p->restarted_ns = now_ns();
    weft_timer_start(weft_worker_current(), &p->timeout, TIMEOUT_NS, 0);
}

/* On a machine that was away for longer than a period, the periods that were missed are one call,
 * and the rhythm stays: so lateness is counted from the latest beat. */
static void periodic_fired(weft_timer *timer) {
    struct program *p = WEFT_CONTAINER_OF(timer, struct program, periodic);
    p->calls++;
    uint64_t late_ns = lateness(p, p->started_ns + p->calls * PERIOD_NS) % PERIOD_NS;
    p->least_ns = p->calls == 1 || late_ns < p->least_ns ? late_ns : p->least_ns;
    p->most_ns = late_ns > p->most_ns ? late_ns : p->most_ns;
    restart_timeout(p);
    if (p->calls == CALLS)
        weft_timer_stop(timer); /* pending here, in its own callback, as periodic ones are */
}

static void timeout_fired(weft_timer *timer) {
    struct program *p = WEFT_CONTAINER_OF(timer, struct program, timeout);
    printf("stopped, %.0f ms: did not fire\n", ms(STOPPED_NS));
    printf("periodic, %.0f ms: %d calls, %.3f to %.3f ms late\n", ms(PERIOD_NS), CALLS,
           ms(p->least_ns), ms(p->most_ns));
    printf("timeout, %.0f ms: restarted %d times, %.3f ms late\n", ms(TIMEOUT_NS), CALLS,
           ms(lateness(p, p->restarted_ns + TIMEOUT_NS)));
    if (p->calls != CALLS)
        wrong(p, "the timeout did not wait for the last sign of life");
    weft_runtime_stop(p->runtime);
}

/* Timers belong to a worker: they are started where its callbacks run. */
static void worker_start(weft_worker *w, void *arg) {
    struct program *p = arg;
    p->one_shot.fn = one_shot_fired;
    p->stopped.fn = stopped_fired;
    p->periodic.fn = periodic_fired;
    p->timeout.fn = timeout_fired;
    p->started_ns = now_ns();
    weft_timer_start(w, &p->one_shot, ONE_SHOT_NS, 0);
    weft_timer_start(w, &p->stopped, STOPPED_NS, 0);
    weft_timer_start(w, &p->periodic, PERIOD_NS, PERIOD_NS);
    restart_timeout(p);
}

int main(void) {
    static struct program program;
    const weft_runtime_options options = {
        .workers = 1, .on_worker_start = worker_start, .arg = &program};

    int r = weft_runtime_create(&options, &program.runtime);
    if (r == 0)
        r = weft_runtime_run(program.runtime);
    weft_runtime_destroy(program.runtime);
    if (r < 0)
        fprintf(stderr, "timer: %s\n", weft_strerror(r));
    return r < 0 || program.is_wrong;
}
