#include "net_fixture.h"

#include <arpa/inet.h>

/* Only a failure takes that long. */
static int patience_s(void) {
    return wtest_slowdown() > 1 ? 60 : 20;
}

/* --- the log --------------------------------------------------------------------------------- */

enum { NOTES = 1 << 16, ORDER = 4096, BYTES = 8 << 20 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned counts[NOTE_KINDS], total;
    struct {
        uint8_t kind;
        int64_t value;
    } notes[NOTES];
    char order[ORDER], wrong[256];
    weft_stream *stream;
    size_t length;
    uint8_t *bytes;
} record = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void note(enum note kind, int64_t value) {
    pthread_mutex_lock(&record.lock);
    if (record.total < NOTES) {
        record.notes[record.total].kind = (uint8_t)kind;
        record.notes[record.total].value = value;
    }
    if (record.total < ORDER - 1)
        record.order[record.total] = "odretscu"[kind];
    record.total++;
    record.counts[kind]++;
    pthread_cond_broadcast(&record.changed);
    pthread_mutex_unlock(&record.lock);
}

void note_compare(const char *file, int line, const char *what, intmax_t actual,
                  intmax_t expected) {
    if (actual == expected)
        return;
    pthread_mutex_lock(&record.lock);
    if (record.wrong[0] == 0)
        (void)snprintf(record.wrong, sizeof record.wrong, "%s:%d: %s is %jd, expected %jd", file,
                       line, what, actual, expected);
    pthread_mutex_unlock(&record.lock);
}

unsigned note_count(enum note kind) {
    pthread_mutex_lock(&record.lock);
    unsigned count = record.counts[kind];
    pthread_mutex_unlock(&record.lock);
    return count;
}

static bool wait_for_change(const struct timespec *deadline) {
    return pthread_cond_timedwait(&record.changed, &record.lock, deadline) == 0;
}

static struct timespec deadline_of(int seconds) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += seconds;
    return t;
}

void note_await(enum note kind, unsigned count) {
    const struct timespec deadline = deadline_of(patience_s());
    pthread_mutex_lock(&record.lock);
    bool in_time = true;
    while (record.counts[kind] < count && in_time)
        in_time = wait_for_change(&deadline);
    unsigned seen = record.counts[kind];
    pthread_mutex_unlock(&record.lock);
    CHECK_MSG(seen >= count, "waited in vain for '%c' number %u, there are %u: %s",
              "odretscu"[kind], count, seen, record.order);
}

int64_t note_value(enum note kind, unsigned index) {
    int64_t value = INT64_MIN;
    pthread_mutex_lock(&record.lock);
    for (unsigned i = 0; i < record.total && i < NOTES; i++)
        if (record.notes[i].kind == kind && index-- == 0) {
            value = record.notes[i].value;
            break;
        }
    pthread_mutex_unlock(&record.lock);
    CHECK_MSG(value != INT64_MIN, "no such note");
    return value;
}

const char *note_order(void) {
    static char copy[ORDER];
    pthread_mutex_lock(&record.lock);
    memcpy(copy, record.order, sizeof copy);
    pthread_mutex_unlock(&record.lock);
    return copy;
}

weft_stream *note_stream(void) {
    pthread_mutex_lock(&record.lock);
    weft_stream *s = record.stream;
    pthread_mutex_unlock(&record.lock);
    return s;
}

void note_open(weft_stream *s) {
    pthread_mutex_lock(&record.lock);
    record.stream = s;
    pthread_mutex_unlock(&record.lock);
    note(NOTE_OPEN, weft_worker_index(weft_stream_worker(s)));
}

size_t note_data(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s;
    pthread_mutex_lock(&record.lock);
    if (!record.bytes)
        record.bytes = malloc(BYTES);
    if (record.length + len <= BYTES)
        memcpy(record.bytes + record.length, data, len);
    record.length += len;
    pthread_mutex_unlock(&record.lock);
    note(NOTE_DATA, (int64_t)len);
    return len;
}

size_t note_echo(weft_stream *s, const uint8_t *data, size_t len) {
    (void)weft_stream_write(s, data, len);
    return len;
}

void note_drain(weft_stream *s) {
    note(NOTE_DRAIN, (int64_t)weft_stream_pending(s));
}

void note_eof(weft_stream *s) {
    note(NOTE_EOF, (int64_t)weft_stream_unconsumed(s, NULL));
}

void note_eof_close(weft_stream *s) {
    note_eof(s);
    weft_stream_close(s);
}

void note_timeout(weft_stream *s) {
    (void)s;
    note(NOTE_TIMEOUT, 0);
}

void note_move(weft_stream *s) {
    NOTE_EQ(weft_stream_worker(s) == weft_worker_current(), true);
    note(NOTE_USER, weft_worker_index(weft_worker_current()));
}

void note_stop(weft_stream *s) {
    (void)s;
    note(NOTE_STOP, 0);
}

void note_close(weft_stream *s, int error) {
    (void)s;
    note(NOTE_CLOSE, error);
}

size_t note_bytes(const uint8_t **ret_data) {
    pthread_mutex_lock(&record.lock);
    size_t length = record.length;
    if (ret_data)
        *ret_data = record.bytes;
    pthread_mutex_unlock(&record.lock);
    return length;
}

void note_await_bytes(size_t length) {
    const struct timespec deadline = deadline_of(patience_s());
    pthread_mutex_lock(&record.lock);
    bool in_time = true;
    while (record.length < length && in_time)
        in_time = wait_for_change(&deadline);
    size_t seen = record.length;
    pthread_mutex_unlock(&record.lock);
    CHECK_MSG(seen >= length, "waited in vain for %zu bytes, there are %zu", length, seen);
}

/* --- servers --------------------------------------------------------------------------------- */

struct net net_start_with(const weft_runtime_options *options, const weft_listen_options *listen,
                          const weft_protocol *protocol) {
    struct net n = {.runtime = rt_create_with(options)};
    CHECK_EQ(weft_listen_with(n.runtime, "127.0.0.1:0", listen, protocol, NULL, &n.listener), 0);
    CHECK_EQ(weft_runtime_start(n.runtime), 0);
    return n;
}

struct net net_start(unsigned workers, const weft_protocol *protocol) {
    const weft_runtime_options options = {.workers = workers};
    return net_start_with(&options, NULL, protocol);
}

void net_end(struct net *n) {
    rt_end(n->runtime);
    n->runtime = NULL;
    CHECK_MSG(record.wrong[0] == 0, "%s", record.wrong);
}

weft_worker *net_worker_at(const struct net *n, unsigned index) {
    return weft_runtime_worker(n->runtime, index);
}

weft_stats net_stats(const struct net *n) {
    weft_stats sum = {0};
    for (unsigned i = 0; i < weft_runtime_worker_count(n->runtime); i++) {
        weft_stats one = rt_stats(net_worker_at(n, i));
        for (size_t word = 0; word < sizeof sum / sizeof(uint64_t); word++)
            ((uint64_t *)&sum)[word] += ((const uint64_t *)&one)[word];
    }
    return sum;
}

void net_await_open(const struct net *n, uint64_t streams) {
    uint64_t until_ns = now_ns() + (uint64_t)patience_s() * NSEC_PER_SEC;
    while (net_stats(n).streams_open != streams && now_ns() < until_ns)
        sched_yield();
    CHECK_EQ(net_stats(n).streams_open, streams);
}

/* --- clients --------------------------------------------------------------------------------- */

int net_port(const weft_listener *l) {
    return atoi(strrchr(weft_listener_address(l), ':') + 1);
}

static int client_socket(int receive_buffer) {
    const struct timeval patience = {.tv_sec = patience_s()};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (receive_buffer)
        CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    CHECK_EQ(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    return fd;
}

static int dial(int port, int receive_buffer) {
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = client_socket(receive_buffer);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

int net_dial_port(int port) {
    return dial(port, 0);
}

int net_dial(const struct net *n) {
    return net_dial_small(n, 0);
}

int net_dial_small(const struct net *n, int receive_buffer) {
    int fd = dial(net_port(n->listener), receive_buffer);
    CHECK_MSG(fd >= 0, "connect: %s", strerror(-fd));
    return fd;
}

void net_put(int fd, const void *data, size_t length) {
    for (const uint8_t *p = data; length > 0;) {
        ssize_t n = send(fd, p, length, MSG_NOSIGNAL);
        CHECK_MSG(n > 0, "send: %s", strerror(errno));
        p += n;
        length -= (size_t)n;
    }
}

ssize_t net_get_some(int fd, void *buffer, size_t size) {
    ssize_t n = recv(fd, buffer, size, 0);
    if (n < 0)
        CHECK_MSG(errno != EAGAIN, "nothing came");
    return n < 0 ? -errno : n;
}

void net_get(int fd, void *buffer, size_t length) {
    for (uint8_t *p = buffer; length > 0;) {
        ssize_t n = net_get_some(fd, p, length);
        CHECK_MSG(n > 0, "recv: %zd, still to come %zu", n, length);
        p += n;
        length -= (size_t)n;
    }
}

void net_expect(int fd, const char *text) {
    char buffer[256] = "";
    CHECK(strlen(text) < sizeof buffer);
    net_get(fd, buffer, strlen(text));
    CHECK_STR(buffer, text);
}

void net_expect_end(int fd) {
    char byte;
    CHECK_EQ(net_get_some(fd, &byte, 1), 0);
}

void net_expect_reset(int fd) {
    char buffer[4096];
    ssize_t n;
    while ((n = net_get_some(fd, buffer, sizeof buffer)) > 0)
        ;
    CHECK_EQ(n, -ECONNRESET);
}

void net_end_output(int fd) {
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
}

void net_reset(int fd) {
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

void net_await_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, patience_s() * 1000), 1);
}

void net_pair(int fds[2]) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(listening, (struct sockaddr *)&name, sizeof name), 0);
    CHECK_EQ(listen(listening, 1), 0);
    CHECK_EQ(getsockname(listening, (struct sockaddr *)&name, &size), 0);
    fds[0] = dial(ntohs(name.sin_port), 0);
    fds[1] = accept(listening, NULL, NULL);
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    close(listening);
}

/* Not periodic in any length that buffers have. */
uint8_t net_byte(size_t i) {
    return (uint8_t)(i * 2654435761u >> 13);
}

void net_fill(uint8_t *buffer, size_t length, size_t from) {
    for (size_t i = 0; i < length; i++)
        buffer[i] = net_byte(from + i);
}

size_t net_check(const uint8_t *data, size_t length, size_t from) {
    size_t i = 0;
    while (i < length && data[i] == net_byte(from + i))
        i++;
    return i;
}

/* --- adopted streams -------------------------------------------------------------------------- */

struct adoption {
    weft_worker *worker;
    int fd, result;
    const weft_protocol *protocol;
    weft_stream *stream;
};

static void adopt_run(void *arg) {
    struct adoption *a = arg;
    a->result = weft_adopt(a->worker, a->fd, a->protocol, NULL, &a->stream);
}

weft_stream *net_adopt(const struct net *n, int fd, const weft_protocol *protocol) {
    struct adoption a = {.worker = net_worker_at(n, 0), .fd = fd, .protocol = protocol};
    rt_call(a.worker, adopt_run, &a);
    CHECK_EQ(a.result, 0);
    return a.stream;
}

weft_worker *net_next_worker(weft_stream *s) {
    weft_worker *w = weft_stream_worker(s);
    weft_runtime *rt = weft_worker_runtime(w);
    return weft_runtime_worker(rt, (weft_worker_index(w) + 1) % weft_runtime_worker_count(rt));
}
