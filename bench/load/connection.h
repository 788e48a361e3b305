/*
 * One connection of the generator: where it stands in its stream of bytes, and which messages are
 * under way.
 */
#ifndef WEFT_BENCH_CONNECTION_H
#define WEFT_BENCH_CONNECTION_H

#include "common/cli.h"
#include "load/sizes.h"

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
    sizes_cursor begun;      /* messages handed to connection_send() */
    sizes_cursor arriving;   /* the message that comes back next, or comes back now */
    uint64_t since_ns;       /* when the batch, or with --churn the connection, began */
    uint64_t mismatched;     /* bytes that differ from those sent */
    uint64_t first_mismatch; /* stream position, valid if mismatched > 0 */
} connection;

/* Closed, at the start of its stream. */
void connection_init(connection *c, unsigned index, const sizes *s);

/* Connects, waiting up to 5 s, and makes the socket non-blocking: 0 or -errno, fd -1 then. */
int connection_open(connection *c, const cli_address *address);

/* Begins to connect, from the address `from` if that has a length, and does not wait. Sending says
 * -EAGAIN until the connection stands, and then what became of it. 0 or -errno, fd -1 then. */
int connection_dial(connection *c, const cli_address *address, const cli_address *from);
void connection_close(connection *c);

static inline uint64_t connection_outstanding(const connection *c) {
    return c->begun.number + 1 - c->arriving.number;
}

/* The message that arrives is there in full. */
static inline bool connection_has_message(const connection *c) {
    return c->received >= c->arriving.end;
}

/* Sends what is left of the messages begun, at most `piece` bytes per call of send: 0 when all is
 * sent, -EAGAIN when the kernel has no room, another -errno. */
int connection_send(connection *c, size_t piece);

/* Receives once and compares if `verify`: bytes received, 0 at the server's end, -errno. */
ssize_t connection_receive(connection *c, uint8_t *buffer, size_t size, bool verify);

#endif
