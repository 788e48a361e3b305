/* Queued real-time signals with a payload: each reaches each watch once and in order, and what the
 * runtime did not read when it stopped is with the kernel still. */
#include "soak.h"
#include "soak_signals.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { NUMBERS = 2, UNDER_WAY = 500 };

static struct account accounts[] = {
    {{"signals sent, times watches", 0}, {{"delivered", 0}, {"left to the kernel", 0}}},
};

/* One watch on one worker. */
struct sight {
    unsigned number; /* index of its signal */
    weft_signal *handle;
    _Atomic uint64_t next;
};

static struct sight sights[MAX_WORKERS][NUMBERS];
static uint64_t sent[NUMBERS];
static pthread_t sender;

int soak_signal(unsigned index) {
    return SIGRTMIN + 2 + (int)index;
}

static void seen(const struct signalfd_siginfo *info, void *arg) {
    struct sight *s = arg;
    uint64_t next = atomic_load_explicit(&s->next, memory_order_relaxed);
    if (info->ssi_signo != (uint32_t)soak_signal(s->number) || info->ssi_code != SI_QUEUE ||
        info->ssi_int != (int32_t)next)
        soak_fail("signals: number %u with %d, expected %d with %ju", info->ssi_signo,
                  info->ssi_int, soak_signal(s->number), (uintmax_t)next);
    atomic_store_explicit(&s->next, next + 1, memory_order_release);
    tally(&accounts[0].out[0]);
}

/* Has every watch seen almost all of them? */
static bool is_followed(unsigned number) {
    for (unsigned w = 0; w < epoch.workers; w++)
        if (atomic_load_explicit(&sights[w][number].next, memory_order_acquire) + UNDER_WAY <
            sent[number])
            return false;
    return true;
}

static void send_one(unsigned number) {
    const union sigval value = {.sival_int = (int)sent[number]};
    if (!is_followed(number))
        return;
    if (sigqueue(getpid(), soak_signal(number), value) == 0) {
        sent[number]++;
        tally_many(&accounts[0].in, epoch.workers);
    } else if (errno != EAGAIN) { /* the user's queue is full */
        soak_fail("signals: sigqueue: %s", strerror(errno));
    }
}

static void *sender_run(void *arg) {
    (void)arg;
    uint64_t random = mix(soak_seed - epoch.number);
    while (!epoch.over) {
        for (uint64_t n = roll(&random, 100); n > 0; n--)
            send_one((unsigned)roll(&random, NUMBERS));
        pause_us((unsigned)roll(&random, 10000));
    }
    return NULL;
}

static void begin_here(void *arg) {
    (void)arg;
    weft_worker *w = weft_worker_current();
    for (unsigned i = 0; i < NUMBERS; i++) {
        struct sight *s = &sights[weft_worker_index(w)][i];
        s->number = i;
        atomic_store(&s->next, 0);
        int r = weft_signal_watch(w, soak_signal(i), seen, s, &s->handle);
        if (r != 0)
            soak_fail("signals: a watch gets %d", r);
    }
}

static void begin(void) {
    on_each_worker(begin_here, NULL);
    memset(sent, 0, sizeof sent);
    sender = thread_begin(sender_run, NULL);
}

/* Takes what the kernel has still, in order behind what was delivered. */
static void take_rest(unsigned number) {
    const struct timespec at_once = {0, 0};
    uint64_t next = atomic_load(&sights[0][number].next);
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, soak_signal(number));
    while (sigtimedwait(&set, &info, &at_once) > 0) {
        if (info.si_value.sival_int != (int)next)
            soak_fail("signals: the kernel has %d, expected %ju", info.si_value.sival_int,
                      (uintmax_t)next);
        next++;
        tally_many(&accounts[0].out[1], epoch.workers);
    }
    if (next != sent[number])
        soak_fail("signals: %ju of %ju were delivered or left", (uintmax_t)next,
                  (uintmax_t)sent[number]);
}

static void end(void) {
    thread_end(sender);
    for (unsigned i = 0; i < NUMBERS; i++) {
        for (unsigned w = 1; w < epoch.workers; w++)
            if (sights[w][i].next != sights[0][i].next)
                soak_fail("signals: one watch saw %ju, another %ju", (uintmax_t)sights[w][i].next,
                          (uintmax_t)sights[0][i].next);
        take_rest(i);
    }
}

const struct part signals_part = {"signals", accounts, 1, begin, NULL, end};
