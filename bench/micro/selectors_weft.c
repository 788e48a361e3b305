#include "micro/contest.h"
#include "micro/selectors.h"

#include <weft.h>

static weft_selector *selector;

static void register_all(void) {
    for (unsigned i = 0; i < selectors_count; i++)
        must("weft_selector_register",
             weft_selector_register(selector, selectors_fds[i], WEFT_READ, &selectors_fds[i]));
}

static void update_all(void) {
    for (unsigned i = 0; i < selectors_count; i++)
        must("weft_selector_update",
             weft_selector_update(selector, selectors_fds[i], WEFT_READ | WEFT_WRITE));
}

static void unregister_all(void) {
    for (unsigned i = 0; i < selectors_count; i++)
        must("weft_selector_unregister", weft_selector_unregister(selector, selectors_fds[i]));
}

static void dispatch(void) {
    static weft_ready ready[SELECTORS_BATCH];
    int count =
        must("weft_selector_select", weft_selector_select(selector, 0, ready, SELECTORS_BATCH));
    for (int i = 0; i < count; i++)
        selectors_ready(ready[i].data);
}

double selectors_weft(const void *arg) {
    static const struct selectors_kind kind = {register_all, update_all, unregister_all, dispatch};
    selectors_open(arg);
    must("weft_selector_create", weft_selector_create(&selector));
    return selectors_run(&kind);
}
