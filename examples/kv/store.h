/* store.h: the keys of one worker and their values: a hash table with chains.
 *
 * It doubles a few buckets at a time, with every look at it, so that no request pays for all keys.
 * It knows neither time nor threads. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include "value.h"

struct expiry; /* shard.c */

struct entry {
    struct entry *next;
    uint64_t hash;
    struct value *value;
    struct expiry *expiry; /* NULL: it stays for ever */
    uint32_t key_length;
    uint8_t key[];
};

/* Buckets: a power of two. */
struct table {
    struct entry **buckets;
    size_t mask;
};

struct store {
    struct table table;
    struct table old; /* while the table grows: what has not moved yet */
    size_t moved;     /* the buckets of old before this one are empty */
    size_t count;
};

bool store_init(struct store *store);

/* NULL: there is none. */
struct entry *store_find(struct store *store, struct slice key, uint64_t hash);

/* A key that is not there, with a value, which becomes the store's; NULL: no memory. */
struct entry *store_add(struct store *store, struct slice key, uint64_t hash, struct value *value);

/* With its value; the expiry is the caller's to end before. */
void store_remove(struct store *store, struct entry *entry);

/* Calls fn for each entry, then removes them all. */
void store_clear(struct store *store, void (*fn)(struct entry *entry));

void store_destroy(struct store *store, void (*fn)(struct entry *entry));

#endif
