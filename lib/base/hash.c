#include "base/hash.h"

#include <string.h>

#ifdef WEFT_SEAM
uint64_t seam_hash_mask = UINT64_MAX;
#define SEAM_HASH(hash) ((hash)&seam_hash_mask)
#else
#define SEAM_HASH(hash) (hash)
#endif

struct sip {
    uint64_t a, b, c, d; /* the paper's v0 to v3 */
};

static inline uint64_t rotated(uint64_t x, unsigned bits) {
    return x << bits | x >> (64 - bits);
}

static inline void sip_rounds(struct sip *s, unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) {
        s->a += s->b;
        s->b = rotated(s->b, 13) ^ s->a;
        s->a = rotated(s->a, 32);
        s->c += s->d;
        s->d = rotated(s->d, 16) ^ s->c;
        s->a += s->d;
        s->d = rotated(s->d, 21) ^ s->a;
        s->c += s->b;
        s->b = rotated(s->b, 17) ^ s->c;
        s->c = rotated(s->c, 32);
    }
}

static inline void sip_word(struct sip *s, uint64_t word, unsigned rounds) {
    s->d ^= word;
    sip_rounds(s, rounds);
    s->a ^= word;
}

/* `count` bytes as a number, the first of them the lowest, as in the paper. */
static inline uint64_t load_bytes(const uint8_t *from, size_t count) {
    uint64_t word = 0;
    memcpy(&word, from, count);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The bytes behind the last whole word, fewer than eight, below the length's low byte. Three loads
 * of known size: a loop over the bytes takes longer than the hash. */
static inline uint64_t last_word(const uint8_t *rest, size_t len) {
    uint64_t word = (uint64_t)len << 56;
    unsigned bits = 0;
    if (len & 4) {
        word |= load_bytes(rest, 4);
        bits = 32;
    }
    if (len & 2) {
        word |= load_bytes(rest + bits / 8, 2) << bits;
        bits += 16;
    }
    if (len & 1)
        word |= load_bytes(rest + bits / 8, 1) << bits;
    return word;
}

static inline uint64_t siphash(const struct hash_key *key, const uint8_t *data, size_t len,
                               unsigned word_rounds, unsigned end_rounds) {
    const uint64_t *k = key->words;
    struct sip s = {k[0] ^ UINT64_C(0x736f6d6570736575), k[1] ^ UINT64_C(0x646f72616e646f6d),
                    k[0] ^ UINT64_C(0x6c7967656e657261), k[1] ^ UINT64_C(0x7465646279746573)};
    const uint8_t *end = data + len / 8 * 8;
    for (; data != end; data += 8)
        sip_word(&s, load_bytes(data, 8), word_rounds);
    sip_word(&s, last_word(end, len), word_rounds);
    s.c ^= 0xff;
    sip_rounds(&s, end_rounds);
    return s.a ^ s.b ^ s.c ^ s.d;
}

uint64_t hash_bytes_rounds(const struct hash_key *key, const void *data, size_t len,
                           unsigned word_rounds, unsigned end_rounds) {
    return siphash(key, data, len, word_rounds, end_rounds);
}

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len) {
    return SEAM_HASH(siphash(key, data, len, 1, 3));
}
