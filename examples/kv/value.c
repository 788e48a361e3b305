#include "value.h"

#include <stdlib.h>
#include <string.h>

struct value *value_create(struct slice bytes) {
    struct value *value = malloc(sizeof *value + bytes.length);
    if (!value)
        return NULL;
    atomic_init(&value->holders, 1);
    value->length = value->capacity = (uint32_t)bytes.length;
    if (bytes.length)
        memcpy(value->bytes, bytes.bytes, bytes.length);
    return value;
}

/* Relaxed: whoever hands the value on has it. */
void value_hold(struct value *value) {
    atomic_fetch_add_explicit(&value->holders, 1, memory_order_relaxed);
}

/* Acquire: pairs with the release of the one that let go before. Without it the bytes could be
 * overwritten, or freed, while that one still reads them. */
void value_release(void *arg) {
    struct value *value = arg;
    if (atomic_load_explicit(&value->holders, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&value->holders, 1, memory_order_acq_rel) == 1)
        free(value);
}

bool value_assign(struct value **value, struct slice bytes) {
    struct value *old = *value;
    bool fits = bytes.length <= old->capacity && bytes.length >= old->capacity / 2;
    if (fits && atomic_load_explicit(&old->holders, memory_order_acquire) == 1) {
        if (bytes.length)
            memcpy(old->bytes, bytes.bytes, bytes.length);
        old->length = (uint32_t)bytes.length;
        return true;
    }
    struct value *fresh = value_create(bytes);
    if (!fresh)
        return false;
    value_release(old);
    *value = fresh;
    return true;
}
