#include "batch.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"

enum { RECORDS_FIRST = 1 << 10, RECORDS_KEEP_MAX = 64 << 10, SPARE_MAX = 64 };

/* A request in a batch: its arguments, then their bytes, from the record's end on. */
struct record {
    command_run *run;
    uint64_t hash;
    size_t size; /* with its bytes, and what aligns the next record */
    size_t end;  /* of its reply */
    uint32_t count;
    struct resp_argument arguments[];
};

struct batch *batch_create(struct shard *home, struct shard *target) {
    struct batch *batch = home->spare;
    if (batch) {
        home->spare = batch->next;
        home->spare_count--;
    } else if (!(batch = calloc(1, sizeof *batch))) {
        return NULL;
    }
    batch->home = home;
    batch->target = target;
    return batch;
}

static bool reserve(struct batch *batch, size_t size) {
    if (size <= batch->capacity - batch->length)
        return true;
    size_t capacity = batch->capacity ? batch->capacity : RECORDS_FIRST;
    while (capacity - batch->length < size)
        capacity *= 2;
    uint8_t *records = realloc(batch->records, capacity);
    if (!records)
        return false;
    batch->records = records;
    batch->capacity = capacity;
    return true;
}

static struct record *record_at(const struct batch *batch, size_t at) {
    return (struct record *)(void *)(batch->records + at);
}

size_t batch_add(struct batch *batch, command_run *run, const struct request *request) {
    size_t bytes = sizeof(struct record) + request->count * sizeof(struct resp_argument);
    size_t size = bytes;
    for (uint32_t i = 0; i < request->count; i++)
        size += request->arguments[i].length;
    size = (size + alignof(struct record) - 1) & ~(alignof(struct record) - 1);
    if (!reserve(batch, size))
        return 0;
    struct record *record = record_at(batch, batch->length);
    *record =
        (struct record){.run = run, .hash = request->hash, .size = size, .count = request->count};
    for (uint32_t i = 0; i < request->count; i++) {
        struct slice argument = request_argument(request, i);
        record->arguments[i] = (struct resp_argument){(uint32_t)bytes, (uint32_t)argument.length};
        memcpy((uint8_t *)record + bytes, argument.bytes, argument.length);
        bytes += argument.length;
    }
    batch->length += size;
    batch->count++;
    return size;
}

static void run_record(struct batch *batch, struct record *record) {
    const struct request request = {.bytes = (const uint8_t *)record,
                                    .arguments = record->arguments,
                                    .count = record->count,
                                    .hash = record->hash};
    size_t start = batch->reply.length;
    record->run(batch->target, &request, &batch->reply);
    reply_finish(&batch->reply, start); /* or it is empty, which batch_take() sees */
    record->end = batch->reply.length;
}

static void destroy(struct batch *batch) {
    reply_destroy(&batch->reply);
    free(batch->records);
    free(batch);
}

static void back(weft_task *task) {
    struct batch *batch = WEFT_CONTAINER_OF(task, struct batch, task);
    batch->on_back(batch);
}

/* On the target's worker. Home refuses it only when the runtime has stopped: no stream is left that
 * waits for it, and the target is the last who knows of it. */
static void arrived(weft_task *task) {
    struct batch *batch = WEFT_CONTAINER_OF(task, struct batch, task);
    for (size_t at = 0; at < batch->length; at += record_at(batch, at)->size)
        run_record(batch, record_at(batch, at));
    batch->task.run = back;
    if (weft_post(batch->home->worker, &batch->task) < 0) {
        answers_unref(batch->answers);
        destroy(batch);
    }
}

bool batch_post(struct batch *batch) {
    batch->task.run = arrived;
    return weft_post(batch->target->worker, &batch->task) == 0;
}

size_t batch_take(struct batch *batch, uint32_t count) {
    size_t end = 0, start = batch->reply.sent;
    bool is_missing = false;
    while (count--) {
        const struct record *record = record_at(batch, batch->taken);
        batch->taken += record->size;
        end = record->end;
        is_missing = is_missing || end == start;
        start = end;
    }
    return is_missing ? 0 : end;
}

void batch_free(struct batch *batch) {
    struct shard *home = batch->home;
    if (home->spare_count == SPARE_MAX) {
        destroy(batch);
        return;
    }
    struct batch fresh = {.records = batch->records, .capacity = batch->capacity};
    reply_clear(&batch->reply);
    fresh.reply = batch->reply;
    if (fresh.capacity > RECORDS_KEEP_MAX) {
        free(fresh.records);
        fresh.records = NULL;
        fresh.capacity = 0;
    }
    fresh.next = home->spare;
    *batch = fresh;
    home->spare = batch;
    home->spare_count++;
}

void batch_destroy_spare(struct shard *home) {
    while (home->spare) {
        struct batch *batch = home->spare;
        home->spare = batch->next;
        destroy(batch);
    }
}
