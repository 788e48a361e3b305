/* Watches: the program's own fds in a worker's selector. */
#include "worker/inner.h"

struct weft_watch {
    struct worker_source source;
    weft_worker *worker;
    void (*fn)(weft_watch *watch, uint32_t events, void *arg);
    void *arg;
    int fd;
    uint32_t interest; /* READ and WRITE as asked for by now; 0 also after a ONESHOT */
    bool is_oneshot;
    uint32_t generation; /* of its entry: the number may name another file by the time it stops */
    struct list link;
    struct worker_disposal disposal;
};

/* SO_ERROR is left where it is: the socket's owner wants to read it. */
static void watch_ready(struct worker_source *source, uint32_t epoll_events) {
    weft_watch *watch = container_of(source, weft_watch, source);
    uint32_t events = 0;
    if (epoll_events & EPOLLIN)
        events |= WEFT_READ;
    if (epoll_events & EPOLLOUT)
        events |= WEFT_WRITE;
    if (epoll_events & EPOLLERR)
        events |= WEFT_ERROR;
    if (epoll_events & (EPOLLHUP | EPOLLRDHUP))
        events |= WEFT_HANGUP;
    /* A callback of this batch may have paused the watch, or asked for something else. */
    if (!MUTANT("watch-paused-called"))
        events = watch->interest ? events & (watch->interest | WEFT_ERROR | WEFT_HANGUP) : 0;
    if (events == 0)
        return;
    /* The kernel keeps it off until the next update; so do the table, and a set made anew. */
    if (watch->is_oneshot && !MUTANT("watch-oneshot-kept")) {
        watch->interest = 0;
        selector_note_fired(watch->worker->selector, watch->fd, watch->generation);
    }
    worker_enter(watch->worker, watch->fn);
    watch->fn(watch, events, watch->arg); /* may stop its watch: not touched again */
}

static void note_interest(weft_watch *watch, uint32_t events) {
    watch->interest = events & (WEFT_READ | WEFT_WRITE);
    watch->is_oneshot = (events & WEFT_ONESHOT) != 0;
}

/* Is the entry under its number still its own, or that of a file which got the number since? */
static bool watch_has_number(const weft_watch *watch) {
    void *data = NULL;
    return weft_selector_get_data(watch->worker->selector, watch->fd, &data) == 0 &&
           data == (const void *)&watch->source;
}

static void watch_free(struct worker_disposal *disposal) {
    mem_free(container_of(disposal, weft_watch, disposal), sizeof(weft_watch));
}

int weft_watch_start(weft_worker *w, int fd, uint32_t events,
                     void (*fn)(weft_watch *watch, uint32_t events, void *arg), void *arg,
                     weft_watch **ret_watch) {
    int r = worker_owner_check(w, "weft_watch_start");
    if (r < 0)
        return r;
    if (!fn)
        return -EINVAL;
    weft_watch *watch = mem_zalloc(sizeof *watch);
    if (!watch)
        return -ENOMEM;
    watch->source.ready = watch_ready;
    watch->disposal.dispose = watch_free;
    watch->worker = w;
    watch->fn = fn;
    watch->arg = arg;
    watch->fd = fd;
    note_interest(watch, events);
    r = selector_register(w->selector, fd, events, &watch->source, &watch->generation);
    if (r < 0) {
        mem_free(watch, sizeof *watch);
        return r;
    }
    list_append(&w->watches, &watch->link);
    if (ret_watch)
        *ret_watch = watch;
    return 0;
}

int weft_watch_update(weft_watch *watch, uint32_t events) {
    if (!watch)
        return -EINVAL;
    int r = worker_owner_check(watch->worker, "weft_watch_update");
    if (r < 0)
        return r;
    if (!watch_has_number(watch) && !MUTANT("watch-update-by-number"))
        return -EBADF;
    r = selector_update(watch->worker->selector, watch->fd, events);
    if (r == 0)
        note_interest(watch, events);
    return r;
}

void weft_watch_stop(weft_watch *watch) {
    if (!watch || !worker_owner_check_void(watch->worker, "weft_watch_stop"))
        return;
    if (MUTANT("watch-stop-by-number"))
        selector_unregister(watch->worker->selector, watch->fd);
    else
        selector_unregister_generation(watch->worker->selector, watch->fd, watch->generation);
    list_remove(&watch->link);
    worker_dispose(watch->worker, &watch->disposal);
}

int weft_watch_fd(const weft_watch *watch) {
    if (!watch)
        return -EINVAL;
    return process_is_forked() ? -EPERM : watch->fd;
}

void watches_release(weft_worker *w) {
    for (struct list *node; (node = list_pop(&w->watches));) {
        weft_watch *watch = container_of(node, weft_watch, link);
        selector_unregister_generation(w->selector, watch->fd, watch->generation);
        mem_free(watch, sizeof *watch);
    }
}
