/* signals: a daemon that is run by signals, and a configuration that all workers read at once.
 *
 *   signals CONFIG_FILE [address]     default 127.0.0.1:0, which picks a port
 *
 *   SIGHUP            reads the file again; a bad one is reported, and the old configuration stays
 *   SIGUSR1           prints a table of what each worker has done
 *   SIGTERM, SIGINT   stop
 *
 * The file says "greeting TEXT", with empty lines and # comments as you like. What a client sends
 * comes back line by line, after the greeting.
 *
 * Signals arrive as ordinary callbacks on worker 0: they open files, allocate and print, and no
 * rule of signal-safety(7) is for them. The configuration is read-copy-update: the pointer is
 * exchanged, and the old one freed by weft_retire() once no callback that is running now, on any
 * worker, can still look at it. Readers take no lock and write nothing. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <weft.h>

enum { LINE = 512 };

/* Never changed once it is published, and one allocation: free() is all that ends it. */
struct config {
    size_t length;
    char greeting[LINE];
};

struct program {
    const char *path;
    weft_runtime *runtime;
    _Atomic(struct config *) config; /* written by worker 0, read by all */
    int error;                       /* of worker 0's start */
};

/* NULL, or what is wrong with it. */
static const char *config_parse(struct config *config, FILE *file) {
    static const char key[] = "greeting ";
    char line[LINE];
    while (fgets(line, sizeof line, file)) {
        size_t length = strcspn(line, "\n");
        if (line[length] != '\n' && !feof(file))
            return "a line is too long";
        line[length] = '\0';
        if (*line == '\0' || *line == '#')
            continue;
        if (strncmp(line, key, strlen(key)) != 0)
            return "a line is not \"greeting TEXT\"";
        config->length = length - strlen(key);
        memcpy(config->greeting, line + strlen(key), config->length + 1);
    }
    if (ferror(file))
        return "cannot be read";
    return config->length > 0 ? NULL : "no greeting";
}

/* NULL, or why there is no configuration. A small local file may be read in a callback; anything
 * that can block for long is for a thread of one's own, and weft_post(). */
static const char *config_load(const char *path, struct config **ret_config) {
    struct config *config = calloc(1, sizeof *config);
    FILE *file = config ? fopen(path, "re") : NULL;
    const char *wrong = file ? config_parse(config, file) : weft_strerror(-errno);
    if (file)
        fclose(file);
    if (wrong)
        free(config);
    else
        *ret_config = config;
    return wrong;
}

/* On any worker. The pointer is good until this callback returns, which is all the reader needs to
 * know: callbacks run inside a read-side section of RCU. However many lines came, and three writes
 * for each, the answers leave in one system call. */
static size_t greet(weft_stream *s, const uint8_t *data, size_t len) {
    struct program *program = weft_stream_arg(s);
    /* Acquire: pairs with the exchange in reload(). Without it the greeting could be read as it was
     * before it was written. */
    const struct config *config = atomic_load_explicit(&program->config, memory_order_acquire);
    const uint8_t *end;
    size_t used = 0;
    while ((end = memchr(data + used, '\n', len - used)) != NULL) {
        size_t line = (size_t)(end - (data + used)) + 1;
        weft_stream_write(s, config->greeting, config->length);
        weft_stream_write(s, " ", 1);
        weft_stream_write(s, data + used, line);
        used += line;
    }
    return used; /* the unfinished line comes again, with its end */
}

/* SIGHUPs that come while one is pending coalesce into it. That loses nothing: whoever sent one had
 * written the file before, and the last reading comes after the last of them. */
static void reload(const struct signalfd_siginfo *info, void *arg) {
    struct program *program = arg;
    struct config *fresh = NULL;
    const char *wrong = config_load(program->path, &fresh);
    if (wrong) {
        fprintf(stderr, "signals: %s: %s; the old configuration stays\n", program->path, wrong);
        return;
    }
    struct config *old = atomic_exchange_explicit(&program->config, fresh, memory_order_acq_rel);
    if (weft_retire(free, old) < 0)
        fprintf(stderr, "signals: no memory to retire the old configuration; it leaks\n");
    printf("reloaded for pid %" PRIu32 ": %s\n", info->ssi_pid, fresh->greeting);
    fflush(stdout);
}

/* Counters may be read from any thread at any time: nobody is asked, and nobody waits. */
static void print_worker(weft_worker *w) {
    weft_stats stats;
    if (weft_worker_stats(w, &stats, sizeof stats) < 0)
        return;
    printf("%6u %8" PRIu64 " %9" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12" PRIu64
           " %12" PRIu64 " %9" PRIu64 " %7" PRIu64 "\n",
           weft_worker_index(w), stats.streams_open, stats.streams_accepted, stats.iterations,
           stats.events, stats.tasks, stats.bytes_in, stats.bytes_out, stats.busy_ns / WEFT_MSEC(1),
           stats.stalls);
}

static void print_table(const struct signalfd_siginfo *info, void *arg) {
    struct program *program = arg;
    (void)info;
    printf("%6s %8s %9s %10s %10s %10s %12s %12s %9s %7s\n", "worker", "streams", "accepted",
           "iterations", "events", "tasks", "bytes in", "bytes out", "busy ms", "stalls");
    for (unsigned i = 0; i < weft_runtime_worker_count(program->runtime); i++)
        print_worker(weft_runtime_worker(program->runtime, i));
    fflush(stdout);
}

/* A signal that came before this is still pending, and arrives now. */
static void worker_start(weft_worker *w, void *arg) {
    struct program *program = arg;
    if (weft_worker_index(w) != 0)
        return;
    int r = weft_signal_watch(w, SIGHUP, reload, program, NULL);
    if (r == 0)
        r = weft_signal_watch(w, SIGUSR1, print_table, program, NULL);
    if (r < 0) {
        program->error = r;
        weft_runtime_stop(program->runtime);
    }
}

/* SIGHUP and SIGUSR1 are named before any other thread exists, and the numbers that stop by
 * weft_runtime_stop_on(): every thread made later inherits that they are blocked. */
static int serve(struct program *program, const char *address) {
    static const weft_protocol protocol = {.on_data = greet};
    static const int signals[] = {SIGHUP, SIGUSR1, 0};
    const weft_runtime_options options = {
        .signals = signals, .on_worker_start = worker_start, .arg = program};
    weft_listener *listener = NULL;

    int r = weft_runtime_create(&options, &program->runtime);
    if (r == 0)
        r = weft_runtime_stop_on(program->runtime, SIGTERM);
    if (r == 0)
        r = weft_runtime_stop_on(program->runtime, SIGINT);
    if (r == 0)
        r = weft_listen(program->runtime, address, &protocol, program, &listener);
    if (r == 0) {
        printf("listening on %s\n", weft_listener_address(listener));
        fflush(stdout);
        r = weft_runtime_run(program->runtime);
    }
    weft_runtime_destroy(program->runtime);
    return r == 0 ? program->error : r;
}

int main(int argc, char **argv) {
    static struct program program;
    struct config *config = NULL;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: signals CONFIG_FILE [address]\n");
        return 1;
    }
    program.path = argv[1];
    const char *wrong = config_load(program.path, &config);
    if (wrong) {
        fprintf(stderr, "signals: %s: %s\n", program.path, wrong);
        return 1;
    }
    atomic_init(&program.config, config);
    int r = serve(&program, argc > 2 ? argv[2] : "127.0.0.1:0");
    if (r < 0)
        fprintf(stderr, "signals: %s\n", weft_strerror(r));
    free(atomic_load_explicit(&program.config, memory_order_relaxed)); /* no worker is left */
    return r < 0;
}
