#include "load/connection.h"

#include "load/pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static size_t smaller(uint64_t a, size_t b) {
    return a < b ? (size_t)a : b;
}

void connection_init(connection *c, unsigned index, const sizes *s) {
    *c = (connection){.fd = -1, .index = index};
    sizes_rewind(&c->begun, index);
    sizes_rewind(&c->arriving, index);
    sizes_step(s, &c->arriving);
}

static int open_socket(connection *c, const cli_address *address, int flags) {
    const int on = 1;
    c->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (c->fd < 0)
        return -errno;
    return setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ? -errno : 0;
}

static int connect_to(const connection *c, const cli_address *address) {
    return connect(c->fd, (const struct sockaddr *)&address->storage, address->len) < 0 ? -errno
                                                                                        : 0;
}

int connection_open(connection *c, const cli_address *address) {
    /* connect() honours the send timeout: a full backlog must not hang the generator. */
    const struct timeval limit = {.tv_sec = 5};
    int r = open_socket(c, address, 0);
    if (r == 0 && setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        r = -errno;
    if (r == 0)
        r = connect_to(c, address);
    if (r == 0 && fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        r = -errno;
    if (r < 0)
        connection_close(c);
    return r == -EINPROGRESS ? -ETIMEDOUT : r;
}

/* The port is left to connect(), which needs one that is free towards one server only. */
static int bind_address(const connection *c, const cli_address *from) {
    const int on = 1;
    if (setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0)
        return -errno;
    return bind(c->fd, (const struct sockaddr *)&from->storage, from->len) < 0 ? -errno : 0;
}

int connection_dial(connection *c, const cli_address *address, const cli_address *from) {
    int r = open_socket(c, address, SOCK_NONBLOCK);
    if (r == 0 && from->len > 0)
        r = bind_address(c, from);
    if (r == 0)
        r = connect_to(c, address);
    if (r == 0 || r == -EINPROGRESS)
        return 0;
    connection_close(c);
    return r;
}

void connection_close(connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

int connection_send(connection *c, size_t piece) {
    while (c->sent < c->begun.end) {
        size_t len = smaller(c->begun.end - c->sent, piece);
        ssize_t n =
            send(c->fd, pattern_at(c->index, c->sent), smaller(len, PATTERN_WINDOW), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        c->sent += (uint64_t)n;
    }
    return 0;
}

static void count_mismatches(connection *c, const uint8_t *got, const uint8_t *expected,
                             size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (got[i] == expected[i])
            continue;
        if (c->mismatched++ == 0)
            c->first_mismatch = c->received + i;
    }
}

ssize_t connection_receive(connection *c, uint8_t *buffer, size_t size, bool verify) {
    ssize_t n;
    do {
        n = recv(c->fd, buffer, smaller(size, PATTERN_WINDOW), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    const uint8_t *expected = pattern_at(c->index, c->received);
    if (verify && memcmp(buffer, expected, (size_t)n) != 0)
        count_mismatches(c, buffer, expected, (size_t)n);
    c->received += (uint64_t)n;
    return n;
}
