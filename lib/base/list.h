/* Intrusive circular doubly linked list. A list head is a node that links to itself; so is a node
 * that is in no list, which makes removal idempotent. */
#ifndef WEFT_LIB_BASE_LIST_H
#define WEFT_LIB_BASE_LIST_H

#include "base/mutant.h"

#include <stdbool.h>

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l) {
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l) {
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *node) {
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_remove(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves everything in `from` to the end of `to`, in order. */
static inline void list_splice(struct list *to, struct list *from) {
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* The first node, taken out; NULL when empty. */
static inline struct list *list_pop(struct list *head) {
    struct list *node = head->next;
    if (node == head)
        return 0;
    list_remove(node);
    return node;
}

/* Calls fn for each node, which may remove and free itself or others. One that is added meanwhile
 * waits for the next time, behind all that were there: each node is in a list while fn runs, but
 * only what was in the head's own at the beginning has its turn. */
static inline void list_visit(struct list *head, void (*fn)(struct list *node, void *arg),
                              void *arg) {
    struct list batch, called;
    list_init(&batch);
    list_init(&called);
    list_splice(&batch, head);
    for (struct list *node; (node = list_pop(&batch));) {
        list_append(MUTANT("hook-added-in-between") ? head : &called, node);
        fn(node, arg);
    }
    list_splice(&called, head);
    list_splice(head, &called);
}

#endif
