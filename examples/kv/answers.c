#include "answers.h"

#include <stdlib.h>

enum {
    SLOTS_FIRST = 16,
    REQUESTS_MANY = 1024,
    BYTES_MANY = 1 << 20, /* of requests under way, and of replies that wait for them */
};

/* A place in the queue. */
struct slot {
    struct batch *batch; /* NULL: the next `merged.parts` replies are parts of one */
    uint32_t count;      /* the next so many replies of the batch; 0: what comes before end */
    size_t end;
    struct merged merged;
};

struct answers {
    _Atomic unsigned references; /* the stream's, and one of each batch under way */
    weft_stream *stream;         /* NULL: gone */
    struct shard *home;
    void (*on_progress)(weft_stream *s);
    struct slot *slots; /* a ring */
    uint32_t capacity;
    uint64_t first, end;  /* of the slots in use; they only grow */
    struct batch *here;   /* of the callback that runs: replies that were found here */
    struct merged merged; /* while parts > 0: what they have come to */
    uint32_t requests;
    size_t bytes;
};

struct answers *answers_create(weft_stream *s, struct shard *home,
                               void (*on_progress)(weft_stream *s)) {
    struct answers *answers = calloc(1, sizeof *answers);
    if (!answers)
        return NULL;
    atomic_init(&answers->references, 1);
    answers->stream = s;
    answers->home = home;
    answers->on_progress = on_progress;
    return answers;
}

/* Acquire and release: whoever frees it has seen what the others did. */
void answers_unref(struct answers *answers) {
    if (atomic_fetch_sub_explicit(&answers->references, 1, memory_order_acq_rel) > 1)
        return;
    free(answers->slots);
    free(answers);
}

bool answers_are_empty(const struct answers *answers) {
    return !answers || answers->first == answers->end;
}

bool answers_are_many(const struct answers *answers) {
    return answers && (answers->requests >= REQUESTS_MANY || answers->bytes >= BYTES_MANY);
}

bool answers_are_few(const struct answers *answers) {
    return !answers || (answers->requests < REQUESTS_MANY / 2 && answers->bytes < BYTES_MANY / 2);
}

static struct slot *slot_at(const struct answers *answers, uint64_t place) {
    return &answers->slots[place & (answers->capacity - 1)];
}

static bool grow(struct answers *answers) {
    uint32_t capacity = answers->capacity ? 2 * answers->capacity : SLOTS_FIRST;
    struct slot *slots = malloc(capacity * sizeof *slots);
    if (!slots)
        return false;
    for (uint64_t place = answers->first; place < answers->end; place++)
        slots[place & (capacity - 1)] = *slot_at(answers, place);
    free(answers->slots);
    answers->slots = slots;
    answers->capacity = capacity;
    return true;
}

/* The last slot, if it is for this batch, or a new one; NULL: no memory. */
static struct slot *slot_for(struct answers *answers, struct batch *batch) {
    if (answers->first < answers->end && slot_at(answers, answers->end - 1)->batch == batch)
        return slot_at(answers, answers->end - 1);
    if (answers->end - answers->first == answers->capacity && !grow(answers))
        return NULL;
    struct slot *slot = slot_at(answers, answers->end++);
    *slot = (struct slot){.batch = batch};
    if (batch)
        batch->slots++;
    return slot;
}

static void account(struct answers *answers, uint32_t requests, size_t bytes) {
    answers->requests += requests;
    answers->bytes += bytes;
}

/* Nobody waits for it any more. */
static void end_batch(struct answers *answers, struct batch *batch) {
    answers->requests -= batch->count;
    answers->bytes -= batch->target ? batch->length : batch->reply.length;
    batch_free(batch);
}

/* Replies that are found here. */

struct reply *answers_here(struct answers *answers) {
    if (!answers->here) {
        answers->here = batch_create(answers->home, NULL);
        if (!answers->here)
            return NULL;
        answers->here->is_back = true;
    }
    struct slot *slot = slot_for(answers, answers->here);
    if (!slot)
        return NULL;
    slot->end = answers->here->reply.length;
    return &answers->here->reply;
}

void answers_here_done(struct answers *answers) {
    struct slot *slot = slot_at(answers, answers->end - 1);
    size_t length = answers->here->reply.length;
    account(answers, 0, length - slot->end);
    slot->end = length;
}

bool answers_keep(struct answers *answers, struct reply *reply) {
    struct batch *batch = batch_create(answers->home, NULL);
    struct slot *slot = batch ? slot_for(answers, batch) : NULL;
    if (!slot) {
        if (batch)
            batch_free(batch);
        return false;
    }
    struct reply spare = batch->reply;
    batch->reply = *reply;
    *reply = spare;
    batch->is_back = true;
    slot->end = batch->reply.length;
    account(answers, 0, batch->reply.length);
    return true;
}

/* Replies that come from elsewhere. */

static struct batch *open_batch(struct answers *answers, struct shard *target) {
    struct shard *home = answers->home;
    struct batch **open = &home->open[target - home->server->shards];
    if (!*open && (*open = batch_create(home, target))) {
        (*open)->next = home->touched;
        home->touched = *open;
    }
    return *open;
}

bool answers_ask(struct answers *answers, struct shard *target, command_run *run,
                 const struct request *request) {
    struct batch *batch = open_batch(answers, target);
    struct slot *slot = batch ? slot_for(answers, batch) : NULL;
    size_t size = slot ? batch_add(batch, run, request) : 0;
    if (size == 0)
        return false;
    slot->count++;
    account(answers, 1, size);
    return true;
}

int64_t answers_merge(struct answers *answers) {
    return slot_for(answers, NULL) ? (int64_t)answers->end - 1 : -1;
}

void answers_merge_parts(struct answers *answers, int64_t place, struct merged merged) {
    slot_at(answers, (uint64_t)place)->merged = merged;
}

void merged_add(struct merged *merged, const uint8_t *reply) {
    int64_t number = 0;
    if (*reply == '-')
        merged->total = -1; /* of parts there is one error alone: no memory */
    if (merged->how != SUMMED || *reply != ':' || merged->total < 0)
        return;
    for (reply++; *reply >= '0' && *reply <= '9'; reply++)
        number = 10 * number + (*reply - '0');
    merged->total += number;
}

void merged_reply(const struct merged *merged, struct reply *reply) {
    if (merged->total < 0)
        REPLY_LITERAL(reply, "-OOM out of memory\r\n");
    else if (merged->how == SUMMED)
        reply_integer(reply, merged->total);
    else
        REPLY_LITERAL(reply, "+OK\r\n");
}

static void came_back(struct batch *batch) {
    struct answers *answers = batch->answers;
    batch->is_back = true;
    if (!answers->stream) {
        batch_free(batch);
    } else {
        answers_drain(answers);
        answers->on_progress(answers->stream);
    }
    answers_unref(answers);
}

bool answers_dispatch(struct answers *answers) {
    struct shard *home = answers->home;
    bool all = true;
    answers->here = NULL;
    while (home->touched) {
        struct batch *batch = home->touched;
        home->touched = batch->next;
        home->open[batch->target - home->server->shards] = NULL;
        batch->answers = answers;
        batch->on_back = came_back;
        atomic_fetch_add_explicit(&answers->references, 1, memory_order_relaxed);
        if (batch->count > 0 && batch_post(batch))
            continue;
        atomic_fetch_sub_explicit(&answers->references, 1, memory_order_relaxed);
        all = false; /* the stream is to be aborted */
        batch->is_back = true;
        if (batch->slots == 0)
            batch_free(batch);
    }
    return all;
}

/* Passing on. */

/* The next replies in the slot: where they end. A reply that is missing cannot be passed over. */
static size_t take(struct answers *answers, struct slot *slot, uint32_t count) {
    size_t end = batch_take(slot->batch, count);
    if (end == 0)
        weft_stream_abort(answers->stream);
    return end;
}

static void pop(struct answers *answers) {
    struct batch *batch = slot_at(answers, answers->first++)->batch;
    if (batch && --batch->slots == 0 && batch->is_back)
        end_batch(answers, batch);
}

static void merge_ends(struct answers *answers) {
    struct reply reply = {.bytes = NULL};
    merged_reply(&answers->merged, &reply);
    if (reply.is_broken || weft_stream_write(answers->stream, reply.bytes, reply.length) < 0)
        weft_stream_abort(answers->stream);
    reply_destroy(&reply);
}

static void merge_part(struct answers *answers, struct slot *slot) {
    struct reply *reply = &slot->batch->reply;
    size_t start = reply->sent;
    reply->sent = take(answers, slot, 1);
    if (reply->sent > start)
        merged_add(&answers->merged, reply->bytes + start);
    if (--slot->count == 0)
        pop(answers);
    if (--answers->merged.parts == 0)
        merge_ends(answers);
}

/* false: the stream is full. */
static bool pass_on(struct answers *answers, struct slot *slot) {
    if (slot->count) {
        slot->end = take(answers, slot, slot->count);
        slot->count = 0;
    }
    if (!reply_write(&slot->batch->reply, answers->stream, slot->end))
        return false;
    pop(answers);
    return true;
}

void answers_drain(struct answers *answers) {
    while (answers->first < answers->end) {
        struct slot *slot = slot_at(answers, answers->first);
        if (!slot->batch) {
            answers->merged = slot->merged;
            pop(answers);
        } else if (!slot->batch->is_back) {
            return;
        } else if (answers->merged.parts > 0) {
            merge_part(answers, slot);
        } else if (!pass_on(answers, slot)) {
            return;
        }
    }
}

/* Batches that are under way are freed when they come back. */
void answers_close(struct answers *answers) {
    if (!answers)
        return;
    answers->stream = NULL;
    while (answers->first < answers->end)
        pop(answers);
    answers_unref(answers);
}
