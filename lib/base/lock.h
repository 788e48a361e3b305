/* A mutex. In test builds a scheduler that runs one thread at a time stops threads at yield points,
 * of which there are some under locks: whoever wants a lock then must not block out of its
 * sight. */
#ifndef WEFT_LIB_BASE_LOCK_H
#define WEFT_LIB_BASE_LOCK_H

#include "base/atomic.h"

#include <pthread.h>

static inline void lock_take(pthread_mutex_t *lock) {
#ifdef WEFT_SEAM
    if (seam_yield_fn) {
        while (pthread_mutex_trylock(lock) != 0)
            YIELD_POINT();
        return;
    }
#endif
    pthread_mutex_lock(lock);
}

static inline void lock_drop(pthread_mutex_t *lock) {
    pthread_mutex_unlock(lock);
}

#endif
