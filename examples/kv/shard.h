/* shard.h: what one worker owns: the keys whose hash falls to it, and when they expire. All of it
 * belongs to that worker's thread; there is no lock anywhere. */
#ifndef KV_SHARD_H
#define KV_SHARD_H

#include "reply.h"
#include "store.h"

struct batch;

/* Never changes once the workers run. */
struct server {
    weft_runtime *runtime;
    struct hash_seed seed;
    struct shard *shards;
    unsigned count; /* of shards: one per worker */
};

struct shard {
    struct server *server;
    weft_worker *worker;
    struct store store;

    /* Of the callback that runs now. */
    struct reply out;      /* replies to the stream that is served, which it has not been given */
    struct reply part;     /* that of one key of several */
    struct batch **open;   /* for each shard: requests that will be posted to it, or NULL */
    struct batch *touched; /* a list of them */

    struct batch *spare; /* a list, for the next ones */
    unsigned spare_count;
    uint8_t padding[64]; /* another worker's shard lies behind */
};

/* The shards of the server's runtime; 0, or -errno. Before it starts. */
int server_create_shards(struct server *server);

/* After it has ended. */
void server_destroy_shards(struct server *server);

/* The upper bits: the lower ones choose the bucket, and would be alike in one shard. */
static inline struct shard *server_shard_of(const struct server *server, uint64_t hash) {
    return &server->shards[(hash >> 32) * server->count >> 32];
}

/* NULL: there is none, or its time is over. */
struct entry *shard_find(struct shard *shard, struct slice key, uint64_t hash);

/* The value of the key becomes these bytes; entry is what shard_find() said. Its expiry stays.
 * NULL: no memory, and nothing has changed. */
struct entry *shard_set(struct shard *shard, struct entry *entry, struct slice key, uint64_t hash,
                        struct slice bytes);

void shard_remove(struct shard *shard, struct entry *entry);

void shard_remove_all(struct shard *shard);

/* The key goes in ttl_ns nanoseconds; false: no memory, and nothing has changed. */
bool shard_expire(struct shard *shard, struct entry *entry, uint64_t ttl_ns);

/* It stays for ever; false: it would have anyway. */
bool shard_persist(struct entry *entry);

/* Nanoseconds that are left to a key with an expiry. */
uint64_t shard_time_left(struct shard *shard, const struct entry *entry);

#endif
