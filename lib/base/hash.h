/* A keyed hash of bytes, for tables whose keys come from the network.
 *
 * SipHash (J.-P. Aumasson, D. J. Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012), with
 * one round per word and three at the end, which its authors hold to be enough for hash tables:
 * whoever does not know the key, and sees no hashes, cannot find keys that collide. */
#ifndef WEFT_LIB_BASE_HASH_H
#define WEFT_LIB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t words[2]; /* random, secret */
};

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len);

/* The same with other numbers of rounds: the paper has test values for 2 and 4. */
uint64_t hash_bytes_rounds(const struct hash_key *key, const void *data, size_t len,
                           unsigned word_rounds, unsigned end_rounds);

#ifdef WEFT_SEAM
extern uint64_t seam_hash_mask; /* tests make keys collide: the bits of hash_bytes() that stay */
#endif

#endif
