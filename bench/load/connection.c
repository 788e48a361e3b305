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

int connection_open(connection *c, unsigned index, const cli_address *address) {
    *c = (connection){.fd = -1, .index = index};
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    const int on = 1;
    /* connect() honours the send timeout: a full backlog must not hang the generator. */
    const struct timeval limit = {.tv_sec = 5};
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        connect(fd, (const struct sockaddr *)&address->storage, address->len) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
        close(fd);
        return -error;
    }
    c->fd = fd;
    return 0;
}

void connection_close(connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

int connection_send(connection *c, size_t piece) {
    while (c->sent < c->batch_end) {
        size_t len = smaller(c->batch_end - c->sent, piece);
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
