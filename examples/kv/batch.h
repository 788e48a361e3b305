/* batch.h: requests on their way to the worker that owns their keys, and back with the replies.
 *
 * What one callback of a connection finds for one other worker travels as one message: a
 * weft_task there and the same task back, however many requests were pipelined. It is one
 * allocation, which its home keeps for the next time. Those of one connection to one worker arrive
 * in their order, as posts do. */
#ifndef KV_BATCH_H
#define KV_BATCH_H

#include "command.h"

struct answers;

struct batch {
    weft_task task;
    struct shard *home, *target; /* target NULL: it stays here, and carries replies alone */
    struct answers *answers;     /* what waits for it; home's, but for the reference */
    uint8_t *records;            /* the requests, one behind the other */
    size_t length, capacity;
    size_t taken;   /* the records before have been answered */
    uint32_t count; /* of records */
    uint32_t slots; /* of answers, which wait for it */
    bool is_back;   /* its replies are here */
    struct reply reply;
    void (*on_back)(struct batch *batch); /* at home */
    struct batch *next;                   /* of the touched, or of the spare ones */
};

/* On home's worker. NULL: no memory. */
struct batch *batch_create(struct shard *home, struct shard *target);

/* A copy of the request, to be run there. Returns its size in bytes; 0: no memory. */
size_t batch_add(struct batch *batch, command_run *run, const struct request *request);

/* Sends it: on_back follows on home's worker, or, should that have ended meanwhile, batch_lost() on
 * the target's. false: nobody is there any more, and it is still the caller's. */
bool batch_post(struct batch *batch);

/* The next `count` replies: where the last of them ends in batch->reply. 0: one of them is missing,
 * for want of memory. */
size_t batch_take(struct batch *batch, uint32_t count);

/* At home: gives it back, for the next one. */
void batch_free(struct batch *batch);

void batch_destroy_spare(struct shard *home);

#endif
