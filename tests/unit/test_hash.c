/* The keyed hash: SipHash, against the values of its paper and of others. */
#include "wtest.h"

#include "base/hash.h"

/* Key 00 01 .. 0f; data 00 01 02 .. */
static uint64_t hash_of_first(size_t len, unsigned word_rounds, unsigned end_rounds) {
    static const struct hash_key key = {
        {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};
    uint8_t data[64] = {0};
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)i;
    return hash_bytes_rounds(&key, data, len, word_rounds, end_rounds);
}

WTEST(hash, gives_the_value_in_the_appendix_of_the_paper) {
    CHECK(hash_of_first(15, 2, 4) == UINT64_C(0xa129ca6149be45e5));
}

WTEST(hash, with_fewer_rounds_gives_what_others_give) {
    CHECK(hash_of_first(2, 1, 3) == UINT64_C(0x82cb9b024dc7d44d)); /* and the loads of the rest */
    CHECK(hash_of_first(3, 1, 3) == UINT64_C(0x8bf80ab8e7ddf7fb));
    CHECK(hash_of_first(0, 1, 3) == UINT64_C(0xabac0158050fc4dc));
    CHECK(hash_of_first(1, 1, 3) == UINT64_C(0xc9f49bf37d57ca93));
}

WTEST(hash, every_byte_the_length_and_the_key_count) {
    struct hash_key key = {{1, 2}}, other = {{1, 3}};
    uint8_t data[33] = {0};
    for (size_t len = 0; len < sizeof data; len++) {
        uint64_t hash = hash_bytes(&key, data, len);
        CHECK(hash == hash_bytes_rounds(&key, data, len, 1, 3));
        CHECK(hash != hash_bytes(&other, data, len));
        CHECK(len == 0 || hash != hash_bytes(&key, data, len - 1));
        for (size_t i = 0; i < len; i++) {
            data[i] = 0x80;
            CHECK(hash != hash_bytes(&key, data, len));
            data[i] = 0;
        }
    }
}
