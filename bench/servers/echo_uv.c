/*
 * Echo on libuv, N loops in N threads. Two ways to write it:
 *
 * default      what libuv's own examples and most programs do: a buffer allocated per read and
 *              handed to uv_write, whose callback frees it.
 * --try-write  libuv at its best: one receive buffer per loop, uv_try_write first, uv_write with a
 *              copy only for what the kernel did not take.
 */
#include "servers/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct write_request {
    uv_write_t request;
    char *buffer;
} write_request;

static void check(int r, const char *what) { /* libuv's codes are negative errnos on Linux */
    server_check(r, what);
}

static void on_closed(uv_handle_t *handle) {
    free(handle);
}

static void close_peer(uv_stream_t *peer) {
    if (!uv_is_closing((uv_handle_t *)peer))
        uv_close((uv_handle_t *)peer, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    (void)status;
    close_peer(request->handle);
    free(request);
}

/* At the peer's end: closes once all that is queued has gone out. */
static void end_peer(uv_stream_t *peer, ssize_t reason) {
    uv_shutdown_t *request = reason == UV_EOF ? malloc(sizeof *request) : NULL;
    if (request != NULL && uv_shutdown(request, peer, on_shutdown) == 0)
        return;
    free(request);
    close_peer(peer);
}

static void on_written(uv_write_t *request, int status) {
    write_request *w = (write_request *)request;
    if (status < 0)
        close_peer(request->handle);
    free(w->buffer);
    free(w);
}

/* Takes the buffer over. */
static void write_buffer(uv_stream_t *peer, char *buffer, size_t len) {
    write_request *w = malloc(sizeof *w);
    if (w == NULL) {
        free(buffer);
        close_peer(peer);
        return;
    }
    w->buffer = buffer;
    uv_buf_t out = uv_buf_init(buffer, (unsigned)len);
    if (uv_write(&w->request, peer, &out, 1, on_written) < 0) {
        free(buffer);
        free(w);
        close_peer(peer);
    }
}

static void alloc_each(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
    (void)handle;
    char *buffer = malloc(suggested);
    *ret_buffer = uv_buf_init(buffer, buffer != NULL ? (unsigned)suggested : 0);
}

static void read_each(uv_stream_t *peer, ssize_t len, const uv_buf_t *buffer) {
    if (len > 0) {
        write_buffer(peer, buffer->base, (size_t)len);
        return;
    }
    free(buffer->base);
    if (len < 0)
        end_peer(peer, len);
}

static void alloc_shared(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
    (void)suggested;
    server_worker *w = handle->loop->data;
    *ret_buffer = uv_buf_init((char *)w->scratch, sizeof w->scratch);
}

/* Bytes the kernel took, up to len; a negative errno for a dead peer. */
static ssize_t try_pieces(uv_stream_t *peer, char *data, size_t len, size_t piece) {
    size_t sent = 0;
    while (sent < len) {
        uv_buf_t out =
            uv_buf_init(data + sent, (unsigned)(len - sent < piece ? len - sent : piece));
        int n = uv_try_write(peer, &out, 1);
        if (n == UV_EAGAIN)
            break;
        if (n < 0)
            return n;
        sent += (size_t)n;
    }
    return (ssize_t)sent;
}

static void read_shared(uv_stream_t *peer, ssize_t len, const uv_buf_t *buffer) {
    const server_worker *w = peer->loop->data;
    if (len < 0)
        end_peer(peer, len);
    if (len <= 0)
        return;
    ssize_t sent = try_pieces(peer, buffer->base, (size_t)len, w->piece);
    if (sent == len)
        return;
    size_t rest = (size_t)(len - (sent > 0 ? sent : 0));
    char *copy = sent >= 0 ? malloc(rest) : NULL;
    if (copy == NULL) {
        close_peer(peer);
        return;
    }
    memcpy(copy, buffer->base + sent, rest);
    write_buffer(peer, copy, rest);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0)
        return;
    const server_worker *w = listener->loop->data;
    uv_tcp_t *peer = malloc(sizeof *peer);
    if (peer == NULL)
        return;
    check(uv_tcp_init(listener->loop, peer), "uv_tcp_init");
    bool shared = (w->options->flags & SERVER_TRY_WRITE) != 0;
    if (uv_accept(listener, (uv_stream_t *)peer) < 0 ||
        uv_read_start((uv_stream_t *)peer, shared ? alloc_shared : alloc_each,
                      shared ? read_shared : read_each) < 0)
        close_peer((uv_stream_t *)peer);
}

static void close_each(uv_handle_t *handle, void *listener) {
    if (!uv_is_closing(handle))
        uv_close(handle, handle->type == UV_TCP && handle != listener ? on_closed : NULL);
}

static void on_stop(uv_poll_t *stop, int status, int events) {
    (void)status;
    (void)events;
    uv_walk(stop->loop, close_each, stop->data);
}

static void run(server_worker *w) {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_poll_t stop = {.data = &listener};
    check(uv_loop_init(&loop), "uv_loop_init");
    loop.data = w;
    check(uv_tcp_init(&loop, &listener), "uv_tcp_init");
    check(uv_tcp_open(&listener, w->listen_fd), "uv_tcp_open");
    check(uv_listen((uv_stream_t *)&listener, w->options->backlog, on_connection), "uv_listen");
    check(uv_poll_init(&loop, &stop, w->stop_fd), "uv_poll_init");
    check(uv_poll_start(&stop, UV_READABLE, on_stop), "uv_poll_start");
    check(uv_run(&loop, UV_RUN_DEFAULT), "uv_run");
    check(uv_loop_close(&loop), "uv_loop_close");
}

int main(int argc, char **argv) {
    server_options options;
    char version[64];
    snprintf(version, sizeof version, "libuv %s", uv_version_string());
    server_parse(argc, argv, version, SERVER_TRY_WRITE | SERVER_PER_MESSAGE | SERVER_OWN_FDS,
                 &options);
    if (options.per_message > 0 && (options.flags & SERVER_TRY_WRITE) == 0)
        server_check(-EINVAL, "--per-message goes with --try-write");
    signal(SIGPIPE, SIG_IGN); /* uv_try_write sends without MSG_NOSIGNAL */
    return server_run(&options, run);
}
