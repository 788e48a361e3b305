/* Facts about the process and its threads. */
#ifndef WEFT_LIB_BASE_PROCESS_H
#define WEFT_LIB_BASE_PROCESS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A word that the kernel clears in a forked child (madvise(2), MADV_WIPEONFORK): selectors and
 * workers cannot be shared with a copy of the process, so every call there is refused. */
extern __attribute__((visibility("hidden"))) _Atomic(const uint8_t *) process_alive;

/* Called by every constructor; cheap after the first time. 0 or -errno. */
int process_prepare(void);

static inline bool process_is_forked(void) {
    /* Relaxed: either of the two words it points to in turn says that this is no forked child. Not
     * a yield point: nothing that threads do changes the answer. */
    return __builtin_expect(*atomic_load_explicit(&process_alive, memory_order_relaxed) == 0, 0);
}

/* May the number be watched at all? Not SIGKILL, SIGSTOP, the synchronous faults, the C library's
 * own, or what is no signal. */
bool signal_is_watchable(int signo);

/* Everything blocked but the synchronous faults: the mask of each thread that weft creates. */
void signal_mask_of_own_threads(sigset_t *ret_set);

/* The calling thread's name, for messages; at most 16 bytes with the NUL. */
void thread_name_self(char name[16]);

/* What /proc/self/task/<tid>/status says of a thread (proc(5)). */
struct thread_status {
    char name[16];
    char state;       /* 'R': runs or wants to; others wait for something */
    uint64_t blocked; /* bit n - 1: signal n */
};

/* 0, or -errno: -ENOENT when the thread has ended. */
int thread_status_read(pid_t tid, struct thread_status *ret_status);

/* Calls fn for each thread of the process; one that comes or goes meanwhile may be missed. 0, or
 * -errno where /proc cannot be read. */
int threads_each(void (*fn)(pid_t tid, void *arg), void *arg);

static inline uint64_t signal_bit(int signo) {
    return UINT64_C(1) << (signo - 1);
}

#endif
