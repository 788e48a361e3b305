/* Placing: on which worker an accepted connection becomes a stream.
 *
 * Whoever accepted keeps it, or hands it over to a worker with fewer streams before anything of it
 * is registered. What is handed over travels as a task, and a worker that is stuck in a callback
 * does not run tasks: so that it holds no connection hostage, whoever handed one over looks again a
 * little later and takes back what was not taken. From then on nothing more is placed on that
 * worker until it runs a handover, were it only one that was taken back.
 *
 *     HANDED --the other's task runs--> TAKEN      the stream is the other's; we free the handover
 *       |
 *       +------our second look--------> RECLAIMED  it is ours; the other's task frees it
 *
 * Both sides exchange the state, and the second one frees. */
#include "net/inner.h"

enum { HANDED, TAKEN, RECLAIMED };
/* A connection taken back from a worker that only waited for a CPU stays on the wrong one for as
 * long as it lives, and one that is not taken back from a stuck worker waits
 * (docs/decisions/006). */
#define RECLAIM_NS (50 * UINT64_C(1000000))

struct handover {
    weft_task task;
    struct list link; /* of the worker that handed it over, oldest first */
    weft_listener *listener;
    struct net_worker *to;
    uint64_t reclaim_ns;
    int fd;
    _Atomic uint32_t state;
};

static void refuse_connection(weft_listener *l, struct net_worker *net, int fd) {
    socket_close_with_reset(fd);
    if (!MUTANT("fault-net-still-assigned"))
        atom_sub(&net->assigned, 1, relaxed);
    listener_stream_gone(l);
}

/* What is accepted on a socket that the program made inherits nothing from us, and a listening
 * socket's options reach only connections that come after they were set. */
static void set_stream_options(const weft_listener *l, int fd) {
    if (l->is_foreign)
        (void)os_setsockopt_int(fd, IPPROTO_TCP, TCP_NODELAY,
                                1); /* a unix socket has no such thing */
}

/* On the stream's own worker. */
static void settle_connection(weft_listener *l, struct net_worker *net, int fd) {
    weft_stream *s = NULL;
    if (net->stopping || stream_create(net, fd, l->protocol, l->arg, l, 0, &s) < 0) {
        refuse_connection(l, net, fd);
        return;
    }
    stat_add(&net->worker->stats.streams_accepted, 1);
    set_stream_options(l, fd);
    stream_open(s);
}

static void handover_free(struct handover *h) {
    mem_free(h, sizeof *h);
}

static void handover_run(weft_task *task) {
    struct handover *h = container_of(task, struct handover, task);
    struct net_worker *net = h->to;
    weft_listener *l = h->listener;
    int fd = h->fd;
    if (!MUTANT("net-unresponsive-for-good"))
        atom_store(&net->unresponsive, 0, relaxed);
    /* Acquire and release, here and in reclaim(): whoever comes second frees what the first has
     * read. */
    if (atom_xchg(&h->state, TAKEN, acq_rel) == HANDED)
        settle_connection(l, net, fd);
    else
        handover_free(h);
}

static void reclaim(struct net_worker *net, struct handover *h) {
    struct net_worker *to = h->to;
    weft_listener *l = h->listener;
    int fd = h->fd;
    list_remove(&h->link);
    if (atom_xchg(&h->state, RECLAIMED, acq_rel) == TAKEN) {
        handover_free(h);
        return;
    }
    if (!MUTANT("net-stuck-asked-again"))
        atom_store(&to->unresponsive, 1, relaxed);
    atom_sub(&to->assigned, 1, relaxed);
    atom_add(&net->assigned, 1, relaxed);
    settle_connection(l, net, fd);
}

static void look_again(weft_timer *timer) {
    struct net_worker *net = container_of(timer, struct net_worker, handed_timer);
    uint64_t now_ns = worker_now(net->worker);
    while (!list_is_empty(&net->handed)) {
        struct handover *h = container_of(net->handed.next, struct handover, link);
        if (h->reclaim_ns > now_ns) {
            weft_timer_start_at(net->worker, timer, h->reclaim_ns);
            return;
        }
        reclaim(net, h);
    }
}

/* False: it stays here. */
static bool hand_over(weft_listener *l, struct net_worker *from, struct net_worker *to, int fd) {
    struct handover *h = mem_alloc(sizeof *h);
    if (!h)
        return false;
    *h = (struct handover){.task.run = handover_run, .listener = l, .to = to, .fd = fd};
    h->reclaim_ns = MUTANT("net-hostage") ? UINT64_MAX : worker_now(from->worker) + RECLAIM_NS;
    list_init(&h->link);
    if (!MUTANT("net-on-its-way-uncounted"))
        atom_add(&to->assigned, 1, relaxed);
    /* Into our list first: the other may take it, but only we free what was taken. */
    list_append(&from->handed, &h->link);
    if (worker_post(to->worker, &h->task) < 0) {
        atom_sub(&to->assigned, 1, relaxed);
        list_remove(&h->link);
        handover_free(h);
        return false;
    }
    if (!weft_timer_is_pending(&from->handed_timer))
        weft_timer_start_at(from->worker, &from->handed_timer, h->reclaim_ns);
    stat_add(&from->worker->stats.streams_handed_over, 1);
    return true;
}

/* The emptier of two others that change from call to call, if it has fewer streams than we. */
static struct net_worker *choose(weft_worker *mine) {
    weft_runtime *rt = mine->runtime;
    struct net_worker *best = net_of(mine);
    if (rt->worker_count == 1 || MUTANT("net-kept-where-accepted"))
        return best;
    uint32_t least = atom_load(&best->assigned, relaxed);
    unsigned turn = atom_add(&rt->next_pick, 1, relaxed);
    for (unsigned i = 0; i < 2; i++) {
        struct net_worker *other = net_of(rt->workers[(turn + i) % rt->worker_count]);
        uint32_t load = atom_load(&other->assigned, relaxed);
        if (load < least && atom_load(&other->unresponsive, relaxed) == 0) {
            least = load;
            best = other;
        }
    }
    return best;
}

void connection_place(weft_listener *l, weft_worker *mine, int fd) {
    struct net_worker *net = net_of(mine), *to = choose(mine);
    if (to != net && !MUTANT("net-placed-here") && hand_over(l, net, to, fd))
        return;
    atom_add(&net->assigned, 1, relaxed);
    settle_connection(l, net, fd);
}

void placing_init(struct net_worker *net) {
    list_init(&net->handed);
    net->handed_timer.fn = look_again;
}

/* All workers have ended, and have run what they were handed: what is left here was taken. */
void placing_end(struct net_worker *net) {
    for (struct list *node; (node = list_pop(&net->handed)) != NULL;)
        handover_free(container_of(node, struct handover, link));
}
