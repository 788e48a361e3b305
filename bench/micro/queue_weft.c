#define DOOR_NAME "weft"
#include "micro/queue_weft.h"

double post_weft(const void *load) {
    return drive(load);
}
