#include "base/mem.h"

#include "base/os.h"

#include <stdlib.h>
#include <string.h>

/* jemalloc's non-standard interface (jemalloc(3)); absent unless the program links it. */
extern void *mallocx(size_t size, int flags) __attribute__((weak));
extern void sdallocx(void *memory, size_t size, int flags) __attribute__((weak));

enum { JEMALLOC_ZERO = 0x40 };

#ifdef WEFT_SEAM
static _Atomic int64_t live;

int64_t seam_live_allocations(void) {
    return atomic_load_explicit(&live, memory_order_relaxed);
}
#endif

/* Test builds count what was not freed. */
static inline void *counted(void *memory) {
#ifdef WEFT_SEAM
    if (memory)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
#endif
    return memory;
}

static inline void uncount(void) {
#ifdef WEFT_SEAM
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
#endif
}

void *mem_alloc(size_t size) {
    if (os_seam_refuses(OS_ALLOC))
        return NULL;
    return counted(mallocx ? mallocx(size, 0) : malloc(size));
}

void *mem_zalloc(size_t size) {
    if (os_seam_refuses(OS_ALLOC))
        return NULL;
    return counted(mallocx ? mallocx(size, JEMALLOC_ZERO) : calloc(1, size));
}

void *mem_zalloc_aligned(size_t alignment, size_t size) {
    if (os_seam_refuses(OS_ALLOC))
        return NULL;
    size = (size + alignment - 1) & ~(alignment - 1);
    void *memory = aligned_alloc(alignment, size);
    if (memory)
        memset(memory, 0, size);
    return counted(memory);
}

void mem_free(void *memory, size_t size) {
    if (!memory)
        return;
    uncount();
    if (sdallocx && mallocx && size)
        sdallocx(memory, size, 0);
    else
        free(memory);
}

void mem_free_aligned(void *memory, size_t alignment, size_t size) {
    (void)alignment;
    (void)size;
    if (!memory)
        return;
    uncount();
    free(memory);
}
