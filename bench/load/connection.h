/*
 * One connection of the generator: where it stands in its stream of bytes, and the batch under way.
 */
#ifndef WEFT_BENCH_CONNECTION_H
#define WEFT_BENCH_CONNECTION_H

#include "common/cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct connection {
    int fd;
    unsigned index;
    bool counted;            /* the batch belongs to the measured part */
    bool wants_write;        /* asked epoll for WRITE: the kernel took only a part */
    bool finishing;          /* half-closed, waits for the server's end */
    uint64_t sent, received; /* stream positions */
    uint64_t batch_start, batch_end;
    uint64_t batch_at_ns;    /* when its first byte was sent */
    uint64_t batch_done;     /* messages of it that came back */
    uint64_t mismatched;     /* bytes that differ from those sent */
    uint64_t first_mismatch; /* stream position, valid if mismatched > 0 */
} connection;

/* Connects, waiting up to 5 s, and makes the socket non-blocking: 0 or -errno, fd -1 then. */
int connection_open(connection *c, unsigned index, const cli_address *address);
void connection_close(connection *c);

/* Sends what is left of the batch, at most `piece` bytes per call of send: 0 when all is sent,
 * -EAGAIN when the kernel has no room, another -errno. */
int connection_send(connection *c, size_t piece);

/* Receives once and compares if `verify`: bytes received, 0 at the server's end, -errno. */
ssize_t connection_receive(connection *c, uint8_t *buffer, size_t size, bool verify);

#endif
