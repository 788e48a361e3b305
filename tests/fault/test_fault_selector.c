/* The selector and its sources: each call that fails while one is made, changed or given up. */
#include "sweep.h"

#include "weft/selector.h"

static void *open_nothing(void) {
    static int nothing;
    return &nothing;
}

static void close_nothing(void *world) {
    (void)world;
}

static int create(void *world) {
    weft_selector *s = NULL;
    (void)world;
    int r = weft_selector_create(&s);
    CHECK((r == 0) == (s != NULL));
    weft_selector_destroy(s);
    return r;
}

WTEST(fault_selector, create) {
    static const struct sweep sweep = {.name = "create",
                                       .least = 2,
                                       .open = open_nothing,
                                       .operate = create,
                                       .close = close_nothing};
    sweep_run(&sweep);
}
