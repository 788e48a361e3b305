/* What the tests of children share: children that end when they are told to, and what a worker is
 * told about one. */
#ifndef WEFT_TESTS_PROCESS_FIXTURE_H
#define WEFT_TESTS_PROCESS_FIXTURE_H

#include "rt.h"

#include "runtime/runtime.h"

#include <weft.h>
#include <weft/process.h>

#include <sys/types.h>

/* --- a child that somebody else started ------------------------------------------------------ */

/* Lives until it is let go, or the thread that made it has ended. */
struct child {
    pid_t pid;
    int gate;
};

/* Then it ends: with that status, or, where that is negative, by that signal. */
void child_make(struct child *c, int ending);
void child_let_go(struct child *c);
/* The same from a worker, which stands still until weft has reaped it: the status is on its way. */
void child_let_go_and_await_reaped(struct child *c);
void child_kill(struct child *c);             /* and reaps it, if it is ours still */
void child_reap(struct child *c, int status); /* by waitpid(2), which says that wait status */

bool is_dead(pid_t pid);      /* a zombie, or gone */
bool is_ours(pid_t pid);      /* alive or a zombie, and ours to reap */
void await_dead(pid_t pid);   /* without reaping */
void await_reaped(pid_t pid); /* by somebody else */
bool has_children(void);      /* of any kind, zombies included */
void no_children_left(void);  /* fails the test if there are */

/* --- what a worker is told ------------------------------------------------------------------- */

struct watched {
    weft_worker *worker;
    weft_process *process;
    pid_t pid;
    void (*then)(struct watched *c); /* in fn, if not NULL */

    /* What fn saw. Written before `calls` is. */
    bool has_info, is_early, is_elsewhere, is_another;
    siginfo_t info;
    int kill_result; /* of signal 0, sent by fn */
    _Atomic unsigned calls;

    bool in_call;
};

void watched_ended(weft_process *process, const siginfo_t *info, void *arg); /* fn; arg: watched */

/* On the worker: 0, or the answer. What is refused leaves ret_process as it was. */
int watched_try(struct watched *c, weft_worker *w, pid_t pid);
int watched_try_spawn(struct watched *c, weft_worker *w, const weft_spawn_options *options);
/* The same, when called on the worker already. */
int watched_try_here(struct watched *c, pid_t pid);
int watched_spawn_here(struct watched *c, const weft_spawn_options *options);

/* Before the first weft_spawn() of a test, if it is none of the functions here: valgrind (3.19) has
 * no notion of a child that shares the parent's memory and fds. */
void skip_where_spawn_is_impossible(void);
void skip_without_pidfds(void);

/* These must succeed. */
void watched_begin(struct watched *c, weft_worker *w, pid_t pid);
void watched_spawn(struct watched *c, weft_worker *w, const weft_spawn_options *options);

void watched_stop(struct watched *c);
int watched_kill(struct watched *c, int signo);
int watched_stdio(struct watched *c, int fd);

void watched_await(struct watched *c); /* until fn was called */
/* fn was called once, as it should, and with that. */
void watched_check(struct watched *c, int code, int status);
void watched_expect(struct watched *c, int code, int status); /* await and check */
void watched_check_stolen(struct watched *c);
void watched_check_abandoned(struct watched *c); /* info NULL */

/* Runs a program that writes to stdout and exits with 0; all that it wrote, as a string. */
void program_output(weft_worker *w, const weft_spawn_options *options, char *buffer, size_t size);

#define ARGV(...) ((char *[]){__VA_ARGS__, NULL})
#define SHELL(script) .file = "sh", .argv = ARGV(text("sh"), text("-c"), text(script))

/* --- the sentinel ---------------------------------------------------------------------------- */

/* It stands still in a message. */
struct sentinel_hold {
    weft_task task;
    sem_t entered, release, left;
};

void sentinel_hold_begin(struct sentinel_hold *hold, weft_runtime *rt);
void sentinel_hold_end(struct sentinel_hold *hold);

/* Back once it has done everything that there was for it to see. */
void sentinel_turn(weft_runtime *rt);

/* --- the kernel ------------------------------------------------------------------------------ */

/* System calls that the kernel is to refuse, all the time: -errno, 0 for those that pass. Before
 * any other thread of weft exists. */
extern int refused_calls[OS_CALL_COUNT];
void refuse_calls(void);

#endif
