/* A turn is the callback of an idle handle. */
#include "common/apart.h"
#include "flow/flow_uv.h"
#include "flow/writes.h"

static uv_tcp_t stream;
static bool tries;

static void turn(uv_idle_t *idle) {
    if (!writes_again())
        uv_idle_stop(idle);
    else
        for (unsigned i = 0; i < writes->per_turn; i++)
            flow_uv_write(&stream, writes_data, writes->bytes, tries);
}

static double run(const void *arg, bool by_trying) {
    uv_loop_t loop;
    uv_idle_t idle;
    tries = by_trying;
    must("uv_loop_init", uv_loop_init(&loop));
    flow_uv_open(&loop, &stream, writes_connect(arg), NULL);
    must("uv_idle_init", uv_idle_init(&loop, &idle));
    must("uv_idle_start", uv_idle_start(&idle, turn));
    writes_begin();
    uv_run(&loop, UV_RUN_DEFAULT);
    writes_end();
    return writes_figure();
}

double writes_uv(const void *arg) {
    return run(arg, false);
}

double writes_uv_try(const void *arg) {
    return run(arg, true);
}
