/* Streams that go to the other worker and back, again and again. Nothing else has that: a count of
 * microseconds. */
#include "flow/flow.h"

#include <errno.h>
#include <sys/socket.h>

enum { JOURNEYS = 20000 }; /* there and back, by all streams together */

struct load {
    const char *name;
    unsigned streams;
};

static const struct load *load;
static unsigned returned;
static double begin, end;

static void move_on(weft_stream *s) {
    const weft_worker *w = weft_stream_worker(s);
    weft_worker *other =
        weft_runtime_worker(weft_worker_runtime(weft_stream_worker(s)), 1 - weft_worker_index(w));
    int r = weft_stream_move(s, other);
    must("weft_stream_move", r == -ESHUTDOWN ? 0 : r); /* the others have arrived */
}

static void on_move(weft_stream *s) {
    weft_worker *w = weft_stream_worker(s);
    returned += weft_worker_index(w) == 0; /* worker 0's */
    if (weft_worker_index(w) == 1 || returned < JOURNEYS) {
        move_on(s);
    } else if (returned == JOURNEYS) {
        end = bench_seconds();
        weft_runtime_stop(weft_worker_runtime(w));
    }
}

static void on_start(weft_worker *w, void *arg) {
    static const weft_protocol protocol = {.on_open = move_on,
                                           .on_data = flow_ignore,
                                           .on_move = on_move,
                                           .on_stop = weft_stream_abort};
    (void)arg;
    flow_pin(weft_worker_index(w));
    if (weft_worker_index(w) == 1)
        return;
    for (unsigned i = 0; i < load->streams; i++) {
        int pair[2];
        must_call("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
        must("weft_adopt", weft_adopt(w, pair[0], &protocol, NULL, NULL));
    }
    begin = bench_seconds();
}

static double moves(const void *arg) {
    const weft_runtime_options options = {.workers = 2, .on_worker_start = on_start};
    weft_runtime *rt = NULL;
    load = arg;
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
    return (end - begin) * 1e6 / JOURNEYS;
}

void register_moves(void) {
    static const struct load loads[] = {{"1_stream", 1}, {"256_streams", 256}};
    static const struct contender contenders[] = {{"weft", moves}};
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "moves",
                                           .cases = {{loads[i].name, US}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
}
