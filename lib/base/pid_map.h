/* Children by pid: intrusive, one list per bucket. Whoever owns the map locks it. */
#ifndef WEFT_LIB_BASE_PID_MAP_H
#define WEFT_LIB_BASE_PID_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct pid_node {
    struct pid_node *next;
    pid_t pid;
    bool is_listed;
};

/* All zero is empty. */
struct pid_map {
    size_t used, bucket_count; /* a power of two */
    struct pid_node **buckets;
};

/* Room for one more, found before anything else is done, so that adding cannot fail: 0 or
 * -ENOMEM. */
int pid_map_reserve(struct pid_map *map);
void pid_map_add(struct pid_map *map, struct pid_node *node, pid_t pid);
struct pid_node *pid_map_find(const struct pid_map *map, pid_t pid); /* the latest; NULL */
void pid_map_remove(struct pid_map *map, struct pid_node *node);     /* again is a no-op */
void pid_map_free(struct pid_map *map); /* the nodes are their owners' */

#endif
