#include "load/context_switches.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

static uint64_t of_thread(int pid, const char *thread) {
    char line[320];
    snprintf(line, sizeof line, "/proc/%d/task/%s/status", pid, thread);
    FILE *status = fopen(line, "re");
    if (status == NULL)
        return 0; /* it has just ended */
    uint64_t sum = 0;
    while (fgets(line, sizeof line, status) != NULL) {
        unsigned long long count;
        if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %llu", &count) == 1)
            sum += count;
    }
    fclose(status);
    return sum;
}

int context_switches_read(pid_t pid, uint64_t *ret_count) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return -errno;
    uint64_t sum = 0;
    for (const struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        if (entry->d_name[0] != '.')
            sum += of_thread((int)pid, entry->d_name);
    }
    closedir(threads);
    *ret_count = sum;
    return 0;
}
