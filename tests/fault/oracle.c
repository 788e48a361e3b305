/* The kernel's view of an epoll set: the "tfd" lines of /proc/self/fdinfo (proc(5)). */
#include "sweep.h"

#include "selector/internal.h"

#include <inttypes.h>
#include <stdio.h>

/* What the kernel adds to every registration by itself. */
enum { ALWAYS = EPOLLERR | EPOLLHUP };

static char difference[400];

struct look {
    unsigned active, parked;
};

static int count_entry(struct weft_selector *s, int fd, struct selector_entry *e, void *arg) {
    struct look *look = arg;
    uint64_t meta = atomic_load(&e->meta);
    (void)s;
    (void)fd;
    look->active += (meta & META_ACTIVE) != 0;
    look->parked += (meta & META_PARKED) != 0;
    return 0;
}

static bool is_in_table(struct weft_selector *s, int fd, uint32_t events, uint64_t cookie,
                        uint32_t where) {
    struct selector_entry *e = table_find(s, fd);
    uint64_t meta = e ? atomic_load(&e->meta) : 0;
    if (!e || !meta_is_live(meta) || !(meta & where) || cookie != cookie_of(meta, fd))
        return false;
    return (events | ALWAYS) == (entry_bits(e) | ALWAYS);
}

/* The registrations of one set; -1 if one is not as in the table. */
static int compare_set(struct weft_selector *s, int set_fd, uint32_t where) {
    char path[64], line[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set_fd);
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    while (count >= 0 && fgets(line, sizeof line, f)) {
        int fd;
        uint32_t events;
        uint64_t cookie;
        if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &fd, &events, &cookie) != 3)
            continue;
        count++;
        if (!is_in_table(s, fd, events, cookie, where)) {
            snprintf(difference, sizeof difference, "the table does not have: %s", line);
            count = -1;
        }
    }
    fclose(f);
    return count;
}

const char *sweep_selector_differs(struct weft_selector *s) {
    struct look look = {0};
    (void)table_each(s, count_entry, &look);
    int active = compare_set(s, s->epoll_fd, META_ACTIVE);
    int parked = s->parking_fd < 0 ? 0 : compare_set(s, s->parking_fd, META_PARKED);
    if (active < 0 || parked < 0)
        return difference;
    if ((unsigned)active == look.active && (unsigned)parked == look.parked)
        return NULL;
    snprintf(difference, sizeof difference, "the kernel has %d and %d parked, the table %u and %u",
             active, parked, look.active, look.parked);
    return difference;
}
