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
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct worker {
    const server_options *options;
    int listen_fd;
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t stop;
    char scratch[SERVER_SCRATCH];
} worker;

typedef struct write_request {
    uv_write_t request;
    char *buffer;
} write_request;

static worker *workers;
static unsigned worker_count;

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
        close_peer(peer);
}

static void alloc_shared(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer) {
    (void)suggested;
    worker *w = handle->loop->data;
    *ret_buffer = uv_buf_init(w->scratch, sizeof w->scratch);
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
    const worker *w = peer->loop->data;
    if (len < 0)
        close_peer(peer);
    if (len <= 0)
        return;
    size_t piece = w->options->per_message > 0 ? w->options->per_message : SERVER_SCRATCH;
    ssize_t sent = try_pieces(peer, buffer->base, (size_t)len, piece);
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
    const worker *w = listener->loop->data;
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

static void on_stop(uv_async_t *stop) {
    uv_stop(stop->loop);
}

static void on_signal(uv_signal_t *handle, int signo) {
    (void)handle;
    (void)signo;
    for (unsigned i = 0; i < worker_count; i++)
        uv_async_send(&workers[i].stop);
}

static void setup(worker *w) {
    check(uv_loop_init(&w->loop), "uv_loop_init");
    w->loop.data = w;
    check(uv_async_init(&w->loop, &w->stop, on_stop), "uv_async_init");
    check(uv_tcp_init(&w->loop, &w->listener), "uv_tcp_init");
    check(uv_tcp_open(&w->listener, w->listen_fd), "uv_tcp_open");
    check(uv_listen((uv_stream_t *)&w->listener, w->options->backlog, on_connection), "uv_listen");
}

static void *run(void *arg) {
    worker *w = arg;
    uv_run(&w->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void watch_signals(uv_signal_t handles[2]) {
    static const int numbers[2] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        check(uv_signal_init(&workers[0].loop, &handles[i]), "uv_signal_init");
        check(uv_signal_start(&handles[i], on_signal, numbers[i]), "uv_signal_start");
    }
}

int main(int argc, char **argv) {
    server_options options;
    server_parse(argc, argv, SERVER_TRY_WRITE | SERVER_PER_MESSAGE, &options);
    if (options.per_message > 0 && (options.flags & SERVER_TRY_WRITE) == 0)
        server_check(-EINVAL, "--per-message goes with --try-write");
    signal(SIGPIPE, SIG_IGN); /* uv_try_write sends without MSG_NOSIGNAL */
    int fds[SERVER_MAX_WORKERS];
    pthread_t ids[SERVER_MAX_WORKERS];
    server_bind(&options, false, fds);
    workers = calloc(options.workers, sizeof *workers);
    server_check(workers == NULL ? -ENOMEM : 0, "workers");
    worker_count = options.workers;
    for (unsigned i = 0; i < worker_count; i++) {
        workers[i].options = &options;
        workers[i].listen_fd = fds[i];
        setup(&workers[i]);
    }
    uv_signal_t signals[2];
    watch_signals(signals);
    for (unsigned i = 1; i < worker_count; i++)
        server_check(-pthread_create(&ids[i], NULL, run, &workers[i]), "thread");
    if (options.idle_thread)
        server_start_idle_thread();
    server_announce_fd(fds[0]);
    run(&workers[0]);
    for (unsigned i = 1; i < worker_count; i++)
        pthread_join(ids[i], NULL);
    return EXIT_SUCCESS; /* open handles end with the process */
}
