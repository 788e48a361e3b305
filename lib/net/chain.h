/* Unsent output: a chain of pieces, in the order in which they were written.
 *
 *   block   bytes that were copied (chain.c); further writes fill the last one up
 *   ref     bytes of the program's that it lends until they are sent (ref.c)
 *   file    a part of a file, which the kernel reads (sendfile.c)
 *
 * A kind of piece is a struct that begins with a `struct piece`, and a piece_kind. */
#ifndef WEFT_LIB_NET_CHAIN_H
#define WEFT_LIB_NET_CHAIN_H

#include "net/inner.h"

struct piece {
    struct piece *next;
    const struct piece_kind *kind;
    const uint8_t *data; /* the next byte to send; NULL: not in memory */
    size_t length;       /* unsent bytes */
};

struct piece_kind {
    /* Sends some of one that is not in memory, and counts itself forward: bytes, or -errno. */
    ssize_t (*send)(struct piece *piece, int socket);
    /* It was sent, or never will be. Takes the piece's memory. */
    void (*end)(struct net_worker *net, struct piece *piece);
};

struct output {
    struct piece *first, *last;
    size_t bytes;      /* of all pieces */
    size_t file_bytes; /* those of them that no memory holds: they do not count for limits */
};

/* Copies all pieces of iov behind what is there: 0, or -ENOMEM and nothing changed. */
int chain_write(weft_stream *s, const struct iovec *iov, int count, size_t total);

/* Copies in front of what is there, for bytes that were gathered before it and not sent. */
int chain_write_first(weft_stream *s, const uint8_t *data, size_t length);

/* The same for a piece that the caller made. With -ENOMEM it stays the caller's. */
int chain_append(weft_stream *s, struct piece *piece);

/* The first `length` bytes, all of them in memory, were sent. */
void chain_sent(weft_stream *s, size_t length);

/* The first piece, not in memory, sent so many bytes of itself. */
void chain_file_sent(weft_stream *s, size_t length);

#endif
