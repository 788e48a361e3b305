/* Net's state in every worker, and its part in a worker's life. */
#include "net/inner.h"

static int part_create(weft_worker *w, void *state) {
    struct net_worker *net = state;
    net->output = mem_alloc(NET_OUTPUT);
    if (!net->output)
        return -ENOMEM;
    net->worker = w;
    net->scratch = w->scratch;
    net->dirty.tail = &net->dirty.first;
    net->later.tail = &net->later.first;
    clocks_init(net);
    list_init(&net->later_job.link);
    net->later_job.run = streams_later;
    net->shed_task.run = net_shed;
    releases_init(net);
    list_init(&net->moves);
    mailboxes_init(net);
    placing_init(net);
    return 0;
}

static void part_destroy(weft_worker *w, void *state) {
    struct net_worker *net = state;
    (void)w;
    placing_end(net);
    mailboxes_release(net);
    spares_release(net);
    mem_free(net->output, NET_OUTPUT);
}

static void part_flush(weft_worker *w, void *state) {
    (void)w;
    streams_flush(state);
}

static void stop_one(weft_stream *s, void *arg) {
    (void)arg;
    stream_stop(s);
}

static void expire_one(weft_stream *s, void *arg) {
    (void)arg;
    stream_expire(s);
}

static void part_stop(weft_worker *w, void *state) {
    struct net_worker *net = state;
    (void)w;
    net->stopping = true;
    streams_visit(net, stop_one, NULL);
}

static void part_expire(weft_worker *w, void *state) {
    struct net_worker *net = state;
    (void)w;
    net->expired = true;
    streams_visit(net, expire_one, NULL);
}

const struct worker_part net_part = {
    .state_size = sizeof(struct net_worker),
    .create = part_create,
    .flush = part_flush,
    .stop = part_stop,
    .expire = part_expire,
    .destroy = part_destroy,
};

__attribute__((constructor)) static void part_register(void) {
    worker_part_register(&net_part);
}

struct visit {
    void (*fn)(weft_stream *s, void *arg);
    void *arg;
};

/* One that on_open has not prepared yet, perhaps adopted by fn, is not open. */
static void show_if_open(weft_stream *s, void *arg) {
    const struct visit *visit = arg;
    if ((s->flags & (STREAM_UNOPENED | STREAM_ENDED)) == 0)
        visit->fn(s, visit->arg);
}

void weft_worker_each_stream(weft_worker *w, void (*fn)(weft_stream *s, void *arg), void *arg) {
    if (!w || !fn || !worker_owner_check_void(w, "weft_worker_each_stream"))
        return;
    struct visit visit = {fn, arg};
    streams_visit(net_of(w), show_if_open, &visit);
}
