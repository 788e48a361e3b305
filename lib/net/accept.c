/* Accepting: one acceptor per worker and listener.
 *
 * The listening socket is in every worker's selector with EPOLLEXCLUSIVE: a connection wakes one
 * worker rather than all. That worker accepts one connection per wake-up (level-triggered: more are
 * reported again) and places it (place.c). A worker that is busy or stuck is not woken. */
#include "net/inner.h"

/* When accept fails for want of fds or memory the connection stays in the backlog and would be
 * reported for ever. The acceptor leaves the selector and tries again on a timer; more workers try
 * less often each, so that together they stay below a hundred calls a second. */
static uint64_t retry_ns(const weft_listener *l) {
    uint64_t ms = 100 + 10 * (uint64_t)l->acceptor_count;
    return (ms < 900 ? ms : 900) * 1000000;
}

static void pause_accepting(struct acceptor *a, int error) {
    weft_listener *l = a->listener;
    stat_add(&a->worker->stats.accept_pauses, 1);
    if (MUTANT("net-accept-spin"))
        return;
    acceptor_unwatch(a);
    weft_timer_start(a->worker, &a->retry, retry_ns(l), 0);
    if (atom_xchg(&l->pause_logged, 1, relaxed) == 0)
        log_line(LOG_LEVEL_WARNING,
                 "listener %s: accept: %s (%s); accepting pauses, and is tried again by itself%s",
                 l->address, weft_err_name(error), weft_strerror(error),
                 error == -EMFILE ? "; raise RLIMIT_NOFILE for more connections" : "");
}

/* A place among the listener's max_streams, for a connection that is about to be accepted. A full
 * listener waits for its streams rather than for a timer.
 *
 * Giving our place back is what ending a stream does, on the same counter: of the two, the later
 * one finds a free place, and whoever marked itself before. */
static bool take_place(struct acceptor *a) {
    weft_listener *l = a->listener;
    uint32_t before = atom_add(&l->streams, 1, acq_rel);
    if (l->max_streams == 0 || before < l->max_streams)
        return true;
    acceptor_unwatch(a);
    atom_store(&a->waiting, 1, release);
    listener_stream_gone(l);
    return false;
}

/* Is it only this one connection, or that there was none (accept(2), "Error handling")? Everything
 * else would be reported again and again. */
static bool concerns_one_connection(int error) {
    switch (error) {
    case -EAGAIN:
    case -ECONNABORTED:
    case -EPERM:
    case -ENETDOWN:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -ENONET:
    case -EHOSTUNREACH:
    case -EOPNOTSUPP:
    case -ENETUNREACH: return true;
    default: return false;
    }
}

static void accept_one(struct acceptor *a) {
    weft_listener *l = a->listener;
    if (atom_load(&l->closed, acquire) || !take_place(a))
        return;
    int fd = os_accept(l->fd);
    if (fd >= 0) {
        connection_place(l, a->worker, fd);
        return;
    }
    if (!MUTANT("fault-net-place-kept"))
        listener_stream_gone(l);
    if ((!concerns_one_connection(fd) || MUTANT("net-accept-error-pauses")) &&
        !atom_load(&l->closed, acquire))
        pause_accepting(a, fd);
}

static void acceptor_ready(struct worker_source *source, uint32_t epoll_events) {
    (void)epoll_events;
    accept_one(container_of(source, struct acceptor, source));
}

static void accept_again(struct acceptor *a) {
    if (atom_load(&a->listener->closed, acquire))
        return;
    int r = acceptor_watch(a);
    if (r < 0 && r != -EEXIST)
        weft_timer_start(a->worker, &a->retry, retry_ns(a->listener), 0);
    /* Whoever closes the listener marks it first and unwatches then. The selector's lock orders the
     * two of us: if its unwatch came before our watch, we see the mark here. */
    if (atom_load(&a->listener->closed, acquire))
        acceptor_unwatch(a);
}

static void retry_fired(weft_timer *timer) {
    struct acceptor *a = container_of(timer, struct acceptor, retry);
    /* Is there an fd again? An accept that fails would be a call more. */
    int probe = os_eventfd();
    if (probe < 0) {
        weft_timer_start(a->worker, &a->retry, retry_ns(a->listener), 0);
        return;
    }
    os_close(probe);
    accept_again(a);
}

static void resume_run(weft_task *task) {
    struct acceptor *a = container_of(task, struct acceptor, resume_task);
    atom_store(&a->resume_posted, 0, release);
    accept_again(a);
}

void listener_stream_gone(weft_listener *l) {
    /* Acquire and release: pairs with itself in take_place(). Whoever comes later in the order of
     * this counter sees the marks that were made before. */
    uint32_t before = atom_sub(&l->streams, 1, acq_rel);
    if (l->max_streams == 0 || before > l->max_streams || MUTANT("net-full-for-ever"))
        return;
    for (unsigned i = 0; i < l->acceptor_count; i++) {
        struct acceptor *a = &l->acceptors[i];
        if (atom_load(&a->waiting, relaxed) == 0 || atom_xchg(&a->waiting, 0, acq_rel) == 0)
            continue;
        if (atom_xchg(&a->resume_posted, 1, acq_rel) == 0)
            (void)worker_post(a->worker, &a->resume_task);
    }
}

void acceptor_init(struct acceptor *a, weft_listener *l, weft_worker *w) {
    a->source.ready = acceptor_ready;
    a->worker = w;
    a->listener = l;
    a->retry.fn = retry_fired;
    a->resume_task.run = resume_run;
}

int acceptor_watch(struct acceptor *a) {
    return worker_source_add(
        a->worker, a->listener->fd,
        EPOLLIN | EPOLLEXCLUSIVE | (MUTANT("net-accept-edge") ? (uint32_t)EPOLLET : 0), &a->source);
}

void acceptor_unwatch(struct acceptor *a) {
    selector_unregister(a->worker->selector, a->listener->fd);
}
