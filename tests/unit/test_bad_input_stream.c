/* More wrong input to streams: families, durations, calls after a failure, in the wrong thread and
 * in a forked child. */
#include "net_fixture.h"

#include <sys/wait.h>

static const weft_protocol echo = {
    .on_open = note_open, .on_data = note_echo, .on_close = note_close};

/* --- families --- */

static int no_family(enum os_call call) {
    return call == OS_SOCKET ? -EAFNOSUPPORT : 0;
}

static void connect_in_vain(void *arg) {
    weft_stream *s = NULL;
    note(NOTE_USER, weft_connect(weft_worker_current(), arg, &echo, NULL, &s));
    note(NOTE_USER, s == NULL ? 0 : -1);
}

WTEST(bad_input_stream, a_family_that_the_kernel_does_not_know) {
    static const char *const addresses[] = {"127.0.0.1:1", "[::1]:1", ":1", "unix:@nobody"};
    seam_call_fn = no_family;
    weft_runtime *rt = rt_start(1);
    rt_turns(weft_runtime_worker(rt, 0), 1);
    int fds = open_fd_count();
    for (unsigned i = 0; i < 4; i++) {
        weft_listener *l = NULL;
        CHECK_EQ(weft_listen(rt, addresses[i], &echo, NULL, &l), -EAFNOSUPPORT);
        CHECK(l == NULL);
        rt_call(weft_runtime_worker(rt, 0), connect_in_vain, text(addresses[i]));
        CHECK_EQ(note_value(NOTE_USER, 2 * i), -EAFNOSUPPORT);
        CHECK_EQ(note_value(NOTE_USER, 2 * i + 1), 0);
    }
    CHECK_EQ(open_fd_count(), fds);
    rt_end(rt);
}

/* --- durations --- */

static const weft_protocol patient = {.on_open = note_open,
                                      .on_data = note_echo,
                                      .on_timeout = note_timeout,
                                      .on_close = note_close,
                                      .idle_timeout_ns = UINT64_MAX - 1,
                                      .connect_timeout_ns = UINT64_MAX - 1,
                                      .close_timeout_ns = UINT64_MAX - 1};

static void connect_patiently(void *arg) {
    weft_stream *s = NULL;
    static const uint8_t much[8 << 20];
    note(NOTE_USER, weft_connect(weft_worker_current(), arg, &patient, NULL, &s));
    weft_stream_set_idle_timeout(s, UINT64_MAX - 1);
    note(NOTE_USER, weft_stream_write(s, much, sizeof much));
    weft_stream_close(s);
}

/* Past the clock's range is never, for each of the three. */
WTEST(bad_input_stream, durations_past_the_clocks_range) {
    struct net n = net_start(1, &patient);
    weft_worker *w = net_worker_at(&n, 0);
    char address[64];
    int fd = net_dial(&n);
    net_put(fd, "works", 5);
    net_expect(fd, "works");
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    CHECK_EQ(bind(listening, (struct sockaddr *)&name, size), 0);
    CHECK_EQ(listen(listening, 1), 0);
    CHECK_EQ(getsockname(listening, (struct sockaddr *)&name, &size), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(name.sin_port));
    rt_call(w, connect_patiently, address);
    CHECK_EQ(note_value(NOTE_USER, 0) | note_value(NOTE_USER, 1), 0);
    let_others_run();
    rt_turns(w, 5);
    CHECK_EQ(note_count(NOTE_TIMEOUT), 0);
    CHECK_EQ(note_count(NOTE_CLOSE), 0); /* nobody reads what the closing one has to flush */
    close(listening);                    /* resets it */
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    close(fd);
    net_end(&n);
}

/* --- after a failure --- */

static sem_t stands, goes_on;

static size_t call_after_failure(weft_stream *s, const uint8_t *data, size_t len) {
    const struct iovec piece = {.iov_base = text("x"), .iov_len = 1};
    (void)data;
    sem_post(&stands);
    sem_await(&goes_on);
    note(NOTE_DATA, weft_stream_write(s, "x", 1));
    weft_stream_flush(s);
    for (int i = 0; i < 2; i++) {
        note(NOTE_USER, weft_stream_write(s, "x", 1));
        note(NOTE_USER, weft_stream_writev(s, &piece, 1));
        note(NOTE_USER, weft_stream_shutdown(s));
        weft_stream_close(s); /* does not make it the program's own end */
        weft_stream_pause(s);
        weft_stream_resume(s);
    }
    return len;
}

static void close_calls_again(weft_stream *s, int error) {
    note(NOTE_USER, weft_stream_write(s, "x", 1));
    note(NOTE_USER, weft_stream_shutdown(s));
    weft_stream_abort(s);
    note_close(s, error);
}

WTEST(bad_input_stream, after_a_failure_every_call_gets_it) {
    static const weft_protocol protocol = {.on_data = call_after_failure,
                                           .on_close = close_calls_again};
    sem_make(&stands);
    sem_make(&goes_on);
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    sem_await(&stands);
    net_reset(fd);
    sem_post(&goes_on);
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_DATA, 0), 0); /* gathered */
    CHECK_EQ(note_count(NOTE_USER), 8);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(note_value(NOTE_USER, i), -ECONNRESET);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -ECONNRESET);
    net_await_open(&n, 0);
    CHECK_EQ(note_count(NOTE_CLOSE), 1);
    net_end(&n);
}

/* --- in the wrong place --- */

static _Atomic unsigned logged;

static void count_log(int level, const char *message, void *arg) {
    (void)level, (void)message, (void)arg;
    logged++;
}

WTEST(bad_input_stream, a_protocol_from_another_thread) {
    weft_set_log(count_log, NULL);
    static const weft_protocol other = {.on_data = note_data};
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_turns(net_worker_at(&n, 0), 1);
    weft_stream_set_protocol(note_stream(), &other, NULL);
    CHECK_EQ(logged, 1);
    net_put(fd, "works", 5);
    net_expect(fd, "works");
    close(fd);
    net_end(&n);
}

static int in_child(weft_worker *w, weft_stream *s) {
    static const weft_protocol other = {.on_data = note_data};
    const struct iovec piece = {.iov_base = text("x"), .iov_len = 1};
    int bad = weft_connect(w, "127.0.0.1:1", &echo, NULL, NULL) != -EPERM;
    bad |= weft_stream_writev(s, &piece, 1) != -EPERM;
    weft_stream_resume(s);
    weft_stream_set_idle_timeout(s, 1);
    weft_stream_set_protocol(s, &other, NULL);
    return bad;
}

/* On the worker's own thread, where nothing but the fork tells. */
static void fork_here(void *arg) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_child(weft_stream_worker(arg), arg));
    note(NOTE_USER, pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status)
                        ? WEXITSTATUS(status)
                        : -1);
}

WTEST(bad_input_stream, in_a_forked_child) {
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n), status = -1;
    note_await(NOTE_OPEN, 1);
    rt_turns(net_worker_at(&n, 0), 1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_child(net_worker_at(&n, 0), note_stream()));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    rt_call(net_worker_at(&n, 0), fork_here, note_stream());
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    net_put(fd, "works", 5);
    net_expect(fd, "works");
    close(fd);
    net_end(&n);
}
