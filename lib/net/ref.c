/* weft_stream_write_ref(): bytes that the program lends, and gets back once they are sent or never
 * will be. What is given back waits on a list of the worker for the next iteration, so that no
 * release runs inside a call of the program's; for the end of a stream, or its move to another
 * worker, it does not wait. */
#include "net/chain.h"

struct ref {
    struct piece piece;
    void (*release)(void *arg);
    void *arg;
};

static void ref_end(struct net_worker *net, struct piece *piece) {
    if (MUTANT("net-release-inside")) {
        struct ref *ref = container_of(piece, struct ref, piece);
        ref->release(ref->arg);
        return;
    }
    piece->next = NULL;
    *net->released_tail = piece;
    net->released_tail = &piece->next;
    worker_defer(net->worker, &net->release_job);
}

static const struct piece_kind ref_kind = {.end = ref_end};

/* What is given back meanwhile has its turn in the next iteration: a release that lends again, to
 * a peer who reads fast, would otherwise go on for ever. */
void releases_run(struct net_worker *net) {
    struct piece *piece = net->released;
    net->released = NULL;
    net->released_tail = &net->released;
    while (piece) {
        struct ref *ref = container_of(piece, struct ref, piece);
        void (*release)(void *) = ref->release;
        void *arg = ref->arg;
        piece = piece->next;
        spare_free(net, ref, sizeof *ref);
        worker_enter(net->worker, release);
        release(arg);
    }
}

static void release_later(struct worker_job *job) {
    releases_run(container_of(job, struct net_worker, release_job));
}

void releases_init(struct net_worker *net) {
    net->released_tail = &net->released;
    list_init(&net->release_job.link);
    net->release_job.run = release_later;
}

int weft_stream_write_ref(weft_stream *s, const void *data, size_t len, void (*release)(void *arg),
                          void *arg) {
    int r = stream_check(s, "weft_stream_write_ref");
    if (r == 0 && (!release || (!data && len)))
        r = -EINVAL;
    if (r == 0)
        r = output_admit(s, len);
    if (r < 0)
        return r;
    struct ref *ref = spare_alloc(s->net, sizeof *ref);
    if (!ref)
        return output_refuse(s, -ENOMEM);
    *ref = (struct ref){
        .piece = {.kind = &ref_kind, .data = data, .length = len}, .release = release, .arg = arg};
    if (len == 0) {
        ref_end(s->net, &ref->piece);
        return 0;
    }
    if (chain_append(s, &ref->piece) < 0) {
        spare_free(s->net, ref, sizeof *ref);
        return output_refuse(s, -ENOMEM);
    }
    output_grown(s);
    return 0;
}
