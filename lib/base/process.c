#include "base/process.h"

#include "base/log.h"
#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static const uint8_t assumed_alive = 1;
_Atomic(const uint8_t *) process_alive = &assumed_alive;

static void prepare_once(void) {
    void *page = NULL;
    const size_t size = 4096;

    int r = os_mmap_anonymous(size, &page);
    if (r == 0) {
        r = os_madvise(page, size, MADV_WIPEONFORK);
        if (r < 0)
            os_munmap(page, size);
    }
    if (r < 0) {
        log_line(LOG_LEVEL_INFO,
                 "the kernel refused MADV_WIPEONFORK (%d): weft works, but calls in a "
                 "forked child are not refused; do not make any",
                 r);
        return;
    }
    *(uint8_t *)page = 1;
    atomic_store_explicit(&process_alive, page, memory_order_release);
}

int process_prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (process_is_forked())
        return -EPERM;
    pthread_once(&once, prepare_once);
    return 0;
}

bool signal_is_watchable(int signo) {
    switch (signo) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL: return false;
    default: break;
    }
    /* Between the standard and the real-time numbers lie those that glibc keeps for its threads. */
    return (signo >= 1 && signo < 32) || (signo >= SIGRTMIN && signo <= SIGRTMAX);
}

void signal_mask_of_own_threads(sigset_t *ret_set) {
    sigfillset(ret_set);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(ret_set, faults[i]);
}

void thread_name_self(char name[16]) {
    if (prctl(PR_GET_NAME, name) != 0)
        name[0] = 0;
    name[15] = 0;
}

/* The text behind "\nlabel:" and its white space, NULL where there is no such line. */
static const char *field_of(const char *text, const char *label) {
    const char *at = strstr(text, label);
    if (!at)
        return NULL;
    at += strlen(label);
    return at + strspn(at, " \t");
}

int thread_status_read(pid_t tid, struct thread_status *ret_status) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)tid);
    ssize_t n = os_read_file(path, text, sizeof text);
    if (n < 0)
        return (int)n;
    const char *name = field_of(text, "Name:"), *state = field_of(text, "\nState:");
    const char *blocked = field_of(text, "\nSigBlk:");
    if (!name || !state || !blocked)
        return -EIO;
    struct thread_status status = {.state = *state, .blocked = strtoull(blocked, NULL, 16)};
    size_t length = strcspn(name, "\n");
    memcpy(status.name, name, length < sizeof status.name ? length : sizeof status.name - 1);
    *ret_status = status;
    return 0;
}

int threads_each(void (*fn)(pid_t tid, void *arg), void *arg) {
    DIR *directory = opendir("/proc/self/task");
    if (!directory)
        return -errno;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        long tid = strtol(entry->d_name, NULL, 10);
        if (tid > 0)
            fn((pid_t)tid, arg);
    }
    closedir(directory);
    return 0;
}
