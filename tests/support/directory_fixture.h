/* What the tests of the directory share: numbers as keys, ids that show when they are torn, and
 * waiting until what was taken out is freed. */
#ifndef WEFT_TESTS_DIRECTORY_FIXTURE_H
#define WEFT_TESTS_DIRECTORY_FIXTURE_H

#include "net/directory.h"
#include "rt.h"

#include <errno.h>
#include <sched.h>

static inline weft_directory *directory_make(void) {
    weft_directory *d = NULL;
    CHECK_EQ(weft_directory_create(&d), 0);
    return d;
}

static inline weft_stream_id id_make(uint64_t n) {
    return (weft_stream_id){{n, ~n}};
}

static inline bool id_is_whole(weft_stream_id id) {
    return id.value[0] == ~id.value[1];
}

static inline int put_number(weft_directory *d, uint64_t key, uint64_t id) {
    return weft_directory_put(d, &key, sizeof key, id_make(id));
}

static inline int remove_number(weft_directory *d, uint64_t key) {
    return weft_directory_remove(d, &key, sizeof key);
}

/* The id's number, or UINT64_MAX: it has none, or a torn one. */
static inline uint64_t get_number(weft_directory *d, uint64_t key) {
    weft_stream_id id;
    if (weft_directory_get(d, &key, sizeof key, &id) != 0 || !id_is_whole(id))
        return UINT64_MAX;
    return id.value[0];
}

/* Of any thread. */
static inline void directory_await_victims(weft_directory *d, size_t count) {
    while (directory_victims(d) != count)
        sched_yield();
}

#endif
