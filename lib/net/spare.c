/* Memory that a worker keeps for its next use, so that writing allocates nothing in the steady
 * state: one list for each power of two up to 64 KiB, a mebibyte in all. Larger sizes, and what is
 * above the limit, come from and go to the allocator. Worker's thread only. */
#include "net/inner.h"

enum { CLASS_MIN_LOG = 6, SPARE_LIMIT = 1 << 20 };

struct spare {
    struct spare *next;
};

/* Of the smallest power of two that holds it; SPARE_CLASSES: none. */
static unsigned class_of(size_t size) {
    if (size <= (size_t)1 << CLASS_MIN_LOG)
        return 0;
    if (size > (size_t)1 << (CLASS_MIN_LOG + SPARE_CLASSES - 1))
        return SPARE_CLASSES;
    return (unsigned)(64 - __builtin_clzl(size - 1)) - CLASS_MIN_LOG;
}

static size_t size_of_class(unsigned class) {
    return (size_t)1 << (CLASS_MIN_LOG + class);
}

void *spare_alloc(struct net_worker *net, size_t size) {
    unsigned class = class_of(size);
    if (class == SPARE_CLASSES)
        return mem_alloc(size);
    struct spare *spare = net->spares[class];
    if (!spare || MUTANT("net-never-spared"))
        return mem_alloc(size_of_class(class));
    net->spares[class] = spare->next;
    net->spared -= size_of_class(class);
    return spare;
}

void spare_free(struct net_worker *net, void *memory, size_t size) {
    unsigned class = class_of(size);
    if (class == SPARE_CLASSES) {
        mem_free(memory, size);
        return;
    }
    size = size_of_class(class);
    if (net->spared + size > SPARE_LIMIT || MUTANT("net-never-spared")) {
        mem_free(memory, size);
        return;
    }
    struct spare *spare = memory;
    spare->next = net->spares[class];
    net->spares[class] = spare;
    net->spared += size;
}

void spares_release(struct net_worker *net) {
    for (unsigned class = 0; class < SPARE_CLASSES; class ++)
        for (struct spare *spare; (spare = net->spares[class]) != NULL;) {
            net->spares[class] = spare->next;
            mem_free(spare, size_of_class(class));
        }
}
