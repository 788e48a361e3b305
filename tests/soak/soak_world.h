/* What the process holds, as the kernel and the allocator see it. */
#ifndef WEFT_TESTS_SOAK_WORLD_H
#define WEFT_TESTS_SOAK_WORLD_H

#include <stdbool.h>
#include <stddef.h>

struct world {
    unsigned fds, threads;
    size_t rss_kb, allocated_kb; /* after what is merely cached was given back */
};

struct world world_now(void);
bool world_has_zombies(void);

/* One more epoch has ended, so the process holds that. */
void world_note(const struct world *w);

/* After the last one: is the memory of the last quarter of the epochs that of the second? Says both
 * on stdout. Always where there were too few epochs, or a sanitizer's allocator. */
bool world_memory_is_flat(void);

#endif
