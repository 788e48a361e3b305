/* Outgoing connections. A stream that connects is one whose output is blocked: what is written to
 * it waits in its chain, as ever, and leaves once it is writable, which is also when it has
 * connected or failed (connect(2), EINPROGRESS). */
#include "net/inner.h"

/* A socket that is connected (1) or connects (0); -errno. */
static int begin(const struct address *a, int *ret_fd) {
    int fd = os_socket(a->storage.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    if (a->storage.ss_family != AF_UNIX)
        (void)os_setsockopt_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    int r = os_connect(fd, (const struct sockaddr *)&a->storage, a->size);
    if (r < 0 && r != -EINPROGRESS) {
        if (!MUTANT("connect-fd-leaked"))
            os_close(fd);
        return r;
    }
    *ret_fd = fd;
    return r == 0;
}

/* ":port" on a host without IPv6 is IPv4's. */
static int begin_anywhere(struct address *a, int *ret_fd) {
    int r = begin(a, ret_fd);
    if (r != -EAFNOSUPPORT || !a->any)
        return r;
    address_any_v4(a);
    return begin(a, ret_fd);
}

int weft_connect(weft_worker *w, const char *address, const weft_protocol *protocol, void *arg,
                 weft_stream **ret_stream) {
    struct address a;
    int fd = -1;
    int r = worker_owner_check(w, "weft_connect");
    if (r == 0)
        r = protocol_check(protocol);
    if (r == 0)
        r = address_parse(address, &a);
    if (r == 0 && runtime_is_stopping(w->runtime))
        r = -ESHUTDOWN;
    if (r == 0)
        r = begin_anywhere(&a, &fd);
    if (r < 0)
        return r;
    weft_stream *s = NULL;
    uint32_t flags = r == 1 ? 0 : STREAM_CONNECTING | STREAM_BLOCKED;
    r = stream_create(net_of(w), fd, protocol, arg, NULL, flags, &s);
    if (r < 0) {
        os_close(fd);
        return MUTANT("fault-net-any-is-enomem") ? -ENOMEM : r;
    }
    atom_add(&net_of(w)->assigned, 1, relaxed);
    if (flags == 0)
        stream_service_later(s);
    if (ret_stream)
        *ret_stream = s;
    return 0;
}

/* It is writable, or in error: it has connected, or it never will. */
void stream_connected(weft_stream *s) {
    int error = 0;
    int r = os_getsockopt_int(s->fd, SOL_SOCKET, SO_ERROR, &error);
    if (MUTANT("connect-error-unseen"))
        error = 0;
    if (r < 0 || error) {
        stream_end(s, r < 0 ? r : -error);
        return;
    }
    s->flags &= ~(uint32_t)(STREAM_CONNECTING | STREAM_BLOCKED);
    stream_clock_connected(s);
    if ((s->flags & STREAM_CLOSING) == 0 || MUTANT("connect-opens-closed"))
        stream_open(s);
}
