/* weft's own queue, the shipped lib/queue, and variants of it, to see what each choice is worth:
 *
 *     WEFT_GUESS_EMPTY  push tries a compare-and-swap from EMPTY before it loads anything
 *     WEFT_PREFETCH     push asks for the word's line exclusively before it loads it
 *     WEFT_BACK_OFF     a spinning owner that took little lets the posters be for so many pauses
 *
 * Not a header of declarations: it is the body of queue_weft*.c. */
#include "micro/queue_door.h"

#include "queue/queue.h"

struct door {
    struct queue queue;
    WEFT_CACHE_ALIGNED bool armed;
    WEFT_CACHE_ALIGNED int fd;
};

static void door_init(struct door *d) {
    queue_init(&d->queue);
    d->armed = false;
}

static inline int push(struct queue *q, struct queue_node *node) {
#ifdef WEFT_GUESS_EMPTY
    uintptr_t head = QUEUE_EMPTY;
    node->next = NULL;
    while (unlikely(!queue_try_push(q, &head, node))) {
        if (head == QUEUE_CLOSED)
            return -ESHUTDOWN;
        node->next = head > QUEUE_CLOSED ? (struct queue_node *)head : NULL; /* NOLINT */
    }
    return head == QUEUE_ARMED;
#else
#if defined(WEFT_PREFETCH) && defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(q->head));
#endif
    return queue_push(q, node);
#endif
}

static inline void door_push(struct door *d, struct post *p) {
    if (unlikely(push(&d->queue, (struct queue_node *)(void *)p) == 1))
        door_wake(d->fd);
}

static inline void post_run(struct post *p);

static inline unsigned door_take(struct door *d) {
    unsigned n = 0;
    if (!d->armed && queue_looks_empty(&d->queue))
        return 0;
    d->armed = false;
    for (struct queue_node *node = queue_take(&d->queue, NULL); node; n++) {
        struct queue_node *next = node->next;
        post_run((struct post *)(void *)node);
        node = next;
    }
    return n;
}

#ifdef WEFT_BACK_OFF
/* After each take: while it lasts the posters have the word to themselves, and its cache line. */
static inline void door_backed_off(unsigned taken) {
    if (taken < WEFT_BACK_OFF)
        for (unsigned i = 0; i < WEFT_BACK_OFF; i++)
            door_pause();
}
#define DOOR_AFTER_TAKE(n) door_backed_off(n)
#endif

static inline bool door_may_sleep(struct door *d) {
    d->armed = queue_arm(&d->queue);
    return d->armed;
}

static inline void door_woken(struct door *d) {
    (void)d; /* the next take does it */
}

static void door_destroy(struct door *d) {
    (void)d;
}

#include "micro/queue_drive.h"
