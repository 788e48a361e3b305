/* What other threads want of a stream, and how its id finds it.
 *
 * A stream whose id was asked for has a mailbox: a one-word queue (queue/queue.h) with the very
 * states of a worker's inbox. Whoever pushes into an ARMED one tells the owner, by pushing the
 * mailbox into the queue of news of the worker that it names; nobody else does until the owner has
 * armed it again. So it is in one such queue at most. A worker's news is a queue of the same kind:
 * whoever pushes into an ARMED one posts the one task that reads it. A message costs the owner no
 * system call while it is awake.
 *
 *     push: ARMED -> message, and the mailbox becomes news of `owner`
 *                 news --> a former owner: forwarded      (the stream has moved meanwhile)
 *                      --> the owner, stream under way:   its arrival looks
 *                      --> the owner: take all, run all, arm again
 *     close: CLOSED for ever, as far as this stream is concerned; later pushes are -ENOENT
 *
 * One thread's messages arrive in their order, moves included, since they stay in one queue, which
 * goes where its stream goes.
 *
 * An id is the mailbox's place in a table and a serial number that no other stream of the process
 * ever has. Mailboxes are used again, but their memory stays until the runtime goes, so whoever
 * comes with an old id finds another number there, or none: no lock, no grace period, no way to a
 * stream that is gone. A visitor counts itself before it looks at the number, and a mailbox is not
 * used again while it has visitors; so nobody's message gets to another stream. */
#ifndef WEFT_LIB_NET_MAILBOX_H
#define WEFT_LIB_NET_MAILBOX_H

#include "net/chain.h"

struct message {
    struct queue_node node;
    void (*fn)(weft_stream *s, void *arg); /* NULL: bytes to send */
    void *arg;
    struct piece piece; /* they travel on as they are, if they are many */
    uint8_t bytes[];
};

/* A cache line, since there may be one for every stream. What is of no use to somebody who comes
 * with an old id could lie with the stream, but for that it would have to wait for its visitors. */
struct mailbox {
    /* Any thread. */
    struct queue queue;
    _Atomic uint64_t serial;   /* of the stream it belongs to; 0: of none */
    _Atomic size_t under_way;  /* bytes of its messages */
    _Atomic size_t room;       /* of max_pending, but for those: as the owner last saw it */
    _Atomic uint32_t visitors; /* messages in it, and threads about to leave one */
    _Atomic uint16_t owner;    /* a worker's index */

    /* The owner's. */
    uint16_t home : 14;       /* whose table it is in */
    uint16_t armed : 1;       /* the queue is ARMED, or it is somebody's news */
    uint16_t here : 1;        /* its stream is: not on its way */
    struct queue_node news;   /* pushed by whoever replaces ARMED; else to be used again */
    weft_stream *stream;      /* NULL: closed */
    struct queue_node *taken; /* from the queue, and not run yet */
};

_Static_assert(sizeof(struct mailbox) == 64, "the memory that an id costs");

#endif
