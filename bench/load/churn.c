/*
 * Connections that come and go: connect, exchange a batch, close, again. What is measured is a
 * connection, from connect() to the last byte of its echo.
 *
 * The client ends as a real one does, so that the server goes the way it would: the client's FIN
 * comes first, the server reads the end and closes. A reset would be cheaper for the client, and
 * would show the server an error rather than an end.
 *
 * So the client has the TIME_WAIT, and its port with it. On loopback Linux gives such a port away
 * again after a second (net.ipv4.tcp_tw_reuse = 2), which leaves some 28 000 connections a second
 * for one pair of addresses: towards 127.0.0.0/8 connections come from many addresses. Elsewhere,
 * "Cannot assign requested address" says that ports have run out.
 */
#include "load/load_thread.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define ADDRESSES 64u

static cli_address source(const load_thread *t, const connection *c) {
    cli_address from = {.len = 0};
    const struct sockaddr_in *to = (const struct sockaddr_in *)&t->options->address.storage;
    if (to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        return from;
    struct sockaddr_in *in = (struct sockaddr_in *)&from.storage;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)((c->index + t->dialled) % ADDRESSES));
    from.len = sizeof *in;
    return from;
}

static void dial(load_thread *t, connection *c, uint64_t now_ns) {
    bool by_count = t->options->requests > 0 && t->phase == LOAD_MEASURE;
    if (t->phase == LOAD_DRAIN || (by_count && t->to_send == 0)) {
        load_drop(t, c);
        return;
    }
    cli_address from = source(t, c);
    c->wants_write = c->finishing = false;
    c->counted = by_count;
    c->since_ns = now_ns;
    int r = connection_dial(c, &t->options->address, &from);
    if (r == 0)
        r = load_watch(t, c);
    if (r < 0) {
        load_fail(t, c, strerror(-r));
        return;
    }
    t->dialled++;
    t->to_send -= by_count;
    load_send(t, c, t->options->pipeline);
}

/* By time and by number as in the closed loop, but connections rather than messages. */
static void received(load_thread *t, connection *c, uint64_t now_ns) {
    load_take_messages(t, c);
    if (connection_outstanding(c) > 0)
        return;
    if (t->phase == LOAD_MEASURE && (t->options->requests == 0 || c->counted)) {
        histogram_record(&t->latency, now_ns - c->since_ns, 1);
        if (c->counted && --t->to_complete == 0)
            load_end_measure(t, now_ns);
    }
    load_finish(t, c);
}

static void ended(load_thread *t, connection *c, uint64_t now_ns) {
    connection_close(c);
    dial(t, c, now_ns);
}

const load_mode load_churn = {.begin = dial, .received = received, .ended = ended};
