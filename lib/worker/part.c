/* State that upper floors keep in every worker. */
#include "worker/inner.h"

static const struct worker_part *parts[WORKER_PARTS];
static unsigned part_count;

void worker_part_register(const struct worker_part *part) {
    if (part_count < WORKER_PARTS)
        parts[part_count++] = part;
}

void *worker_part_state(weft_worker *w, const struct worker_part *part) {
    for (unsigned i = 0; i < part_count; i++)
        if (parts[i] == part)
            return w->part_states[i];
    return NULL;
}

static void part_undo(weft_worker *w, unsigned i) {
    if (parts[i]->destroy)
        parts[i]->destroy(w, w->part_states[i]);
    mem_free(w->part_states[i], parts[i]->state_size);
    w->part_states[i] = NULL;
}

int parts_create(weft_worker *w) {
    for (unsigned i = 0; i < part_count; i++) {
        int r = -ENOMEM;
        w->part_states[i] = mem_zalloc(parts[i]->state_size);
        if (w->part_states[i])
            r = parts[i]->create ? parts[i]->create(w, w->part_states[i]) : 0;
        if (r < 0) {
            mem_free(w->part_states[i], parts[i]->state_size);
            w->part_states[i] = NULL;
            while (i-- > 0)
                part_undo(w, i);
            return r;
        }
    }
    return 0;
}

void parts_destroy(weft_worker *w) {
    for (unsigned i = part_count; i-- > 0;)
        part_undo(w, i);
}

void parts_flush(weft_worker *w) {
    for (unsigned i = 0; i < part_count; i++)
        if (parts[i]->flush)
            parts[i]->flush(w, w->part_states[i]);
}

void parts_stop(weft_worker *w) {
    for (unsigned i = 0; i < part_count; i++)
        if (parts[i]->stop)
            parts[i]->stop(w, w->part_states[i]);
}

void parts_expire(weft_worker *w) {
    for (unsigned i = 0; i < part_count; i++)
        if (parts[i]->expire)
            parts[i]->expire(w, w->part_states[i]);
}

void parts_finish(weft_worker *w) {
    for (unsigned i = 0; i < part_count; i++)
        if (parts[i]->finish)
            parts[i]->finish(w, w->part_states[i]);
}

void parts_leave(weft_worker *w) {
    for (unsigned i = part_count; i-- > 0;)
        if (parts[i]->leave)
            parts[i]->leave(w, w->part_states[i]);
}
