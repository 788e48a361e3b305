#define DOOR_NAME "weft_back_off"
#define WEFT_BACK_OFF 32
#include "micro/queue_weft.h"

double post_weft_back_off(const void *load) {
    return drive(load);
}
