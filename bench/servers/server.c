#include "servers/server.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPT_ADDRESS = 256,
    OPT_WORKERS,
    OPT_BACKLOG,
    OPT_IDLE_THREAD,
    OPT_EDGE,
    OPT_TRY_WRITE,
    OPT_PER_MESSAGE,
    OPT_WITH,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"backlog", required_argument, NULL, OPT_BACKLOG},
    {"idle-thread", no_argument, NULL, OPT_IDLE_THREAD},
    {"edge", no_argument, NULL, OPT_EDGE},
    {"try-write", no_argument, NULL, OPT_TRY_WRITE},
    {"per-message", required_argument, NULL, OPT_PER_MESSAGE},
    {"with", required_argument, NULL, OPT_WITH},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static void print_help(const char *program, uint32_t extras) {
    printf("usage: %s [--address HOST:PORT] [--workers N] [--backlog N] [--idle-thread]%s%s%s%s\n"
           "An echo server. Prints `listening on HOST:PORT`, ends on SIGTERM or SIGINT.\n",
           program, (extras & SERVER_EDGE) != 0 ? " [--edge]" : "",
           (extras & SERVER_TRY_WRITE) != 0 ? " [--try-write]" : "",
           (extras & SERVER_PER_MESSAGE) != 0 ? " [--per-message BYTES]" : "",
           (extras & SERVER_SPIN) != 0 ? " [--with spin|ids|timeouts]..." : "");
}

static uint32_t feature(const char *name) {
    if (strcmp(name, "spin") == 0)
        return SERVER_SPIN;
    if (strcmp(name, "ids") == 0)
        return SERVER_IDS;
    return strcmp(name, "timeouts") == 0 ? SERVER_TIMEOUTS : 0;
}

static int apply(server_options *o, int option, const char *value, uint32_t extras) {
    uint64_t number = 0;
    int r = 0;
    switch (option) {
    case OPT_ADDRESS: o->address_text = value; return cli_parse_address(value, &o->address);
    case OPT_WORKERS:
        r = cli_number(value, 1, SERVER_MAX_WORKERS, &number);
        o->workers = (unsigned)number;
        return r;
    case OPT_BACKLOG:
        r = cli_number(value, 1, INT_MAX, &number);
        o->backlog = (int)number;
        return r;
    case OPT_IDLE_THREAD: o->idle_thread = true; return 0;
    case OPT_EDGE: o->flags |= SERVER_EDGE; return (extras & SERVER_EDGE) != 0 ? 0 : -EINVAL;
    case OPT_TRY_WRITE:
        o->flags |= SERVER_TRY_WRITE;
        return (extras & SERVER_TRY_WRITE) != 0 ? 0 : -EINVAL;
    case OPT_PER_MESSAGE:
        r = cli_number(value, 1, SERVER_SCRATCH, &number);
        o->per_message = (size_t)number;
        return (extras & SERVER_PER_MESSAGE) != 0 ? r : -EINVAL;
    case OPT_WITH: o->flags |= feature(value); return (extras & feature(value)) != 0 ? 0 : -EINVAL;
    default: return -EINVAL;
    }
}

void server_parse(int argc, char **argv, uint32_t extras, server_options *ret_options) {
    server_options o = {.workers = 1, .backlog = 4096};
    apply(&o, OPT_ADDRESS, "127.0.0.1:0", extras);
    int option, index = 0;
    while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (option == OPT_HELP) {
            print_help(argv[0], extras);
            exit(EXIT_SUCCESS);
        }
        if (option == '?') /* getopt_long has said what is wrong */
            exit(2);
        if (apply(&o, option, optarg, extras) < 0) {
            fprintf(stderr, "%s: --%s: not valid here (see --help)\n", argv[0],
                    long_options[index].name);
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: only options are expected (see --help)\n", argv[0]);
        exit(2);
    }
    cli_raise_fd_limit();
    *ret_options = o;
}

void server_check(int r, const char *what) {
    if (r >= 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(-r));
    exit(EXIT_FAILURE);
}

static int checked(int r, const char *what) {
    server_check(r < 0 ? -errno : r, what);
    return r;
}

static void switch_on(int fd, int level, int name, const char *what) {
    const int on = 1;
    checked(setsockopt(fd, level, name, &on, sizeof on), what);
}

void server_bind(const server_options *options, bool listening, int *ret_fds) {
    cli_address address = options->address;
    for (unsigned i = 0; i < options->workers; i++) {
        int fd = checked(
            socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
            "socket");
        switch_on(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR");
        switch_on(fd, IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY");
        if (options->workers > 1)
            switch_on(fd, SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT");
        checked(bind(fd, (const struct sockaddr *)&address.storage, address.len), "bind");
        if (listening)
            checked(listen(fd, options->backlog), "listen");
        /* The others share the port that the first one was given. */
        address.len = sizeof address.storage;
        checked(getsockname(fd, (struct sockaddr *)&address.storage, &address.len), "getsockname");
        ret_fds[i] = fd;
    }
}

void server_announce(const char *address) {
    printf("listening on %s\n", address);
    fflush(stdout);
}

void server_announce_fd(int fd) {
    cli_address address = {.len = sizeof address.storage};
    checked(getsockname(fd, (struct sockaddr *)&address.storage, &address.len), "getsockname");
    char text[CLI_ADDRESS_TEXT];
    cli_format_address(&address, text);
    server_announce(text);
}

static void *sleep_for_ever(void *arg) {
    (void)arg;
    for (;;)
        pause();
    return NULL;
}

void server_start_idle_thread(void) {
    sigset_t all, before;
    pthread_t id;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    server_check(-pthread_create(&id, NULL, sleep_for_ever, NULL), "idle thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
