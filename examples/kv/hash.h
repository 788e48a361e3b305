/* hash.h: which worker, and which bucket, a key belongs to. */
#ifndef KV_HASH_H
#define KV_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that lie elsewhere. */
struct slice {
    const uint8_t *bytes;
    size_t length;
};

/* Secret, and drawn anew by every process: whoever chooses the keys cannot choose where they
 * collide. */
struct hash_seed {
    uint64_t key[2];
};

uint64_t hash_of(const struct hash_seed *seed, struct slice bytes);

#endif
