#include "events/signals.h"

#include "micro/contest.h"
#include "micro/families.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUIET_US = 100000 };

/* Waits while the kernel's queue is full. */
static void send_one(pid_t target, int signo, unsigned payload) {
    const union sigval value = {.sival_int = (int)payload};
    while (sigqueue(target, signo, value) != 0) {
        if (errno != EAGAIN)
            must_call("sigqueue", -1);
        sched_yield();
    }
}

static void wait_until_quiet(struct signals *s) {
    unsigned before, now = 0;
    do {
        before = now;
        usleep(QUIET_US);
        now = atomic_load(&s->delivered);
    } while (now != SIGNALS && now != before);
}

static void send_all(struct signals *s, pid_t target, unsigned pace) {
    while (!atomic_load(&s->go))
        sched_yield();
    s->begin = bench_seconds();
    for (unsigned i = 0; i < SIGNALS; i++) {
        while (pace > 0 && i - atomic_load(&s->delivered) >= pace)
            sched_yield();
        send_one(target, SIGNAL_COUNTED, i);
    }
    while (!atomic_load(&s->done)) { /* again, for the end may be lost like any other */
        wait_until_quiet(s);
        send_one(target, SIGNAL_END, 0);
    }
}

/* Room for all of them in the kernel's queue, if we may; else the sender waits where it is full. */
static void raise_limit(void) {
    struct rlimit limit = {.rlim_cur = SIGNALS + 1, .rlim_max = SIGNALS + 1};
    if (setrlimit(RLIMIT_SIGPENDING, &limit) == 0)
        return;
    must_call("getrlimit", getrlimit(RLIMIT_SIGPENDING, &limit));
    limit.rlim_cur = limit.rlim_max;
    must_call("setrlimit", setrlimit(RLIMIT_SIGPENDING, &limit));
}

struct signals *signals_start(unsigned pace) {
    struct signals *s = apart_shared(sizeof *s);
    pid_t receiver = getpid();
    raise_limit();
    s->sender = must_call("fork", fork());
    if (s->sender > 0)
        return s;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    send_all(s, receiver, pace);
    _exit(EXIT_SUCCESS);
}

void signals_go(struct signals *s) {
    atomic_store(&s->go, true);
}

void signals_count(struct signals *s) {
    unsigned delivered = atomic_load_explicit(&s->delivered, memory_order_relaxed) + 1;
    if (delivered % SIGNALS_PACE == 0 || delivered == SIGNALS)
        s->last = bench_seconds();
    atomic_store_explicit(&s->delivered, delivered, memory_order_release);
}

void signals_take(struct signals *s, int payload) {
    if (payload != (int)atomic_load_explicit(&s->delivered, memory_order_relaxed))
        s->disordered++;
    signals_count(s);
}

double signals_finish(struct signals *s) {
    int status;
    atomic_store(&s->done, true);
    must_call("waitpid", waitpid(s->sender, &status, 0));
    must("the sender", status == 0 ? 0 : -ECHILD);
    unsigned delivered = atomic_load(&s->delivered);
    apart_note(1, SIGNALS - delivered);
    apart_note(2, s->disordered);
    return delivered / (s->last - s->begin) / 1e3;
}

void register_signals(void) {
    static const struct contender contenders[] = {
        {"weft", signals_weft},
        {"raw", signals_signalfd},
#ifdef WEFT_BENCH_UV
        {"libuv", signals_uv},
        {"libuv_paced", signals_uv_paced},
#endif
    };
    contest_register(&(struct contest){
        .family = "signal",
        .cases = {{"100k_queued", THOUSANDS_PER_S}, {"lost", COUNTER}, {"out_of_order", COUNTER}},
        CONTENDERS(contenders)});
}
