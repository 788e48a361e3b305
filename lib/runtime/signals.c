/* Which runtime a signal number belongs to, and the signalfd it is read from.
 *
 * A number that two runtimes of one process watched would go to whichever reads first. The masks
 * are left as they are when the runtime goes: a second SIGTERM that arrives late would otherwise
 * meet the default disposition and kill the process in the middle of its clean-up. */
#include "runtime/runtime.h"

static _Atomic(weft_runtime *) owners[_NSIG];

/* 1: claimed now; 0: it was ours already; -EBUSY. */
static int claim(weft_runtime *rt, int signo) {
    weft_runtime *owner = NULL;
    if (atom_cas(&owners[signo], &owner, rt, acq_rel, acquire)) {
        sigaddset(&rt->signals, signo);
        return 1;
    }
    return owner == rt ? 0 : -EBUSY;
}

static void disclaim(weft_runtime *rt, int signo) {
    sigdelset(&rt->signals, signo);
    atom_store(&owners[signo], NULL, release);
}

void signals_release(weft_runtime *rt) {
    for (int signo = 1; signo < _NSIG; signo++)
        if (sigismember(&rt->signals, signo) == 1)
            disclaim(rt, signo);
}

static int block_in_this_thread(int signo, sigset_t *ret_old) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return os_sigmask(SIG_BLOCK, &set, ret_old);
}

int signals_claim(weft_runtime *rt, const int *numbers) {
    int r = 0;
    for (; r >= 0 && numbers && *numbers; numbers++)
        r = signal_is_watchable(*numbers) ? claim(rt, *numbers) : -EINVAL;
    if (r >= 0)
        r = os_sigmask(SIG_BLOCK, &rt->signals, NULL);
    if (r < 0)
        signals_release(rt);
    return r < 0 ? r : 0;
}

/* The signalfd reads exactly the stop signals; it is made with the first of them. */
static int read_also(weft_runtime *rt, int signo) {
    sigset_t wanted = rt->stop_signals;
    sigaddset(&wanted, signo);
    int fd = os_signalfd(rt->signal_fd, &wanted);
    if (fd < 0)
        return fd;
    if (rt->signal_fd < 0) {
        int r =
            selector_register_raw(rt->sentinel.selector, fd, EPOLLIN, &rt->sentinel.signal_source);
        if (r < 0) {
            os_close(fd);
            return r;
        }
        rt->signal_fd = fd;
    }
    rt->stop_signals = wanted;
    return 0;
}

int signals_claim_stop(weft_runtime *rt, int signo) {
    if (!signal_is_watchable(signo))
        return -EINVAL;
    int claimed = claim(rt, signo);
    if (claimed < 0)
        return claimed;
    sigset_t old;
    int r = block_in_this_thread(signo, &old);
    if (r == 0) {
        r = read_also(rt, signo);
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
    pthread_mutex_lock(&rt->lock);
    /* One that has ended gave its numbers back, and would never give back another. */
    int r = -ESHUTDOWN;
    if (atom_load(&rt->phase, relaxed) != RUNTIME_ENDED)
        r = signals_claim_stop(rt, signo);
    pthread_mutex_unlock(&rt->lock);
    return r;
}
