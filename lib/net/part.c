/* Net's state in every worker, and its part in a worker's life. */
#include "net/inner.h"

static int part_create(weft_worker *w, void *state) {
    struct net_worker *net = state;
    net->output = mem_alloc(NET_OUTPUT);
    if (!net->output)
        return -ENOMEM;
    net->worker = w;
    net->scratch = w->scratch;
    list_init(&net->dirty);
    list_init(&net->later);
    list_init(&net->streams);
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

/* Streams leave the list only at the end of an iteration, so callbacks cannot pull it away. */
static void part_stop(weft_worker *w, void *state) {
    struct net_worker *net = state;
    (void)w;
    net->stopping = true;
    for (struct list *node = net->streams.next; node != &net->streams; node = node->next)
        stream_stop(container_of(node, weft_stream, link));
}

static void part_expire(weft_worker *w, void *state) {
    struct net_worker *net = state;
    (void)w;
    net->expired = true;
    for (struct list *node = net->streams.next; node != &net->streams; node = node->next)
        stream_expire(container_of(node, weft_stream, link));
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

void weft_worker_each_stream(weft_worker *w, void (*fn)(weft_stream *s, void *arg), void *arg) {
    if (!w || !fn || !worker_owner_check_void(w, "weft_worker_each_stream"))
        return;
    struct net_worker *net = net_of(w);
    for (struct list *node = net->streams.next; node != &net->streams; node = node->next) {
        weft_stream *s = container_of(node, weft_stream, link);
        /* One that on_open has not prepared yet, perhaps adopted by fn, is not open. */
        if ((s->flags & (STREAM_OPENED | STREAM_ENDED)) == STREAM_OPENED)
            fn(s, arg);
    }
}
