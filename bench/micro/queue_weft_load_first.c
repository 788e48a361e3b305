#define DOOR_NAME "weft_load_first"
#define WEFT_LOAD_FIRST 1
#include "micro/queue_weft.h"

double post_weft_load_first(const void *load) {
    return drive(load);
}
