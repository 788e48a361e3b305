#include "base/mutant.h"

#ifdef WEFT_MUTANTS
#include <stdlib.h>
#include <string.h>

static const char *chosen;

/* Read once, before any thread exists: getenv() is not safe beside setenv(). */
__attribute__((constructor)) static void mutant_choose(void) {
    chosen = getenv("WEFT_MUTANT");
}

bool mutant_is_alive(const char *id) {
    return chosen && strcmp(chosen, id) == 0;
}
#endif
