/* A directory: what fails for want of memory leaves every key with the id that it had. */
#include "sweep.h"

#include <weft.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static weft_directory *directory;
static int64_t allocations; /* before it was made */
static const weft_stream_id old = {{1, 2}}, new = {{3, 4}};
enum { MANY = 200 };

static void *open_empty(void) {
    allocations = seam_live_allocations();
    CHECK_EQ(weft_directory_create(&directory), 0);
    return &directory;
}

static void settled(void *arg) {
    atomic_store((_Atomic bool *)arg, true);
}

/* What grew has retired what it was before; the reclaimer keeps the order. */
static void settle(void) {
    static _Atomic bool done;
    atomic_store(&done, false);
    CHECK_EQ(weft_retire(settled, &done), 0);
    while (!atomic_load(&done))
        usleep(200);
    usleep(1000); /* its own memory */
}

static void *open_full(void) {
    (void)open_empty();
    for (unsigned key = 0; key < MANY; key++)
        CHECK_EQ(weft_directory_put(directory, &key, sizeof key, old), 0);
    settle();
    return &directory;
}

/* The reclaimer frees it, a little later. */
static void close_directory(void *unused) {
    (void)unused;
    weft_directory_destroy(directory);
    for (int turn = 0; turn < 100000 && seam_live_allocations() != allocations; turn++)
        usleep(200);
}

static bool has(unsigned key, const weft_stream_id *id) {
    weft_stream_id got;
    int r = weft_directory_get(directory, &key, sizeof key, &got);
    return id ? r == 0 && memcmp(&got, id, sizeof got) == 0 : r == -ENOENT;
}

static int create(void *unused) {
    weft_directory *d = NULL;
    (void)unused;
    int r = weft_directory_create(&d);
    CHECK((r == 0) == (d != NULL));
    weft_directory_destroy(d);
    return r;
}

static int put(void *unused) {
    const unsigned key = MANY;
    (void)unused;
    int r = weft_directory_put(directory, &key, sizeof key, new);
    CHECK(has(key, r == 0 ? &new : NULL));
    return r;
}

static int replace(void *unused) {
    const unsigned key = 7;
    (void)unused;
    int r = weft_directory_put(directory, &key, sizeof key, new);
    CHECK(has(key, r == 0 ? &new : &old));
    return r;
}

static int take_out(void *unused) {
    const unsigned key = 7;
    (void)unused;
    int r = weft_directory_remove(directory, &key, sizeof key);
    CHECK(has(key, r == 0 ? NULL : &old));
    return r;
}

static bool is_answer(void *unused, const struct sweep_fault *f, int r) {
    (void)unused;
    /* No random bytes is -ENOSYS; a table that cannot grow works on. */
    if (f->call == OS_GETRANDOM)
        return r == -ENOSYS || r == f->error;
    return r == f->error || r == 0;
}

static void sweep(const char *name, void *(*open)(void), int (*operate)(void *world),
                  unsigned least) {
    const struct sweep s = {.name = name,
                            .scope = SWEEP_CALLER,
                            .least = least,
                            .open = open,
                            .operate = operate,
                            .close = close_directory,
                            .is_answer = is_answer};
    sweep_run(&s);
}

WTEST(fault_directory, create) {
    sweep("directory: create", open_empty, create, 2);
}

WTEST(fault_directory, put) {
    sweep("directory: put", open_full, put, 1);
}

WTEST(fault_directory, replace) {
    sweep("directory: replace", open_full, replace, 1);
}

WTEST(fault_directory, remove) {
    sweep("directory: remove", open_full, take_out, 0);
}
