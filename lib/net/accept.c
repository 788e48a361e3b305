/* Accepting: one acceptor per worker and listener.
 *
 * The listening socket is in every worker's selector with EPOLLEXCLUSIVE: a connection wakes one
 * worker rather than all. That worker accepts one connection per wake-up (level-triggered: more are
 * reported again) and places it: on itself, or, when another worker has fewer streams, there. A
 * worker that is stuck in a callback is not woken, nor is anything placed on it, so it holds nobody
 * hostage; one that is merely quick hands over what it cannot justify keeping. */
#include "net/inner.h"

/* When accept fails for want of fds or memory the connection stays in the backlog and would be
 * reported for ever. The acceptor leaves the selector and tries again on a timer; more workers try
 * less often each, so that together they stay below a hundred calls a second. */
static uint64_t retry_ns(const weft_listener *l) {
    uint64_t ms = 100 + 10 * (uint64_t)l->acceptor_count;
    return (ms < 900 ? ms : 900) * 1000000;
}

struct handover {
    weft_task task;
    weft_listener *listener;
    weft_worker *worker;
    int fd;
};

static void refuse_connection(weft_listener *l, struct net_worker *net, int fd) {
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)os_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    os_close(fd);
    atom_sub(&net->assigned, 1, relaxed);
    listener_stream_gone(l);
}

/* What is accepted on a socket that the program made inherits nothing from us, and a listening
 * socket's options reach only connections that come after they were set. */
static void set_stream_options(const weft_listener *l, int fd) {
    if (l->is_foreign)
        (void)os_setsockopt_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* a unix socket has no such thing */
}

/* On the stream's own worker. */
static void settle_connection(weft_listener *l, weft_worker *w, int fd) {
    struct net_worker *net = net_of(w);
    weft_stream *s = NULL;
    if (net->stopping || stream_create(net, fd, l->protocol, l->arg, l, &s) < 0) {
        refuse_connection(l, net, fd);
        return;
    }
    stat_add(&w->stats.streams_accepted, 1);
    set_stream_options(l, fd);
    stream_open(s);
}

static void handover_run(weft_task *task) {
    struct handover *h = container_of(task, struct handover, task);
    weft_listener *l = h->listener;
    weft_worker *w = h->worker;
    int fd = h->fd;
    mem_free(h, sizeof *h);
    settle_connection(l, w, fd);
}

static bool hand_over(weft_listener *l, weft_worker *to, int fd) {
    struct handover *h = mem_alloc(sizeof *h);
    if (!h)
        return false;
    *h = (struct handover){.task.run = handover_run, .listener = l, .worker = to, .fd = fd};
    if (worker_post(to, &h->task) < 0) {
        mem_free(h, sizeof *h);
        return false;
    }
    return true;
}

static uint32_t load_of(weft_worker *w) {
    return atom_load(&net_of(w)->assigned, relaxed);
}

/* Would the worker take a stream soon? One that sleeps wakes up for it. One that is awake must have
 * gone round its loop within the last LATELY_CYCLES: known only if it was looked at that recently
 * before, and its iterations went up since. When in doubt the answer is no: a stream that stays
 * here is a little imbalance, one that is placed on a stuck worker is not served. */
static bool is_responsive(weft_worker *w) {
    enum { LATELY_CYCLES = 8000000 }; /* some milliseconds */
    struct glance *g = &net_of(w)->glance;
    if (atom_load(&w->inbox.queue.head, relaxed) == QUEUE_ARMED || MUTANT("net-hostage"))
        return true;
    /* Several may look at once; what they mix up lasts until the next look. */
    uint64_t iterations = stat_read(&w->stats.iterations), now = clock_cycles();
    uint64_t before = atom_xchg(&g->iterations, iterations, relaxed);
    uint64_t looked = atom_xchg(&g->cycles, now, relaxed);
    if (iterations != before)
        atom_store(&g->fresh, now - looked < LATELY_CYCLES ? now : 0, relaxed);
    uint64_t fresh = atom_load(&g->fresh, relaxed);
    return fresh && now - fresh < LATELY_CYCLES;
}

/* The emptier of two others that change from call to call, if it has fewer streams than we. */
static weft_worker *place(weft_worker *mine) {
    weft_runtime *rt = mine->runtime;
    unsigned n = rt->worker_count;
    if (n == 1)
        return mine;
    unsigned turn = atom_add(&rt->next_pick, 1, relaxed);
    weft_worker *best = mine;
    uint32_t least = load_of(mine);
    for (unsigned i = 0; i < 2; i++) {
        weft_worker *other = rt->workers[(turn + i) % n];
        uint32_t load = load_of(other);
        if (other != mine && load < least && is_responsive(other)) {
            least = load;
            best = other;
        }
    }
    return best;
}

static void place_connection(struct acceptor *a, int fd) {
    weft_listener *l = a->listener;
    weft_worker *to = place(a->worker);
    atom_add(&net_of(to)->assigned, 1, relaxed);
    if (to != a->worker) {
        if (hand_over(l, to, fd)) {
            stat_add(&a->worker->stats.streams_handed_over, 1);
            return;
        }
        atom_sub(&net_of(to)->assigned, 1, relaxed);
        atom_add(&net_of(a->worker)->assigned, 1, relaxed);
    }
    settle_connection(l, a->worker, fd);
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
                 "listener %s: accept: %s (%s); accepting pauses, and goes on by itself (is RLIMIT_NOFILE high enough?)",
                 l->address, weft_err_name(error), weft_strerror(error));
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
    case -ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void accept_one(struct acceptor *a) {
    weft_listener *l = a->listener;
    if (atom_load(&l->closed, acquire) || !take_place(a))
        return;
    int fd = os_accept(l->fd);
    if (fd >= 0) {
        place_connection(a, fd);
        return;
    }
    listener_stream_gone(l);
    if (!concerns_one_connection(fd) && !atom_load(&l->closed, acquire))
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
    int probe = os_eventfd(); /* is there an fd again? An accept that fails would be one call more */
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
    return worker_source_add(a->worker, a->listener->fd, EPOLLIN | EPOLLEXCLUSIVE, &a->source);
}

void acceptor_unwatch(struct acceptor *a) {
    selector_unregister(a->worker->selector, a->listener->fd);
}
