#include "soak_world.h"

#include "base/sanitizer.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A sanitizer's allocator keeps what was freed. */
#if defined(ADDRESS_SANITIZER) || defined(THREAD_SANITIZER)
enum { ALLOCATOR_KEEPS = true };
#else
enum { ALLOCATOR_KEEPS = false };
#endif

enum { MEMORY_EPOCHS = 4, ALL_ARENAS = 4096 /* MALLCTL_ARENAS_ALL */ };

/* jemalloc's, where the program links it. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
    __attribute__((weak));

static struct world *history;
static size_t epochs;

static unsigned count_entries(const char *path) {
    DIR *dir = opendir(path);
    unsigned count = 0;
    if (!dir)
        abort();
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static size_t rss_kb(void) {
    unsigned long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%lu %lu", &total, &resident) != 2)
        abort();
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static size_t allocated_bytes(void) {
    char purge[32];
    uint64_t now = 1;
    size_t allocated = 0, size = sizeof allocated;
    if (ALLOCATOR_KEEPS)
        return 0;
    if (!mallctl) {
        malloc_trim(0);
        return mallinfo2().uordblks;
    }
    snprintf(purge, sizeof purge, "arena.%d.purge", ALL_ARENAS);
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    mallctl(purge, NULL, NULL, NULL, 0);
    mallctl("epoch", NULL, NULL, &now, sizeof now);
    mallctl("stats.allocated", &allocated, &size, NULL, 0);
    return allocated;
}

struct world world_now(void) {
    struct world w = {.allocated_kb = allocated_bytes() / 1024};
    w.fds = count_entries("/proc/self/fd") - 1; /* the directory's own */
    w.threads = count_entries("/proc/self/task");
    w.rss_kb = rss_kb();
    return w;
}

bool world_has_zombies(void) {
    siginfo_t info = {.si_pid = 0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid != 0;
}

void world_note(const struct world *w) {
    history = realloc(history, (epochs + 1) * sizeof *history);
    if (!history)
        abort();
    history[epochs++] = *w;
}

static size_t rss_of(const struct world *w) {
    return w->rss_kb;
}

static size_t allocated_of(const struct world *w) {
    return w->allocated_kb;
}

static int compare_sizes(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* The median of a quarter of the epochs, from 0. */
static size_t median(unsigned quarter, size_t (*of)(const struct world *)) {
    size_t from = epochs * quarter / 4, count = epochs * (quarter + 1) / 4 - from, result;
    size_t *sizes = calloc(count, sizeof *sizes);
    if (!sizes)
        abort();
    for (size_t i = 0; i < count; i++)
        sizes[i] = of(&history[from + i]);
    qsort(sizes, count, sizeof *sizes, compare_sizes);
    result = sizes[count / 2];
    free(sizes);
    return result;
}

static bool is_flat(const char *what, size_t (*of)(const struct world *), size_t slack_kb) {
    size_t early = median(1, of), late = median(3, of);
    bool flat = late <= early + slack_kb;
    printf("%s: %zu KB in the second quarter, %zu KB in the last%s\n", what, early, late,
           flat ? "" : ": GROWS");
    return flat;
}

/* An allocator's pages come and go by the megabyte, what is allocated does not. */
bool world_memory_is_flat(void) {
    bool flat = true;
    if (epochs >= MEMORY_EPOCHS && !ALLOCATOR_KEEPS) {
        flat = is_flat("allocated", allocated_of, 64);
        flat &= is_flat("RSS", rss_of, 2048 + median(1, rss_of) / 10);
    }
    free(history);
    return flat;
}
