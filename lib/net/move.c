/* weft_stream_move(): from one worker to another, at the end of the iteration. On its way the
 * stream belongs to neither: it is in no list and in no selector, and the message that carries it
 * is all there is. The worker it left stays held until it hears of the arrival, so on a stop no
 * queue closes before that. */
#include "net/inner.h"

struct move {
    weft_task task;
    struct list link; /* of its worker's moves, until it departs */
    weft_stream *stream;
    struct net_worker *from, *to;
};

int weft_stream_move(weft_stream *s, weft_worker *to) {
    int r = stream_check(s, "weft_stream_move");
    if (r < 0)
        return r;
    if (!to || to->runtime != s->net->worker->runtime)
        return -EINVAL;
    r = stream_end_check(s);
    if (r < 0)
        return r;
    if (s->flags & STREAM_MOVING)
        return -EBUSY;
    if (to == s->net->worker)
        return 0;
    if (runtime_is_stopping(to->runtime))
        return -ESHUTDOWN;
    struct move *move = mem_alloc(sizeof *move);
    if (!move)
        return -ENOMEM;
    *move = (struct move){.stream = s, .from = s->net, .to = net_of(to)};
    /* What on_data leaves is shown where the stream goes, and before the end of input. */
    const bool shown = !MUTANT("move-left-over-unshown") && !MUTANT("move-end-overtakes");
    s->flags |= shown ? STREAM_MOVING | STREAM_SHOW : STREAM_MOVING;
    list_append(&s->net->moves, &move->link);
    worker_want_flush(s->net->worker);
    return 0;
}

static void stay(struct move *move) {
    weft_stream *s = move->stream;
    mem_free(move, sizeof *move);
    stream_service_soon(s);
    mailbox_read(s);
}

static void arrived(weft_task *task) {
    struct move *move = container_of(task, struct move, task);
    worker_release(move->from->worker);
    mem_free(move, sizeof *move);
}

/* What is not open yet opens there, and has no need of an on_move. */
static void tell_moved(weft_stream *s) {
    const bool opened = (s->flags & STREAM_UNOPENED) == 0 || MUTANT("move-before-open");
    if (!opened || !s->protocol->on_move)
        return;
    stream_enter(s, (uintptr_t)s->protocol->on_move);
    s->protocol->on_move(s);
    stream_leave(s);
}

static void settle_in(weft_stream *s) {
    if (MUTANT("move-end-overtakes"))
        s->flags |= STREAM_SHOW;
    stream_service_later(s);
    tell_moved(s);
    stream_settle(s);
    mailbox_read(s);
    if (s->net->stopping && !MUTANT("move-stop-unheard"))
        stream_stop(s);
    if (s->net->expired && !MUTANT("move-outlives-the-grace"))
        stream_expire(s);
}

static void arrive(weft_task *task) {
    struct move *move = container_of(task, struct move, task);
    weft_stream *s = move->stream;
    if (MUTANT("move-untimed"))
        s->clock.deadline_ns = UINT64_MAX;
    stream_enlist(s);
    int r = stream_watch(s);
    net_hold_arrive(s);
    mailbox_arrive(s);
    move->task.run = arrived;
    (void)worker_post(move->from->worker, &move->task);
    if (r < 0 && !MUTANT("fault-net-arrives-unwatched"))
        stream_end(s, r);
    else
        settle_in(s);
}

static void depart(struct move *move) {
    weft_stream *s = move->stream;
    struct net_worker *from = move->from, *to = move->to;
    if (s->flags & STREAM_LISTED)
        streams_unlist_moving(from);
    s->flags &= ~(uint32_t)STREAM_MOVING;
    if (s->flags & (STREAM_CLOSING | STREAM_ENDED) && !MUTANT("move-takes-the-closed")) {
        stay(move);
        return;
    }
    selector_unregister(from->worker->selector, s->fd);
    wheel_stop(&from->clocks, &s->clock); /* its deadline is a time, the same everywhere */
    if (!MUTANT("move-held-twice"))
        net_hold_depart(s);
    stat_sub(&from->worker->stats.streams_open, 1);
    atom_sub(&from->assigned, 1, relaxed);
    atom_add(&to->assigned, 1, relaxed);
    plain_store(&s->net, to);
    mailbox_depart(s, to);
    move->task.run = arrive;
    (void)worker_post(to->worker, &move->task); /* its queue is open while this worker is held */
}

/* What was lent and is sent goes back to the program first, on the thread it was lent on. What a
 * release moves may have sent something just now: it leaves the next time this is called. */
void streams_depart(struct net_worker *net) {
    if (likely(list_is_empty(&net->moves)))
        return;
    struct list leaving;
    list_init(&leaving);
    list_splice(&leaving, &net->moves);
    if (net->released)
        releases_run(net);
    for (struct list *node; (node = list_pop(&leaving)) != NULL;)
        depart(container_of(node, struct move, link));
}
