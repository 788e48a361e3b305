/* Messages of 64 bytes from foreign threads to one connection, whose peer reads and counts. Time
 * runs until it has all. The loop is on CPU 0, the threads and the peer are on CPU 1. */
#include "flow/flow.h"
#ifdef WEFT_BENCH_UV
#include "flow/flow_uv.h"
#endif

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 64, MESSAGES = 200000 };

struct load {
    const char *name;
    unsigned threads;
};

static const struct load *load;
static void (*send_one)(const char *data);
static pthread_barrier_t together; /* the threads, and the loop once it can take messages */
static int peer;                   /* the connection to it */
static double begin, *end;         /* shared with the peer, who writes it */

static void drain(int socket, const void *arg) {
    (void)arg;
    flow_receive(socket, (size_t)MESSAGES * BYTES);
    *end = bench_seconds();
}

static void *send_share(void *arg) {
    static const char data[BYTES] = "message";
    (void)arg;
    flow_pin(1);
    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < MESSAGES / load->threads; i++)
        send_one(data);
    return NULL;
}

static void prepare(const void *arg, void (*send)(const char *data)) {
    load = arg;
    send_one = send;
    end = apart_shared(sizeof *end);
    peer = flow_connect(drain, NULL);
    pthread_barrier_init(&together, NULL, load->threads + 1);
    for (unsigned i = 0; i < load->threads; i++) {
        pthread_t thread;
        must("thread", -pthread_create(&thread, NULL, send_share, NULL));
    }
}

static void go(void) {
    flow_pin(0);
    begin = bench_seconds();
    pthread_barrier_wait(&together);
}

static double rate(void) {
    return MESSAGES / (*end - begin) / 1e6;
}

/* --- weft: by the stream's id ----------------------------------------------------------------- */

static weft_runtime *runtime;
static weft_stream_id id;

static void send_by_id(const char *data) {
    must("weft_send", weft_send(runtime, id, data, BYTES));
}

static void on_close(weft_stream *s, int error) {
    must("the stream", error);
    weft_runtime_stop(weft_worker_runtime(weft_stream_worker(s)));
}

/* All messages may wait at once, as in the list that it is compared with. */
static void on_start(weft_worker *w, void *arg) {
    static const weft_protocol protocol = {
        .on_data = flow_ignore, .on_close = on_close, .max_pending = (size_t)MESSAGES * BYTES};
    weft_stream *s = NULL;
    (void)arg;
    must("weft_adopt", weft_adopt(w, peer, &protocol, NULL, &s));
    id = weft_stream_id_of(s);
    go();
}

static double by_weft(const void *arg) {
    const weft_runtime_options options = {.workers = 1,
                                          .stall_ns = WEFT_FOREVER,
                                          /* it waits for the threads */ .on_worker_start =
                                              on_start};
    prepare(arg, send_by_id);
    must("weft_runtime_create", weft_runtime_create(&options, &runtime));
    must("weft_runtime_run", weft_runtime_run(runtime));
    weft_runtime_destroy(runtime);
    return rate();
}

/* --- libuv: a list under a mutex, one uv_async_send per list that the loop takes -------------- */

#ifdef WEFT_BENCH_UV
struct message {
    uv_write_t request;
    struct message *next;
    char bytes[BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct message *first, **last = &first; /* under lock */
static uv_loop_t loop;
static uv_async_t wake;
static uv_tcp_t stream;

static void send_by_list(const char *data) {
    struct message *m = malloc(sizeof *m);
    must_call("malloc", m ? 0 : -1);
    m->next = NULL;
    memcpy(m->bytes, data, BYTES);
    pthread_mutex_lock(&lock);
    bool was_empty = first == NULL;
    *last = m;
    last = &m->next;
    pthread_mutex_unlock(&lock);
    if (was_empty)
        uv_async_send(&wake);
}

static struct message *take_all(void) {
    pthread_mutex_lock(&lock);
    struct message *taken = first;
    first = NULL;
    last = &first;
    pthread_mutex_unlock(&lock);
    return taken;
}

static void on_written(uv_write_t *request, int status) {
    must("uv_write", status);
    free(request->data);
}

static void write_out(uv_write_t *request, void *memory, char *bytes, size_t len) {
    const uv_buf_t buffer = uv_buf_init(bytes, (unsigned)len);
    request->data = memory;
    must("uv_write", uv_write(request, (uv_stream_t *)&stream, &buffer, 1, on_written));
}

static void write_each(uv_async_t *async) {
    (void)async;
    for (struct message *m = take_all(), *next; m; m = next) {
        next = m->next;
        write_out(&m->request, m, m->bytes, BYTES);
    }
}

/* The whole list as one: uv_write tries at once, and keeps what the kernel does not take. */
static void write_gathered(uv_async_t *async) {
    struct message *taken = take_all(), *next;
    size_t len = 0;
    (void)async;
    for (const struct message *m = taken; m; m = m->next)
        len += BYTES;
    struct {
        uv_write_t request;
        char bytes[];
    } *all = malloc(sizeof *all + len);
    must_call("malloc", all ? 0 : -1);
    char *at = all->bytes;
    for (struct message *m = taken; m; m = next, at += BYTES) {
        next = m->next;
        memcpy(at, m->bytes, BYTES);
        free(m);
    }
    if (len > 0)
        write_out(&all->request, all, all->bytes, len);
    else
        free(all);
}

static double by_uv(const void *arg, uv_async_cb on_wake) {
    prepare(arg, send_by_list);
    must("uv_loop_init", uv_loop_init(&loop));
    must("uv_async_init", uv_async_init(&loop, &wake, on_wake));
    flow_uv_open(&loop, &stream, peer, NULL);
    go();
    uv_run(&loop, UV_RUN_DEFAULT);
    return rate();
}

static double by_uv_each(const void *arg) {
    return by_uv(arg, write_each);
}

static double by_uv_gathered(const void *arg) {
    return by_uv(arg, write_gathered);
}
#endif

void register_sends(void) {
    static const struct load loads[] = {{"1_threads", 1}, {"2_threads", 2}, {"4_threads", 4}};
    static const struct contender contenders[] = {
        {"weft", by_weft},
#ifdef WEFT_BENCH_UV
        {"libuv", by_uv_each},
        {"libuv_gathered", by_uv_gathered},
#endif
    };
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "sends",
                                           .cases = {{loads[i].name, MILLIONS_PER_S}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
}
