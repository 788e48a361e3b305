#include "load/generator.h"

#include "load/load_thread.h"
#include "load/pattern.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

typedef struct generator {
    const load_options *options;
    connection *connections;
    load_thread *threads;
    unsigned opened;   /* connections */
    unsigned prepared; /* threads with an epoll set */
    process_cpu server;
    uint64_t completed_at_tick;
} generator;

static void print_progress(void *arg) {
    generator *g = arg;
    if (!g->options->progress)
        return;
    uint64_t completed = 0;
    for (unsigned i = 0; i < g->options->threads; i++)
        completed += atomic_load_explicit(&g->threads[i].completed, memory_order_relaxed);
    fprintf(stderr, "weft-load: %llu requests, %llu in the last second\n",
            (unsigned long long)completed, (unsigned long long)(completed - g->completed_at_tick));
    g->completed_at_tick = completed;
}

static void no_progress(void *arg) {
    (void)arg;
}

static void *run_thread(void *arg) {
    load_thread_run(arg, no_progress, NULL);
    return NULL;
}

static int open_connections(generator *g) {
    const load_options *o = g->options;
    for (; g->opened < o->connections; g->opened++) {
        int r = connection_open(&g->connections[g->opened], g->opened, &o->address);
        if (r < 0) {
            fprintf(stderr, "weft-load: connection %u: %s\n", g->opened, strerror(-r));
            return r;
        }
    }
    return 0;
}

/* The share of `total` that part `index` of `parts` takes: they differ by one at most. */
static uint64_t share(uint64_t total, unsigned parts, unsigned index) {
    return total / parts + (index < total % parts);
}

static int prepare_thread(generator *g, unsigned index, connection *first) {
    const load_options *o = g->options;
    load_thread *t = &g->threads[index];
    t->options = o;
    t->connections = first;
    t->count = t->open = (unsigned)share(o->connections, o->threads, index);
    t->to_send = t->to_complete = share(o->requests, o->threads, index);
    t->server = index == 0 && o->server_pid > 0 ? &g->server : NULL;
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return -errno;
    g->prepared++;
    for (unsigned i = 0; i < t->count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &first[i]};
        if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, first[i].fd, &event) < 0)
            return -errno;
    }
    return 0;
}

static int prepare(generator *g) {
    const load_options *o = g->options;
    if (o->server_pid > 0 && process_cpu_open(o->server_pid, &g->server) < 0) {
        fprintf(stderr, "weft-load: no process %d\n", (int)o->server_pid);
        return -ESRCH;
    }
    int r = open_connections(g);
    connection *first = g->connections;
    for (unsigned i = 0; r == 0 && i < o->threads; i++) {
        r = prepare_thread(g, i, first);
        first += g->threads[i].count;
    }
    return r;
}

/* The first thread runs here: one connection's load must not cost a second thread. */
static int run_threads(generator *g) {
    unsigned threads = g->options->threads;
    pthread_t *ids = calloc(threads, sizeof *ids);
    if (ids == NULL)
        return -ENOMEM;
    uint64_t start_ns = cli_now_ns();
    for (unsigned i = 0; i < threads; i++)
        g->threads[i].start_ns = start_ns;
    for (unsigned i = 1; i < threads; i++) {
        int r = pthread_create(&ids[i], NULL, run_thread, &g->threads[i]);
        if (r != 0) { /* those that run cannot be called back in the middle of a batch */
            fprintf(stderr, "weft-load: thread %u: %s\n", i, strerror(r));
            exit(EXIT_FAILURE);
        }
    }
    load_thread_run(&g->threads[0], print_progress, g);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(ids[i], NULL);
    free(ids);
    return 0;
}

static void collect(const generator *g, load_result *result) {
    memset(result, 0, sizeof *result);
    for (unsigned i = 0; i < g->options->threads; i++) {
        const load_thread *t = &g->threads[i];
        uint64_t measured_ns = t->measured_to_ns - t->measured_from_ns;
        histogram_merge(&result->latency, &t->latency);
        result->failures += t->failures;
        result->server_cpu_ns += t->server_cpu_to_ns - t->server_cpu_from_ns;
        if (measured_ns > result->measured_ns)
            result->measured_ns = measured_ns;
        if (measured_ns > 0)
            result->requests_per_s +=
                (double)t->latency.count * (double)CLI_NS_PER_SEC / (double)measured_ns;
    }
    for (unsigned i = 0; i < g->options->connections; i++) {
        const connection *c = &g->connections[i];
        result->bytes_sent += c->sent;
        result->bytes_received += c->received;
        result->bytes_mismatched += c->mismatched;
        if (c->mismatched > 0)
            fprintf(stderr, "weft-load: connection %u: %llu bytes differ, the first is byte %llu\n",
                    i, (unsigned long long)c->mismatched, (unsigned long long)c->first_mismatch);
    }
    result->requests = result->latency.count;
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    result->own_cpu_ns = (uint64_t)own.tv_sec * CLI_NS_PER_SEC + (uint64_t)own.tv_nsec;
}

int generator_run(const load_options *options, load_result *ret_result) {
    generator g = {.options = options};
    int r = -ENOMEM;
    g.connections = calloc(options->connections, sizeof *g.connections);
    g.threads = calloc(options->threads, sizeof *g.threads);
    if (g.connections == NULL || g.threads == NULL)
        goto out;
    pattern_init();
    r = prepare(&g);
    if (r == 0)
        r = run_threads(&g);
    if (r == 0)
        collect(&g, ret_result);
out:
    for (unsigned i = 0; i < g.prepared; i++)
        close(g.threads[i].epoll_fd);
    for (unsigned i = 0; i < g.opened; i++)
        connection_close(&g.connections[i]);
    free(g.threads);
    free(g.connections);
    return r;
}
