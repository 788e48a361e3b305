/* connection.h: a client: its requests in, to the right workers, its replies out. */
#ifndef KV_CONNECTION_H
#define KV_CONNECTION_H

#include <weft.h>

/* For streams whose workers have a shard as their data. */
extern const weft_protocol connection_protocol;

#endif
