#include "signal_fixture.h"

#include <errno.h>

weft_runtime *signals_start(unsigned workers, const int *numbers) {
    const weft_runtime_options options = {.workers = workers, .signals = numbers};
    return rt_start_with(&options);
}

static void seen(const struct signalfd_siginfo *info, void *arg) {
    struct sight *s = arg;
    unsigned n = s->count;
    if (weft_worker_current() != s->worker)
        s->elsewhere++;
    if (n < SEEN_MAX) {
        s->signo[n] = (int)info->ssi_signo;
        s->data[n] = info->ssi_int;
    }
    s->count = n + 1;
}

struct attempt {
    struct sight *sight;
    int signo, result;
};

static void attempt_run(void *arg) {
    struct attempt *a = arg;
    a->result = weft_signal_watch(a->sight->worker, a->signo, seen, a->sight, &a->sight->handle);
}

int sight_try(struct sight *s, weft_worker *w, int signo) {
    struct attempt a = {.sight = s, .signo = signo};
    s->worker = w;
    rt_call(w, attempt_run, &a);
    return a.result;
}

void sight_begin(struct sight *s, weft_worker *w, int signo) {
    CHECK_EQ(sight_try(s, w, signo), 0);
}

static void stop_run(void *arg) {
    struct sight *s = arg;
    weft_signal_stop(s->handle);
    s->handle = NULL;
}

void sight_end(struct sight *s) {
    rt_call(s->worker, stop_run, s);
}

void send_signal(int signo) {
    CHECK_EQ(kill(getpid(), signo), 0);
}

void send_payload(int signo, int data) {
    const union sigval value = {.sival_int = data};
    while (sigqueue(getpid(), signo, value) != 0) {
        CHECK_EQ(errno, EAGAIN); /* RLIMIT_SIGPENDING: it is being read */
        sched_yield();
    }
}

bool is_pending(int signo) {
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, signo) == 1;
}

void await_not_pending(int signo) {
    while (is_pending(signo))
        sched_yield();
}
