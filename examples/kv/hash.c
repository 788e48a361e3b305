/* SipHash-1-3: J.-P. Aumasson, D. J. Bernstein, SipHash: a Fast Short-Input PRF, INDOCRYPT 2012,
 * with one round per word and three at the end. */
#include "hash.h"

#include <string.h>

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t word, unsigned by) {
    return word << by | word >> (64 - by);
}

static inline void sip_round(struct sip *v) {
    v->a += v->b;
    v->b = rotate(v->b, 13) ^ v->a;
    v->a = rotate(v->a, 32);
    v->c += v->d;
    v->d = rotate(v->d, 16) ^ v->c;
    v->a += v->d;
    v->d = rotate(v->d, 21) ^ v->a;
    v->c += v->b;
    v->b = rotate(v->b, 17) ^ v->c;
    v->c = rotate(v->c, 32);
}

static inline void sip_word(struct sip *v, uint64_t word) {
    v->d ^= word;
    sip_round(v);
    v->a ^= word;
}

/* Words are read as the machine has them: the hash never leaves it. */
uint64_t hash_of(const struct hash_seed *seed, struct slice bytes) {
    struct sip v = {
        .a = seed->key[0] ^ UINT64_C(0x736f6d6570736575),
        .b = seed->key[1] ^ UINT64_C(0x646f72616e646f6d),
        .c = seed->key[0] ^ UINT64_C(0x6c7967656e657261),
        .d = seed->key[1] ^ UINT64_C(0x7465646279746573),
    };
    const uint8_t *at = bytes.bytes;
    size_t left = bytes.length;
    uint64_t word;
    for (; left >= sizeof word; at += sizeof word, left -= sizeof word) {
        memcpy(&word, at, sizeof word);
        sip_word(&v, word);
    }
    word = (uint64_t)bytes.length << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t)at[i] << 8 * i;
    sip_word(&v, word);
    v.c ^= 0xff;
    sip_round(&v);
    sip_round(&v);
    sip_round(&v);
    return v.a ^ v.b ^ v.c ^ v.d;
}
