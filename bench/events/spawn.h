/* /bin/true, one after the other for a quarter of a second: each is started when the exit of the
 * one before has been told. Its stdio is /dev/null. */
#ifndef WEFT_BENCH_SPAWN_H
#define WEFT_BENCH_SPAWN_H

#include <stdbool.h>
#include <stddef.h>

struct spawn_parent {
    const char *name;
    size_t memory; /* bytes that it has touched */
    unsigned fds;  /* that it has open, all of them close-on-exec */
};

struct spawns {
    double begin, end; /* seconds */
    unsigned exits;
};

extern char *spawn_argv[]; /* /bin/true */

void spawn_prepare(const struct spawn_parent *parent); /* makes this process one */
void spawn_begin(struct spawns *s);
bool spawn_again(struct spawns *s, bool succeeded); /* after each exit */
double spawn_rate(const struct spawns *s);          /* a second */

/* arg: struct spawn_parent */
double spawn_weft(const void *arg);
double spawn_vfork(const void *arg);
double spawn_posix_spawn(const void *arg);
double spawn_fork(const void *arg);
double spawn_uv(const void *arg);

#endif
