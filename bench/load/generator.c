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

/* The plan begins when all threads are there, or the first requests of the last would be late. */
#define THREADS_START_NS 10000000u

typedef struct generator {
    const load_options *options;
    connection *connections;
    load_thread *threads;
    schedule plan;
    unsigned opened;   /* connections, or about to be */
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
    for (unsigned i = 0; i < o->connections; i++)
        connection_init(&g->connections[i], i, &o->sizes);
    g->opened = o->connections;
    for (unsigned i = 0; i < o->connections && !o->churn; i++) {
        int r = connection_open(&g->connections[i], &o->address);
        if (r < 0) {
            fprintf(stderr, "weft-load: connection %u: %s\n", i, strerror(-r));
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
    t->mode = o->churn ? &load_churn : o->rate > 0 ? &load_open_loop : &load_closed_loop;
    t->plan = &g->plan;
    t->index = index;
    t->connections = first;
    t->count = t->open = (unsigned)share(o->connections, o->threads, index);
    if (o->rate == 0)
        t->to_send = t->to_complete = share(o->requests, o->threads, index);
    t->server = index == 0 && o->server_pid > 0 ? &g->server : NULL;
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return -errno;
    g->prepared++;
    int r = 0;
    for (unsigned i = 0; i < t->count && r == 0 && !o->churn; i++)
        r = load_watch(t, &first[i]);
    return r;
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

static void make_plan(generator *g, uint64_t start_ns) {
    const load_options *o = g->options;
    uint64_t measured = schedule_requests_in(o->rate, o->warmup_ns);
    g->plan = (schedule){
        .start_ns = start_ns, .rate = o->rate, .turns = o->connections, .measured = measured};
    g->plan.end = o->requests > 0 ? measured + o->requests
                                  : schedule_requests_in(o->rate, o->warmup_ns + o->duration_ns);
}

/* The first thread runs here: one connection's load must not cost a second thread. */
static int run_threads(generator *g) {
    unsigned threads = g->options->threads;
    pthread_t *ids = calloc(threads, sizeof *ids);
    if (ids == NULL)
        return -ENOMEM;
    uint64_t start_ns = cli_now_ns();
    if (g->options->rate > 0) {
        start_ns += THREADS_START_NS;
        make_plan(g, start_ns);
    }
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

static void collect_thread(const load_thread *t, load_result *result) {
    uint64_t measured_ns = t->measured_to_ns - t->measured_from_ns;
    histogram_merge(&result->latency, &t->latency);
    histogram_merge(&result->lateness, &t->lateness);
    result->failures += t->failures;
    result->sent += t->sent;
    result->waited += t->waited;
    result->dialled += t->dialled;
    result->server_cpu_ns += t->server_to.cpu_ns - t->server_from.cpu_ns;
    result->context_switches += t->server_to.context_switches - t->server_from.context_switches;
    if (measured_ns > result->measured_ns)
        result->measured_ns = measured_ns;
    if (measured_ns > 0)
        result->per_s += (double)t->latency.count * (double)CLI_NS_PER_SEC / (double)measured_ns;
}

static void collect_connection(const connection *c, load_result *result) {
    result->bytes_sent += c->sent;
    result->bytes_received += c->received;
    result->bytes_mismatched += c->mismatched;
    if (c->mismatched > 0)
        fprintf(stderr, "weft-load: connection %u: %llu bytes differ, the first is byte %llu\n",
                c->index, (unsigned long long)c->mismatched, (unsigned long long)c->first_mismatch);
}

static void collect(const generator *g, load_result *result) {
    const load_options *o = g->options;
    memset(result, 0, sizeof *result);
    for (unsigned i = 0; i < o->threads; i++)
        collect_thread(&g->threads[i], result);
    for (unsigned i = 0; i < o->connections; i++)
        collect_connection(&g->connections[i], result);
    result->planned = g->plan.end - g->plan.measured;
    uint64_t messages = o->churn ? o->pipeline : 1; /* of what the histogram counts */
    result->requests = result->latency.count * messages;
    result->requests_per_s = result->per_s * (double)messages;
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
