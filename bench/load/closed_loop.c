/*
 * The closed loop: a connection sends a batch, waits for its echo, and sends the next. It finds out
 * what a server can do, and says little about latency: while the server stalls, nothing is sent
 * that could be seen to wait.
 */
#include "load/load_thread.h"

static void start_batch(load_thread *t, connection *c, uint64_t now_ns) {
    bool by_count = t->options->requests > 0 && t->phase == LOAD_MEASURE;
    uint64_t messages = t->options->pipeline;
    if (by_count && messages > t->to_send)
        messages = t->to_send;
    if (t->phase == LOAD_DRAIN || messages == 0) {
        load_finish(t, c);
        return;
    }
    if (by_count)
        t->to_send -= messages;
    c->counted = by_count;
    c->since_ns = now_ns;
    load_send(t, c, messages);
}

/* By time, what completes in the window counts: what was under way at its start makes up for what
 * is at its end. By number, exactly the messages sent in the measured part count. */
static void received(load_thread *t, connection *c, uint64_t now_ns) {
    uint64_t messages = load_take_messages(t, c);
    if (t->phase == LOAD_MEASURE && (t->options->requests == 0 || c->counted)) {
        histogram_record(&t->latency, now_ns - c->since_ns, messages);
        if (c->counted && (t->to_complete -= messages) == 0)
            load_end_measure(t, now_ns);
    }
    if (connection_outstanding(c) == 0)
        start_batch(t, c, now_ns);
}

const load_mode load_closed_loop = {.begin = start_batch, .received = received};
