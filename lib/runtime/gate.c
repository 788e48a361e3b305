/* The gate that keeps queues open while somebody posts to all of them. */
#include "runtime/runtime.h"

bool gate_enter(weft_runtime *rt) {
    uint32_t seen = atom_load(&rt->gate, acquire);
    /* Acquire: pairs with the release in gate_close(), so whoever finds it closed also sees a
     * runtime that was asked to stop. */
    do {
        if (seen & GATE_CLOSED)
            return false;
    } while (!atom_cas_weak(&rt->gate, &seen, seen + 1, acquire, acquire));
    return true;
}

void gate_leave(weft_runtime *rt) {
    /* Release: pairs with the acquire in gate_close(): our posts come before the queues close. The
     * wake only names the address, which may be gone by then. */
    if (atom_sub(&rt->gate, 1, release) == (GATE_CLOSED | 1))
        os_futex_wake(&rt->gate, 1);
}

void gate_close(weft_runtime *rt) {
    uint32_t seen = atom_or(&rt->gate, GATE_CLOSED, acq_rel) | GATE_CLOSED;
    while (seen != GATE_CLOSED && !MUTANT("broadcast-half")) {
        (void)os_futex_wait(&rt->gate, seen);
        seen = atom_load(&rt->gate, acquire);
    }
}

int weft_broadcast(weft_runtime *rt, void (*fn)(void *arg), void *arg) {
    if (!rt || !fn)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    if (!gate_enter(rt))
        return -ESHUTDOWN;
    int r = worker_post_fn_all(rt->workers, rt->worker_count, fn, arg);
    gate_leave(rt);
    return r;
}
