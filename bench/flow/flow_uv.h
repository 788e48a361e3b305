/* Connections of libuv, as most programs have them: a buffer to read into, memory per write. */
#ifndef WEFT_BENCH_FLOW_UV_H
#define WEFT_BENCH_FLOW_UV_H

#include <stdbool.h>
#include <uv.h>

/* Reads from the connected socket fd; on_read NULL: until the peer closes, which stops the loop. */
void flow_uv_open(uv_loop_t *loop, uv_tcp_t *stream, int fd, uv_read_cb on_read);

/* Writes bytes that stay; by_trying: with uv_write only what uv_try_write leaves. */
void flow_uv_write(uv_tcp_t *stream, const char *bytes, size_t len, bool by_trying);

#endif
