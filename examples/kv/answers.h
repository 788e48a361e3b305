/* answers.h: what a connection is owed, in the order of its requests.
 *
 * A connection of which every request so far was answered at once has none of this. From the first
 * one that goes to another worker on, replies queue up behind it: those that come back later, those
 * that are found here meanwhile, and those of which several make one. What is at the head and
 * complete goes to the stream.
 *
 * It belongs to the thread of the connection's worker. Batches under way hold a reference, as the
 * connection may be gone when they come back. */
#ifndef KV_ANSWERS_H
#define KV_ANSWERS_H

#include "batch.h"

struct answers;

/* NULL: no memory. on_progress: something came back, and was passed on as far as that goes. */
struct answers *answers_create(weft_stream *s, struct shard *home,
                               void (*on_progress)(weft_stream *s));

/* The stream is gone. NULL is ignored. */
void answers_close(struct answers *answers);

/* Of a batch that is lost; any thread. */
void answers_unref(struct answers *answers);

/* Nothing is owed. So is it to one that is NULL. */
bool answers_are_empty(const struct answers *answers);

/* So much is under way that no more should be asked for. */
bool answers_are_many(const struct answers *answers);

/* Less than half of that. */
bool answers_are_few(const struct answers *answers);

/* Where to append the next reply, if it is found here; NULL: no memory. */
struct reply *answers_here(struct answers *answers);

/* It has been appended. */
void answers_here_done(struct answers *answers);

/* Replies that the stream does not take, or is not to have yet: they are the first in the queue,
 * which is empty. false: no memory. */
bool answers_keep(struct answers *answers, struct reply *reply);

/* The next reply, or part of one, is another shard's to give. false: no memory. */
bool answers_ask(struct answers *answers, struct shard *target, command_run *run,
                 const struct request *request);

/* What several parts come to. */
struct merged {
    enum command_merge how;
    int64_t total;
    uint32_t parts; /* that are still to come */
};

/* The next reply is made of parts, which are asked for next. Returns its place, for
 * answers_merge_parts(), which tells what is known once they all are; < 0: no memory. */
int64_t answers_merge(struct answers *answers);
void answers_merge_parts(struct answers *answers, int64_t place, struct merged merged);

/* One part's reply: a number, OK, or an error, which a total cannot contain. */
void merged_add(struct merged *merged, const uint8_t *reply);

/* The reply that is the whole. */
void merged_reply(const struct merged *merged, struct reply *reply);

/* The callback ends: what was asked for leaves. false: nobody is there any more. */
bool answers_dispatch(struct answers *answers);

/* Passes on what is complete and in order. */
void answers_drain(struct answers *answers);

#endif
