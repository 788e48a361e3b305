#include "worker/inner.h"

/* The loop takes the inbox after every wait; the edge has done its work by being one. */
static void wake_ready(struct worker_source *source, uint32_t epoll_events) {
    (void)source;
    (void)epoll_events;
}

static int worker_attach_wake(weft_worker *w) {
    w->wake_source.ready = wake_ready;
    return worker_source_add(w, w->inbox.fd, EPOLLIN | EPOLLET, &w->wake_source);
}

int worker_source_add(weft_worker *w, int fd, uint32_t epoll_events, struct worker_source *source) {
    return selector_register_raw(w->selector, fd, epoll_events, source);
}

static void worker_init(weft_worker *w, weft_runtime *runtime, unsigned index,
                        const struct worker_host *host) {
    w->runtime = runtime;
    w->index = index;
    w->host = host;
    list_init(&w->jobs);
    list_init(&w->jobs_now);
    list_init(&w->watches);
    for (int i = 0; i < HOOK_PHASES; i++)
        list_init(&w->hooks[i]);
    wheel_init(&w->wheel, worker_clock_read(w));
}

int worker_create(weft_runtime *runtime, unsigned index, const struct worker_host *host,
                  weft_worker **ret_worker) {
    weft_worker *w = mem_zalloc_aligned(128, sizeof *w);
    if (!w)
        return -ENOMEM;
    worker_init(w, runtime, index, host);
    int r = -ENOMEM;
    w->scratch = mem_alloc(WORKER_SCRATCH);
    if (!w->scratch)
        goto scratch_failed;
    r = nodes_create(&w->nodes);
    if (r < 0)
        goto nodes_failed;
    r = inbox_create(&w->inbox);
    if (r < 0)
        goto inbox_failed;
    r = selector_create(&w->selector);
    if (r < 0)
        goto selector_failed;
    selector_set_private(w->selector);
    r = worker_attach_wake(w);
    if (r < 0)
        goto attach_failed;
    r = parts_create(w);
    if (r < 0)
        goto attach_failed;
    *ret_worker = w;
    return 0;

attach_failed:
    selector_destroy(w->selector);
selector_failed:
    inbox_destroy(&w->inbox);
inbox_failed:
    nodes_destroy(w->nodes);
nodes_failed:
    mem_free(w->scratch, WORKER_SCRATCH);
scratch_failed:
    mem_free_aligned(w, 128, sizeof *w);
    return r;
}

void worker_destroy(weft_worker *w) {
    parts_destroy(w);
    selector_destroy(w->selector);
    inbox_destroy(&w->inbox);
    nodes_destroy(w->nodes);
    mem_free(w->scratch, WORKER_SCRATCH);
    mem_free_aligned(w, 128, sizeof *w);
}

void worker_release_handles(weft_worker *w) {
    parts_leave(w);
    timers_release(w);
    hooks_release(w);
    watches_release(w);
    for (struct worker_disposal *d; (d = w->disposals) != NULL;) {
        w->disposals = d->next;
        d->dispose(d);
    }
}

static void say_wrong_thread(const weft_worker *w, const char *call) {
    char name[16];
    thread_name_self(name);
    log_misuse("%s: called on thread \"%s\", but it belongs to worker %u (thread \"weft-%u\"); "
               "post a task "
               "to that worker instead",
               call, name, w->index, w->index);
}

int worker_owner_check(const weft_worker *w, const char *call) {
    if (!w)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    if (worker_is_mine(w))
        return 0;
#ifdef WEFT_DEBUG
    say_wrong_thread(w, call);
#else
    (void)call;
#endif
    return -EPERM;
}

bool worker_owner_refuse(const weft_worker *w, const char *call) {
    if (w && !process_is_forked())
        say_wrong_thread(w, call);
    return false;
}

weft_worker *weft_worker_current(void) {
    return process_is_forked() ? NULL : worker_current;
}

weft_runtime *weft_worker_runtime(weft_worker *w) {
    return w ? w->runtime : NULL;
}

weft_selector *weft_worker_selector(weft_worker *w) {
    return w ? w->selector : NULL;
}

unsigned weft_worker_index(const weft_worker *w) {
    return w ? w->index : 0;
}

uint64_t weft_worker_now_ns(weft_worker *w) {
    if (!w || process_is_forked())
        return 0;
    /* Only the worker is in an iteration; for anyone else the present is the best answer. */
    return worker_is_mine(w) ? worker_now(w) : clock_now_ns();
}

void weft_worker_set_data(weft_worker *w, void *data) {
    /* Before its thread exists the worker belongs to whoever made the runtime. */
    bool ownerless = w && !process_is_forked() && atom_load(&w->phase, acquire) == WORKER_CREATED;
    if (ownerless || worker_owner_check_void(w, "weft_worker_set_data"))
        atom_store(&w->data, data, release);
}

void *weft_worker_data(const weft_worker *w) {
    return w ? atom_load(&((weft_worker *)(uintptr_t)w)->data, acquire) : NULL;
}
