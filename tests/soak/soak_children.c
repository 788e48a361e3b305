/* Children that come and go: with pipes, killed, started by others, let go. The end of each is told
 * once, and truly. */
#include "soak.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 2 /* per worker */, LONGEST = 4000 };

extern char **environ;

static struct account accounts[] = {
    {{"children", 0}, {{"told with their status", 0}, {"told of the stop", 0}, {"let go", 0}}},
    {{"refused for want of fds", 0}, {{NULL, 0}}},
};

enum kind { PIPED, KILLED, FOREIGN, LET_GO, MISSING, KINDS };

struct slot {
    enum kind kind;
    weft_worker *worker;
    weft_timer timer;
    weft_process *process;
    pid_t pid;         /* 0: none that is to be reaped by us or by weft */
    int status;        /* that it is to have */
    int out;           /* our end of its output; -1: none */
    weft_watch *watch; /* of that */
    bool told;
    uint64_t random, key;
    size_t length, got;
};

static struct slot slots[MAX_WORKERS][SLOTS];

static void begin_soon(struct slot *c) {
    weft_timer_start(c->worker, &c->timer, WEFT_MSEC(1 + roll(&c->random, 40)), 0);
}

/* Its status was told, or there is none, and its output has ended. */
static void end_if_done(struct slot *c) {
    if (!c->told || c->out >= 0)
        return;
    if (c->kind == PIPED && c->got != c->length)
        soak_fail("children: %zu bytes of %zu came back", c->got, c->length);
    begin_soon(c);
}

static void told(weft_process *process, const siginfo_t *info, void *arg) {
    struct slot *c = arg;
    if (c->told || process != c->process)
        soak_fail("children: a second end of one child, or another's");
    c->told = true;
    c->process = NULL;
    tally(&accounts[0].out[info == NULL]);
    if (!info) {
        if (!epoch.stopping)
            soak_fail("children: a stop is told, but there is none");
        return; /* the child is ours; the part's end reaps it */
    }
    int code = c->kind == KILLED ? CLD_KILLED : CLD_EXITED;
    if (info->si_pid != c->pid || info->si_code != code || info->si_status != c->status)
        soak_fail("children: %d ends by code %d with %d, expected %d by %d with %d", info->si_pid,
                  info->si_code, info->si_status, c->pid, code, c->status);
    c->pid = 0;
    end_if_done(c);
}

/* --- pipes ------------------------------------------------------------------------------------ */

static void output(weft_watch *watch, uint32_t events, void *arg) {
    struct slot *c = arg;
    uint8_t buffer[LONGEST];
    (void)events;
    ssize_t n = read(c->out, buffer, sizeof buffer);
    if (n < 0)
        return;
    if (c->got + (size_t)n > c->length || !is_filled(c->key, c->got, buffer, (size_t)n))
        soak_fail("children: a child's output is not its input");
    c->got += (size_t)n;
    if (n > 0)
        return;
    weft_watch_stop(watch);
    close(c->out);
    c->out = -1;
    end_if_done(c);
}

static void pipes_begin(struct slot *c) {
    uint8_t input[LONGEST];
    int in = weft_process_stdio(c->process, 0);
    c->out = weft_process_stdio(c->process, 1);
    c->got = 0;
    c->length = roll(&c->random, LONGEST);
    c->key = roll(&c->random, UINT64_MAX);
    fill(c->key, 0, input, c->length);
    if (in < 0 || c->out < 0 || write(in, input, c->length) != (ssize_t)c->length)
        soak_fail("children: no pipes, or one that takes too little");
    close(in);
    int r = weft_watch_start(c->worker, c->out, WEFT_READ, output, c, &c->watch);
    if (r != 0)
        soak_fail("children: watching a child's output gets %d", r);
}

/* --- a child's beginning ---------------------------------------------------------------------- */

static int spawn_script(struct slot *c, char *script) {
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, script, NULL};
    weft_spawn_options options = {.file = "sh", .argv = argv};
    if (c->kind == MISSING)
        options.file = "/nowhere/to/be/found";
    if (c->kind == PIPED)
        options.stdio[0] = options.stdio[1] = WEFT_STDIO_PIPE;
    return weft_spawn(c->worker, &options, told, c, &c->process);
}

static int begin_foreign(struct slot *c, char *script) {
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, script, NULL};
    int r = posix_spawnp(&c->pid, "sh", NULL, NULL, argv, environ);
    if (r != 0)
        return -r;
    r = weft_process_watch(c->worker, c->pid, told, c, &c->process);
    if (r != 0) {
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        c->pid = 0;
    }
    return r;
}

static void let_go(struct slot *c) {
    int status = 0;
    (void)weft_process_kill(c->process, SIGKILL);
    weft_process_stop(c->process);
    c->process = NULL;
    tally(&accounts[0].out[2]);
    if (waitpid(c->pid, &status, 0) == c->pid) {
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            soak_fail("children: one that was killed has status %#x", (unsigned)status);
    } else if (errno != ECHILD) { /* weft had reaped it */
        soak_fail("children: waitpid: %s", strerror(errno));
    }
    c->pid = 0;
    begin_soon(c);
}

static bool is_scarcity(int r) {
    return r == -EMFILE || r == -ENFILE || r == -EAGAIN;
}

static void child_begin(struct slot *c) {
    char script[64] = "sleep 1000";
    c->kind = (enum kind)roll(&c->random, KINDS);
    c->status = c->kind == KILLED ? SIGTERM : (int)roll(&c->random, 120);
    if (c->kind == PIPED)
        snprintf(script, sizeof script, "cat; exit %d", c->status);
    if (c->kind == FOREIGN)
        snprintf(script, sizeof script, "exit %d", c->status);
    c->told = false;
    c->pid = 0;
    int r = c->kind == FOREIGN ? begin_foreign(c, script) : spawn_script(c, script);
    if (r == -ESHUTDOWN && epoch.stopping)
        return;
    if (is_scarcity(r) || (c->kind == MISSING && r == -ENOENT)) {
        tally_many(&accounts[1].in, is_scarcity(r));
        begin_soon(c);
    } else if (r != 0) {
        soak_fail("children: a beginning of kind %d gets %d", c->kind, r);
    } else {
        tally(&accounts[0].in);
        c->pid = weft_process_pid(c->process);
        if (c->kind == PIPED)
            pipes_begin(c);
        if (c->kind == KILLED || c->kind == LET_GO)
            begin_soon(c); /* its end */
    }
}

static void step(weft_timer *timer) {
    struct slot *c = WEFT_CONTAINER_OF(timer, struct slot, timer);
    if (c->process && c->kind == KILLED) {
        int r = weft_process_kill(c->process, c->status);
        if (r != 0)
            soak_fail("children: a kill gets %d", r);
    } else if (c->process && c->kind == LET_GO) {
        let_go(c);
    } else if (!epoch.draining && !epoch.stopping) {
        child_begin(c);
    }
}

/* --- the part --------------------------------------------------------------------------------- */

static void begin_here(void *arg) {
    (void)arg;
    weft_worker *w = weft_worker_current();
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *c = &slots[weft_worker_index(w)][i];
        *c = (struct slot){.worker = w, .timer.fn = step, .out = -1};
        c->random = mix(soak_seed + epoch.number * 100 + weft_worker_index(w) * SLOTS + i);
        begin_soon(c);
    }
}

static void begin(void) {
    on_each_worker(begin_here, NULL);
}

static bool is_drained(void) {
    return account_open(&accounts[0]) == 0;
}

/* Children that the runtime left alone, and the pipes of those that had not come to an end. */
static void end_of(struct slot *c) {
    if (c->out >= 0)
        close(c->out);
    if (c->pid == 0)
        return;
    kill(c->pid, SIGKILL);
    if (waitpid(c->pid, NULL, 0) != c->pid)
        soak_fail("children: one that the stop left alone is not ours: %s", strerror(errno));
}

static void end(void) {
    for (unsigned w = 0; w < epoch.workers; w++)
        for (unsigned i = 0; i < SLOTS; i++)
            end_of(&slots[w][i]);
}

const struct part children_part = {"children", accounts,   sizeof accounts / sizeof accounts[0],
                                   begin,      is_drained, end};
