/* Many clients at once that each do little wrong: what they cost together. */
#include "net_fixture.h"

enum { CLIENTS = 1000, ANSWER = 100000, LIMIT = 8 << 20 };

static const uint8_t answer[ANSWER];
static _Atomic unsigned answered, shed;

static void open_small(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
}

static size_t answer_or_echo(weft_stream *s, const uint8_t *data, size_t len) {
    bool wants_much = data[0] == '?';
    NOTE_EQ(weft_stream_write(s, wants_much ? answer : data, wants_much ? ANSWER : len), 0);
    answered += wants_much;
    return len;
}

static void count_shed(weft_stream *s, int error) {
    (void)s;
    shed += error == -ENOBUFS;
}

/* A hundred megabytes, of which nobody reads a byte, within eight. */
WTEST(stream_crowd, a_thousand_that_never_read_hold_max_buffered_together) {
    static const weft_protocol protocol = {
        .on_open = open_small, .on_data = answer_or_echo, .on_close = count_shed};
    static int fds[CLIENTS];
    struct net n = net_start_with(&(weft_runtime_options){.workers = 2, .max_buffered = LIMIT},
                                  NULL, &protocol);
    int reader = net_dial(&n);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_dial_small(&n, 4096);
        net_put(fds[i], "?", 1);
        if (i % 100 == 0) { /* one who reads is served all along */
            net_put(reader, "!", 1);
            net_expect(reader, "!");
        }
    }
    rt_await(&answered, CLIENTS);
    rt_await(&shed, CLIENTS - LIMIT / (ANSWER - 20000)); /* some of it the kernel holds */
    while (net_stats(&n).bytes_held > LIMIT)
        sched_yield();
    net_put(reader, "!", 1);
    net_expect(reader, "!");
    net_await_open(&n, CLIENTS + 1 - shed);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close(reader);
    net_await_open(&n, 0);
    CHECK_EQ(net_stats(&n).bytes_held, 0);
    net_end(&n);
}
