/* Outgoing connections: opened, failed, given up, and what is done to them meanwhile. */
#include "net_fixture.h"

#include <sched.h>

static struct net net;
static weft_worker *client; /* the worker that connects */

static const weft_protocol server = {.on_data = note_echo};

static void begin(void) {
    net = net_start(2, &server);
    client = net_worker_at(&net, 1);
}

static void end(void) {
    net_end(&net);
}

struct attempt {
    const char *address;
    const weft_protocol *protocol;
    void (*then)(weft_stream *s); /* at once, in the same callback */
    weft_stream *stream;
    int result;
};

static void attempt_run(void *arg) {
    struct attempt *a = arg;
    a->result = weft_connect(client, a->address, a->protocol, text("arg"), &a->stream);
    if (a->result == 0 && a->then)
        a->then(a->stream);
}

static struct attempt connect_to(const char *address, const weft_protocol *protocol,
                                 void (*then)(weft_stream *s)) {
    struct attempt a = {.address = address, .protocol = protocol, .then = then};
    rt_call(client, attempt_run, &a);
    CHECK((a.result == 0) == (a.stream != NULL));
    return a;
}

/* A port that answers no SYN: its backlog is full, and nobody accepts. */
static int dead_end(char *ret_address, size_t size) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    CHECK_EQ(listen(fd, 0), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&in, &length), 0);
    snprintf(ret_address, size, "127.0.0.1:%u", ntohs(in.sin_port));
    for (int i = 0; i < 4; i++) {
        int filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(filler, (struct sockaddr *)&in, sizeof in);
    }
    return fd;
}

/* --- it opens --- */

static void hello(weft_stream *s) {
    note_open(s);
    CHECK_STR(weft_stream_arg(s), "arg");
    weft_stream_write(s, "hello", 5);
}

static size_t close_at_5(weft_stream *s, const uint8_t *data, size_t len) {
    if (len < 5)
        return 0;
    note_data(s, data, len);
    weft_stream_close(s);
    return len;
}

static const weft_protocol caller = {
    .on_open = hello, .on_data = close_at_5, .on_close = note_close};

static void write_before(weft_stream *s) {
    CHECK_EQ(note_count(NOTE_OPEN), 0); /* never inside the call */
    CHECK_EQ(weft_stream_write(s, "early", 5), 0);
    CHECK_EQ(weft_stream_pending(s), 5);
}

static void check_bytes(const char *expected) {
    const uint8_t *bytes = NULL;
    size_t length = note_bytes(&bytes);
    CHECK_EQ(length, strlen(expected));
    CHECK_EQ(memcmp(bytes, expected, length), 0);
}

WTEST(connect, opens_talks_and_closes) {
    begin();
    connect_to(weft_listener_address(net.listener), &caller, NULL);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "odc");
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    CHECK_EQ(note_value(NOTE_OPEN, 0), 1); /* the worker */
    check_bytes("hello");
    end();
}

static size_t close_at_10(weft_stream *s, const uint8_t *data, size_t len) {
    if (len < 10)
        return 0;
    return close_at_5(s, data, len);
}

WTEST(connect, what_is_written_before_it_opens_comes_first) {
    static const weft_protocol protocol = {
        .on_open = hello, .on_data = close_at_10, .on_close = note_close};
    begin();
    connect_to(weft_listener_address(net.listener), &protocol, write_before);
    note_await(NOTE_CLOSE, 1);
    check_bytes("earlyhello");
    end();
}

static size_t echo_to_five(weft_stream *s, const uint8_t *data, size_t len) {
    return close_at_5(s, data, len);
}

static void write_and_close(weft_stream *s) {
    CHECK_EQ(weft_stream_write(s, "hello", 5), 0);
    weft_stream_close(s);
}

/* The server's side notes what came: the client's on_open never did. */
WTEST(connect, closed_with_output_it_connects_flushes_and_closes) {
    static const weft_protocol listening = {.on_data = note_data, .on_eof = note_eof_close};
    static const weft_protocol silent = {
        .on_open = hello, .on_data = echo_to_five, .on_close = note_close};
    net = net_start(2, &listening);
    client = net_worker_at(&net, 1);
    connect_to(weft_listener_address(net.listener), &silent, write_and_close);
    note_await_bytes(5);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), 0);
    CHECK_EQ(note_count(NOTE_OPEN), 0);
    check_bytes("hello");
    end();
}

/* --- it fails --- */

/* A port that was somebody's a moment ago. */
static void free_port(char *ret_address, size_t size) {
    int fd = dead_end(ret_address, size);
    close(fd);
}

/* At once, or later: both are legal, and never both. */
static void check_refused(const struct attempt *a) {
    if (a->result < 0) {
        CHECK_EQ(a->result, -ECONNREFUSED);
        rt_turns(client, 2);
        CHECK_EQ(note_count(NOTE_CLOSE), 0);
        return;
    }
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNREFUSED);
    CHECK_STR(note_order(), "c");
}

WTEST(connect, refused_is_said_once) {
    char address[64];
    begin();
    free_port(address, sizeof address);
    struct attempt a = connect_to(address, &caller, NULL);
    check_refused(&a);
    net_await_open(&net, 0);
    end();
}

/* As where the answer comes from another host: the kernel had not decided when the call
 * returned. */
static _Atomic int connect_result;

static int answer_connect(enum os_call call) {
    return call == OS_CONNECT ? connect_result : 0;
}

/* A socket that was never connected polls as hung up, and has no error: so one that has. */
static void fail_later(weft_stream *s) {
    char address[64];
    free_port(address, sizeof address);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    in.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    (void)connect(weft_stream_fd(s), (struct sockaddr *)&in, sizeof in);
}

WTEST(connect, refused_is_said_once_and_later) {
    seam_call_fn = answer_connect;
    begin();
    connect_result = -EINPROGRESS;
    struct attempt a = connect_to("127.0.0.1:1", &caller, fail_later);
    CHECK_EQ(a.result, 0);
    check_refused(&a);
    net_await_open(&net, 0);
    end();
}

WTEST(connect, times_out) {
    static const weft_protocol hasty = {.on_open = note_open,
                                        .on_data = note_data,
                                        .on_close = note_close,
                                        .idle_timeout_ns = WEFT_MSEC(1), /* not while connecting */
                                        .on_timeout = note_timeout,
                                        .connect_timeout_ns = WEFT_MSEC(50)};
    char address[64];
    begin();
    int fd = dead_end(address, sizeof address);
    struct attempt a = connect_to(address, &hasty, NULL);
    CHECK_EQ(a.result, 0);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ETIMEDOUT);
    CHECK_STR(note_order(), "c");
    close(fd);
    end();
}

WTEST(connect, an_error_known_at_once_is_returned_and_leaves_nothing) {
    static const int errors[] = {-ENETUNREACH, -EADDRNOTAVAIL, -EACCES, -EAGAIN, -ECONNREFUSED};
    seam_call_fn = answer_connect;
    begin();
    int fds = open_fd_count();
    for (unsigned i = 0; i < array_length(errors); i++) {
        connect_result = errors[i];
        struct attempt a = connect_to("127.0.0.1:1", &caller, NULL);
        CHECK_EQ(a.result, errors[i]);
    }
    CHECK_EQ(open_fd_count(), fds);
    CHECK_EQ(net_stats(&net).streams_open, 0);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    end();
}

/* --- it is given up --- */

static const weft_protocol waiting = {
    .on_open = note_open, .on_data = note_data, .on_drain = note_drain, .on_close = note_close};

static struct attempt into_the_void(void (*then)(weft_stream *s)) {
    static char address[64];
    begin();
    (void)dead_end(address, sizeof address);
    struct attempt a = connect_to(address, &waiting, then);
    CHECK_EQ(a.result, 0);
    return a;
}

static void check_ended(int error) {
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), error);
    CHECK_STR(note_order(), "c");
    net_await_open(&net, 0);
}

static void close_it(weft_stream *s) {
    CHECK_EQ(weft_stream_shutdown(s), -ENOTCONN);
    weft_stream_close(s);
    weft_stream_close(s);
    CHECK_EQ(weft_stream_write(s, "x", 1), -EPIPE);
    CHECK_EQ(weft_stream_shutdown(s), -EPIPE);
}

/* A network of one's own, in which not even loopback is up. */
WTEST(connect, unreachable_is_said_at_once) {
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        wtest_skip("needs a network namespace");
    static const weft_protocol protocol = {.on_data = note_data, .on_close = note_close};
    weft_runtime *rt = rt_start(1);
    client = weft_runtime_worker(rt, 0);
    int before = open_fd_count();
    CHECK_EQ(connect_to("192.0.2.1:80", &protocol, NULL).result, -ENETUNREACH);
    CHECK(connect_to("[2001:db8::1]:80", &protocol, NULL).result < 0);
    CHECK_EQ(open_fd_count(), before);
    rt_end(rt);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
}

WTEST(connect, closed_meanwhile) {
    into_the_void(close_it);
    check_ended(0);
    end();
}

static void abort_it(weft_stream *s) {
    CHECK_EQ(weft_stream_write(s, "lost", 4), 0);
    weft_stream_abort(s);
    weft_stream_abort(s);
}

WTEST(connect, aborted_meanwhile) {
    into_the_void(abort_it);
    check_ended(0);
    end();
}

WTEST(connect, the_stop_of_the_runtime_ends_it) {
    into_the_void(NULL);
    weft_runtime_stop(net.runtime);
    CHECK_EQ(weft_runtime_join(net.runtime), 0);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ESHUTDOWN);
    CHECK_STR(note_order(), "c");
    weft_runtime_destroy(net.runtime);
}

/* --- what is done to it meanwhile changes nothing before it opens --- */

static void disturb(weft_stream *s) {
    static char much[300 << 10];
    weft_stream_pause(s);
    weft_stream_resume(s);
    weft_stream_flush(s);
    CHECK_EQ(weft_stream_write(s, much, sizeof much), 0); /* above high_water */
    CHECK_EQ(weft_stream_write(s, much, 20 << 20), -ENOBUFS);
    weft_stream_set_idle_timeout(s, WEFT_MSEC(1));
}

WTEST(connect, nothing_is_called_while_it_waits) {
    into_the_void(disturb);
    for (int i = 0; i < 3; i++)
        let_others_run();
    rt_turns(client, 5);
    CHECK_STR(note_order(), "");
    net_end(&net);
    CHECK_STR(note_order(), "c");
}

static void set_idle(weft_stream *s) {
    weft_stream_set_idle_timeout(s, WEFT_MSEC(1));
}

WTEST(connect, an_idle_timeout_set_meanwhile_counts_from_the_opening) {
    static const weft_protocol idle = {.on_open = note_open,
                                       .on_data = note_data,
                                       .on_timeout = note_timeout,
                                       .on_close = note_close};
    begin();
    CHECK_EQ(connect_to(weft_listener_address(net.listener), &idle, set_idle).result, 0);
    note_await(NOTE_TIMEOUT, 2);
    CHECK(note_order()[0] == 'o');
    end();
}

WTEST(connect, the_idle_timeout_of_the_protocol_counts_from_the_opening) {
    static const weft_protocol idle = {.on_open = note_open,
                                       .on_data = note_data,
                                       .on_timeout = note_timeout,
                                       .on_close = note_close,
                                       .idle_timeout_ns = WEFT_MSEC(1)};
    begin();
    CHECK_EQ(connect_to(weft_listener_address(net.listener), &idle, NULL).result, 0);
    note_await(NOTE_TIMEOUT, 2);
    CHECK(note_order()[0] == 'o');
    end();
}

/* Without on_drain the refused write ends it; what else is asked of it then is nothing. */
WTEST(connect, a_write_refused_meanwhile_ends_it) {
    static const weft_protocol strict = {
        .on_open = note_open, .on_data = note_data, .on_close = note_close};
    begin();
    CHECK_EQ(connect_to(weft_listener_address(net.listener), &strict, disturb).result, 0);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ENOBUFS);
    CHECK_STR(note_order(), "c");
    end();
}

/* --- wrong calls --- */

static weft_worker *late_worker;
static _Atomic int late;

static void late_connect(weft_worker *w) {
    if (w == late_worker)
        late = weft_connect(w, "127.0.0.1:1", &caller, NULL, NULL);
}

WTEST(connect, wrong_calls_are_answered) {
    static const weft_protocol empty = {0}, odd = {.on_data = note_data, .flags = 1u << 20};
    weft_stream *untouched = NULL;
    probe_stop_fn = late_connect;
    begin();
    late_worker = client;
    CHECK_EQ(weft_connect(client, "127.0.0.1:1", &caller, NULL, &untouched), -EPERM);
    CHECK_EQ(weft_connect(NULL, "127.0.0.1:1", &caller, NULL, &untouched), -EINVAL);
    CHECK(untouched == NULL);
    CHECK_EQ(connect_to("127.0.0.1:1", NULL, NULL).result, -EINVAL);
    CHECK_EQ(connect_to("127.0.0.1:1", &empty, NULL).result, -EINVAL);
    CHECK_EQ(connect_to("127.0.0.1:1", &odd, NULL).result, -EINVAL);
    CHECK_EQ(connect_to("localhost:1", &caller, NULL).result, -EINVAL);
    CHECK_EQ(connect_to(NULL, &caller, NULL).result, -EINVAL);
    CHECK_EQ(connect_to("unix:/nonexistent/x", &caller, NULL).result, -ENOENT);
    end();
    CHECK_EQ(late, -ESHUTDOWN);
}
