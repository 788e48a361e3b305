/* Atomics with the ordering spelled at every use: atom_load(p, acquire).
 *
 * In test builds (WEFT_SEAM) each access is also a yield point: a deterministic scheduler can
 * stop the thread before it and let another one run, which is how the interleavings of the
 * shipped code are explored. In a release build the macros are the bare C11 operations.
 *
 * docs/memory-order.md lists each ordering used, its pair, and what breaks without it. */
#ifndef WEFT_LIB_BASE_ATOMIC_H
#define WEFT_LIB_BASE_ATOMIC_H

#include "base/sanitizer.h"

#include <stdatomic.h>
#include <stdint.h>

#ifdef WEFT_SEAM
/* Called before every atomic access and every system call; NULL outside of schedule tests. */
extern void (*seam_yield_fn)(void);
#define YIELD_POINT() ((void)(seam_yield_fn ? (seam_yield_fn(), 0) : 0))
#else
#define YIELD_POINT() ((void)0)
#endif

#define atom_load(p, order) (YIELD_POINT(), atomic_load_explicit((p), memory_order_##order))
#define atom_store(p, v, order)                                                                    \
    (YIELD_POINT(), atomic_store_explicit((p), (v), memory_order_##order))
#define atom_xchg(p, v, order)                                                                     \
    (YIELD_POINT(), atomic_exchange_explicit((p), (v), memory_order_##order))
#define atom_add(p, v, order)                                                                      \
    (YIELD_POINT(), atomic_fetch_add_explicit((p), (v), memory_order_##order))
#define atom_sub(p, v, order)                                                                      \
    (YIELD_POINT(), atomic_fetch_sub_explicit((p), (v), memory_order_##order))
#define atom_or(p, v, order)                                                                       \
    (YIELD_POINT(), atomic_fetch_or_explicit((p), (v), memory_order_##order))
#define atom_and(p, v, order)                                                                      \
    (YIELD_POINT(), atomic_fetch_and_explicit((p), (v), memory_order_##order))
#define atom_cas(p, expected, desired, success, failure)                                           \
    (YIELD_POINT(),                                                                                \
     atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_##success,   \
                                             memory_order_##failure))
#define atom_cas_weak(p, expected, desired, success, failure)                                      \
    (YIELD_POINT(),                                                                                \
     atomic_compare_exchange_weak_explicit((p), (expected), (desired), memory_order_##success,     \
                                           memory_order_##failure))

/* For a word that its owner alone writes, and reads without further ado, and at which others may
 * glance. */
#define plain_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define plain_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

/* A counter that one thread writes and any thread reads: a plain addition for its owner, never a
 * torn value for the reader. No yield point: no decision may hang on a statistic. */
typedef struct stat_counter {
    _Atomic uint64_t value;
} stat_counter;

static inline void stat_add(stat_counter *c, uint64_t n) {
#if defined(__x86_64__) && !defined(THREAD_SANITIZER)
    /* One instruction, which clang makes of the two accesses below, and gcc does not. */
    __asm__("addq %1, %0" : "+m"(c->value) : "er"(n) : "cc");
#else
    uint64_t now = atomic_load_explicit(&c->value, memory_order_relaxed);
    atomic_store_explicit(&c->value, now + n, memory_order_relaxed);
#endif
}

static inline void stat_set(stat_counter *c, uint64_t value) {
    atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

static inline void stat_sub(stat_counter *c, uint64_t n) {
    stat_add(c, (uint64_t)0 - n);
}

static inline uint64_t stat_read(const stat_counter *c) {
    return atomic_load_explicit(&((stat_counter *)(uintptr_t)c)->value, memory_order_relaxed);
}

/* Tells the CPU that this is a wait for another thread's store. */
static inline void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
