#include "selector/internal.h"

#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct process_source {
    struct source source;
    struct process_source *next; /* in its bucket, until finished */
    pid_t pid;
    bool is_listed;
};

/* Those of one selector that have not finished, by pid. The kernel has no word on this: each
 * pidfd_open() makes another file. */
struct pid_table {
    size_t used, bucket_count; /* a power of two */
    struct process_source **buckets;
};

static size_t buckets_size(size_t bucket_count) {
    return bucket_count * sizeof(struct process_source *);
}

static struct process_source **pids_bucket(const struct pid_table *t, pid_t pid) {
    /* Neighbouring pids are the common case, and spread by themselves. */
    return &t->buckets[(size_t)pid & (t->bucket_count - 1)];
}

static struct process_source *pids_find(const struct pid_table *t, pid_t pid) {
    struct process_source *p = t && t->used > 0 ? *pids_bucket(t, pid) : NULL;
    while (p && p->pid != pid)
        p = p->next;
    return p;
}

static void pids_add(struct pid_table *t, struct process_source *p) {
    struct process_source **bucket = pids_bucket(t, p->pid);
    p->next = *bucket;
    p->is_listed = true;
    *bucket = p;
    t->used++;
}

static void pids_remove(struct pid_table *t, struct process_source *p) {
    if (!p->is_listed)
        return;
    struct process_source **link = pids_bucket(t, p->pid);
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    p->is_listed = false;
    t->used--;
}

/* Room for one more, found before anything else is done: adding then cannot fail. */
static int pids_reserve(struct weft_selector *s) {
    struct pid_table *t = s->pids;
    if (!t) {
        t = mem_zalloc(sizeof *t);
        if (!t)
            return -ENOMEM;
        s->pids = t;
    }
    if (t->used < t->bucket_count)
        return 0;
    struct pid_table grown = {.bucket_count = t->bucket_count ? t->bucket_count * 2 : 64};
    grown.buckets = mem_zalloc(buckets_size(grown.bucket_count));
    if (!grown.buckets)
        return -ENOMEM;
    for (size_t i = 0; i < t->bucket_count; i++) {
        struct process_source *p = t->buckets[i];
        while (p) {
            struct process_source *next = p->next;
            pids_add(&grown, p);
            p = next;
        }
    }
    mem_free(t->buckets, buckets_size(t->bucket_count));
    *t = grown;
    return 0;
}

void pids_free(struct weft_selector *s) {
    if (!s->pids)
        return;
    mem_free(s->pids->buckets, buckets_size(s->pids->bucket_count));
    mem_free(s->pids, sizeof *s->pids);
}

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
    int r = os_pidfd_peek(fd, &info);
    if (MUTANT("selector-peek-reaps"))
        waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG);
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
    pids_remove(s->pids, p);
    return 0;
}

static void process_release(struct weft_selector *s, int fd, struct source *source) {
    struct process_source *p = container_of(source, struct process_source, source);
    pids_remove(s->pids, p);
    if (fd >= 0)
        os_close(fd);
    mem_free(p, sizeof *p);
}

static const struct source_kind process_kind = {process_take, process_release};

/* The pidfd. A thread that is no process of its own gives EINVAL, or from Linux 6.9 on ENOENT. */
static int process_open(pid_t pid) {
    int fd = os_pidfd_open(pid);
    return fd == -ENOENT ? -EINVAL : fd;
}

static int process_attach(struct weft_selector *s, pid_t pid, void *data) {
    if (pids_find(s->pids, pid))
        return -EEXIST;
    int r = pids_reserve(s);
    if (r < 0)
        return r;
    int fd = process_open(pid);
    if (fd < 0)
        return fd;
    struct process_source *p = mem_zalloc(sizeof *p);
    if (!p) {
        r = -ENOMEM;
        goto fail_source;
    }
    p->source.kind = &process_kind;
    p->pid = pid;
    const struct attachment a = {META_ACTIVE | META_SOURCE, PROCESS_EPOLL_EVENTS, data, &p->source};
    r = entry_attach(s, fd, &a, NULL);
    if (r < 0)
        goto fail_attach;
    pids_add(s->pids, p);
    return fd;

fail_attach:
    mem_free(p, sizeof *p);
fail_source:
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
