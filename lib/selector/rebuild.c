/* A set without orphans.
 *
 * epoll knows a registration by file and number. When the program closes an fd while a duplicate
 * keeps its file open, the registration stays, reports the file's events for as long as the
 * duplicate lives, and can no longer be removed: the number is gone. Nothing but a new set helps.
 * It takes the old one's place under the same number, so that those who hold weft_selector_fd()
 * hold the right one; only an outer epoll set, which knows it by file, loses sight of it. */
#include "selector/internal.h"

#include "weft/error.h"

static int entry_copy(struct weft_selector *s, int fd, struct selector_entry *e, void *arg) {
    const int fresh = *(const int *)arg;
    uint64_t meta = atom_load(&e->meta, relaxed);
    if (!(meta & META_ACTIVE))
        return 0;
    int r = kernel_ask(s, s->epoll_fd, fd);
    if (r == 0 || kernel_says_gone(r) || r == -ELOOP) {
        /* Closed, and perhaps reused by something that was never registered: the entry stays, so
         * that the program can unregister it, but it is in no set. */
        entry_publish(s, e, meta_with_flags(meta, (uint32_t)meta & ~(META_ACTIVE | META_FIRED)));
        return 0;
    }
    if (r != -EEXIST)
        return r;
    return os_epoll_ctl(fresh, EPOLL_CTL_ADD, fd, entry_bits(e), cookie_of(meta, fd));
}

/* For the selecting thread, which has accounted for all events of its batch: a ONESHOT that the
 * kernel has disarmed and the table has not would be armed again. Holds the lock. */
int set_rebuild(struct weft_selector *s) {
    int fresh = os_epoll_create();
    if (fresh < 0)
        return fresh;
    int r = table_each(s, entry_copy, &fresh);
    if (r == 0)
        r = os_dup_onto(fresh, s->epoll_fd);
    os_close(fresh);
    if (r < 0)
        return r;
    s->suspicions = 0;
    return 0;
}

/* What a worker makes of an event whose stamp is not the table's. */
void *selector_stale(struct weft_selector *s, const struct epoll_event *event) {
    struct selector_entry *e = selector_entry_at(s, (uint32_t)event->data.u64);
    void *data = NULL;
    int r = 0;
    selector_lock(s);
    uint64_t meta = atom_load(&e->meta, relaxed);
    if (meta_stamp(meta) == (uint32_t)(event->data.u64 >> SELECTOR_STAMP_SHIFT))
        data = atom_load(&e->data, relaxed); /* registered by another thread a moment ago */
    else if (s->suspicions > 0 && !MUTANT("selector-raw-orphan-spins"))
        r = set_rebuild(s);
    bool is_news = r < 0 && !s->rebuild_refused;
    s->rebuild_refused = r < 0;
    selector_unlock(s);
    if (is_news)
        log_line(LOG_LEVEL_WARNING,
                 "epoll set %d holds a closed fd whose file lives on in a duplicate, and "
                 "making a new set failed: %s; the loop spins until it succeeds",
                 s->epoll_fd, weft_err_name(r));
    return data;
}
