/* supervise: keeps commands running.
 *
 *   supervise COMMAND [COMMAND ...]     each run by /bin/sh -c
 *
 * What a command writes comes out line by line, after its number and pid. A command that ends is
 * started again, after 100 ms at first, then after twice as long each time, 5 s at most; one that
 * ran for 10 s begins anew with 100 ms. So it is with one that cannot be started: the system may
 * have file descriptors and processes again by then. SIGTERM or SIGINT ends them all: SIGTERM to
 * each, SIGKILL after 5 s or with the next such signal.
 *
 * Each command belongs to one worker, and all that happens to it happens there, without a lock.
 * Worker 0 hears the signals, and tells the others.
 *
 * A run is over when the child has ended *and* its output has: whoever still holds the pipe was
 * started by the child, and belongs to the run. Such leftovers are told to end as well, so that
 * nothing of one run meets the next, and none of their last words are lost. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <weft.h>

#define BACKOFF_LEAST_NS WEFT_MSEC(100)
#define BACKOFF_MOST_NS WEFT_SEC(5)
#define STEADY_NS WEFT_SEC(10)
#define GRACE_NS WEFT_SEC(5)

enum { LINE = 4096, WORKERS = 4 };

struct output {
    struct command *command;
    weft_watch *watch;
    int fd; /* -1: it has ended */
    size_t length;
    char line[LINE]; /* what came since the last newline */
};

/* All of it its worker's. */
struct command {
    struct supervisor *supervisor;
    unsigned index;
    char *text;
    bool is_stopping;
    weft_process *process; /* NULL: the child has ended */
    pid_t pid;             /* the child's, and its group's */
    siginfo_t status;      /* how it ended */
    struct output outputs[2];
    weft_timer timer; /* in a run: the grace time; between two: the next start */
    uint64_t started_ns, delay_ns;
};

struct supervisor {
    weft_runtime *runtime;
    unsigned count;
    struct command *commands;
    atomic_uint left; /* commands that are not stopped for good; any worker's */
    int error;        /* of worker 0's start */
};

/* In one piece, since all workers print. A reader that is slow to take it holds up the worker; a
 * supervisor for many commands would queue. */
static void print_line(const struct command *c, const char *line, size_t length) {
    flockfile(stdout);
    printf("[%u %d] ", c->index, (int)c->pid);
    fwrite(line, 1, length, stdout);
    putchar('\n');
    funlockfile(stdout);
}

/* Between two runs. */

static void command_done(struct command *c) {
    struct supervisor *s = c->supervisor;
    if (atomic_fetch_sub(&s->left, 1) == 1)
        weft_runtime_stop(s->runtime);
}

/* Says what became of the run, and when there will be another. */
static void command_again(struct command *c, const char *what) {
    weft_worker *w = weft_worker_current();
    if (c->is_stopping) {
        printf("[%u] %s\n", c->index, what);
        command_done(c);
        return;
    }
    if (c->delay_ns == 0 || weft_worker_now_ns(w) - c->started_ns >= STEADY_NS)
        c->delay_ns = BACKOFF_LEAST_NS;
    printf("[%u] %s; again in %u ms\n", c->index, what, (unsigned)(c->delay_ns / WEFT_MSEC(1)));
    weft_timer_start(w, &c->timer, c->delay_ns, 0);
    c->delay_ns = 2 * c->delay_ns < BACKOFF_MOST_NS ? 2 * c->delay_ns : BACKOFF_MOST_NS;
}

/* The end of a run. */

static bool run_is_over(const struct command *c) {
    return !c->process && c->outputs[0].fd < 0 && c->outputs[1].fd < 0;
}

/* To all of the run: sh does not hand a signal on, and what it waits for would outlive it. (To the
 * child alone there is weft_process_kill(), which cannot hit anyone else.) A group is known by its
 * number only, which nobody else gets while a process is in the group or the child is not reaped.
 * In the moment between the end of the last and our learning of it, the kernel would have to give
 * out every other pid before this one: it counts up, and begins again at pid_max (proc(5)). */
static void run_signal(const struct command *c, int signo) {
    kill(-c->pid, signo);
}

/* Asks the run to end. Once: while the timer is pending it was asked already. */
static void run_end(struct command *c) {
    if (weft_timer_is_pending(&c->timer))
        return;
    run_signal(c, SIGTERM);
    weft_timer_start(weft_worker_current(), &c->timer, GRACE_NS, 0);
}

static void run_over(struct command *c) {
    int pid = (int)c->pid, status = c->status.si_status;
    char what[80];
    if (c->status.si_code == CLD_EXITED)
        snprintf(what, sizeof what, "pid %d exited with %d", pid, status);
    else if (c->status.si_code == 0)
        snprintf(what, sizeof what, "pid %d ended, and somebody else took its status", pid);
    else if (sigabbrev_np(status))
        snprintf(what, sizeof what, "pid %d was killed by SIG%s", pid, sigabbrev_np(status));
    else
        snprintf(what, sizeof what, "pid %d was killed by signal %d", pid, status);
    run_signal(c, SIGKILL); /* whoever of it writes elsewhere, and so was not waited for */
    weft_timer_stop(&c->timer);
    command_again(c, what);
}

/* The output of a run. */

static void output_print(struct output *o) {
    char *from = o->line, *end = o->line + o->length, *newline;
    while ((newline = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        print_line(o->command, from, (size_t)(newline - from));
        from = newline + 1;
    }
    o->length = (size_t)(end - from);
    memmove(o->line, from, o->length);
    if (o->length == sizeof o->line) { /* too long for a line: in pieces */
        print_line(o->command, o->line, o->length);
        o->length = 0;
    }
}

static void output_close(struct output *o) {
    if (o->fd < 0)
        return;
    if (o->length > 0) /* last words, without a newline */
        print_line(o->command, o->line, o->length);
    weft_watch_stop(o->watch); /* before the close: the number may be somebody else's after it */
    close(o->fd);
    o->fd = -1;
}

/* One read; the bytes that came. */
static size_t output_read(struct output *o) {
    ssize_t n = read(o->fd, o->line + o->length, sizeof o->line - o->length);
    if (n > 0) {
        o->length += (size_t)n;
        output_print(o);
        return (size_t)n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        output_close(o);
    return 0;
}

/* The end may come before the child's, which has closed its output, or after it. */
static void output_ready(weft_watch *watch, uint32_t events, void *arg) {
    struct output *o = arg;
    (void)watch;
    (void)events;
    output_read(o);
    if (run_is_over(o->command))
        run_over(o->command);
}

/* What the pipe holds now, and no more: a process that got away could write for ever. */
static void output_cut(struct output *o) {
    int held = 0;
    size_t n = 1;
    if (o->fd < 0)
        return;
    ioctl(o->fd, FIONREAD, &held);
    for (size_t got = 0; n > 0 && got < (size_t)held; got += n)
        n = output_read(o);
    output_close(o);
}

static void output_open(struct output *o, int fd) {
    int r = weft_watch_start(weft_worker_current(), fd, WEFT_READ, output_ready, o, &o->watch);
    o->fd = r == 0 ? fd : -1;
    o->length = 0;
    if (r < 0) {
        printf("[%u] its output is lost: %s\n", o->command->index, weft_strerror(r));
        close(fd);
    }
}

/* A run. */

/* Kills what is left of it, and takes what that wrote until now. */
static void run_cut(struct command *c) {
    run_signal(c, SIGKILL);
    output_cut(&c->outputs[0]);
    output_cut(&c->outputs[1]);
}

/* While the child lives, child_ended() and the ends of the output will follow. If it ended before,
 * whoever holds the pipe now is killed, or has left the group and is not waited for. */
static void run_kill(struct command *c) {
    printf("[%u] killing pid %d\n", c->index, (int)c->pid);
    if (c->process) {
        run_signal(c, SIGKILL);
    } else {
        run_cut(c);
        run_over(c);
    }
}

/* Without info the runtime has stopped first, as it does when it could not begin properly: the
 * child is still there, and would be left alone. */
static void child_ended(weft_process *process, const siginfo_t *info, void *arg) {
    struct command *c = arg;
    c->process = NULL;
    if (!info) {
        weft_process_kill(process, SIGKILL);
        run_cut(c);
        return;
    }
    c->status = *info;
    if (run_is_over(c))
        run_over(c);
    else
        run_end(c);
}

/* Each run leads a process group of its own: it can be signalled as one, and a terminal's ^C, which
 * goes to the group in the foreground, reaches supervise alone. */
static void command_start(struct command *c) {
    weft_worker *w = weft_worker_current();
    char *argv[] = {"sh", "-c", c->text, NULL};
    const weft_spawn_options options = {.file = "/bin/sh",
                                        .argv = argv,
                                        .stdio = {[1] = WEFT_STDIO_PIPE, [2] = WEFT_STDIO_PIPE},
                                        .flags = WEFT_SPAWN_PGROUP};
    c->started_ns = weft_worker_now_ns(w);
    int r = weft_spawn(w, &options, child_ended, c, &c->process);
    if (r < 0) {
        char what[80];
        snprintf(what, sizeof what, "cannot start: %s", weft_strerror(r));
        command_again(c, what);
        return;
    }
    c->pid = weft_process_pid(c->process);
    printf("[%u] started pid %d\n", c->index, (int)c->pid);
    for (int i = 0; i < 2; i++)
        output_open(&c->outputs[i], weft_process_stdio(c->process, i + 1));
}

static void timer_fired(weft_timer *timer) {
    struct command *c = WEFT_CONTAINER_OF(timer, struct command, timer);
    if (run_is_over(c))
        command_start(c);
    else
        run_kill(c);
}

static void command_stop(struct command *c) {
    bool is_first = !c->is_stopping;
    c->is_stopping = true;
    if (!run_is_over(c) && !is_first) {
        run_kill(c);
    } else if (!run_is_over(c)) {
        printf("[%u] stopping pid %d\n", c->index, (int)c->pid);
        run_end(c);
    } else if (is_first) {
        weft_timer_stop(&c->timer); /* the next start */
        command_done(c);
    }
}

/* The workers, and what is theirs. */

static void for_each_of_mine(struct supervisor *s, void (*fn)(struct command *c)) {
    unsigned mine = weft_worker_index(weft_worker_current());
    unsigned workers = weft_runtime_worker_count(s->runtime);
    for (unsigned i = mine; i < s->count; i += workers)
        fn(&s->commands[i]);
}

static void stop_mine(void *arg) {
    for_each_of_mine(arg, command_stop);
}

/* To all workers, each of which hears it after its worker_start(). If each watched for itself, a
 * signal that comes while they start would reach some of them. */
static void stop_asked(const struct signalfd_siginfo *info, void *arg) {
    struct supervisor *s = arg;
    (void)info;
    if (weft_broadcast(s->runtime, stop_mine, s) == -ENOMEM)
        fprintf(stderr, "supervise: no memory to stop; ask again\n");
}

static int hear_signals(weft_worker *w, struct supervisor *s) {
    int r = weft_signal_watch(w, SIGTERM, stop_asked, s, NULL);
    return r == 0 ? weft_signal_watch(w, SIGINT, stop_asked, s, NULL) : r;
}

static void worker_start(weft_worker *w, void *arg) {
    struct supervisor *s = arg;
    int r = weft_worker_index(w) == 0 ? hear_signals(w, s) : 0;
    if (r == 0) {
        for_each_of_mine(s, command_start);
    } else {
        s->error = r;
        weft_runtime_stop(s->runtime);
    }
}

static int supervise(struct supervisor *s) {
    static const int signals[] = {SIGTERM, SIGINT, 0};
    const weft_runtime_options options = {.workers = s->count < WORKERS ? s->count : WORKERS,
                                          .signals = signals,
                                          .on_worker_start = worker_start,
                                          .arg = s};
    int r = weft_runtime_create(&options, &s->runtime);
    if (r == 0)
        r = weft_runtime_run(s->runtime);
    weft_runtime_destroy(s->runtime);
    return r == 0 ? s->error : r;
}

static struct command *commands_create(struct supervisor *s, char **texts) {
    struct command *commands = calloc(s->count, sizeof *commands);
    for (unsigned i = 0; commands && i < s->count; i++) {
        struct command *c = &commands[i];
        *c = (struct command){.supervisor = s, .index = i, .text = texts[i]};
        c->timer.fn = timer_fired;
        c->outputs[0] = (struct output){.command = c, .fd = -1};
        c->outputs[1] = (struct output){.command = c, .fd = -1};
    }
    return commands;
}

int main(int argc, char **argv) {
    static struct supervisor s;
    if (argc < 2) {
        fprintf(stderr, "usage: supervise COMMAND [COMMAND ...]\n");
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* a pipe's reader too sees each line when it is there */
    signal(SIGPIPE, SIG_IGN);         /* and may go: the commands run on, and do not inherit this */
    signal(SIGCHLD, SIG_DFL);         /* inherited as ignored, it would cost us every status */
    s.count = (unsigned)argc - 1;
    atomic_init(&s.left, s.count);
    s.commands = commands_create(&s, argv + 1);
    int r = s.commands ? supervise(&s) : -ENOMEM;
    free(s.commands);
    if (r < 0)
        fprintf(stderr, "supervise: %s\n", weft_strerror(r));
    return r < 0;
}
