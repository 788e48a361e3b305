#include "net_world.h"

#include <sys/mman.h>

struct net world;
static int neighbour;

static struct {
    _Atomic unsigned opened, closed;
    _Atomic int error;
} streams;

/* --- the server ------------------------------------------------------------------------------ */

static uint8_t big[BIG];
static int big_file = -1;

static void released(void *arg) {
    (void)arg;
}

static void on_open(weft_stream *s) {
    (void)s;
    atomic_fetch_add(&streams.opened, 1);
}

static void on_close(weft_stream *s, int error) {
    (void)s;
    if (error)
        atomic_store(&streams.error, error);
    atomic_fetch_add(&streams.closed, 1);
}

/* A write that is refused ends the stream by itself, without an on_drain. */
static void answer(weft_stream *s, const uint8_t *message) {
    switch (message[0]) {
    case 'b':
        for (size_t at = 0; at < BIG; at += BIG / 3)
            (void)weft_stream_write(s, big + at, BIG / 3);
        break;
    case 's': (void)weft_stream_write(s, big, SMALL); break;
    case 'r': (void)weft_stream_write_ref(s, big, BIG, released, NULL); break;
    case 'f':
        if (weft_stream_sendfile(s, big_file, 0, BIG) < 0)
            weft_stream_abort(s);
        break;
    case 'm':
        if (weft_stream_move(s, net_next_worker(s)) < 0)
            weft_stream_abort(s);
        break;
    default: (void)weft_stream_write(s, message, MESSAGE);
    }
    if (message[0] == 'c')
        weft_stream_close(s);
}

static size_t on_data(weft_stream *s, const uint8_t *data, size_t len) {
    size_t used = 0;
    for (; len - used >= MESSAGE; used += MESSAGE)
        answer(s, data + used);
    return used;
}

static const uint8_t moved[MESSAGE] = {'m'}, good_bye[MESSAGE] = {'y'};

static void on_move(weft_stream *s) {
    (void)weft_stream_write(s, moved, MESSAGE);
}

static void on_eof(weft_stream *s) {
    (void)weft_stream_write(s, good_bye, MESSAGE);
    weft_stream_close(s);
}

const weft_protocol world_protocol = {.on_open = on_open,
                                      .on_data = on_data,
                                      .on_move = on_move,
                                      .on_eof = on_eof,
                                      .on_close = on_close};

/* --- the client ------------------------------------------------------------------------------ */

/* 0, -errno, or -EPROTO: an end too early, or wrong bytes. */
static int get(int fd, const uint8_t *expected, size_t length) {
    static uint8_t buffer[BIG];
    for (size_t at = 0; at < length;) {
        ssize_t n = recv(fd, buffer + at, length - at, 0);
        if (n <= 0)
            return n < 0 ? -errno : -EPROTO;
        at += (size_t)n;
    }
    return memcmp(buffer, expected, length) == 0 ? 0 : -EPROTO;
}

static int put(int fd, const uint8_t *data, size_t length) {
    return send(fd, data, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -errno;
}

static int get_end(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n > 0 ? -EPROTO : n < 0 ? -errno : 0;
}

/* One and a half messages, and when the answer to the one is there the other half. */
static int exchange_halves(int fd) {
    const uint8_t message[2 * MESSAGE] = {'e', [MESSAGE] = 'e'};
    int r = put(fd, message, MESSAGE + MESSAGE / 2);
    if (r == 0)
        r = get(fd, message, MESSAGE);
    if (r == 0)
        r = put(fd, message + MESSAGE + MESSAGE / 2, MESSAGE / 2);
    return r == 0 ? get(fd, message, MESSAGE) : r;
}

static int exchange(int fd, char kind) {
    const uint8_t message[MESSAGE] = {(uint8_t)kind};
    if (kind == 'h')
        return exchange_halves(fd);
    int r = put(fd, message, MESSAGE);
    if (r < 0)
        return r;
    if (kind == 'b' || kind == 'r' || kind == 'f')
        return get(fd, big, BIG);
    if (kind == 's')
        return get(fd, big, SMALL);
    return get(fd, kind == 'm' ? moved : message, MESSAGE);
}

static int play(int fd, const char *script) {
    int r = 0;
    for (; *script && r == 0; script++) {
        r = exchange(fd, *script);
        if (*script == 'c')
            return r == 0 ? get_end(fd) : r;
    }
    if (r == 0)
        r = shutdown(fd, SHUT_WR) < 0 ? -errno : get(fd, good_bye, MESSAGE);
    return r == 0 ? get_end(fd) : r;
}

int life(const char *script) {
    atomic_store(&streams.opened, 0);
    atomic_store(&streams.closed, 0);
    atomic_store(&streams.error, 0);
    int fd = net_dial_small(&world, 4096);
    int seen = play(fd, script);
    close(fd);
    /* One that is on its way between workers is counted by neither. */
    uint64_t until_ns = now_ns() + 20 * NSEC_PER_SEC;
    do {
        net_await_open(&world, 1);
        if (now_ns() > until_ns)
            return -ETIME; /* it never closed */
    } while (atomic_load(&streams.closed) != atomic_load(&streams.opened));
    unsigned opened = atomic_load(&streams.opened);
    if (opened == 0)
        return LIFE_REFUSED;
    CHECK_EQ(opened, 1);
    int error = atomic_load(&streams.error);
    return error ? error : seen;
}

/* --- the world ------------------------------------------------------------------------------- */

static void make_big(void) {
    if (big_file >= 0)
        return;
    net_fill(big, BIG, 0);
    big_file = memfd_create("big", MFD_CLOEXEC);
    CHECK_EQ(write(big_file, big, BIG), BIG);
}

void *net_world_open(unsigned workers) {
    make_big();
    world = net_start(workers, &world_protocol);
    neighbour = net_dial(&world);
    world_neighbour_lives();
    return &world;
}

void world_echoes(int fd) {
    CHECK_EQ(exchange(fd, 'e'), 0);
}

void world_neighbour_lives(void) {
    world_echoes(neighbour);
}

void net_world_close(void *unused) {
    (void)unused;
    net_end_output(neighbour);
    CHECK_EQ(get(neighbour, good_bye, MESSAGE), 0);
    CHECK_EQ(get_end(neighbour), 0);
    close(neighbour);
    net_end(&world);
}

void net_world_on_worker(void *unused, void (*fn)(void *arg), void *arg) {
    (void)unused;
    rt_call(net_worker_at(&world, 0), fn, arg);
}

struct text {
    char *buffer;
    size_t size, length;
};

/* On its own thread: nobody changes the selector. */
static void describe_worker(void *arg) {
    struct text *t = arg;
    weft_worker *w = weft_worker_current();
    const char *difference = sweep_selector_differs(w->selector);
    weft_stats stats = rt_stats(w);
    int n =
        snprintf(t->buffer + t->length, t->size - t->length,
                 "worker %u: %u open, %u assigned, %u holds, %u held; %u registered; %s\n",
                 weft_worker_index(w), (unsigned)stats.streams_open,
                 atomic_load(&net_of(w)->assigned), (unsigned)w->holds, (unsigned)stats.bytes_held,
                 (unsigned)atomic_load(&w->selector->count), difference ? difference : "");
    t->length += n > 0 ? (size_t)n : 0;
}

size_t world_snapshot(void *unused, void *buffer, size_t size) {
    struct text t = {.buffer = buffer, .size = size};
    (void)unused;
    for (unsigned i = 0; i < weft_runtime_worker_count(world.runtime); i++)
        rt_call(net_worker_at(&world, i), describe_worker, &t);
    int n = snprintf(t.buffer + t.length, size - t.length, "listener: %u streams\n",
                     atomic_load(&world.listener->streams));
    return t.length + (n > 0 ? (size_t)n : 0);
}
