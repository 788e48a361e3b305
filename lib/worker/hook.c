#include "worker/inner.h"

struct weft_hook {
    struct list link;
    weft_worker *worker;
    void (*fn)(void *arg);
    void *arg;
};

void hook_call(struct list *node, void *worker) {
    weft_hook *hook = container_of(node, weft_hook, link);
    worker_enter(worker, hook->fn);
    hook->fn(hook->arg); /* may stop, and so free, its hook: not touched again */
}

static int phase_index(uint32_t phase) {
    switch (phase) {
    case WEFT_BEFORE_WAIT: return HOOK_BEFORE_WAIT;
    case WEFT_AFTER_WAIT: return HOOK_AFTER_WAIT;
    case WEFT_IDLE: return HOOK_IDLE;
    default: return -EINVAL;
    }
}

int weft_hook_start(weft_worker *w, uint32_t phase, void (*fn)(void *arg), void *arg,
                    weft_hook **ret_hook) {
    int r = worker_owner_check(w, "weft_hook_start");
    if (r < 0)
        return r;
    int index = phase_index(phase);
    if (index < 0 || !fn)
        return -EINVAL;
    weft_hook *hook = mem_alloc(sizeof *hook);
    if (!hook)
        return -ENOMEM;
    *hook = (weft_hook){.worker = w, .fn = fn, .arg = arg};
    list_append(&w->hooks[index], &hook->link);
    w->has_extras = true;
    if (ret_hook)
        *ret_hook = hook;
    return 0;
}

void weft_hook_stop(weft_hook *hook) {
    if (!hook || !worker_owner_check_void(hook->worker, "weft_hook_stop"))
        return;
    list_remove(&hook->link);
    mem_free(hook, sizeof *hook);
}

void hooks_release(weft_worker *w) {
    for (int i = 0; i < HOOK_PHASES; i++)
        for (struct list *node; (node = list_pop(&w->hooks[i]));)
            mem_free(container_of(node, weft_hook, link), sizeof(weft_hook));
}
