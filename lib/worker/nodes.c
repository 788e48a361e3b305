/* Nodes for weft_post_fn(): memory that crosses threads, again and again the same.
 *
 * A poster allocates what the worker frees. For an allocator that is the worst case: the memory
 * piles up with the thread that frees it and has to be carried back under a lock. So a node that
 * has run goes back to where posters find it, by chains:
 *
 *     a poster                                    the worker
 *     takes the stripe's whole chain (exchange)   keeps what has run, a chain per stripe
 *     keeps its first node                        after the batch: where a stripe is empty, leaves
 *     puts the rest back (exchange)               it the chain (exchange)
 *
 * Whoever takes a chain has it for himself: nothing is compared, so nothing can be mistaken for
 * what it was before (no ABA). What was put into the stripe meanwhile comes out of the exchange
 * that puts the rest back, and is freed. A thread always comes to the same stripe, so that posters
 * seldom meet; a stripe that another one has just emptied is a reason to allocate, not to wait.
 *
 * What is kept is bounded by NODES_PER_CHAIN twice for each stripe that is used, 48 bytes each. */
#include "worker/inner.h"

enum { STRIPES = 16, NODES_PER_CHAIN = 16384 };

struct nodes {
    struct {
        WEFT_CACHE_ALIGNED struct fn_node *_Atomic chain;
    } stripes[STRIPES];
    /* The worker's thread only. */
    WEFT_CACHE_ALIGNED struct fn_node *kept[STRIPES];
    uint32_t touched; /* stripes that have kept something since the last nodes_publish() */
};

static struct fn_node *next_of(const struct fn_node *node) {
    return node->task.reserved[0];
}

static uint32_t length_of(const struct fn_node *chain) {
    return chain ? chain->length : 0;
}

static struct fn_node *prepend(struct fn_node *node, struct fn_node *chain) {
    node->task.reserved[0] = chain;
    node->length = length_of(chain) + 1;
    return node;
}

static void free_chain(struct fn_node *chain) {
    for (struct fn_node *next; chain; chain = next) {
        next = next_of(chain);
        mem_free(chain, sizeof *chain);
    }
}

/* The thread pointer tells threads apart; its low bits do not, as stacks are aligned. */
static unsigned stripe_of_thread(void) {
    uint64_t thread = (uint64_t)(uintptr_t)__builtin_thread_pointer();
    return (unsigned)((thread >> 6) * UINT64_C(0x9E3779B97F4A7C15) >> 60);
}

int nodes_create(struct nodes **ret_nodes) {
    struct nodes *nodes = mem_zalloc_aligned(128, sizeof *nodes);
    if (!nodes)
        return -ENOMEM;
    *ret_nodes = nodes;
    return 0;
}

void nodes_destroy(struct nodes *nodes) {
    for (unsigned i = 0; i < STRIPES; i++) {
        free_chain(atom_xchg(&nodes->stripes[i].chain, NULL, acquire));
        free_chain(nodes->kept[i]);
    }
    mem_free_aligned(nodes, 128, sizeof *nodes);
}

/* The first node of a chain that nobody else has. Release: whoever takes the rest sees its links. */
static struct fn_node *take(struct nodes *nodes, unsigned stripe) {
    /* Acquire: pairs with the release of who left the chain here; its links are followed. */
    struct fn_node *node = atom_xchg(&nodes->stripes[stripe].chain, NULL, acquire);
    struct fn_node *rest = node ? next_of(node) : NULL;
    if (rest)
        free_chain(atom_xchg(&nodes->stripes[stripe].chain, rest, acq_rel));
    return node;
}

struct fn_node *node_create(struct nodes *nodes, void (*fn)(void *arg), void *arg) {
    unsigned stripe = stripe_of_thread();
    struct fn_node *node = NULL;
    if (atom_load(&nodes->stripes[stripe].chain, relaxed))
        node = take(nodes, stripe);
    if (!node)
        node = mem_alloc(sizeof *node);
    if (node)
        *node = (struct fn_node){
            .task.run = node_run, .fn = fn, .arg = arg, .stripe = (uint32_t)stripe};
    return node;
}

void node_free(struct fn_node *node) {
    mem_free(node, sizeof *node);
}

void node_keep(struct nodes *nodes, struct fn_node *node) {
    struct fn_node **kept = &nodes->kept[node->stripe];
    if (length_of(*kept) >= NODES_PER_CHAIN) {
        node_free(node);
        return;
    }
    nodes->touched |= UINT32_C(1) << node->stripe;
    *kept = prepend(node, *kept);
}

void nodes_publish(struct nodes *nodes) {
    for (uint32_t left = nodes->touched; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        if (atom_load(&nodes->stripes[i].chain, relaxed))
            continue; /* the posters have enough: what is kept waits */
        /* Release: pairs with the acquire in take(). Acquire: a poster may have put its rest back
         * since the load, and that is kept now. */
        nodes->kept[i] = atom_xchg(&nodes->stripes[i].chain, nodes->kept[i], acq_rel);
        if (!nodes->kept[i])
            nodes->touched &= ~(UINT32_C(1) << i);
    }
}
