#include "servers/server.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

enum {
    OPT_ADDRESS = 256,
    OPT_WORKERS,
    OPT_BACKLOG,
    OPT_IDLE_THREAD,
    OPT_PER_MESSAGE,
    OPT_WITH,
    OPT_VERSION,
    OPT_HELP,
    OPT_FLAG = 1 << 16, /* times SERVER_EDGE, ...: options that set one flag */
};

static const struct option long_options[] = {
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"backlog", required_argument, NULL, OPT_BACKLOG},
    {"idle-thread", no_argument, NULL, OPT_IDLE_THREAD},
    {"edge", no_argument, NULL, OPT_FLAG *SERVER_EDGE},
    {"try-write", no_argument, NULL, OPT_FLAG *SERVER_TRY_WRITE},
    {"own-fds", no_argument, NULL, OPT_FLAG *SERVER_OWN_FDS},
    {"bare", no_argument, NULL, OPT_FLAG *SERVER_BARE},
    {"bufferevent", no_argument, NULL, OPT_FLAG *SERVER_BUFFEREVENT},
    {"per-message", required_argument, NULL, OPT_PER_MESSAGE},
    {"with", required_argument, NULL, OPT_WITH},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static void print_help(const char *program, uint32_t extras) {
    printf("usage: %s [--address HOST:PORT] [--workers N] [--backlog N] [--idle-thread]", program);
    for (const struct option *o = long_options; o->name != NULL; o++)
        if (((uint32_t)(o->val / OPT_FLAG) & extras) != 0)
            printf(" [--%s]", o->name);
    printf("%s%s\n"
           "An echo server. Prints `listening on HOST:PORT`, ends on SIGTERM or SIGINT. --version\n"
           "says what it runs on and how it was compiled.\n",
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
    case OPT_PER_MESSAGE:
        r = cli_number(value, 1, SERVER_SCRATCH, &number);
        o->per_message = (size_t)number;
        return (extras & SERVER_PER_MESSAGE) != 0 ? r : -EINVAL;
    case OPT_WITH: o->flags |= feature(value); return (extras & feature(value)) != 0 ? 0 : -EINVAL;
    default: /* OPT_FLAG times one of extras */
        o->flags |= (uint32_t)(option / OPT_FLAG);
        return (extras & (uint32_t)(option / OPT_FLAG)) != 0 ? 0 : -EINVAL;
    }
}

void server_parse(int argc, char **argv, const char *framework, uint32_t extras,
                  server_options *ret_options) {
    server_options o = {.workers = 1, .backlog = 4096};
    apply(&o, OPT_ADDRESS, "127.0.0.1:0", extras);
    int option, index = 0;
    while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (option == OPT_HELP) {
            print_help(argv[0], extras);
            exit(EXIT_SUCCESS);
        }
        if (option == OPT_VERSION) {
            printf("%s (%s, " SERVER_BUILD ")\n", framework, COMPILER);
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

static void listen_all(const server_options *options, server_worker *workers) {
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
        checked(listen(fd, options->backlog), "listen");
        /* The others share the port that the first one was given. */
        address.len = sizeof address.storage;
        checked(getsockname(fd, (struct sockaddr *)&address.storage, &address.len), "getsockname");
        workers[i].listen_fd = fd;
    }
}

void server_announce(const char *address) {
    printf("listening on %s\n", address);
    fflush(stdout);
}

static void announce_fd(int fd) {
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

/* Nobody reads the signal: it stays readable, so that every worker sees it. */
static int open_stop_fd(void) {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    return checked(signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
}

typedef struct start {
    server_worker *worker;
    void (*run)(server_worker *worker);
} start;

static void *run_worker(void *arg) {
    const start *s = arg;
    /* Before the loop opens anything: no other thread's table ever holds this worker's peers. */
    if ((s->worker->options->flags & SERVER_OWN_FDS) != 0)
        checked(unshare(CLONE_FILES), "unshare");
    s->run(s->worker);
    return NULL;
}

int server_run(const server_options *options, void (*run)(server_worker *worker)) {
    server_worker *workers = calloc(options->workers, sizeof *workers);
    start *starts = calloc(options->workers, sizeof *starts);
    server_check(workers == NULL || starts == NULL ? -ENOMEM : 0, "workers");
    listen_all(options, workers);
    int stop_fd = open_stop_fd();
    for (unsigned i = 0; i < options->workers; i++) {
        workers[i].options = options;
        workers[i].stop_fd = stop_fd;
        workers[i].piece = options->per_message > 0 ? options->per_message : SERVER_SCRATCH;
        workers[i].is_bare = (options->flags & SERVER_BARE) != 0;
        starts[i] = (start){.worker = &workers[i], .run = run};
        /* The first worker is this thread: one worker is a process with one thread. */
        if (i > 0)
            server_check(-pthread_create(&workers[i].thread, NULL, run_worker, &starts[i]),
                         "thread");
    }
    if (options->idle_thread)
        server_start_idle_thread();
    announce_fd(workers[0].listen_fd);
    run_worker(&starts[0]);
    for (unsigned i = 1; i < options->workers; i++)
        pthread_join(workers[i].thread, NULL);
    free(starts);
    free(workers);
    return EXIT_SUCCESS; /* open peers end with the process */
}
