/* What most programs have: a mutex, a list, and a flag under the same mutex. */
#define DOOR_NAME "mutex"
#include "micro/queue_door.h"

#include <pthread.h>
#include <stddef.h>

struct door {
    pthread_mutex_t lock;
    struct post *first, **last;
    bool sleeps;
    __attribute__((aligned(128))) int fd;
};

static inline void post_run(struct post *p);

static void door_init(struct door *d) {
    pthread_mutex_init(&d->lock, NULL);
    d->first = NULL;
    d->last = &d->first;
    d->sleeps = false;
}

static inline void door_push(struct door *d, struct post *p) {
    p->link = NULL;
    pthread_mutex_lock(&d->lock);
    *d->last = p;
    d->last = (struct post **)(void *)&p->link;
    bool wake = d->sleeps;
    d->sleeps = false;
    pthread_mutex_unlock(&d->lock);
    if (wake)
        door_wake(d->fd);
}

static inline unsigned door_take(struct door *d) {
    unsigned n = 0;
    pthread_mutex_lock(&d->lock);
    struct post *p = d->first;
    d->first = NULL;
    d->last = &d->first;
    pthread_mutex_unlock(&d->lock);
    for (; p; n++) {
        struct post *next = p->link;
        post_run(p);
        p = next;
    }
    return n;
}

static inline bool door_may_sleep(struct door *d) {
    pthread_mutex_lock(&d->lock);
    d->sleeps = d->first == NULL;
    bool may = d->sleeps;
    pthread_mutex_unlock(&d->lock);
    return may;
}

static inline void door_woken(struct door *d) {
    pthread_mutex_lock(&d->lock);
    d->sleeps = false;
    pthread_mutex_unlock(&d->lock);
}

static void door_destroy(struct door *d) {
    pthread_mutex_destroy(&d->lock);
}

#include "micro/queue_drive.h"

double post_mutex(const void *load) {
    return drive(load);
}
