/* Ways of getting connections to workers. A server serves in a process of its own and is seen from
 * outside through a board of counters; it echoes what comes, and a message that begins with 'S'
 * keeps the worker that reads it in its callback for STUCK_MS. */
#ifndef WEFT_BENCH_ACCEPT_H
#define WEFT_BENCH_ACCEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

enum { WORKERS_MAX = 8, STUCK_MS = 200, FIGURES = 3 };

enum way {
    SHARED,    /* one listening fd in every worker's epoll set, EPOLLEXCLUSIVE */
    REUSEPORT, /* a listening socket per worker */
    ACCEPTOR,  /* a thread that does nothing but accept and give away */
};

struct board {
    atomic_int port;               /* 0: not there yet */
    atomic_uint open[WORKERS_MAX]; /* connections of each worker */
    atomic_ulong handed;           /* connections that went to another thread than accepted them */
};

struct server {
    const char *name;
    void (*serve)(const struct server *s, unsigned workers, struct board *b);
    enum way way;
    bool balances; /* gives to whoever has fewer connections, and takes back what is not taken */
};

void serve_epoll(const struct server *s, unsigned workers, struct board *b);
void serve_weft(const struct server *s, unsigned workers, struct board *b);

/* What a client sees of a server on that board, in that process. */
struct target {
    pid_t pid;
    unsigned workers;
    struct board *board;
};
typedef void client(const struct target *t, double ret_figures[FIGURES]);
client client_at_once, client_one_by_one; /* most - fewest per worker; largest share, % */
client
    client_stuck; /* of 40: answered when the stuck one was free, after 10 ms; longest wait, ms */
client client_churn; /* connections/s; the server's CPU time for each, us; handed over, % */

#endif
