/* The CPU limits of control groups: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, cpu.max.
 * Every group on the way to the root may set one, and the least counts. */
#include "base/cpu.h"

#include "base/os.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 512, TEXT_SIZE = 4096 };

unsigned cpu_quota_of(const char *text) {
    char *end = NULL;
    if (strncmp(text, "max", 3) == 0)
        return UINT_MAX;
    unsigned long quota = strtoul(text, &end, 10);
    if (end == text)
        return 0;
    unsigned long period = strtoul(end, NULL, 10);
    if (period == 0 || quota / period > UINT_MAX)
        return 0;
    return (unsigned)(quota / period);
}

/* Of one group; UINT_MAX where it has no such file, as the root has none. */
static unsigned quota_of_group(const char *group) {
    char path[PATH_SIZE + 32], text[64];
    (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
    ssize_t n = os_read_file(path, text, sizeof text);
    if (n == -ENOENT)
        return UINT_MAX;
    return n < 0 ? 0 : cpu_quota_of(text);
}

static unsigned quota_up_to_root(char *group) {
    unsigned least = quota_of_group("");
    for (char *slash; (slash = strrchr(group, '/')) != NULL; *slash = 0) {
        unsigned quota = slash[1] ? quota_of_group(group) : UINT_MAX;
        least = quota < least ? quota : least;
    }
    return least;
}

/* Version 1 is two files, where it is mounted: in a container its own group's. -1 is no limit. */
static unsigned quota_of_version_1(void) {
    char text[64];
    ssize_t n = os_read_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text - 1);
    if (n < 0)
        return n == -ENOENT ? UINT_MAX : 0;
    if (text[0] == '-')
        return UINT_MAX;
    size_t length = strcspn(text, "\n");
    text[length++] = ' ';
    n = os_read_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text + length, sizeof text - length);
    return n < 0 ? 0 : cpu_quota_of(text);
}

unsigned cpu_quota(void) {
    char text[TEXT_SIZE], group[PATH_SIZE];
    if (os_read_file("/proc/self/cgroup", text, sizeof text) < 0)
        return 0;
    unsigned first = quota_of_version_1();
    const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (!line)
        return first;
    line = strchr(line, '/');
    size_t length = line ? strcspn(line, "\n") : 0;
    if (length >= sizeof group)
        return 0;
    if (line)
        memcpy(group, line, length);
    group[length] = 0;
    unsigned second = quota_up_to_root(group);
    return first < second ? first : second;
}
