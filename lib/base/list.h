/* Intrusive circular doubly linked list. A list head is a node that links to itself; so is a node
 * that is in no list, which makes removal idempotent. */
#ifndef WEFT_LIB_BASE_LIST_H
#define WEFT_LIB_BASE_LIST_H

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

#endif
