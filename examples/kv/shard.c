#include "shard.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "batch.h"

/* A key that goes by itself has a timer of its own: the wheel holds millions of them. */
struct expiry {
    weft_timer timer;
    uint64_t deadline_ns;
    struct shard *shard;
    struct entry *entry;
};

static void expiry_end(struct entry *entry) {
    if (!entry->expiry)
        return;
    weft_timer_stop(&entry->expiry->timer);
    free(entry->expiry);
    entry->expiry = NULL;
}

/* The worker, and its wheel with it, is gone. */
static void expiry_free(struct entry *entry) {
    free(entry->expiry);
}

static void expired(weft_timer *timer) {
    struct expiry *expiry = WEFT_CONTAINER_OF(timer, struct expiry, timer);
    shard_remove(expiry->shard, expiry->entry);
}

struct entry *shard_find(struct shard *shard, struct slice key, uint64_t hash) {
    struct entry *entry = store_find(&shard->store, key, hash);
    if (!entry || !entry->expiry || shard_time_left(shard, entry) > 0)
        return entry;
    shard_remove(shard, entry); /* due, and the timer has not had its turn yet */
    return NULL;
}

struct entry *shard_set(struct shard *shard, struct entry *entry, struct slice key, uint64_t hash,
                        struct slice bytes) {
    if (entry)
        return value_assign(&entry->value, bytes) ? entry : NULL;
    struct value *value = value_create(bytes);
    if (value)
        entry = store_add(&shard->store, key, hash, value);
    if (value && !entry)
        value_release(value);
    return entry;
}

void shard_remove(struct shard *shard, struct entry *entry) {
    expiry_end(entry);
    store_remove(&shard->store, entry);
}

void shard_remove_all(struct shard *shard) {
    store_clear(&shard->store, expiry_end);
}

bool shard_expire(struct shard *shard, struct entry *entry, uint64_t ttl_ns) {
    struct expiry *expiry = entry->expiry ? entry->expiry : calloc(1, sizeof *expiry);
    if (!expiry)
        return false;
    expiry->timer.fn = expired;
    expiry->shard = shard;
    expiry->entry = entry;
    expiry->deadline_ns = weft_worker_now_ns(shard->worker) + ttl_ns;
    weft_timer_start_at(shard->worker, &expiry->timer, expiry->deadline_ns);
    entry->expiry = expiry;
    return true;
}

bool shard_persist(struct entry *entry) {
    bool had_expiry = entry->expiry != NULL;
    expiry_end(entry);
    return had_expiry;
}

uint64_t shard_time_left(struct shard *shard, const struct entry *entry) {
    uint64_t now_ns = weft_worker_now_ns(shard->worker);
    return entry->expiry->deadline_ns > now_ns ? entry->expiry->deadline_ns - now_ns : 0;
}

int server_create_shards(struct server *server) {
    if (getrandom(&server->seed, sizeof server->seed, 0) != sizeof server->seed)
        return -errno;
    unsigned count = weft_runtime_worker_count(server->runtime);
    server->shards = calloc(count, sizeof *server->shards);
    if (!server->shards)
        return -ENOMEM;
    server->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct shard *shard = &server->shards[i];
        shard->server = server;
        shard->worker = weft_runtime_worker(server->runtime, i);
        shard->open = calloc(count, sizeof *shard->open);
        if (!shard->open || !store_init(&shard->store))
            return -ENOMEM;
        weft_worker_set_data(shard->worker, shard);
    }
    return 0;
}

void server_destroy_shards(struct server *server) {
    for (unsigned i = 0; i < server->count; i++) {
        struct shard *shard = &server->shards[i];
        store_destroy(&shard->store, expiry_free);
        reply_destroy(&shard->out);
        reply_destroy(&shard->part);
        batch_destroy_spare(shard);
        free(shard->open);
    }
    free(server->shards);
}
