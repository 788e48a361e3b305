/* Listening sockets: made and closed from any thread.
 *
 * A worker may be between its look at a listener and its accept when another thread closes it, so
 * the fd is closed only after a grace period: until then its number cannot be another socket's.
 * The port is free at once all the same, since the socket is shut down first; except where the
 * program handed it in, because then others may be listening on it too. */
#include "net/inner.h"

static void listener_fd_close(void *arg) {
    os_close((int)(intptr_t)arg);
}

/* Idempotent; any thread. True for the caller that closed it. */
static bool listener_shut(weft_listener *l) {
    if (atom_xchg(&l->closed, 1, acq_rel) != 0)
        return false;
    for (unsigned i = 0; i < l->acceptor_count; i++)
        acceptor_unwatch(&l->acceptors[i]);
    unix_remove(&l->path);
    if (!l->is_foreign)
        (void)os_shutdown(l->fd, SHUT_RDWR);
    return true;
}

static void listener_close(weft_listener *l) {
    if (!listener_shut(l))
        return;
    int fd = l->fd;
    if (weft_retire(listener_fd_close, (void *)(intptr_t)fd) < 0)
        return; /* no memory: it closes with the runtime */
    l->fd_retired = true;
}

static void owned_stop(struct runtime_owned *owned) {
    listener_close(container_of(owned, weft_listener, owned));
}

static void listener_free(weft_listener *l) {
    mem_free(l, sizeof *l + l->acceptor_count * sizeof l->acceptors[0]);
}

static void owned_release(struct runtime_owned *owned) {
    weft_listener *l = container_of(owned, weft_listener, owned);
    if (!l->fd_retired)
        os_close(l->fd);
    listener_free(l);
}

void weft_listener_close(weft_listener *l) {
    if (l && !process_is_forked())
        listener_close(l);
}

const char *weft_listener_address(const weft_listener *l) {
    return l && !process_is_forked() ? l->address : NULL;
}

static weft_listener *listener_create(weft_runtime *rt, int fd, const weft_protocol *protocol,
                                      void *arg) {
    size_t size = sizeof(weft_listener) + rt->worker_count * sizeof(struct acceptor);
    weft_listener *l = mem_zalloc(size);
    if (!l)
        return NULL;
    l->owned.stop = owned_stop;
    l->owned.release = owned_release;
    l->runtime = rt;
    l->protocol = protocol;
    l->arg = arg;
    l->fd = fd;
    l->acceptor_count = rt->worker_count;
    for (unsigned i = 0; i < rt->worker_count; i++)
        acceptor_init(&l->acceptors[i], l, rt->workers[i]);
    return l;
}

static int watch_all(weft_listener *l) {
    for (unsigned i = 0; i < l->acceptor_count; i++) {
        int r = acceptor_watch(&l->acceptors[i]);
        if (r < 0) {
            while (i-- > 0)
                acceptor_unwatch(&l->acceptors[i]);
            return r;
        }
    }
    return 0;
}

/* Into every worker's selector, from this thread; the workers may be running. The runtime may also
 * be stopping: under its lock, which it closes listeners with, so that no fd is watched that is
 * closed already. One that could not be watched everywhere is closed but for its fd, which stays
 * the caller's; its memory stays until the runtime goes, since a worker may be looking at it. */
static int listener_watch(weft_listener *l) {
    int r = 0;
    lock_take(&l->runtime->lock);
    if (atom_load(&l->closed, relaxed) == 0)
        r = watch_all(l);
    if (r < 0) {
        l->fd_retired = true;
        atom_store(&l->closed, 1, release);
    }
    lock_drop(&l->runtime->lock);
    return r;
}

/* On success the listener is the runtime's, and fd the listener's. Without a path, be it an empty
 * one, the socket was handed in by the program. */
static int listener_start(weft_runtime *rt, int fd, const struct unix_path *path,
                          const weft_listen_options *options, const weft_protocol *protocol,
                          void *arg, weft_listener **ret_listener) {
    struct sockaddr_storage name;
    socklen_t size = 0;
    int r = os_getsockname(fd, &name, &size);
    if (r < 0)
        return r;
    weft_listener *l = listener_create(rt, fd, protocol, arg);
    if (!l)
        return -ENOMEM;
    l->is_foreign = path == NULL;
    if (path)
        l->path = *path;
    l->max_streams = options ? options->max_streams : 0;
    (void)address_format(&name, size, l->address, sizeof l->address);
    r = runtime_own(rt, &l->owned);
    if (r < 0) {
        listener_free(l);
        return r;
    }
    r = listener_watch(l);
    if (r < 0)
        return r;
    if (ret_listener)
        *ret_listener = l;
    return 0;
}

static int set_options(int fd, const struct address *a, const weft_listen_options *o) {
    if (a->storage.ss_family == AF_UNIX)
        return 0;
    int r = os_setsockopt_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && a->storage.ss_family == AF_INET6)
        r = os_setsockopt_int(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                              o && (o->flags & WEFT_LISTEN_V6ONLY) ? 1 : 0);
    if (r == 0) /* accepted sockets inherit it: no system call per connection */
        r = os_setsockopt_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0 && o && (o->flags & WEFT_LISTEN_DEFER_ACCEPT))
        r = os_setsockopt_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
    return r;
}

static int bind_and_listen(int fd, const struct address *a, const weft_listen_options *o,
                           struct unix_path *ret_path) {
    enum { BACKLOG_ALL = 1 << 16 }; /* the kernel cuts it to net.core.somaxconn */
    int backlog = o && o->backlog ? o->backlog : BACKLOG_ALL;
    if (a->storage.ss_family == AF_UNIX)
        return unix_listen(fd, a, o ? o->unix_mode : 0, backlog, ret_path);
    int r = os_bind(fd, (const struct sockaddr *)&a->storage, a->size);
    return r < 0 ? r : os_listen(fd, backlog);
}

/* A bound, listening socket, or -errno. No SO_REUSEPORT: a second server gets -EADDRINUSE. */
static int socket_listening(const struct address *a, const weft_listen_options *o,
                            struct unix_path *ret_path) {
    int fd = os_socket(a->storage.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    int r = set_options(fd, a, o);
    if (r == 0)
        r = bind_and_listen(fd, a, o, ret_path);
    if (r < 0) {
        if (!MUTANT("fault-net-fd-leaked"))
            os_close(fd);
        return r;
    }
    return fd;
}

/* ":port" on a host without IPv6 is all of IPv4. */
static int socket_for(struct address *a, const weft_listen_options *o, struct unix_path *ret_path) {
    int fd = socket_listening(a, o, ret_path);
    if (fd != -EAFNOSUPPORT || !a->any || (o && (o->flags & WEFT_LISTEN_V6ONLY)))
        return fd;
    address_any_v4(a);
    return socket_listening(a, o, ret_path);
}

static int options_check(const weft_listen_options *o) {
    const uint32_t known = WEFT_LISTEN_V6ONLY | WEFT_LISTEN_DEFER_ACCEPT;
    if (!o)
        return 0;
    return (o->flags & ~known) || o->backlog < 0 || !is_all_zero(o->reserved) ? -EINVAL : 0;
}

static int listen_check(weft_runtime *rt, const weft_listen_options *options,
                        const weft_protocol *protocol) {
    if (!rt)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    int r = protocol_check(protocol);
    if (r == 0)
        r = options_check(options);
    return r == 0 && runtime_is_stopping(rt) ? -ESHUTDOWN : r;
}

int weft_listen_with(weft_runtime *rt, const char *address, const weft_listen_options *options,
                     const weft_protocol *protocol, void *arg, weft_listener **ret_listener) {
    struct address a;
    int r = listen_check(rt, options, protocol);
    if (r == 0)
        r = address_parse(address, &a);
    if (r != 0)
        return r;
    struct unix_path path = {.name = ""};
    int fd = socket_for(&a, options, &path);
    if (fd < 0)
        return fd;
    r = listener_start(rt, fd, &path, options, protocol, arg, ret_listener);
    if (r < 0)
        unix_remove(&path);
    /* One worker may have been about to accept when another could not watch. */
    if (r < 0 && weft_retire(listener_fd_close, (void *)(intptr_t)fd) < 0)
        os_close(fd);
    return r;
}

int weft_listen(weft_runtime *rt, const char *address, const weft_protocol *protocol, void *arg,
                weft_listener **ret_listener) {
    return weft_listen_with(rt, address, NULL, protocol, arg, ret_listener);
}

static int check_listening(int fd) {
    int listening = 0, type = 0;
    int r = fd < 0 ? -EBADF : os_getsockopt_int(fd, SOL_SOCKET, SO_TYPE, &type);
    if (r == 0)
        r = os_getsockopt_int(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening);
    if (r < 0)
        return r;
    return listening && type == SOCK_STREAM ? 0 : -EINVAL;
}

int weft_listen_fd(weft_runtime *rt, int fd, const weft_protocol *protocol, void *arg,
                   weft_listener **ret_listener) {
    int r = listen_check(rt, NULL, protocol);
    if (r == 0)
        r = check_listening(fd);
    if (r < 0)
        return r;
    int was_blocking = os_set_nonblocking(fd);
    if (was_blocking < 0)
        return was_blocking;
    r = listener_start(rt, fd, NULL, NULL, protocol, arg, ret_listener);
    if (r < 0 && was_blocking)
        (void)os_clear_nonblocking(fd);
    return r;
}
