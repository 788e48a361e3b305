/* A turn is a task, which posts itself again: an iteration of the loop for each. */
#include "flow/flow.h"
#include "flow/writes.h"

#include <stdint.h>

static int connection;
static weft_stream *stream;

static void turn(weft_task *task) {
    if (!writes_again())
        return;
    for (unsigned i = 0; i < writes->per_turn; i++)
        must("weft_stream_write", weft_stream_write(stream, writes_data, writes->bytes));
    must("weft_post", weft_post(weft_worker_current(), task));
}

static void on_close(weft_stream *s, int error) {
    must("the stream", error);
    writes_end();
    weft_runtime_stop(weft_worker_runtime(weft_stream_worker(s)));
}

static void on_start(weft_worker *w, void *task) {
    static const weft_protocol protocol = {
        .on_data = flow_ignore, .on_close = on_close, .max_pending = SIZE_MAX};
    must("weft_adopt", weft_adopt(w, connection, &protocol, NULL, &stream));
    writes_begin();
    must("weft_post", weft_post(w, task));
}

double writes_weft(const void *arg) {
    weft_task first = {.run = turn};
    const weft_runtime_options options = {.workers = 1,
                                          .stall_ns = WEFT_FOREVER, /* a turn may be long */
                                          .on_worker_start = on_start,
                                          .arg = &first};
    weft_runtime *rt = NULL;
    connection = writes_connect(arg);
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
    return writes_figure();
}
