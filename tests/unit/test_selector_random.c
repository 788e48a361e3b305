/* A million random operations against the model. WTEST_SEED=... repeats a run. */
#include "random.h"
#include "selector_model.h"
#include "test_selector.h"

static unsigned below(unsigned limit) {
    return (unsigned)random_below(limit);
}

WTEST(selector_random, a_million_operations_keep_table_and_kernel_equal) {
    char label[64];
    uint64_t steps = 1000000 / wtest_slowdown();
    snprintf(label, sizeof label, "WTEST_SEED=%llu", (unsigned long long)random_seed(now_ns()));
    selector_model_open(below, label);
    for (uint64_t i = 0; i < steps; i++)
        selector_model_operate();
    selector_model_close();
}
