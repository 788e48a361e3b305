/* A turn is the callback of an idle handle. uv_try_write, where the kernel does not take all, leaves
 * the rest to uv_write. */
#include "common/apart.h"
#include "flow/writes.h"

#include <stdint.h>
#include <stdlib.h>
#include <uv.h>

static uv_tcp_t stream;
static bool tries;

static void on_written(uv_write_t *request, int status) {
    must("uv_write", status);
    free(request);
}

static void write_one(void) {
    uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)writes_data, (unsigned)writes->bytes);
    if (tries) {
        int taken = uv_try_write((uv_stream_t *)&stream, &buffer, 1);
        buffer.len -= (size_t)must("uv_try_write", taken == UV_EAGAIN ? 0 : taken);
        if (buffer.len == 0)
            return;
    }
    uv_write_t *request = malloc(sizeof *request);
    must_call("malloc", request ? 0 : -1);
    must("uv_write", uv_write(request, (uv_stream_t *)&stream, &buffer, 1, on_written));
}

static void turn(uv_idle_t *idle) {
    if (!writes_again())
        uv_idle_stop(idle);
    else
        for (unsigned i = 0; i < writes->per_turn; i++)
            write_one();
}

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
    static char buffer[64];
    (void)handle;
    (void)suggested;
    *ret_buffer = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *s, ssize_t len, const uv_buf_t *buffer) {
    (void)buffer;
    if (len < 0)
        uv_stop(s->loop);
}

static double run(const void *arg, bool by_trying) {
    uv_loop_t loop;
    uv_idle_t idle;
    tries = by_trying;
    must("uv_loop_init", uv_loop_init(&loop));
    must("uv_tcp_init", uv_tcp_init(&loop, &stream));
    must("uv_tcp_open", uv_tcp_open(&stream, writes_connect(arg)));
    must("uv_read_start", uv_read_start((uv_stream_t *)&stream, lend_buffer, on_read));
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
