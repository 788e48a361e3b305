/*
 * What all echo servers share, so that they differ in nothing but their loops: the command line,
 * the listening sockets, the workers' threads, the line that names the port, the idle thread.
 *
 * Equal: one loop per worker, in a thread of its own, the first in the main one; a listening socket
 * per worker, with SO_REUSEADDR, TCP_NODELAY, which accepted sockets inherit, SO_REUSEPORT where
 * there are several, and the same backlog; non-blocking peers; waiting without a timeout; how they
 * are compiled (--version). weft opens its listeners and starts its threads itself, alike.
 *
 * What differs:
 *
 *              received into          echoed by           refused by the kernel   per wake-up
 *   epoll      64 KiB per loop        send                copied; not read        one accept
 *   --edge     the same               send                the same, no epoll_ctl  one accept
 *   ev         64 KiB per loop        send                as epoll                one accept
 *   event      64 KiB per loop        send                as epoll                one accept
 *   event -b   4 KiB chains, readv    writev, next turn   queued; read on         one accept
 *   uv         malloc(64 KiB) each    uv_write            queued; read on         libuv's choice
 *   uv -t      64 KiB per loop        uv_try_write        copied; read on         libuv's choice
 *   weft       weft's choice          weft_stream_write   weft's choice           weft's choice
 *
 * (-b is --bufferevent, -t is --try-write.) "Read on" means that a peer that sends and does not
 * receive makes the server grow without bound. libuv 1.44 accepts until there are no more, and from
 * 1.45 on one at a time. Memory is glibc's, but for weft and echo_uv_jemalloc.
 */
#ifndef WEFT_BENCH_SERVER_H
#define WEFT_BENCH_SERVER_H

#include "common/cli.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    SERVER_SCRATCH = 65536, /* bytes a server receives at once */
    SERVER_MAX_WORKERS = 1024,
};

/* The options that only some servers have. */
enum {
    SERVER_EDGE = 1u << 0,
    SERVER_TRY_WRITE = 1u << 1,
    SERVER_PER_MESSAGE = 1u << 2,
    /* --with spin, ids, timeouts: weft's */
    SERVER_SPIN = 1u << 3,
    SERVER_IDS = 1u << 4,
    SERVER_TIMEOUTS = 1u << 5,
    SERVER_OWN_FDS = 1u << 6,
    SERVER_BARE = 1u << 7,
    SERVER_BUFFEREVENT = 1u << 8,
};

typedef struct server_options {
    const char *address_text;
    cli_address address;
    unsigned workers;
    int backlog;
    size_t per_message; /* 0: coalesce; else bytes per write */
    uint32_t flags;     /* SERVER_EDGE, ... */
    bool idle_thread;
} server_options;

/* A loop and its thread. */
typedef struct server_worker {
    const server_options *options;
    int listen_fd; /* non-blocking, listening */
    int stop_fd;   /* readable for good when the server is to end; not to be read */
    size_t piece;  /* bytes per write */
    bool is_bare;
    pthread_t thread;
    uint8_t scratch[SERVER_SCRATCH];
} server_worker;

/* `framework` is what --version says the server runs on. Exits with 0 after --help and --version,
 * with 2 when the command line is wrong. */
void server_parse(int argc, char **argv, const char *framework, uint32_t extras,
                  server_options *ret_options);

/* Listens, names the port, and calls `run` once per worker until all have returned; the exit
 * status. Exits with 1 if it cannot. */
int server_run(const server_options *options, void (*run)(server_worker *worker));

void server_announce(const char *address);

/* A second thread that sleeps for ever. It makes the process's fd table a shared one, which alone
 * costs 30 to 50 ns for each call on a socket. */
void server_start_idle_thread(void);

/* Exits with 1, naming what failed, if r is a negative errno. */
void server_check(int r, const char *what);

#endif
