/* A selector's table against the kernel's view of its epoll sets. */
#include "sweep.h"

#include "selector/internal.h"
#include "test_selector.h"

#include <inttypes.h>

enum { TFDS_MAX = 1024 };

/* What the kernel adds to every registration by itself. */
static const uint32_t from_the_kernel = EPOLLERR | EPOLLHUP;

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

static bool is_in_table(struct weft_selector *s, const struct tfd *tfd, uint32_t where) {
    struct selector_entry *e = table_find(s, tfd->fd);
    uint64_t meta = e ? atomic_load(&e->meta) : 0;
    return e && meta_is_live(meta) && (meta & where) && tfd->cookie == cookie_of(meta, tfd->fd) &&
           tfd->events == (entry_bits(e) & ~from_the_kernel);
}

/* The registrations of one set; -1 if one is not as in the table. */
static int compare_set(struct weft_selector *s, int set_fd, uint32_t where) {
    static struct tfd list[TFDS_MAX];
    int fdinfo = tfd_open(set_fd);
    int count = tfd_read(fdinfo, list, TFDS_MAX);
    close(fdinfo);
    for (int i = 0; i < count; i++)
        if (!is_in_table(s, &list[i], where)) {
            snprintf(difference, sizeof difference,
                     "the table does not have fd %d with events %" PRIx32 ", cookie %" PRIx64,
                     list[i].fd, list[i].events, list[i].cookie);
            return -1;
        }
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
