/* The selector against its model: every byte is a choice. */
#include "input.h"
#include "selector_model.h"

static struct input choices;

static unsigned below(unsigned limit) {
    return input_below(&choices, limit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    choices = (struct input){data, data + size};
    selector_model_open(below, "this input,");
    while (input_left(&choices) > 0)
        selector_model_operate();
    selector_model_close();
    return 0;
}
