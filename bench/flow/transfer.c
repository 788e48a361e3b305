/* A client asks for 16 MiB with one byte, reads and discards them, and asks again. The server is a
 * process of its own: its CPU time is that of its whole process. */
#include "flow/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

enum { BYTES = 16 << 20, REQUESTS = 16 };

static int file_fd;     /* of BYTES, in memory */
static uint8_t *memory; /* as many */
static int client;      /* the connection to it */

static void ask_and_discard(int socket, const void *arg) {
    (void)arg;
    for (int i = 0; i < REQUESTS; i++) {
        must_call("send", (int)send(socket, "?", 1, 0));
        flow_receive(socket, BYTES);
    }
}

static void prepare(void) {
    file_fd = must_call("memfd_create", memfd_create("transfer", MFD_CLOEXEC));
    must_call("ftruncate", ftruncate(file_fd, BYTES));
    void *file = mmap(NULL, BYTES, PROT_WRITE, MAP_SHARED, file_fd, 0);
    memory = malloc(BYTES);
    must_call("memory", memory && file != MAP_FAILED ? 0 : -1);
    memset(memory, 'x', BYTES);
    memcpy(file, memory, BYTES);
    client = flow_connect(ask_and_discard, NULL);
    flow_pin(0);
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* --- by hand: as much as the kernel takes, and on when the socket is writable ----------------- */

typedef ssize_t push_fn(off_t from, size_t length);

static ssize_t push_memory(off_t from, size_t length) {
    return send(client, memory + from, length, MSG_NOSIGNAL);
}

static ssize_t push_file(off_t from, size_t length) {
    return sendfile(client, file_fd, &from, length);
}

/* What is left after that. */
static size_t push_some(push_fn *push, size_t left) {
    while (left > 0) {
        ssize_t n = push((off_t)(BYTES - left), left);
        if (n < 0 && errno == EAGAIN)
            break;
        left -= (size_t)must_call("send", (int)n);
    }
    return left;
}

static void control(int epoll, int op, uint32_t events) {
    struct epoll_event event = {.events = events};
    must_call("epoll_ctl", epoll_ctl(epoll, op, client, &event));
}

static void serve_by_hand(push_fn *push) {
    int epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    control(epoll, EPOLL_CTL_ADD, EPOLLIN);
    for (size_t before = 0, left = 0;; before = left) {
        struct epoll_event event;
        char byte;
        must_call("epoll_wait", epoll_wait(epoll, &event, 1, -1));
        if (left == 0 && must_call("recv", (int)recv(client, &byte, 1, 0)) == 0)
            return;
        left = push_some(push, left ? left : BYTES);
        if ((before > 0) != (left > 0))
            control(epoll, EPOLL_CTL_MOD, left ? EPOLLOUT : EPOLLIN);
    }
}

/* --- weft ----------------------------------------------------------------------------------- */

static size_t copy(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    must("weft_stream_write", weft_stream_write(s, memory, BYTES));
    return len;
}

static void released(void *arg) {
    (void)arg;
}

static size_t lend(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    must("weft_stream_write_ref", weft_stream_write_ref(s, memory, BYTES, released, NULL));
    return len;
}

static size_t send_file(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    must("weft_stream_sendfile", weft_stream_sendfile(s, file_fd, 0, BYTES));
    return len;
}

static void on_close(weft_stream *s, int error) {
    must("the stream", error);
    weft_runtime_stop(weft_worker_runtime(weft_stream_worker(s)));
}

static void on_start(weft_worker *w, void *protocol) {
    must("weft_adopt", weft_adopt(w, client, protocol, NULL, NULL));
}

static void serve_by_weft(size_t (*on_data)(weft_stream *, const uint8_t *, size_t)) {
    weft_protocol protocol = {.on_data = on_data, .on_close = on_close};
    const weft_runtime_options options = {
        .workers = 1, .on_worker_start = on_start, .arg = &protocol};
    weft_runtime *rt = NULL;
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
}

/* --- the figures: the rate, and the CPU time ------------------------------------------------- */

static double run(push_fn *push, size_t (*on_data)(weft_stream *, const uint8_t *, size_t)) {
    const double gigabytes = (double)REQUESTS * BYTES / 1e9;
    prepare();
    double begin = bench_seconds(), cpu_begin = cpu_seconds();
    if (push)
        serve_by_hand(push);
    else
        serve_by_weft(on_data);
    apart_note(1, (cpu_seconds() - cpu_begin) * 1e3 / gigabytes);
    return gigabytes / (bench_seconds() - begin);
}

static double weft_copied(const void *arg) {
    (void)arg;
    return run(NULL, copy);
}

static double weft_lent(const void *arg) {
    (void)arg;
    return run(NULL, lend);
}

static double weft_file(const void *arg) {
    (void)arg;
    return run(NULL, send_file);
}

static double raw_memory(const void *arg) {
    (void)arg;
    return run(push_memory, NULL);
}

static double raw_file(const void *arg) {
    (void)arg;
    return run(push_file, NULL);
}

void register_transfers(void) {
    static const struct contender from_memory[] = {
        {"weft", weft_lent}, {"weft_copied", weft_copied}, {"raw", raw_memory}};
    static const struct contender from_file[] = {{"weft", weft_file}, {"raw", raw_file}};
    contest_register(&(struct contest){.family = "transfer",
                                       .cases = {{"memory", GB_PER_S}, {"memory_cpu", MS_PER_GB}},
                                       CONTENDERS(from_memory)});
    contest_register(&(struct contest){.family = "transfer",
                                       .cases = {{"file", GB_PER_S}, {"file_cpu", MS_PER_GB}},
                                       CONTENDERS(from_file)});
}
