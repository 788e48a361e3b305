/* The ground floor: what every other room of the house stands on.
 *
 * os.h      every system call, -errno instead of errno, and the one seam where tests inject faults
 * atomic.h  C11 atomics, each of them a yield point in test builds
 * clock.h   CLOCK_MONOTONIC and the cycle counter that saves most reads of it
 * mem.h     one door to the allocator (jemalloc's sized calls when the program links it)
 * cpu.h     how many CPUs the process may use
 * list.h    intrusive circular lists
 * hash.h    a keyed hash of bytes
 * lock.h    a mutex that the deterministic scheduler knows
 * pid_map.h children by pid
 * child.h   a child process, from clone to exec
 * log.h     one line per event: what, where, why, what next
 * process.h facts about the process: forked?, which thread is this? what do the others block?
 * symbol.h  the name of a function, for messages
 * mutant.h  seeded bugs that the tests must catch
 * sanitizer.h  which sanitizer watches this build
 */
#ifndef WEFT_LIB_BASE_H
#define WEFT_LIB_BASE_H

#include "base/atomic.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/os.h"
#include "base/pid_map.h"
#include "base/process.h"
#include "base/sanitizer.h"
#include "base/symbol.h"

#include <stddef.h>

/* Threads that write side by side stay this far apart: two lines, because the adjacent-line
 * prefetcher of x86 pulls pairs. */
#define WEFT_CACHE_ALIGNED __attribute__((aligned(128)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Part of each of its callers. */
#define IN_LINE __attribute__((always_inline)) static inline

/* Kept out of the callers that would otherwise save registers for it on their fast path. */
#define OUT_OF_LINE __attribute__((noinline, cold))

#define array_length(a) (sizeof(a) / sizeof((a)[0]))

/* An array of words, such as what is reserved in an options struct. */
#define is_all_zero(words) words_are_zero((words), array_length(words))
static inline bool words_are_zero(const uint64_t *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (words[i])
            return false;
    return true;
}

/* The object that holds this member. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
