#define DOOR_NAME "weft_prefetch"
#define WEFT_PREFETCH 1
#include "micro/queue_weft.h"

double post_weft_prefetch(const void *load) {
    return drive(load);
}
