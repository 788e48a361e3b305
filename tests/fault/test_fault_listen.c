/* What makes and ends listeners and streams: weft_listen(), weft_listener_close(), weft_connect(),
 * weft_adopt(). */
#include "net_world.h"

#include <sys/stat.h>
#include <sys/un.h>

static const char *address;
static const weft_listen_options *options;
static weft_listener *listener;
static char path[64];

static void *open_world(void) {
    listener = NULL;
    return net_world_open(2);
}

static void close_listening(void *unused) {
    if (listener && strncmp(address, "unix", 4) != 0) {
        int fd = net_dial_port(net_port(listener));
        CHECK(fd >= 0);
        world_echoes(fd);
        close(fd);
    }
    net_world_close(unused);
    CHECK(access(path, F_OK) != 0); /* a path that was bound is gone */
}

static int listen_there(void *unused) {
    weft_listener *l = NULL;
    (void)unused;
    int r = weft_listen_with(world.runtime, address, options, &world_protocol, NULL, &l);
    CHECK((r == 0) == (l != NULL));
    listener = l;
    return r;
}

static bool listens(void *unused, const struct sweep_fault *f, int r) {
    (void)unused;
    world_neighbour_lives();
    /* A directory that cannot be locked does without, and a stale path that cannot be removed is
     * found in use; the rest of what concerns a path has its errno. */
    if (f->call == OS_PATH && (r == 0 || r == -EADDRINUSE))
        return true;
    if (f->call == OS_CONNECT) /* not known to be stale */
        return r == -EADDRINUSE || r == 0;
    if (f->call == OS_SOCKET && r != f->error) /* IPv4 alone; or not known to be stale */
        return r == -EADDRINUSE || (f->error == -EAFNOSUPPORT && r == 0);
    if (f->call == OS_BIND && f->error == -EADDRINUSE && r == 0)
        return true;                                    /* taken over after all */
    if (f->call == OS_EPOLL_CTL && f->error == -EEXIST) /* kernel_add() */
        return r == -ENOENT;
    return r == f->error;
}

static void sweep_listen(const char *name, const char *where, const weft_listen_options *how,
                         void *(*open)(void)) {
    const struct sweep sweep = {.name = name,
                                .scope = SWEEP_CALLER,
                                .least = 5,
                                .open = open,
                                .operate = listen_there,
                                .close = close_listening,
                                .is_answer = listens,
                                .snapshot = world_snapshot,
                                .keeps_memory = true};
    address = where;
    options = how;
    sweep_run(&sweep);
}

WTEST(fault_listen, tcp) {
    sweep_listen("listen: tcp", "127.0.0.1:0", NULL, open_world);
}

WTEST(fault_listen, tcp_with_options) {
    const weft_listen_options deferred = {.backlog = 5, .flags = WEFT_LISTEN_DEFER_ACCEPT};
    sweep_listen("listen: all addresses", ":0", &deferred, open_world);
}

static char unix_address[80];

static void name_path(void) {
    snprintf(path, sizeof path, "/tmp/weft-fault-%d.sock", (int)getpid());
    snprintf(unix_address, sizeof unix_address, "unix:%s", path);
}

WTEST(fault_listen, unix_path) {
    const weft_listen_options private = {.unix_mode = 0600};
    name_path();
    sweep_listen("listen: a path", unix_address, &private, open_world);
}

static void *open_stale(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(path);
    CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    close(fd);
    return open_world();
}

static void close_stale(void *unused) {
    if (!listener)
        (void)unlink(path);
    close_listening(unused);
}

WTEST(fault_listen, stale_path) {
    name_path();
    address = unix_address;
    static const struct sweep sweep = {.name = "listen: a stale path",
                                       .scope = SWEEP_CALLER,
                                       .least = 8,
                                       .open = open_stale,
                                       .operate = listen_there,
                                       .close = close_stale,
                                       .is_answer = listens,
                                       .snapshot = world_snapshot,
                                       .keeps_memory = true};
    sweep_run(&sweep);
}

WTEST(fault_listen, abstract) {
    snprintf(unix_address, sizeof unix_address, "unix:@weft-fault-%d", (int)getpid());
    sweep_listen("listen: abstract", unix_address, NULL, open_world);
}

/* --- a socket of the program's ---------------------------------------------------------------- */

static int foreign;

static void *open_foreign(void) {
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    foreign = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(foreign, (const struct sockaddr *)&any, sizeof any), 0);
    CHECK_EQ(listen(foreign, 5), 0);
    return open_world();
}

static int listen_foreign(void *unused) {
    weft_listener *l = NULL;
    (void)unused;
    int r = weft_listen_fd(world.runtime, foreign, &world_protocol, NULL, &l);
    CHECK((r == 0) == (l != NULL));
    listener = l;
    return r;
}

/* On failure the socket is as it was. */
static bool is_untouched(void *unused, const struct sweep_fault *f, int r) {
    bool blocks = (fcntl(foreign, F_GETFL) & O_NONBLOCK) == 0;
    return listens(unused, f, r) && (r == 0 || blocks);
}

static void close_foreign(void *unused) {
    if (!listener)
        close(foreign);
    close_listening(unused);
}

WTEST(fault_listen, fd_of_the_program) {
    static const struct sweep sweep = {.name = "listen: an fd",
                                       .scope = SWEEP_CALLER,
                                       .least = 7,
                                       .open = open_foreign,
                                       .operate = listen_foreign,
                                       .close = close_foreign,
                                       .is_answer = is_untouched,
                                       .snapshot = world_snapshot,
                                       .keeps_memory = true};
    address = "127.0.0.1";
    sweep_run(&sweep);
}

/* --- closing ---------------------------------------------------------------------------------- */

static void *open_listening(void) {
    (void)open_world();
    CHECK_EQ(listen_there(NULL), 0);
    return &world;
}

static int close_it(void *unused) {
    (void)unused;
    weft_listener_close(listener);
    return 0;
}

/* It always succeeds; no later than with the runtime everything is gone. */
static bool closes(void *unused, const struct sweep_fault *f, int r) {
    world_neighbour_lives();
    (void)unused, (void)f;
    return r == 0;
}

static void sweep_close(const char *name, const char *where) {
    const struct sweep sweep = {.name = name,
                                .scope = SWEEP_CALLER,
                                .least = 3,
                                .open = open_listening,
                                .operate = close_it,
                                .close = net_world_close,
                                .is_answer = closes};
    address = where;
    options = NULL;
    sweep_run(&sweep);
}

WTEST(fault_listen, close) {
    sweep_close("listener_close: tcp", "127.0.0.1:0");
}

WTEST(fault_listen, close_path) {
    name_path();
    sweep_close("listener_close: a path", unix_address);
    (void)unlink(path); /* where the call that removes it failed */
}

/* --- weft_connect() --------------------------------------------------------------------------- */

static _Atomic unsigned connections;
static _Atomic int connection_error;
static weft_protocol client;

static void client_open(weft_stream *s) {
    static const uint8_t message[MESSAGE] = {'e'};
    (void)weft_stream_write(s, message, MESSAGE);
}

static size_t client_data(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    if (len == MESSAGE)
        weft_stream_close(s);
    return len == MESSAGE ? len : 0;
}

static void client_close(weft_stream *s, int error) {
    (void)s;
    atomic_store(&connection_error, error);
    atomic_fetch_sub(&connections, 1);
}

static void *open_connecting(void) {
    void *w = open_world();
    client =
        (weft_protocol){.on_open = client_open, .on_data = client_data, .on_close = client_close};
    if (strcmp(address, "tcp") != 0)
        CHECK_EQ(weft_listen(world.runtime, address, &world_protocol, NULL, &listener), 0);
    return w;
}

static int connect_there(void *unused) {
    const char *to = listener ? address : weft_listener_address(world.listener);
    weft_stream *s = NULL;
    (void)unused;
    atomic_fetch_add(&connections, 1);
    int r = weft_connect(net_worker_at(&world, 0), to, &client, NULL, &s);
    if (r < 0)
        atomic_fetch_sub(&connections, 1); /* no on_close */
    return r;
}

static void await_connections(void) {
    while (atomic_load(&connections) > 0)
        sched_yield();
    net_await_open(&world, 1);
}

static void close_connecting(void *unused) {
    await_connections();
    CHECK_EQ(atomic_load(&connection_error), 0);
    net_world_close(unused);
}

/* TCP_NODELAY is a matter of speed; a connect() that is under way is no failure. */
static bool connects(void *unused, const struct sweep_fault *f, int r) {
    (void)unused;
    return r == (f->call == OS_SETSOCKOPT ? 0 : f->error) ||
           (f->call == OS_EPOLL_CTL && f->error == -EEXIST && r == -ENOENT);
}

static void sweep_connect(const char *name, const char *to) {
    const struct sweep sweep = {.name = name,
                                .scope = SWEEP_CALLER,
                                .least = 3,
                                .open = open_connecting,
                                .operate = connect_there,
                                .close = close_connecting,
                                .on_thread = net_world_on_worker,
                                .is_answer = connects,
                                .snapshot = world_snapshot,
                                .keeps_memory = true};
    address = to;
    sweep_run(&sweep);
}

WTEST(fault_connect, tcp) {
    sweep_connect("connect: tcp", "tcp");
}

WTEST(fault_connect, unix_path) {
    name_path();
    sweep_connect("connect: a path", unix_address);
}

static void connect_call(void *arg) {
    *(int *)arg = connect_there(NULL);
}

/* The connection's life with both its ends on the workers: what connect_there() answers, or what
 * on_close got. */
static int connect_and_live(void *unused) {
    int r = 0;
    (void)unused;
    atomic_store(&connection_error, 0);
    net_world_on_worker(NULL, connect_call, &r);
    await_connections();
    return r < 0 ? r : atomic_load(&connection_error);
}

static bool lives_or_tells(void *unused, const struct sweep_fault *f, int r) {
    (void)unused;
    world_neighbour_lives();
    if (f->call == OS_GETSOCKOPT)
        return r == f->error; /* not known to have connected */
    /* The server's end may have failed: that is a reset, or an end, for the client. */
    return r == f->error || r == 0 || r == -ECONNRESET || r == -ENOBUFS || r == -ENOENT;
}

static bool connect_may_fail(enum os_call call, int error) {
    return call != OS_WRITE && call != OS_READ && call != OS_ACCEPT &&
           (call != OS_SHUTDOWN || error == -ENOTCONN);
}

WTEST(fault_connect, whole_life) {
    static const struct sweep sweep = {.name = "connect: whole life",
                                       .scope = SWEEP_WORKERS,
                                       .least = 12,
                                       .open = open_connecting,
                                       .operate = connect_and_live,
                                       .close = net_world_close,
                                       .is_answer = lives_or_tells,
                                       .may_fail = connect_may_fail,
                                       .snapshot = world_snapshot,
                                       .keeps_memory = true,
                                       .repeats = true};
    address = "tcp";
    sweep_run(&sweep);
}

/* --- weft_adopt() ----------------------------------------------------------------------------- */

static int ends[2];
static weft_stream *adopted;

static void *open_adopting(void) {
    adopted = NULL;
    net_pair(ends);
    foreign = ends[1];
    return open_world();
}

static int adopt(void *unused) {
    (void)unused;
    int r = weft_adopt(net_worker_at(&world, 0), ends[1], &world_protocol, NULL, &adopted);
    CHECK((r == 0) == (adopted != NULL));
    return r;
}

static bool adopts(void *unused, const struct sweep_fault *f, int r) {
    bool blocks = (fcntl(ends[1], F_GETFL) & O_NONBLOCK) == 0;
    return (r == 0 || blocks) && connects(unused, f, r);
}

static void close_adopting(void *unused) {
    if (adopted)
        world_echoes(ends[0]);
    else
        close(ends[1]);
    close(ends[0]);
    net_await_open(&world, 1);
    net_world_close(unused);
}

WTEST(fault_connect, adopt) {
    static const struct sweep sweep = {.name = "adopt",
                                       .scope = SWEEP_CALLER,
                                       .least = 6,
                                       .open = open_adopting,
                                       .operate = adopt,
                                       .close = close_adopting,
                                       .on_thread = net_world_on_worker,
                                       .is_answer = adopts,
                                       .snapshot = world_snapshot,
                                       .keeps_memory = true};
    sweep_run(&sweep);
}
