#include "selector/internal.h"

int selector_create(struct weft_selector **ret_selector) {
    int r = process_prepare();
    if (r < 0)
        return r;
    struct weft_selector *s = mem_zalloc_aligned(_Alignof(struct weft_selector), sizeof *s);
    if (!s)
        return -ENOMEM;
    int epoll_fd = os_epoll_create();
    if (epoll_fd < 0) {
        mem_free_aligned(s, _Alignof(struct weft_selector), sizeof *s);
        return epoll_fd;
    }
    s->epoll_fd = epoll_fd;
    s->parking_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    *ret_selector = s;
    return 0;
}

/* Sources take their fds along; the program's own are left alone. */
static int source_end(struct weft_selector *s, int fd, struct selector_entry *e, void *arg) {
    (void)arg;
    if (!e->source)
        return 0;
    /* The number may have been closed and reused by the program: the kernel knows whether what it
     * stands for is what was registered. */
    int r = os_epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, 0, 0);
    if (MUTANT("selector-timer-leak"))
        r = -EBADF;
    e->source->kind->release(s, r < 0 ? -1 : fd, e->source);
    return 0;
}

void selector_destroy(struct weft_selector *s) {
    if (!s)
        return;
    selector_lock(s);
    table_each(s, source_end, NULL);
    selector_unlock(s);
    os_close(s->epoll_fd);
    if (s->parking_fd >= 0)
        os_close(s->parking_fd);
    pid_map_free(&s->pids);
    table_free(s);
    pthread_mutex_destroy(&s->lock);
    mem_free_aligned(s, _Alignof(struct weft_selector), sizeof *s);
}

void selector_set_private(struct weft_selector *s) {
    s->is_private = true;
}

int weft_selector_create(weft_selector **ret_selector) {
    return ret_selector ? selector_create(ret_selector) : -EINVAL;
}

void weft_selector_destroy(weft_selector *s) {
    if (selector_check(s) < 0)
        return;
    if (s->is_private) {
        log_misuse("weft_selector_destroy() of a worker's selector: it ends with its worker");
        return;
    }
    selector_destroy(s);
}
