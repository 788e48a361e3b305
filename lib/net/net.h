/* The door of net/: listeners and streams over TCP.
 *
 * Nothing below includes it and nothing above exists, so the door is the public header; what the
 * files of this folder share is in inner.h. */
#ifndef WEFT_LIB_NET_H
#define WEFT_LIB_NET_H

#include "weft/stream.h"

#endif
