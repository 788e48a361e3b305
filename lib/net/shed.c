/* The memory limit over all streams of a runtime: max_buffered.
 *
 * Each worker counts what its streams hold. The sum is looked at only where something grows, which
 * is never on the fast path. Above the limit the worker that holds most closes its largest
 * holders, so that the one who floods pays, not the one who came last. */
#include "net/inner.h"

static size_t held_by(const weft_stream *s) {
    return output_held(s) + (s->in ? s->in->end - s->in->start : 0);
}

static uint64_t held_in_all(const weft_runtime *rt, weft_worker **ret_largest) {
    uint64_t sum = 0, most = 0;
    for (unsigned i = 0; i < rt->worker_count; i++) {
        uint64_t held = stat_read(&rt->workers[i]->stats.bytes_held);
        sum += held;
        if (held >= most) {
            most = held;
            *ret_largest = rt->workers[i];
        }
    }
    return sum;
}

static void ask_to_shed(struct net_worker *net) {
    if (atom_xchg(&net->shed_posted, 1, acq_rel) == 0 &&
        worker_post(net->worker, &net->shed_task) < 0)
        atom_store(&net->shed_posted, 0, release);
}

void net_hold(weft_stream *s, size_t bytes) {
    weft_worker *w = s->net->worker, *largest = w;
    stat_add(&w->stats.bytes_held, bytes);
    if (likely(held_in_all(w->runtime, &largest) <= w->runtime->max_buffered) ||
        MUTANT("net-no-shedding"))
        return;
    ask_to_shed(net_of(largest)); /* also to ourselves: the stream that grew may be in a callback */
}

void net_unhold(weft_stream *s, size_t bytes) {
    stat_sub(&s->net->worker->stats.bytes_held, bytes);
}

void net_hold_depart(weft_stream *s) {
    net_unhold(s, held_by(s));
}

void net_hold_arrive(weft_stream *s) {
    stat_add(&s->net->worker->stats.bytes_held, held_by(s));
}

static weft_stream *largest_holder(struct net_worker *net) {
    weft_stream *largest = NULL;
    size_t most = 0;
    for (weft_stream *s = NULL; (s = stream_after(net, s)) != NULL;) {
        size_t held = held_by(s);
        if (held > most && (s->flags & STREAM_ENDED) == 0) {
            most = held;
            largest = s;
        }
    }
    return largest;
}

static void shed(struct net_worker *net) {
    weft_runtime *rt = net->worker->runtime;
    weft_worker *ignored = NULL;
    while (held_in_all(rt, &ignored) > rt->max_buffered) {
        weft_stream *s = largest_holder(net);
        if (!s)
            return;
        stream_end(s, -ENOBUFS);
        if (!MUTANT("net-shed-kept"))
            stream_drop_kept(s); /* no callback is running that could be looking at it */
    }
}

/* One worker at a time: two would each count what the other is about to give up, and close more
 * than there is need for. Whoever finds another at it looks again in the next iteration. */
void net_shed(weft_task *task) {
    struct net_worker *net = container_of(task, struct net_worker, shed_task);
    _Atomic uint32_t *shedding = &net_of(net->worker->runtime->workers[0])->shedding;
    atom_store(&net->shed_posted, 0, release);
    /* Acquire and release: the next one counts without what this one closed. */
    if (atom_xchg(shedding, 1, acq_rel) != 0 && !MUTANT("net-shed-together")) {
        ask_to_shed(net);
        return;
    }
    shed(net);
    atom_store(shedding, 0, release);
}
