#include "load/pattern.h"

uint8_t pattern_table[PATTERN_PERIOD + PATTERN_WINDOW];

void pattern_init(void) {
    uint32_t x = 2463534242u; /* xorshift32, G. Marsaglia 2003 */
    for (size_t i = 0; i < sizeof pattern_table; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        pattern_table[i] =
            i < PATTERN_PERIOD ? (uint8_t)(x >> 24) : pattern_table[i - PATTERN_PERIOD];
    }
}
