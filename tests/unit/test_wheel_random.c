/* The timing wheel against a sorted reference: a million random operations. */
#include "wheel/wheel.h"

#include "random.h"
#include "wtest.h"

#include <inttypes.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define HOUR (3600 * SECOND)
#define YEAR (365 * 24 * HOUR)
#define TICK WHEEL_TICK_NS
#define NEVER UINT64_MAX

static struct wheel wheel;

static uint64_t add_saturating(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Rounded up to a tick, by division: nothing shared with the wheel's arithmetic. */
static uint64_t tick_up(uint64_t ns) {
    return ns / TICK + (ns % TICK != 0);
}

/*
 * The reference: two binary heaps with a node's index at its place. `waiting` is sorted by (tick,
 * sequence), tick 0 being "past when started"; an advance moves what it makes due to `due`, sorted
 * by sequence alone. Sequences never repeat.
 */
enum { MODEL_NODES = 700 };

struct model_heap {
    unsigned count;
    uint16_t at[MODEL_NODES];
};

static struct model {
    uint64_t now_ns, swept_ns, sequence;
    struct model_heap waiting, due;
    struct {
        uint64_t tick, sequence, deadline_ns;
        struct model_heap *in; /* NULL: idle */
        unsigned place;
    } nodes[MODEL_NODES];
} model;

static struct wheel_node model_nodes[MODEL_NODES];

static bool model_before(unsigned a, unsigned b) {
    if (model.nodes[a].tick != model.nodes[b].tick)
        return model.nodes[a].tick < model.nodes[b].tick;
    return model.nodes[a].sequence < model.nodes[b].sequence;
}

static void heap_put(struct model_heap *heap, unsigned place, unsigned i) {
    heap->at[place] = (uint16_t)i;
    model.nodes[i].place = place;
}

static void heap_settle(struct model_heap *heap, unsigned place) {
    unsigned i = heap->at[place];
    for (; place > 0 && model_before(i, heap->at[(place - 1) / 2]); place = (place - 1) / 2)
        heap_put(heap, place, heap->at[(place - 1) / 2]);
    for (unsigned child; (child = 2 * place + 1) < heap->count; place = child) {
        if (child + 1 < heap->count && model_before(heap->at[child + 1], heap->at[child]))
            child++;
        if (!model_before(heap->at[child], i))
            break;
        heap_put(heap, place, heap->at[child]);
    }
    heap_put(heap, place, i);
}

static void model_insert(struct model_heap *heap, unsigned i, uint64_t tick) {
    model.nodes[i].tick = tick;
    model.nodes[i].sequence = ++model.sequence;
    model.nodes[i].in = heap;
    heap_put(heap, heap->count++, i);
    heap_settle(heap, heap->count - 1);
}

static bool model_remove(unsigned i) {
    struct model_heap *heap = model.nodes[i].in;
    if (!heap)
        return false;
    unsigned place = model.nodes[i].place, last = heap->at[--heap->count];
    model.nodes[i].in = NULL;
    if (last != i) {
        heap_put(heap, place, last);
        heap_settle(heap, place);
    }
    return true;
}

/* What has passed within the coming tick turns past, in start order, before the first late starter.
 * */
static void model_sweep(void) {
    model.swept_ns = model.now_ns;
    for (uint64_t after = 0;;) {
        unsigned best = MODEL_NODES;
        for (unsigned i = 0; i < MODEL_NODES; i++)
            if (model.nodes[i].in == &model.waiting && model.nodes[i].tick != 0 &&
                model.nodes[i].deadline_ns <= model.now_ns && model.nodes[i].sequence > after &&
                (best == MODEL_NODES || model.nodes[i].sequence < model.nodes[best].sequence))
                best = i;
        if (best == MODEL_NODES)
            return;
        after = model.nodes[best].sequence;
        model_remove(best);
        model_insert(&model.waiting, best, 0);
    }
}

static void model_start(unsigned i, uint64_t deadline_ns) {
    model_remove(i);
    model.nodes[i].deadline_ns = deadline_ns;
    bool past = deadline_ns <= model.now_ns;
    if (past && deadline_ns > model.now_ns / TICK * TICK && model.swept_ns != model.now_ns)
        model_sweep();
    model_insert(&model.waiting, i, past ? 0 : tick_up(deadline_ns));
}

static void model_advance(uint64_t now_ns) {
    if (now_ns > model.now_ns)
        model.now_ns = now_ns;
    while (model.waiting.count > 0) {
        unsigned i = model.waiting.at[0];
        if (model.nodes[i].tick > model.now_ns / TICK)
            break;
        model_remove(i);
        model_insert(&model.due, i, 0);
    }
}

/* Compares the counts and the wake-up time; what comes out and in which order, the pops do. */
static const char *model_compare(void) {
    uint64_t next_ns = wheel_next_ns(&wheel);
    if (wheel_count(&wheel) != model.waiting.count + model.due.count)
        return "another count";
    unsigned first = model.waiting.at[0];
    if (model.due.count > 0 || (model.waiting.count > 0 && model.nodes[first].tick == 0))
        return next_ns == 0 ? NULL : "something is due, but next is not 0";
    if (model.waiting.count == 0 || model.nodes[first].tick > UINT64_MAX / TICK)
        return next_ns == NEVER ? NULL : "a wake-up for nothing";
    if (next_ns <= model.now_ns)
        return "a wake-up that makes no progress";
    return next_ns <= model.nodes[first].tick * TICK ? NULL : "a wake-up too late";
}

/* From nothing to centuries; the long ones are rare, or time would soon be at its end. */
static uint64_t random_span_ns(unsigned one_long_in) {
    if (random_below(one_long_in) == 0)
        return random_below(2) ? random_below(3 * YEAR) : random_u64() >> random_below(64);
    switch (random_below(7)) {
    case 0: return 0;
    case 1: return random_below(1000);
    case 2: return random_below(TICK);
    case 3: return random_below(4) * TICK;
    case 4: return random_below(200 * TICK);
    case 5: return random_below(10 * SECOND);
    default: return random_below(5 * HOUR) >> random_below(20);
    }
}

static uint64_t random_deadline_ns(void) {
    switch (random_below(16)) {
    case 0: return model.nodes[random_below(MODEL_NODES)].deadline_ns; /* an equal one */
    case 1: return model.now_ns;
    case 2: return model.now_ns - random_below(model.now_ns < TICK ? model.now_ns + 1 : TICK);
    case 3: return random_below(200) == 0 ? NEVER : 0;
    case 4: return (model.now_ns / TICK + random_below(70)) * TICK;
    case 5: return model.now_ns / SECOND * SECOND + SECOND; /* many equal ones */
    default: return add_saturating(model.now_ns, random_span_ns(5));
    }
}

static const char *random_start_or_stop(void) {
    unsigned i = (unsigned)random_below(MODEL_NODES);
    if (random_below(3) == 0)
        return wheel_stop(&wheel, &model_nodes[i]) == model_remove(i) ? NULL : "stop disagrees";
    uint64_t deadline_ns = random_deadline_ns();
    wheel_start(&wheel, &model_nodes[i], deadline_ns);
    model_start(i, deadline_ns);
    return NULL;
}

/* Pops all or some, and now and then does to others in between what a callback might. */
static const char *random_pops(void) {
    uint64_t budget = random_below(4) == 0 ? random_below(5) : UINT64_MAX;
    for (; budget > 0; budget--) {
        struct wheel_node *node = wheel_pop_due(&wheel);
        if (!node)
            return model.due.count == 0 ? NULL : "a due node does not come out";
        unsigned i = (unsigned)(node - model_nodes);
        if (node->deadline_ns > model.now_ns)
            return "early";
        if (model.due.count == 0 || model.due.at[0] != i)
            return "another node than the reference's, or another order";
        model_remove(i);
        if (random_below(4) == 0) {
            const char *wrong = random_start_or_stop();
            if (wrong)
                return wrong;
        }
    }
    return NULL;
}

static const char *random_advance(void) {
    uint64_t now_ns = add_saturating(model.now_ns, random_span_ns(300));
    if (random_below(3) == 0)
        now_ns = wheel_next_ns(&wheel); /* may be 0, may be never */
    if (random_below(50) == 0)
        now_ns = random_below(model.now_ns + 1);
    if (now_ns > UINT64_MAX - 1)
        now_ns = UINT64_MAX - 1;
    wheel_advance(&wheel, now_ns);
    model_advance(now_ns);
    return random_pops();
}

static void random_begin(void) {
    memset(&model, 0, sizeof model);
    memset(model_nodes, 0, sizeof model_nodes);
    model.now_ns = model.swept_ns = random_u64() >> random_below(64);
    if (model.now_ns == NEVER)
        model.now_ns = model.swept_ns = 0;
    wheel_init(&wheel, model.now_ns);
}

WTEST(wheel, a_million_random_operations_as_the_reference) {
    enum { OPERATIONS = 1000000, ALL_CHECKED = 20000, LIFE = 5000 };
    unsigned operations = OPERATIONS / wtest_slowdown();
    uint64_t seed = random_seed(13);
    for (unsigned op = 0; op < operations; op++) {
        if (op % LIFE == 0) /* time runs up to its end within some thousand operations */
            random_begin();
        const char *wrong = random_below(20) == 0 ? random_advance() : random_start_or_stop();
        if (!wrong)
            wrong = model_compare();
        if (!wrong && (op < ALL_CHECKED || op % 256 == 0))
            wrong = wheel_check(&wheel);
        CHECK_MSG(wrong == NULL, "seed %" PRIu64 ", operation %u: %s", seed, op, wrong);
    }
}
