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
 * that puts the rest back, and is joined with it. A thread always comes to the same stripe, so that
 * posters seldom meet; a stripe that another one has just emptied is a reason to allocate, not to
 * wait.
 *
 * The first node of a chain knows its length and its last node; as a node is taken from the front,
 * the next one is told. What waits is bounded: in a stripe twice NODES_PER_CHAIN nodes for the
 * posters and once for the worker, 48 bytes each. */
#include "worker/inner.h"

enum { STRIPE_BITS = 4, STRIPES = 1 << STRIPE_BITS, NODES_PER_CHAIN = 4096 };

#ifdef WEFT_SEAM
unsigned seam_node_stripes = STRIPES;
_Atomic int seam_nodes;
#define SEAM_STRIPE(stripe) ((stripe) % seam_node_stripes)
#define SEAM_COUNT_NODE(n) ((void)atom_add(&seam_nodes, (n), relaxed))
#else
#define SEAM_STRIPE(stripe) (stripe)
#define SEAM_COUNT_NODE(n) ((void)0)
#endif

struct nodes {
    struct {
        WEFT_CACHE_ALIGNED struct fn_node *_Atomic chain;
    } stripes[STRIPES];
    /* The worker's thread only. */
    WEFT_CACHE_ALIGNED struct fn_node *kept[STRIPES];
    uint32_t touched; /* a bit for each stripe in which something is kept */
};

static struct fn_node *next_of(const struct fn_node *node) {
    return node->task.reserved[0];
}

static uint32_t length_of(const struct fn_node *chain) {
    return chain ? chain->length : 0;
}

/* Of the first node of a chain. */
static struct fn_node **last_of(struct fn_node *chain) {
    return (struct fn_node **)&chain->arg;
}

static struct fn_node *prepend(struct fn_node *node, struct fn_node *chain) {
    node->task.reserved[0] = chain;
    node->length = length_of(chain) + 1;
    *last_of(node) = chain ? *last_of(chain) : node;
    return node;
}

/* What is behind the first node, as a chain of its own. */
static struct fn_node *rest_of(struct fn_node *chain) {
    struct fn_node *rest = next_of(chain);
    if (rest) {
        rest->length = chain->length - 1;
        *last_of(rest) = *last_of(chain);
    }
    return rest;
}

static struct fn_node *allocate(void) {
    struct fn_node *node = mem_alloc(sizeof *node);
    if (node)
        SEAM_COUNT_NODE(1);
    return node;
}

void node_free(struct fn_node *node) {
    SEAM_COUNT_NODE(-1);
    mem_free(node, sizeof *node);
}

void nodes_free(struct fn_node *chain) {
    for (struct fn_node *next; chain; chain = next) {
        next = next_of(chain);
        node_free(chain);
    }
}

/* The address of what each thread has for itself tells threads apart; its low bits do not. */
static unsigned stripe_of_thread(void) {
    uint64_t thread = (uint64_t)(uintptr_t)&worker_current >> 6;
    return SEAM_STRIPE((unsigned)(thread * UINT64_C(0x9E3779B97F4A7C15) >> (64 - STRIPE_BITS)));
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
        nodes_free(atom_xchg(&nodes->stripes[i].chain, NULL, acquire));
        nodes_free(nodes->kept[i]);
    }
    mem_free_aligned(nodes, 128, sizeof *nodes);
}

/* Seeded: who comes between the two steps has the same chain. */
static struct fn_node *take_in_two_steps(struct fn_node *_Atomic *chain) {
    struct fn_node *taken = atom_load(chain, acquire);
    atom_store(chain, NULL, relaxed);
    return taken;
}

/* Either may be NULL. What would be too many is freed. */
static struct fn_node *join(struct fn_node *chain, struct fn_node *more) {
    if (!chain || !more)
        return chain ? chain : more;
    if (chain->length + more->length > 2 * NODES_PER_CHAIN && !MUTANT("nodes-without-bound")) {
        nodes_free(more);
        return chain;
    }
    (*last_of(chain))->task.reserved[0] = more;
    *last_of(chain) = *last_of(more);
    chain->length += more->length;
    return chain;
}

/* Release: whoever takes the rest sees its links. Acquire: those of what has come meanwhile are
 * written here. */
static void put_back(struct fn_node *_Atomic *chain, struct fn_node *rest) {
    if (MUTANT("nodes-put-back-blind")) {
        atom_store(chain, rest, release);
        return;
    }
    for (struct fn_node *came; (came = atom_xchg(chain, rest, acq_rel)) != NULL;) {
        rest = join(atom_xchg(chain, NULL, acquire), came);
        if (!rest)
            return;
    }
}

/* The first node; the rest of its chain goes back. */
static struct fn_node *take(struct fn_node *_Atomic *chain) {
    /* Acquire: pairs with the release of whoever left the chain here; its links are followed. */
    struct fn_node *node = MUTANT("nodes-taken-in-two-steps") ? take_in_two_steps(chain)
                                                              : atom_xchg(chain, NULL, acquire);
    struct fn_node *rest = node ? rest_of(node) : NULL;
    if (rest)
        put_back(chain, rest);
    return node;
}

struct fn_node *node_create(struct nodes *nodes, void (*fn)(void *arg), void *arg) {
    unsigned stripe = stripe_of_thread();
    struct fn_node *_Atomic *chain = &nodes->stripes[stripe].chain;
    /* Relaxed: a glance. What it misses costs an allocation; what it sees the exchange decides. */
    struct fn_node *node = atom_load(chain, relaxed) ? take(chain) : NULL;
    if (!node)
        node = allocate();
    if (node)
        *node = (struct fn_node){.task.run = node_run, .fn = fn, .arg = arg, .stripe = stripe};
    return node;
}

void node_keep(struct nodes *nodes, struct fn_node *node) {
    struct fn_node **kept = &nodes->kept[node->stripe];
    if (length_of(*kept) >= NODES_PER_CHAIN && !MUTANT("nodes-without-bound")) {
        node_free(node);
        return;
    }
    nodes->touched |= UINT32_C(1) << node->stripe;
    *kept = prepend(node, *kept);
}

void nodes_publish(struct nodes *nodes) {
    for (uint32_t left = nodes->touched; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        if (atom_load(&nodes->stripes[i].chain, relaxed) || MUTANT("nodes-never-published"))
            continue; /* the posters have enough: what is kept waits */
        /* Release: pairs with the acquire in take(). Acquire: a poster may have put its rest back
         * since the load, and that is kept now. */
        nodes->kept[i] = MUTANT("nodes-release-missing")
                             ? atom_xchg(&nodes->stripes[i].chain, nodes->kept[i], acquire)
                             : atom_xchg(&nodes->stripes[i].chain, nodes->kept[i], acq_rel);
        if (!nodes->kept[i])
            nodes->touched &= ~(UINT32_C(1) << i);
    }
}
