/* What other threads want of a stream, and how its id finds it.
 *
 * A stream whose id was asked for has a mailbox: a one-word queue (queue/queue.h) with the very
 * states of a worker's inbox. Whoever pushes into an ARMED one tells the owner, by posting the
 * mailbox's task to the worker that it names; nobody else does until the owner has armed it again.
 * So at most one such task is under way, and a message costs the owner no system call while it is
 * awake.
 *
 *     push: ARMED -> message, and the task goes to `owner`
 *                 task --> a former owner: forwarded      (the stream has moved meanwhile)
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

struct mailbox {
    /* Any thread. */
    WEFT_CACHE_ALIGNED struct queue queue;
    _Atomic uint64_t serial;   /* of the stream it belongs to; 0: of none */
    _Atomic uint64_t visitors; /* messages in it, and threads about to leave one */
    _Atomic size_t under_way;  /* bytes of its messages */
    _Atomic size_t unsent;     /* as the owner last saw it */
    _Atomic size_t max_pending;
    struct net_worker *_Atomic owner;
    weft_task task; /* posted by whoever replaces ARMED */

    /* The owner's. */
    weft_stream *stream;      /* NULL: closed */
    struct queue_node *taken; /* from the queue, and not run yet */
    bool armed;               /* the queue is ARMED, or the task is under way */
    bool here;                /* its stream is: not on its way */
    struct mailbox *next;     /* of those to be used again */
    uint64_t place;           /* worker and index: the first word of its stream's id */
};

#endif
