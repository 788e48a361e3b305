#include "flow/flow_uv.h"

#include "common/apart.h"

#include <stdint.h>
#include <stdlib.h>

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
    static char buffer[4096];
    (void)handle;
    (void)suggested;
    *ret_buffer = uv_buf_init(buffer, sizeof buffer);
}

static void until_the_end(uv_stream_t *s, ssize_t len, const uv_buf_t *buffer) {
    (void)buffer;
    if (len < 0)
        uv_stop(s->loop);
}

void flow_uv_open(uv_loop_t *loop, uv_tcp_t *stream, int fd, uv_read_cb on_read) {
    must("uv_tcp_init", uv_tcp_init(loop, stream));
    must("uv_tcp_open", uv_tcp_open(stream, fd));
    must("uv_read_start",
         uv_read_start((uv_stream_t *)stream, lend_buffer, on_read ? on_read : until_the_end));
}

static void on_written(uv_write_t *request, int status) {
    must("uv_write", status);
    free(request);
}

void flow_uv_write(uv_tcp_t *stream, const char *bytes, size_t len, bool by_trying) {
    uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    if (by_trying) {
        int taken = uv_try_write((uv_stream_t *)stream, &buffer, 1);
        size_t n = (size_t)must("uv_try_write", taken == UV_EAGAIN ? 0 : taken);
        if (n == len)
            return;
        buffer.base += n;
        buffer.len -= n;
    }
    uv_write_t *request = malloc(sizeof *request);
    must_call("malloc", request ? 0 : -1);
    must("uv_write", uv_write(request, (uv_stream_t *)stream, &buffer, 1, on_written));
}
