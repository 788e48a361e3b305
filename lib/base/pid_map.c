#include "base/pid_map.h"

#include "base/mem.h"

#include <errno.h>

static struct pid_node **bucket_of(const struct pid_map *map, pid_t pid) {
    /* Neighbouring pids are the common case, and spread by themselves. */
    return &map->buckets[(size_t)pid & (map->bucket_count - 1)];
}

static size_t buckets_size(size_t bucket_count) {
    return bucket_count * sizeof(struct pid_node *);
}

struct pid_node *pid_map_find(const struct pid_map *map, pid_t pid) {
    struct pid_node *node = map->used > 0 ? *bucket_of(map, pid) : NULL;
    while (node && node->pid != pid)
        node = node->next;
    return node;
}

void pid_map_add(struct pid_map *map, struct pid_node *node, pid_t pid) {
    struct pid_node **bucket = bucket_of(map, pid);
    *node = (struct pid_node){.next = *bucket, .pid = pid, .is_listed = true};
    *bucket = node;
    map->used++;
}

void pid_map_remove(struct pid_map *map, struct pid_node *node) {
    if (!node->is_listed)
        return;
    struct pid_node **link = bucket_of(map, node->pid);
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->is_listed = false;
    map->used--;
}

int pid_map_reserve(struct pid_map *map) {
    if (map->used < map->bucket_count)
        return 0;
    struct pid_map grown = {.bucket_count = map->bucket_count ? map->bucket_count * 2 : 64};
    grown.buckets = mem_zalloc(buckets_size(grown.bucket_count));
    if (!grown.buckets)
        return -ENOMEM;
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct pid_node *node = map->buckets[i];
        while (node) {
            struct pid_node *next = node->next;
            pid_map_add(&grown, node, node->pid);
            node = next;
        }
    }
    pid_map_free(map);
    *map = grown;
    return 0;
}

void pid_map_free(struct pid_map *map) {
    mem_free(map->buckets, buckets_size(map->bucket_count));
    *map = (struct pid_map){0};
}
