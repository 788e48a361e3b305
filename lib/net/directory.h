/* What tests may know of a directory, besides its public header. */
#ifndef WEFT_LIB_NET_DIRECTORY_H
#define WEFT_LIB_NET_DIRECTORY_H

#include "runtime/runtime.h"

#include "weft/directory.h"

/* The size of the table, and what was taken out of it and is not freed yet. */
size_t directory_buckets(weft_directory *d);
size_t directory_victims(weft_directory *d);

#endif
