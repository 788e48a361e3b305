#include "store.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64, BUCKETS_PER_MOVE = 4 };

static bool table_create(struct table *table, size_t buckets) {
    table->buckets = calloc(buckets, sizeof *table->buckets);
    table->mask = buckets - 1;
    return table->buckets != NULL;
}

bool store_init(struct store *store) {
    *store = (struct store){.count = 0};
    return table_create(&store->table, BUCKETS_FIRST);
}

/* A key lies in one of the two tables, and which is known from its hash. */
static struct entry **bucket_of(struct store *store, uint64_t hash) {
    if (store->old.buckets && (hash & store->old.mask) >= store->moved)
        return &store->old.buckets[hash & store->old.mask];
    return &store->table.buckets[hash & store->table.mask];
}

static void move_bucket(struct store *store) {
    struct entry *entry = store->old.buckets[store->moved];
    store->old.buckets[store->moved++] = NULL;
    while (entry) {
        struct entry *next = entry->next;
        struct entry **bucket = &store->table.buckets[entry->hash & store->table.mask];
        entry->next = *bucket;
        *bucket = entry;
        entry = next;
    }
}

/* One look at the table moves several buckets, and at most one key is added per look: the old table
 * is empty long before the new one is full. */
static void go_on_growing(struct store *store) {
    for (int i = 0; i < BUCKETS_PER_MOVE && store->moved <= store->old.mask; i++)
        move_bucket(store);
    if (store->moved <= store->old.mask)
        return;
    free(store->old.buckets);
    store->old = (struct table){.buckets = NULL};
}

/* Without memory for more buckets the chains get longer, and that is all. */
static void grow(struct store *store) {
    struct table larger;
    if (!table_create(&larger, 2 * (store->table.mask + 1)))
        return;
    store->old = store->table;
    store->table = larger;
    store->moved = 0;
}

struct entry *store_find(struct store *store, struct slice key, uint64_t hash) {
    if (store->old.buckets)
        go_on_growing(store);
    for (struct entry *entry = *bucket_of(store, hash); entry; entry = entry->next)
        if (entry->hash == hash && entry->key_length == key.length &&
            memcmp(entry->key, key.bytes, key.length) == 0)
            return entry;
    return NULL;
}

struct entry *store_add(struct store *store, struct slice key, uint64_t hash, struct value *value) {
    struct entry *entry = malloc(sizeof *entry + key.length);
    if (!entry)
        return NULL;
    if (store->count > store->table.mask && !store->old.buckets)
        grow(store);
    struct entry **bucket = bucket_of(store, hash);
    entry->next = *bucket;
    entry->hash = hash;
    entry->value = value;
    entry->expiry = NULL;
    entry->key_length = (uint32_t)key.length;
    if (key.length)
        memcpy(entry->key, key.bytes, key.length);
    *bucket = entry;
    store->count++;
    return entry;
}

static void entry_destroy(struct entry *entry) {
    value_release(entry->value);
    free(entry);
}

void store_remove(struct store *store, struct entry *entry) {
    struct entry **link = bucket_of(store, entry->hash);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    store->count--;
    entry_destroy(entry);
}

static void table_destroy(struct table *table, void (*fn)(struct entry *entry)) {
    for (size_t i = 0; table->buckets && i <= table->mask; i++)
        for (struct entry *entry = table->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            fn(entry);
            entry_destroy(entry);
        }
    free(table->buckets);
}

void store_destroy(struct store *store, void (*fn)(struct entry *entry)) {
    table_destroy(&store->old, fn);
    table_destroy(&store->table, fn);
    *store = (struct store){.count = 0};
}

static void table_clear(struct store *store, struct table *table, void (*fn)(struct entry *entry)) {
    for (size_t i = 0; table->buckets && i <= table->mask; i++)
        for (struct entry *entry; (entry = table->buckets[i]) != NULL;) {
            fn(entry);
            store_remove(store, entry);
        }
}

/* An empty store needs few buckets; without memory for new ones it keeps the many. */
void store_clear(struct store *store, void (*fn)(struct entry *entry)) {
    struct store empty;
    if (store_init(&empty)) {
        store_destroy(store, fn);
        *store = empty;
        return;
    }
    table_clear(store, &store->old, fn);
    table_clear(store, &store->table, fn);
}
