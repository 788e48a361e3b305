/* value.h: the bytes of a key, which several may hold: the store, and replies that lend them to
 * their streams instead of copying them, on whichever worker that may be. */
#ifndef KV_VALUE_H
#define KV_VALUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"

struct value {
    _Atomic uint32_t holders;
    uint32_t length, capacity;
    uint8_t bytes[]; /* change only while there is one holder: the store */
};

/* NULL: no memory. */
struct value *value_create(struct slice bytes);

void value_hold(struct value *value);

/* arg is a value, as weft_stream_write_ref() has it. By any thread; the last one frees it. */
void value_release(void *arg);

/* What *value becomes is these bytes: in place where they fit and nobody else holds it, else a new
 * one. false: no memory, and nothing has changed. */
bool value_assign(struct value **value, struct slice bytes);

static inline struct slice value_bytes(const struct value *value) {
    return (struct slice){value->bytes, value->length};
}

#endif
