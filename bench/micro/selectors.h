/* The passes of a selector contest: N fds are registered to be read, all become ready and are told
 * of several times, all are watched for writing too, and unregistered. Each contender has loops for
 * these over selectors_fds. */
#ifndef WEFT_BENCH_SELECTORS_H
#define WEFT_BENCH_SELECTORS_H

enum { SELECTORS_BATCH = 1024 }; /* as many ready entries at a time as libuv takes */

struct selectors_load {
    unsigned fds, passes;
};

struct selectors_kind {
    void (*register_all)(void);
    void (*update_all)(void);
    void (*unregister_all)(void);
    void (*dispatch)(void); /* of a batch or more: selectors_ready() for each */
};

extern unsigned selectors_count;
extern int *selectors_fds;

void selectors_open(const void *load);
void selectors_ready(const void *data);
double selectors_run(const struct selectors_kind *kind); /* the figure; notes the others too */

/* arg: struct selectors_load */
double selectors_weft(const void *arg);
double selectors_epoll(const void *arg);
double selectors_uv(const void *arg);

#endif
