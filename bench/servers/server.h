/*
 * What all echo servers share, so that they differ in nothing but their loops: the command line,
 * the listening sockets (SO_REUSEADDR, TCP_NODELAY, which accepted sockets inherit, the backlog,
 * and SO_REUSEPORT where there are several workers), the line that names the port, the idle thread.
 */
#ifndef WEFT_BENCH_SERVER_H
#define WEFT_BENCH_SERVER_H

#include "common/cli.h"

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

/* Exits with 0 after --help, with 2 when the command line is wrong. */
void server_parse(int argc, char **argv, uint32_t extras, server_options *ret_options);

/* Non-blocking sockets, bound and, if `listening`, listening, one per worker, all on one address;
 * exits with 1 when that fails. */
void server_bind(const server_options *options, bool listening, int *ret_fds);

void server_announce(const char *address);
void server_announce_fd(int fd);

/* A second thread that sleeps for ever. It makes the process's fd table a shared one, which alone
 * costs 30 to 50 ns for each call on a socket. */
void server_start_idle_thread(void);

/* Exits with 1, naming what failed, if r is a negative errno. */
void server_check(int r, const char *what);

#endif
