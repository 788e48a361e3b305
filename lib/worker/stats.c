#include "worker/inner.h"

/* Cycles of the busy counter as nanoseconds, by the rate seen since the worker started. */
static uint64_t busy_ns(const weft_worker *w) {
    /* Acquire: pairs with the release in worker_mark_running(), for the two started_. */
    if (atom_load(&((weft_worker *)(uintptr_t)w)->phase, acquire) == WORKER_CREATED ||
        !w->started_ns)
        return 0; /* not started, or destroyed without */
    uint64_t cycles = clock_cycles() - w->started_cycles;
    uint64_t ns = clock_now_ns() - w->started_ns;
    uint64_t busy = stat_read(&w->stats.busy_cycles);
    if (cycles == 0)
        return 0;
    return (uint64_t)((double)busy / (double)cycles * (double)ns);
}

int weft_worker_stats(weft_worker *w, weft_stats *ret_stats, size_t size) {
    if (!w)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    if (!ret_stats)
        return 0;
    const struct worker_stats *s = &w->stats;
    weft_stats all = {
        .iterations = stat_read(&s->iterations),
        .waits = stat_read(&s->waits),
        .wakeups_sent = stat_read(&s->wakeups_sent),
        .events = stat_read(&s->events),
        .tasks = stat_read(&s->tasks),
        .timers = stat_read(&s->timers),
        .stalls = stat_read(&w->stalls),
        .busy_ns = busy_ns(w),
        .streams_open = stat_read(&s->streams_open),
        .streams_accepted = stat_read(&s->streams_accepted),
        .streams_handed_over = stat_read(&s->streams_handed_over),
        .accept_pauses = stat_read(&s->accept_pauses),
        .bytes_in = stat_read(&s->bytes_in),
        .bytes_out = stat_read(&s->bytes_out),
        .bytes_held = stat_read(&s->bytes_held),
        .retired_waiting = retire_waiting(),
        .spins = stat_read(&s->spins),
        .spins_hit = stat_read(&s->spins_hit),
        .spin_ns = stat_read(&s->spin_ns),
    };
    memset(ret_stats, 0, size);
    memcpy(ret_stats, &all, size < sizeof all ? size : sizeof all);
    return 0;
}
