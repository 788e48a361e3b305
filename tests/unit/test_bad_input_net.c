/* What every call on listeners and streams answers to input that is wrong: nothing changes. */
#include "net_fixture.h"

#include <sys/wait.h>

static const weft_protocol echo = {
    .on_open = note_open, .on_data = note_echo, .on_close = note_close};

static _Atomic unsigned logged;

static void count_log(int level, const char *message, void *arg) {
    (void)level, (void)message, (void)arg;
    logged++;
}

WTEST(bad_input_net, listening) {
    weft_runtime *rt = rt_create(1);
    weft_listener *l = NULL;
    const weft_protocol no_data = {.on_close = note_close};
    weft_protocol flags = echo, reserved = echo;
    flags.flags = 1u << 1;
    reserved.reserved[7] = 1;
    const weft_listen_options bad_flags = {.flags = 1u << 2}, bad_reserved = {.reserved = {1}},
                              bad_backlog = {.backlog = -1};
    int fds_before = open_fd_count();
    CHECK_EQ(weft_listen(NULL, "127.0.0.1:0", &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, NULL, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", NULL, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &no_data, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &flags, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &reserved, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, "nowhere", &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen(rt, "203.0.113.1:0", &echo, NULL, &l), -EADDRNOTAVAIL);
    CHECK_EQ(weft_listen_with(rt, "127.0.0.1:0", &bad_flags, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen_with(rt, "127.0.0.1:0", &bad_reserved, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen_with(rt, "127.0.0.1:0", &bad_backlog, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen_fd(NULL, 0, &echo, NULL, &l), -EINVAL);
    CHECK_EQ(weft_listen_fd(rt, -1, &echo, NULL, &l), -EBADF);
    CHECK_EQ(weft_listen_fd(rt, 0, NULL, NULL, &l), -EINVAL);
    CHECK(l == NULL);
    CHECK(weft_listener_address(NULL) == NULL);
    weft_listener_close(NULL);
    CHECK_EQ(open_fd_count(), fds_before);
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, NULL), 0);
    weft_runtime_destroy(rt);
}

/* Every system call of a listen fails once: nothing is left behind. */
static _Thread_local int failing = -1;

static int fail_once(enum os_call call) {
    if ((int)call != failing)
        return 0;
    failing = -1;
    return call == OS_ALLOC ? -ENOMEM : -ENOBUFS;
}

WTEST(bad_input_net, listening_while_the_system_refuses) {
    static const enum os_call calls[] = {OS_SOCKET,      OS_SETSOCKOPT, OS_BIND,     OS_LISTEN,
                                         OS_GETSOCKNAME, OS_ALLOC,      OS_EPOLL_CTL};
    seam_call_fn = fail_once;
    weft_runtime *rt = rt_create(2);
    weft_listener *l = NULL;
    int expected = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        failing = (int)calls[i];
        int r = weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l);
        CHECK_MSG(r == (calls[i] == OS_ALLOC ? -ENOMEM : -ENOBUFS), "%s: %d",
                  seam_call_name(calls[i]), r);
        CHECK_EQ(failing, -1);
        CHECK(l == NULL);
    }
    weft_runtime_destroy(rt); /* the fd of the last one goes through the reclaimer */
    rt = rt_create(2);
    expected = open_fd_count();
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        failing = (int)calls[i];
        CHECK(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l) < 0);
    }
    weft_runtime_destroy(rt);
    rt = rt_create(2);
    CHECK_EQ(open_fd_count(), expected);
    CHECK_EQ(weft_listen(rt, "127.0.0.1:0", &echo, NULL, &l), 0);
    weft_runtime_destroy(rt);
}

/* --- adopting --------------------------------------------------------------------------------- */

struct adopting {
    weft_worker *worker;
    int connected;
};

static void adopt_badly(void *arg) {
    const struct adopting *a = arg;
    weft_worker *w = a->worker;
    weft_stream *s = NULL;
    const weft_protocol no_data = {.on_close = note_close};
    weft_protocol flags = echo, reserved = echo, huge = echo;
    flags.flags = 1u << 1;
    reserved.reserved[0] = 1;
    huge.state_size = SIZE_MAX;
    int unconnected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int pipe_fds[2] = {-1, -1};
    (void)listen(listening, 1);
    (void)!pipe(pipe_fds);
    note(NOTE_USER, weft_adopt(NULL, a->connected, &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, a->connected, NULL, NULL, &s));
    note(NOTE_USER, weft_adopt(w, a->connected, &no_data, NULL, &s));
    note(NOTE_USER, weft_adopt(w, a->connected, &flags, NULL, &s));
    note(NOTE_USER, weft_adopt(w, a->connected, &reserved, NULL, &s));
    note(NOTE_USER, weft_adopt(w, a->connected, &huge, NULL, &s));
    note(NOTE_USER, weft_adopt(w, datagram, &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, listening, &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, -1, &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, 100000, &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, pipe_fds[0], &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, unconnected, &echo, NULL, &s));
    note(NOTE_USER, s != NULL);
    note(NOTE_USER, fcntl(a->connected, F_GETFL) & O_NONBLOCK);
    note(NOTE_USER, weft_adopt(w, a->connected, &echo, NULL, &s));
    note(NOTE_USER, weft_adopt(w, a->connected, &echo, NULL, NULL));
    int fds[] = {unconnected, datagram, listening, pipe_fds[0], pipe_fds[1]};
    for (int i = 0; i < 5; i++)
        close(fds[i]);
}

WTEST(bad_input_net, adopting) {
    static const int expected[] = {-EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,   -EINVAL,
                                   -EINVAL, -EINVAL, -EBADF,  -EBADF,  -ENOTSOCK, -ENOTCONN,
                                   0,       0,       0,       -EEXIST};
    weft_runtime *rt = rt_start(1);
    int fds[2];
    net_pair(fds);
    struct adopting a = {.worker = weft_runtime_worker(rt, 0), .connected = fds[1]};
    rt_call(a.worker, adopt_badly, &a);
    CHECK_EQ(note_count(NOTE_USER), sizeof expected / sizeof expected[0]);
    for (unsigned i = 0; i < note_count(NOTE_USER); i++)
        CHECK_MSG(note_value(NOTE_USER, i) == expected[i], "call %u gives %d", i,
                  (int)note_value(NOTE_USER, i));
    net_put(fds[0], "still works", 11);
    net_expect(fds[0], "still works");
    close(fds[0]);
    rt_end(rt);
}

/* Refused for want of memory or a place in the selector: the fd is as it was. */
static void adopt_without(void *arg) {
    const struct adopting *a = arg;
    static const enum os_call calls[] = {OS_ALLOC, OS_EPOLL_CTL, OS_FCNTL, OS_GETSOCKOPT,
                                         OS_GETPEERNAME};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        weft_stream *s = NULL;
        failing = (int)calls[i];
        note(NOTE_USER, weft_adopt(a->worker, a->connected, &echo, NULL, &s));
        note(NOTE_USER, failing != -1 || s != NULL || (fcntl(a->connected, F_GETFL) & O_NONBLOCK));
        failing = -1;
    }
}

WTEST(bad_input_net, adopting_while_the_system_refuses) {
    seam_call_fn = fail_once;
    struct net n = net_start(1, &echo);
    int fds[2];
    net_pair(fds);
    struct adopting a = {.worker = net_worker_at(&n, 0), .connected = fds[1]};
    rt_call(a.worker, adopt_without, &a);
    for (unsigned i = 0; i < note_count(NOTE_USER); i += 2) {
        CHECK(note_value(NOTE_USER, i) == -ENOMEM || note_value(NOTE_USER, i) == -ENOBUFS);
        CHECK_EQ(note_value(NOTE_USER, i + 1), 0);
    }
    CHECK_EQ(net_stats(&n).streams_open, 0);
    net_adopt(&n, fds[1], &echo);
    net_put(fds[0], "works", 5);
    net_expect(fds[0], "works");
    close(fds[0]);
    net_end(&n);
}

/* --- streams ---------------------------------------------------------------------------------- */

static void write_badly(void *s) {
    const struct iovec hole[] = {{.iov_base = (void *)(uintptr_t) "a", .iov_len = 1},
                                 {.iov_len = 1}};
    static char byte;
    const struct iovec overflow[] = {{.iov_base = &byte, .iov_len = SIZE_MAX},
                                     {.iov_base = &byte, .iov_len = 2}};
    note(NOTE_USER, weft_stream_write(s, NULL, 1));
    note(NOTE_USER, weft_stream_writev(s, hole, 2));
    note(NOTE_USER, weft_stream_writev(s, hole, -1));
    note(NOTE_USER, weft_stream_writev(s, NULL, 1));
    note(NOTE_USER, weft_stream_writev(s, overflow, 2));
    note(NOTE_USER, weft_stream_write(NULL, "x", 1));
    note(NOTE_USER, weft_stream_writev(NULL, hole, 1));
    note(NOTE_USER, weft_stream_shutdown(NULL));
    note(NOTE_USER, weft_stream_fd(NULL));
    note(NOTE_USER, weft_stream_peer(NULL, &byte, 1));
    note(NOTE_USER, weft_stream_local(s, NULL, 1));
    note(NOTE_DATA, (int64_t)weft_stream_pending(s));
}

WTEST(bad_input_net, streams) {
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_call(net_worker_at(&n, 0), write_badly, note_stream());
    for (unsigned i = 0; i < note_count(NOTE_USER); i++)
        CHECK_EQ(note_value(NOTE_USER, i), -EINVAL);
    CHECK_EQ(note_value(NOTE_DATA, 0), 0);
    weft_stream_close(NULL);
    weft_stream_abort(NULL);
    weft_stream_pause(NULL);
    weft_stream_resume(NULL);
    weft_stream_flush(NULL);
    weft_stream_set_idle_timeout(NULL, 1);
    CHECK(weft_stream_state(NULL) == NULL);
    CHECK(weft_stream_arg(NULL) == NULL);
    CHECK(weft_stream_worker(NULL) == NULL);
    net_put(fd, "works", 5);
    net_expect(fd, "works");
    close(fd);
    net_end(&n);
}

static void nothing(weft_stream *s, void *arg) {
    (void)s, (void)arg;
}

WTEST(bad_input_net, from_another_thread) {
    weft_set_log(count_log, NULL);
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n), pair[2];
    net_pair(pair);
    note_await(NOTE_OPEN, 1);
    rt_turns(net_worker_at(&n, 0), 1);
    weft_stream *s = note_stream();
    const struct iovec piece = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
    CHECK_EQ(weft_stream_write(s, "x", 1), -EPERM);
    CHECK_EQ(weft_stream_writev(s, &piece, 1), -EPERM);
    CHECK_EQ(weft_stream_shutdown(s), -EPERM);
    CHECK_EQ(weft_adopt(net_worker_at(&n, 0), pair[0], &echo, NULL, NULL), -EPERM);
    CHECK_EQ(logged, 0); /* an error that is returned is not logged too */
    weft_stream_close(s);
    weft_stream_abort(s);
    weft_stream_pause(s);
    weft_stream_resume(s);
    weft_stream_flush(s);
    weft_stream_set_idle_timeout(s, 1);
    weft_worker_each_stream(net_worker_at(&n, 0), nothing, NULL);
    CHECK_EQ(logged, 7);
    net_put(fd, "works", 5);
    net_expect(fd, "works");
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    net_end(&n);
}

static int in_child(struct net *n, weft_stream *s) {
    char name[80];
    weft_listener *l = NULL;
    int bad = 0;
    bad |= weft_listen(n->runtime, "127.0.0.1:0", &echo, NULL, &l) != -EPERM;
    bad |= weft_listen_fd(n->runtime, 0, &echo, NULL, &l) != -EPERM;
    bad |= weft_adopt(net_worker_at(n, 0), 0, &echo, NULL, NULL) != -EPERM;
    bad |= weft_stream_write(s, "x", 1) != -EPERM;
    bad |= weft_stream_shutdown(s) != -EPERM;
    bad |= weft_stream_fd(s) != -EPERM;
    bad |= weft_stream_peer(s, name, sizeof name) != -EPERM;
    bad |= weft_stream_local(s, name, sizeof name) != -EPERM;
    bad |= weft_listener_address(n->listener) != NULL;
    weft_stream_close(s);
    weft_stream_abort(s);
    weft_stream_pause(s);
    weft_stream_flush(s);
    weft_listener_close(n->listener);
    return bad;
}

/* What a child does to the shared sockets and sets, its parent would feel. */
WTEST(bad_input_net, in_a_forked_child) {
    weft_set_log(count_log, NULL);
    struct net n = net_start(1, &echo);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    rt_turns(net_worker_at(&n, 0), 1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_child(&n, note_stream()));
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    net_put(fd, "works", 5);
    net_expect(fd, "works");
    int other = net_dial(&n);
    net_put(other, "works", 5);
    net_expect(other, "works");
    close(fd);
    close(other);
    net_end(&n);
}
