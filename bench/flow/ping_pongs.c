/* ping_pongs: libuv's benchmark of this name with its server in the same loop: "PING\n" goes from
 * one end of a TCP connection to the other and back, and then again. */
#include "flow/flow.h"
#ifdef WEFT_BENCH_UV
#include "flow/flow_uv.h"
#endif

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CLIENT, SERVER };

static const char ping[] = {'P', 'I', 'N', 'G', '\n'};
static int ends[2];
static struct trips trips = {.seconds = 0.1};

static void must_be_ping(const void *data, size_t len) {
    must("no PING", len == sizeof ping && memcmp(data, ping, len) == 0 ? 0 : -EPROTO);
}

static void prepare(void) {
    flow_pair(ends);
    flow_pin(0);
}

/* --- by hand ---------------------------------------------------------------------------------- */

static void raw_ping(int fd) {
    must_call("send", (int)send(fd, ping, sizeof ping, MSG_NOSIGNAL));
}

static double by_hand(const void *arg) {
    int epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    (void)arg;
    prepare();
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[i]};
        must_call("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i], &event));
    }
    raw_ping(ends[CLIENT]);
    for (;;) {
        struct epoll_event event;
        char buffer[64];
        must_call("epoll_wait", epoll_wait(epoll, &event, 1, -1));
        int len = must_call("recv", (int)recv(event.data.fd, buffer, sizeof buffer, 0));
        must_be_ping(buffer, (size_t)len);
        if (event.data.fd == ends[CLIENT] && !trips_again(&trips))
            return trips_us_each(&trips);
        raw_ping(event.data.fd);
    }
}

/* --- weft ------------------------------------------------------------------------------------- */

static void weft_ping(weft_stream *s) {
    must("weft_stream_write", weft_stream_write(s, ping, sizeof ping));
}

static size_t on_data(weft_stream *s, const uint8_t *data, size_t len) {
    must_be_ping(data, len);
    if (weft_stream_arg(s) == &ends[CLIENT] && !trips_again(&trips))
        weft_runtime_stop(weft_worker_runtime(weft_stream_worker(s)));
    else
        weft_ping(s);
    return len;
}

static void on_start(weft_worker *w, void *arg) {
    static const weft_protocol client = {
        .on_open = weft_ping, .on_data = on_data, .on_stop = weft_stream_abort};
    static const weft_protocol server = {.on_data = on_data, .on_stop = weft_stream_abort};
    (void)arg;
    prepare();
    must("weft_adopt", weft_adopt(w, ends[CLIENT], &client, &ends[CLIENT], NULL));
    must("weft_adopt", weft_adopt(w, ends[SERVER], &server, &ends[SERVER], NULL));
}

static double by_weft(const void *arg) {
    const weft_runtime_options options = {.workers = 1, .on_worker_start = on_start};
    weft_runtime *rt = NULL;
    (void)arg;
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
    return trips_us_each(&trips);
}

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef WEFT_BENCH_UV
static uv_tcp_t streams[2];
static bool tries;

static void uv_ping(uv_stream_t *s) {
    flow_uv_write((uv_tcp_t *)s, ping, sizeof ping, tries);
}

static void on_read(uv_stream_t *s, ssize_t len, const uv_buf_t *buffer) {
    if (len == 0)
        return;
    must_be_ping(buffer->base, (size_t)must("read", (int)len));
    if (s == (uv_stream_t *)&streams[CLIENT] && !trips_again(&trips))
        uv_stop(s->loop);
    else
        uv_ping(s);
}

static double by_uv(bool by_trying) {
    uv_loop_t loop;
    tries = by_trying;
    must("uv_loop_init", uv_loop_init(&loop));
    prepare();
    for (int i = 0; i < 2; i++)
        flow_uv_open(&loop, &streams[i], ends[i], on_read);
    uv_ping((uv_stream_t *)&streams[CLIENT]);
    uv_run(&loop, UV_RUN_DEFAULT);
    return trips_us_each(&trips);
}

static double by_uv_write(const void *arg) {
    (void)arg;
    return by_uv(false);
}

static double by_uv_try_write(const void *arg) {
    (void)arg;
    return by_uv(true);
}
#endif

void register_ping_pongs(void) {
    static const struct contender contenders[] = {
        {"weft", by_weft},
        {"raw", by_hand},
#ifdef WEFT_BENCH_UV
        {"libuv", by_uv_write},
        {"libuv_try_write", by_uv_try_write},
#endif
    };
    contest_register(&(struct contest){
        .family = "ping_pongs", .cases = {{"round_trip", US}}, CONTENDERS(contenders)});
}
