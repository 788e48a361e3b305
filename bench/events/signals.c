#include "events/signals.h"

#include "common/apart.h"
#include "common/rounds.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
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

void signals_start(struct signals *s, unsigned pace) {
    atomic_store(&s->go, false);
    atomic_store(&s->done, false);
    atomic_store(&s->delivered, 0);
    s->disordered = 0;
    pid_t receiver = getpid();
    s->sender = must_call("fork", fork());
    if (s->sender > 0)
        return;
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

double signals_finish(struct signals *s, enum signals_receiver receiver) {
    int status;
    atomic_store(&s->done, true);
    must_call("waitpid", waitpid(s->sender, &status, 0));
    if (status != 0)
        _exit(EXIT_FAILURE);
    unsigned delivered = atomic_load(&s->delivered);
    struct signals_worst *worst = &s->worst[receiver];
    if (SIGNALS - delivered > worst->lost)
        worst->lost = SIGNALS - delivered;
    if (s->disordered > worst->disordered)
        worst->disordered = s->disordered;
    return delivered / (s->last - s->begin) / 1e3;
}

/* Room for all of them in the kernel's queue, if we may; else the sender waits where it is full. */
static void raise_limit(void) {
    struct rlimit limit = {.rlim_cur = SIGNALS + 1, .rlim_max = SIGNALS + 1};
    if (setrlimit(RLIMIT_SIGPENDING, &limit) == 0)
        return;
    must_call("getrlimit", getrlimit(RLIMIT_SIGPENDING, &limit));
    limit.rlim_cur = limit.rlim_max;
    must_call("setrlimit", setrlimit(RLIMIT_SIGPENDING, &limit));
    printf("the sender waits while %lu signals are queued (ulimit -i)\n",
           (unsigned long)limit.rlim_max);
}

static void print_worst(const char *name, enum signals_receiver who,
                        const struct signals_worst *w) {
    const char *order = w->disordered > 0 ? "OUT OF ORDER" : "in order";
    printf("  %-18s %6u lost in the worst run, %s\n", name, w->lost,
           who < BY_UV ? order : "no payload to tell the order");
}

void table_of_signals(unsigned rounds) {
    static const struct contender contenders[RECEIVERS] = {
        [BY_WEFT] = {"weft", signals_weft},
        [BY_SIGNALFD] = {"signalfd", signals_signalfd},
#ifdef WEFT_BENCH_UV
        [BY_UV] = {"libuv", signals_uv},
        [BY_UV_PACED] = {"libuv, paced", signals_uv_paced},
#endif
    };
    unsigned count = contenders[BY_UV].run ? RECEIVERS : BY_UV;
    struct signals *s = apart_shared(sizeof *s);
    raise_limit();
    const struct contest contest = {.title = "100 000 queued signals",
                                    .unit = "delivered k/s",
                                    .contenders = contenders,
                                    .count = count,
                                    .arg = &s,
                                    .rounds = rounds};
    contest_run_apart(&contest);
    for (unsigned who = 0; who < count; who++)
        print_worst(contenders[who].name, who, &s->worst[who]);
}
