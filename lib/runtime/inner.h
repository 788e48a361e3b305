/* What the files of runtime/ share among themselves. */
#ifndef WEFT_LIB_RUNTIME_INNER_H
#define WEFT_LIB_RUNTIME_INNER_H

#include "runtime/runtime.h"

#include "weft/signal.h"

#include <stdio.h>

extern const struct worker_host runtime_host;

void runtime_deallocate(weft_runtime *rt);
void runtime_free(weft_runtime *rt);

#endif
