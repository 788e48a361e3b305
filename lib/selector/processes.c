#include "selector/internal.h"

#include <sys/wait.h>

struct process_source {
    struct source source;
    struct pid_node node; /* in the selector's map, until finished */
};

/* As waitpid(2) gives it; there is no macro for the way back (wait(2), WIFEXITED and its like). */
static uint64_t wait_status(const siginfo_t *info) {
    uint64_t status = (uint64_t)(unsigned)info->si_status;
    if (info->si_code == CLD_EXITED)
        return (status & 0xff) << 8;
    return (status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

/* EPOLLONESHOT: the pidfd of a zombie stays readable for as long as nobody reaps it, and after. */
enum { PROCESS_EPOLL_EVENTS = EPOLLIN | EPOLLONESHOT };

/* The kernel says that the process has ended, but wait has nothing yet: a tracer comes first. */
static int process_rearm(struct weft_selector *s, int fd) {
    const struct selector_entry *e = selector_entry_at(s, (uint32_t)fd);
    uint64_t cookie =
        cookie_of(atom_load(&((struct selector_entry *)(uintptr_t)e)->meta, relaxed), fd);
    return os_epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, PROCESS_EPOLL_EVENTS, cookie);
}

static int process_take(struct weft_selector *s, int fd, struct source *source, weft_ready *ready) {
    struct process_source *p = container_of(source, struct process_source, source);
    siginfo_t info;
    int r = os_child_peek(fd, p->node.pid, &info);
    if (MUTANT("selector-peek-reaps"))
        (void)os_child_reap(fd, p->node.pid, &info);
    if (r == 0 && info.si_pid == 0) {
        r = process_rearm(s, fd);
        if (r == 0)
            return -EAGAIN;
    }
    ready->events = WEFT_PROCESS | WEFT_ONESHOT | WEFT_FINISHED;
    if (r < 0) {
        ready->events |= WEFT_ERROR;
        ready->error = r;
    } else {
        ready->value = wait_status(&info);
    }
    pid_map_remove(&s->pids, &p->node);
    return 0;
}

static void process_release(struct weft_selector *s, int fd, struct source *source) {
    struct process_source *p = container_of(source, struct process_source, source);
    pid_map_remove(&s->pids, &p->node);
    if (fd >= 0)
        os_close(fd);
    mem_free(p, sizeof *p);
}

static const struct source_kind process_kind = {process_take, process_release};

/* The kernel has no word on what is registered already: each pidfd_open() makes another file. */
static int process_attach(struct weft_selector *s, pid_t pid, void *data) {
    if (pid_map_find(&s->pids, pid))
        return -EEXIST;
    int r = pid_map_reserve(&s->pids);
    if (r < 0)
        return r;
    int fd = os_pidfd_open(pid);
    if (fd < 0)
        return fd;
    struct process_source *p = mem_zalloc(sizeof *p);
    if (!p) {
        r = -ENOMEM;
        goto fail_source;
    }
    p->source.kind = &process_kind;
    const struct attachment a = {META_ACTIVE | META_SOURCE, PROCESS_EPOLL_EVENTS, data, &p->source};
    r = entry_attach(s, fd, &a, NULL);
    if (r < 0)
        goto fail_attach;
    pid_map_add(&s->pids, &p->node, pid);
    return fd;

fail_attach:
    mem_free(p, sizeof *p);
fail_source:
    if (!MUTANT("fault-pidfd-leaked"))
        os_close(fd);
    return r;
}

int weft_selector_register_process(weft_selector *s, pid_t pid, void *data) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    if (pid <= 0)
        return -EINVAL;
    selector_lock(s);
    r = process_attach(s, pid, data);
    selector_unlock(s);
    return r;
}
