#define DOOR_NAME "weft_guess"
#define WEFT_GUESS_EMPTY 1
#include "micro/queue_weft.h"

double post_weft_guess(const void *load) {
    return drive(load);
}
