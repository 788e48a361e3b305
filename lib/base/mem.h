/* One door to the allocator.
 *
 * When the program links jemalloc, its sized calls are used: a free that knows the size needs no
 * look-up of it. They are weak references, so libweft.so itself needs no jemalloc: a library with
 * jemalloc's static TLS could not be opened by dlopen(). Without it, libc's malloc serves.
 *
 * In test builds an allocation can be made to fail (os.h, seam). */
#ifndef WEFT_LIB_BASE_MEM_H
#define WEFT_LIB_BASE_MEM_H

#include <stddef.h>

/* NULL when there is no memory; size 0 is not asked for. */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc_aligned(size_t alignment, size_t size) __attribute__((malloc, warn_unused_result));

/* `size` is the size that was asked for, or 0 where nobody knows it; NULL is a no-op. */
void mem_free(void *memory, size_t size);
void mem_free_aligned(void *memory, size_t alignment, size_t size);

#endif
