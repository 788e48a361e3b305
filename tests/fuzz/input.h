/* An input as a source of choices. Once it is used up every choice is 0. */
#ifndef WEFT_TESTS_FUZZ_INPUT_H
#define WEFT_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
    const uint8_t *at, *end;
};

static inline size_t input_left(const struct input *in) {
    return (size_t)(in->end - in->at);
}

static inline unsigned input_byte(struct input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

static inline unsigned input_below(struct input *in, unsigned limit) {
    return input_byte(in) % limit;
}

#endif
