/* Which runtime a signal number belongs to, and the signalfd it is read from.
 *
 * A number that two runtimes of one process watched would go to whichever reads first. The masks
 * are left as they are when the runtime goes: a second SIGTERM that arrives late would otherwise
 * meet the default disposition and kill the process in the middle of its clean-up. For the same
 * reason a number that was watched once is read until the runtime ends: what nobody watches any
 * more is discarded. */
#include "runtime/inner.h"

#include <string.h>

static _Atomic(weft_runtime *) owners[_NSIG];

/* A thread of the program that does not block what it should. */
struct exposed_thread {
    struct list link;
    pid_t tid;
    uint64_t told; /* the numbers of which it was said */
};

static sigset_t set_of(uint64_t numbers) {
    sigset_t set;
    sigemptyset(&set);
    for (int signo = 1; signo < _NSIG; signo++)
        if (numbers & signal_bit(signo))
            sigaddset(&set, signo);
    return set;
}

static uint64_t mask_of(const sigset_t *set) {
    uint64_t numbers = 0;
    for (int signo = 1; signo < _NSIG; signo++)
        if (sigismember(set, signo) == 1)
            numbers |= signal_bit(signo);
    return numbers;
}

/* 1: claimed now; 0: it was ours already; -EBUSY. */
static int claim(weft_runtime *rt, int signo) {
    weft_runtime *owner = NULL;
    if (atom_cas(&owners[signo], &owner, rt, acq_rel, acquire)) {
        rt->signals.claimed |= signal_bit(signo);
        return 1;
    }
    return owner == rt ? 0 : -EBUSY;
}

static void disclaim(weft_runtime *rt, int signo) {
    rt->signals.claimed &= ~signal_bit(signo);
    atom_store(&owners[signo], NULL, release);
}

void signals_release(weft_runtime *rt) {
    for (int signo = 1; signo < _NSIG; signo++)
        if (rt->signals.claimed & signal_bit(signo))
            disclaim(rt, signo);
}

int signals_create(weft_runtime *rt, const int *numbers) {
    struct signals *s = &rt->signals;
    int r = 0;
    for (; r >= 0 && numbers && *numbers; numbers++)
        r = signal_is_watchable(*numbers) ? claim(rt, *numbers) : -EINVAL;
    sigset_t set = set_of(s->claimed), old;
    if (r >= 0)
        r = os_sigmask(SIG_BLOCK, &set, &old);
    if (r < 0) {
        if (!MUTANT("fault-signals-kept"))
            signals_release(rt);
        return r;
    }
    s->creator = os_thread_id();
    s->creator_mask = mask_of(&old) | s->claimed;
    return 0;
}

void signals_destroy(weft_runtime *rt) {
    struct signals *s = &rt->signals;
    for (struct list *node; (node = list_pop(&s->exposed));)
        mem_free(container_of(node, struct exposed_thread, link), sizeof(struct exposed_thread));
    if (s->spare)
        signal_batch_free(rt, s->spare);
    if (s->fd >= 0)
        os_close(s->fd);
}

/* A trap that is watched is not taken for a fault. */
void signals_mask_of_threads(const weft_runtime *rt, sigset_t *ret_mask) {
    signal_mask_of_own_threads(ret_mask);
    if (MUTANT("signal-own-threads-open"))
        sigdelset(ret_mask, SIGUSR1);
    for (int signo = 1; signo < _NSIG; signo++)
        if (rt->signals.claimed & signal_bit(signo))
            sigaddset(ret_mask, signo);
}

/* Tells the kernel what to read; the signalfd is made with the first number. */
static int read_wanted(weft_runtime *rt) {
    struct signals *s = &rt->signals;
    uint64_t others = s->held_back ? 0 : s->watched | s->sweeping;
    sigset_t wanted = set_of(s->stopping | others);
    int fd = os_signalfd(s->fd, &wanted);
    if (fd < 0 || s->fd >= 0)
        return fd < 0 ? fd : 0;
    int r = selector_register_raw(rt->sentinel.selector, fd, EPOLLIN, &rt->sentinel.signal_source);
    if (r < 0) {
        os_close(fd);
        return r;
    }
    s->fd = fd;
    return 0;
}

/* One more number of a kind; the kind as it was when that fails. */
static int read_also(weft_runtime *rt, uint64_t *kind, int signo) {
    uint64_t before = *kind;
    *kind |= signal_bit(signo);
    int r = read_wanted(rt);
    if (r < 0 && !MUTANT("signal-failed-watch-kept"))
        *kind = before;
    return r;
}

int signals_hold_back(weft_runtime *rt, bool held_back) {
    bool before = rt->signals.held_back;
    rt->signals.held_back = held_back;
    int r = read_wanted(rt);
    if (r < 0 && !MUTANT("fault-held-back-anyway"))
        rt->signals.held_back = before;
    return r;
}

/* Of now, if it can be found out: the thread may have ended, or /proc be missing. */
static bool creator_blocks(const weft_runtime *rt, int signo) {
    struct thread_status status;
    if (MUTANT("signal-creator-unasked"))
        return true;
    if (!MUTANT("signal-creator-as-it-was") &&
        thread_status_read(rt->signals.creator, &status) == 0)
        return status.blocked & signal_bit(signo);
    return rt->signals.creator_mask & signal_bit(signo);
}

/* A number that is not blocked is not for the signalfd. */
static int claim_blocked(weft_runtime *rt, uint64_t *kind, int signo) {
    int claimed = claim(rt, signo);
    if (claimed < 0)
        return claimed;
    int r = creator_blocks(rt, signo) ? read_also(rt, kind, signo) : -EBUSY;
    if (r < 0 && claimed)
        disclaim(rt, signo);
    return r;
}

int signals_claim_watch(weft_runtime *rt, int signo) {
    if (rt->signals.watched & signal_bit(signo))
        return 0;
    int r = claim_blocked(rt, &rt->signals.watched, signo);
    return r < 0 ? r : 1;
}

int signals_claim_sweep(weft_runtime *rt) {
    return claim_blocked(rt, &rt->signals.sweeping, SIGCHLD);
}

int signals_claim_stop(weft_runtime *rt, int signo) {
    if (!signal_is_watchable(signo))
        return -EINVAL;
    int claimed = claim(rt, signo);
    if (claimed < 0)
        return claimed;
    sigset_t set = set_of(signal_bit(signo)), old;
    int r = os_sigmask(SIG_BLOCK, &set, &old);
    if (r == 0) {
        r = read_also(rt, &rt->signals.stopping, signo);
        if (r < 0)
            (void)os_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (r < 0 && claimed)
        disclaim(rt, signo);
    return r;
}

int weft_runtime_stop_on(weft_runtime *rt, int signo) {
    if (!rt)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    lock_take(&rt->lock);
    /* One that has ended gave its numbers back, and would never give back another. */
    int r = -ESHUTDOWN;
    if (atom_load(&rt->phase, relaxed) != RUNTIME_ENDED)
        r = signals_claim_stop(rt, signo);
    lock_drop(&rt->lock);
    if (r == 0)
        signals_tell_exposed(rt, signo);
    return r;
}

/* --- threads of the program that do not block what they should
 * --------------------------------- */

struct exposure {
    weft_runtime *runtime;
    int signo;
};

/* True the first time. Without memory for a note it is said again. */
static bool note_exposed(weft_runtime *rt, pid_t tid, int signo) {
    struct exposed_thread *thread = NULL;
    for (struct list *node = rt->signals.exposed.next; node != &rt->signals.exposed;
         node = node->next)
        if (container_of(node, struct exposed_thread, link)->tid == tid)
            thread = container_of(node, struct exposed_thread, link);
    if (!thread) {
        thread = mem_zalloc(sizeof *thread);
        if (!thread)
            return true;
        thread->tid = tid;
        list_append(&rt->signals.exposed, &thread->link);
    }
    bool is_first = !(thread->told & signal_bit(signo)) || MUTANT("signal-exposed-again");
    thread->told |= signal_bit(signo);
    return is_first;
}

static void look_at_thread(pid_t tid, void *arg) {
    const struct exposure *e = arg;
    struct thread_status status;
    if (thread_status_read(tid, &status) < 0 || (status.blocked & signal_bit(e->signo)))
        return;
    lock_take(&e->runtime->lock);
    bool is_first = note_exposed(e->runtime, tid, e->signo);
    lock_drop(&e->runtime->lock);
    /* Not under the lock: the program's function may call us. */
    if (!is_first)
        return;
    const char *name = sigabbrev_np(e->signo);
    log_line(
        LOG_LEVEL_WARNING,
        "thread \"%s\" (id %d) does not block signal %d (%s%s): the kernel may give it to that "
        "thread, where it never reaches weft; block it there with pthread_sigmask(3), or "
        "create the runtime before other threads, which then inherit the mask",
        status.name, (int)tid, e->signo, name ? "SIG" : "real-time", name ? name : "");
}

void signals_tell_exposed(weft_runtime *rt, int signo) {
    struct exposure e = {rt, signo};
    (void)threads_each(look_at_thread, &e); /* without /proc nobody can say */
}
