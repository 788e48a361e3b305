#include "accept/accept.h"
#include "common/apart.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

static struct board *board;

static atomic_uint *counter_of(const weft_stream *s) {
    return &board->open[weft_worker_index(weft_stream_worker(s))];
}

static void opened(weft_stream *s) {
    atomic_fetch_add(counter_of(s), 1);
}

static size_t echo(weft_stream *s, const uint8_t *data, size_t len) {
    if (data[0] == 'S')
        usleep(STUCK_MS * 1000);
    weft_stream_write(s, data, len);
    return len;
}

static void closed(weft_stream *s, int error) {
    (void)error;
    atomic_fetch_sub(counter_of(s), 1);
}

static void be_silent(int level, const char *message, void *arg) {
    (void)level, (void)message, (void)arg; /* of the stuck callback */
}

void serve_weft(const struct server *server, unsigned workers, struct board *b) {
    static const weft_protocol protocol = {.on_open = opened, .on_data = echo, .on_close = closed};
    const weft_runtime_options options = {.workers = workers, .grace_ns = WEFT_MSEC(1)};
    weft_runtime *rt = NULL;
    weft_listener *listener = NULL;
    (void)server;
    board = b;
    weft_set_log(be_silent, NULL);
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_listen", weft_listen_with(rt, "127.0.0.1:0", NULL, &protocol, NULL, &listener));
    must("weft_runtime_stop_on", weft_runtime_stop_on(rt, SIGTERM));
    must("weft_runtime_start", weft_runtime_start(rt));
    atomic_store(&b->port, atoi(strrchr(weft_listener_address(listener), ':') + 1));
    must("weft_runtime_join", weft_runtime_join(rt));
    for (unsigned i = 0; i < workers; i++) {
        weft_stats stats;
        weft_worker_stats(weft_runtime_worker(rt, i), &stats, sizeof stats);
        atomic_fetch_add(&b->handed, stats.streams_handed_over);
    }
    weft_runtime_destroy(rt);
}
