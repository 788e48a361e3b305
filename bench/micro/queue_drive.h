/* The drivers, compiled once into each queue under test (queue_door.h). */
#include "flow/flow.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { POSTERS_MAX = 8, POSTS_MAX = 1 << 20, CACHE_PAIR = 128 };

#ifndef DOOR_AFTER_TAKE
#define DOOR_AFTER_TAKE(n) ((void)0)
#endif

struct drive {
    struct door door;
    __attribute__((
        aligned(CACHE_PAIR))) _Atomic unsigned done; /* by the owner, for those who wait */
    __attribute__((aligned(CACHE_PAIR))) unsigned each;
    bool one_by_one, pins;
    pthread_barrier_t start;
};

struct driver {
    struct drive *drive;
    struct post *posts;
    double begin; /* taken by the poster: the owner may come back from the barrier late */
};

static void *drive_poster(void *arg) {
    struct driver *driver = arg;
    struct door *door = &driver->drive->door;
    unsigned each = driver->drive->each;
    struct post *posts = driver->posts;
    if (driver->drive->pins)
        flow_pin(1);
    pthread_barrier_wait(&driver->drive->start);
    driver->begin = bench_seconds();
    for (unsigned i = 0; i < each; i++) {
        posts[i].number = i;
        door_push(door, &posts[i]);
        if (driver->drive->one_by_one)
            while (atomic_load_explicit(&driver->drive->done, memory_order_acquire) <= i)
                door_pause();
    }
    return NULL;
}

static void drive_owner(struct drive *d, unsigned total, bool spins) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, d->door.fd, &event) < 0) {
        perror("weft-micro: epoll");
        exit(1);
    }
    for (unsigned taken = 0; taken < total;) {
        unsigned n = door_take(&d->door);
        taken += n;
        if (n > 0) {
            if (d->one_by_one)
                atomic_store_explicit(&d->done, taken, memory_order_release);
            if (spins)
                DOOR_AFTER_TAKE(n);
            continue;
        }
        if (spins) {
            door_pause();
        } else if (door_may_sleep(&d->door)) {
            (void)epoll_wait(epoll, &event, 1, -1);
            door_woken(&d->door);
        }
    }
    close(epoll);
}

static uint64_t drive_sum;

static void drive_run(struct post *p) {
    drive_sum += p->number;
}

static inline void post_run(struct post *p) {
    p->run(p);
}

static double drive(const struct post_load *load) {
    static struct post *all;
    static struct drive d;
    struct driver drivers[POSTERS_MAX];
    pthread_t threads[POSTERS_MAX];
    if (load->posters > POSTERS_MAX || (load->one_by_one && load->posters > 1) ||
        load->posts > POSTS_MAX)
        return -1;
    if (!all)
        all = calloc(POSTS_MAX, sizeof *all);
    if (!all)
        return -1;
    d.each = load->posts / load->posters;
    unsigned total = d.each * load->posters;
    for (unsigned i = 0; i < total; i++)
        all[i] = (struct post){.run = drive_run};
    drive_sum = 0;
    d.one_by_one = load->one_by_one;
    d.pins = load->pins;
    atomic_store(&d.done, 0);
    door_init(&d.door);
    d.door.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_barrier_init(&d.start, NULL, load->posters + 1);
    for (unsigned i = 0; i < load->posters; i++) {
        drivers[i] = (struct driver){&d, all + (size_t)i * d.each, 0};
        if (pthread_create(&threads[i], NULL, drive_poster, &drivers[i]) != 0)
            return -1;
    }
    if (load->pins)
        flow_pin(0);
    pthread_barrier_wait(&d.start);
    drive_owner(&d, total, load->spins);
    double end = bench_seconds(), begin = end;
    for (unsigned i = 0; i < load->posters; i++) {
        pthread_join(threads[i], NULL);
        begin = drivers[i].begin < begin ? drivers[i].begin : begin;
    }
    pthread_barrier_destroy(&d.start);
    close(d.door.fd);
    door_destroy(&d.door);
    uint64_t expected = (uint64_t)load->posters * d.each * (d.each - 1) / 2;
    if (drive_sum != expected) {
        fprintf(stderr, "weft-micro: %s lost or doubled posts\n", DOOR_NAME);
        exit(1);
    }
    return (double)total / (end - begin) / 1e6;
}
