#include "selector/internal.h"

struct weft_event {
    int fd;
};

/* Of several selectors that were woken, the one whose read comes first takes all triggers; the
 * others find nothing and go on waiting. */
static int event_take(struct weft_selector *s, int fd, struct source *source, weft_ready *ready) {
    (void)s;
    (void)source;
    uint64_t triggers = 0;
    ssize_t n = os_read(fd, &triggers, sizeof triggers);
    if (n < 0)
        return (int)n;
    ready->events = WEFT_USER;
    ready->value = triggers;
    return 0;
}

/* The eventfd is the event's, and an event may be in many selectors. */
static void event_release(struct weft_selector *s, int fd, struct source *source) {
    (void)s;
    (void)fd;
    (void)source;
}

static const struct source_kind event_kind = {event_take, event_release};

/* Nothing to remember but the kind: one for all. */
static struct source event_source = {&event_kind};

int weft_selector_register_event(weft_selector *s, weft_event *ev, void *data) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    return ev ? source_attach(s, ev->fd, &event_source, EPOLLIN, data) : -EINVAL;
}

int weft_selector_unregister_event(weft_selector *s, weft_event *ev) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    if (!ev)
        return -EINVAL;
    selector_lock(s);
    struct selector_entry *e = table_find(s, ev->fd);
    /* The number of an event that is not registered may be that of anything that is. */
    r = e && e->source == &event_source ? entry_detach(s, ev->fd, e) : -ENOENT;
    selector_unlock(s);
    return r;
}

int weft_event_create(weft_event **ret_event) {
    if (!ret_event)
        return -EINVAL;
    int r = process_prepare();
    if (r < 0)
        return r;
    struct weft_event *ev = mem_alloc(sizeof *ev);
    if (!ev)
        return -ENOMEM;
    ev->fd = os_eventfd();
    if (ev->fd < 0) {
        r = ev->fd;
        mem_free(ev, sizeof *ev);
        return r;
    }
    *ret_event = ev;
    return 0;
}

void weft_event_destroy(weft_event *ev) {
    if (!ev || process_is_forked())
        return;
    os_close(ev->fd);
    mem_free(ev, sizeof *ev);
}

/* No lock, no allocation, and errno as it was: also for signal handlers. */
int weft_event_trigger(weft_event *ev) {
    if (!ev)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    const uint64_t one = 1;
    int errno_before = errno;
    ssize_t n = os_write(ev->fd, &one, sizeof one);
    errno = errno_before;
    /* EAGAIN: the counter is at its end (eventfd(2)), so the event is triggered for certain. */
    if (n >= 0 || (n == -EAGAIN && !MUTANT("selector-trigger-saturated")))
        return 0;
    return (int)n;
}
