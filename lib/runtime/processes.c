/* Children that are watched, and how their ends reach the worker that asked.
 *
 * DESIGN
 *
 * A handle has one owner at a time; what carries it from one to the other is a message, so its
 * memory is freed by whoever owns it last, and nobody ever looks at one that is gone.
 *
 *     worker: watch, spawn --> WATCHED, the sentinel's: its pidfd is in the sentinel's selector
 *                                |
 *       the pidfd is readable:   |            \   weft_process_stop() on the worker
 *       waitid() reaps it        v             v
 *                             REAPED         STOPPED
 *                                |             |   message to the sentinel, which takes the pidfd
 *       message to the worker,   |             |   out of its selector and frees
 *       which calls fn and frees v             v
 *
 * The state changes under one lock, which the sentinel holds while it reaps: so either the status
 * was taken and fn will have it, or after weft_process_stop() it is the program's to take. The same
 * lock guards the map of pids; a pid leaves it in the step that reaps, before the kernel can give
 * it away.
 *
 * The pidfd is watched edge-triggered: that of a zombie whose tracer comes first stays readable.
 *
 * Where pidfds are refused, children are swept: on SIGCHLD, or by the clock where the program does
 * not let us have that, each child is asked (waitid(2), WNOHANG) in turn. */
#include "runtime/processes.h"

#include <unistd.h>

#define SWEEP_NS (20 * NSEC_PER_SEC / 1000)

static pthread_mutex_t children_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pid_map children; /* of all runtimes; those that are WATCHED */

struct worker_processes {
    struct list all;
};

static const struct worker_part processes_part;

static struct worker_processes *processes_of(weft_worker *w) {
    return worker_part_state(w, &processes_part);
}

static struct children *children_of(const weft_process *p) {
    return &p->worker->runtime->children;
}

/* --- the handle ------------------------------------------------------------------------------- */

weft_process *process_create(weft_worker *w,
                             void (*fn)(weft_process *process, const siginfo_t *info, void *arg),
                             void *arg) {
    weft_process *p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    p->worker = w;
    p->fn = fn;
    p->arg = arg;
    p->pidfd = p->ends[0] = p->ends[1] = p->ends[2] = -1;
    list_init(&p->link);
    list_init(&p->swept_link);
    return p;
}

static void close_ends(weft_process *p) {
    for (int i = 0; i < 3; i++) {
        if (p->ends[i] >= 0)
            os_close(p->ends[i]);
        p->ends[i] = -1;
    }
}

void process_free(weft_process *p) {
    if (!MUTANT("process-ends-leaked"))
        close_ends(p);
    if (p->pidfd >= 0)
        os_close(p->pidfd);
    mem_free(p, sizeof *p);
}

/* --- the sentinel's side ---------------------------------------------------------------------- */

/* Holds the lock. False: it lives. */
static bool reap(weft_process *p) {
    siginfo_t info = {0};
    int r = -ECHILD;
    if (!p->superseded)
        r = os_child_reap(p->pidfd, p->pid, &info);
    if (r == 0 && info.si_pid == 0)
        return false;
    /* Somebody else took the status: all there is to say is that the child has ended. */
    p->info = r == 0 ? info : (siginfo_t){0};
    p->state = PROCESS_REAPED;
    if (!MUTANT("process-pid-kept"))
        pid_map_remove(&children, &p->node);
    list_remove(&p->swept_link);
    return true;
}

static void say_stolen(weft_process *p) {
    struct children *c = children_of(p);
    if (p->info.si_pid != 0 || c->stolen_said)
        return;
    c->stolen_said = !MUTANT("process-stolen-said-again");
    log_line(LOG_LEVEL_WARNING,
             "somebody else has waited for child %d, which weft watches: its status is lost, and "
             "reported as si_code 0; look for a waitpid(-1) or wait() in the program, which takes "
             "any child's (this is said once)",
             (int)p->pid);
}

static void process_ended(weft_task *task);

/* Whoever calls it is the only one left who could see the pidfd's event. One that was never
 * registered is nothing to the selector. */
static void unlisten(const weft_process *p) {
    if (p->pidfd >= 0)
        (void)selector_unregister(p->worker->runtime->sentinel.selector, p->pidfd);
}

/* Reaped: back to its worker, whose queue is open while the sentinel lives. */
static void hand_back(weft_process *p) {
    unlisten(p);
    say_stolen(p);
    p->task.run = process_ended;
    weft_worker *w = p->worker;
    if (MUTANT("process-told-elsewhere"))
        w = w->runtime->workers[0];
    (void)worker_post(w, &p->task);
}

static void pidfd_ready(struct worker_source *source, uint32_t epoll_events) {
    weft_process *p = container_of(source, weft_process, source);
    (void)epoll_events;
    lock_take(&children_lock);
    bool ended = (p->state == PROCESS_WATCHED || MUTANT("process-reaped-after-stop")) && reap(p);
    lock_drop(&children_lock);
    if (ended)
        hand_back(p);
}

/* Each of them is asked once. */
void processes_sweep(weft_runtime *rt) {
    struct list ended;
    list_init(&ended);
    lock_take(&children_lock);
    for (struct list *node = rt->children.swept.next, *next; node != &rt->children.swept;
         node = next) {
        next = node->next;
        if (reap(container_of(node, weft_process, swept_link)))
            list_append(&ended, node);
    }
    bool go_on = rt->children.by_clock && !list_is_empty(&rt->children.swept) &&
                 !MUTANT("process-clock-stops");
    lock_drop(&children_lock);
    for (struct list *node; (node = list_pop(&ended));)
        hand_back(container_of(node, weft_process, swept_link));
    if (go_on)
        sentinel_alarm_in(rt, &rt->children.sweep_alarm, SWEEP_NS, processes_sweep);
}

static void sweep_asked(weft_task *task) {
    weft_runtime *rt = container_of(task, weft_runtime, children.sweep_task);
    /* Before the sweep, so that who asks from now on is heard again. */
    atom_store(&rt->children.sweep_asked, 0, release);
    processes_sweep(rt);
}

/* Any thread. */
static void ask_sweep(weft_runtime *rt) {
    if (atom_xchg(&rt->children.sweep_asked, 1, acq_rel) == 0)
        sentinel_tell(rt, &rt->children.sweep_task, sweep_asked);
}

/* STOPPED, or nobody's: out of the selector, and gone. */
static void forget(weft_process *p) {
    unlisten(p);
    process_free(p);
}

static void forget_run(weft_task *task) {
    forget(container_of(task, weft_process, task));
}

/* What workers stop from now on they forget themselves; what they told before is in the inbox. */
void processes_leave(weft_runtime *rt) {
    lock_take(&children_lock);
    rt->children.sentinel_gone = true;
    lock_drop(&children_lock);
}

/* --- the worker's side ------------------------------------------------------------------------ */

static void call(weft_process *p, const siginfo_t *info) {
    p->in_callback = true;
    worker_enter(p->worker, p->fn);
    p->fn(p, info, p->arg);
}

static void process_ended(weft_task *task) {
    weft_process *p = container_of(task, weft_process, task);
    list_remove(&p->link);
    if (!p->muted || MUTANT("process-told-after-stop"))
        call(p, &p->info);
    process_free(p);
}

int process_may_watch(weft_worker *w) {
    struct sigaction action;
    int r = os_sigaction_get(SIGCHLD, &action);
    if (r < 0)
        return r;
    bool kept = action.sa_handler != SIG_IGN && !(action.sa_flags & SA_NOCLDWAIT);
    if (!kept && !MUTANT("process-sigchld-unasked"))
        return -EBUSY;
    /* The latter: what was posted to a runtime that never ran, and so has no sentinel. */
    bool ended = atom_load(&w->runtime->phase, acquire) == RUNTIME_ENDED;
    if (w->finish_seen || (ended && !MUTANT("process-without-sentinel")))
        return -ESHUTDOWN;
    lock_take(&children_lock);
    r = w->runtime->children.sentinel_gone ? -ESHUTDOWN : pid_map_reserve(&children);
    lock_drop(&children_lock);
    return r;
}

/* By SIGCHLD if we can have it. */
static void arrange_sweeps(weft_runtime *rt) {
    lock_take(&rt->lock);
    int r = signals_claim_sweep(rt);
    lock_drop(&rt->lock);
    if (r == 0) {
        signals_tell_exposed(rt, SIGCHLD);
        return;
    }
    lock_take(&children_lock);
    rt->children.by_clock = true;
    lock_drop(&children_lock);
    ask_sweep(rt); /* the first sets the clock going */
    log_line(LOG_LEVEL_WARNING,
             "a child cannot be waited for by its pidfd, and SIGCHLD cannot stand in for it (%s): "
             "such children are looked at every 20 ms; name SIGCHLD in "
             "weft_runtime_options.signals",
             weft_err_name(r));
}

static void sweep_also(weft_process *p) {
    weft_runtime *rt = p->worker->runtime;
    lock_take(&children_lock);
    list_append(&rt->children.swept, &p->swept_link);
    bool is_first = !rt->children.sweeping, by_clock = rt->children.by_clock;
    rt->children.sweeping = true;
    lock_drop(&children_lock);
    if (is_first)
        arrange_sweeps(rt);
    /* It may have ended before anybody listened, or the clock have stopped with the last one. */
    siginfo_t info = {0};
    int r = os_child_peek(p->pidfd, p->pid, &info);
    if (MUTANT("process-dead-unswept"))
        return;
    if (r < 0 || info.si_pid != 0 || by_clock)
        ask_sweep(rt);
}

static int listen_to_pidfd(weft_process *p) {
    p->source.ready = pidfd_ready;
    return selector_register_raw(p->worker->runtime->sentinel.selector, p->pidfd, EPOLLIN | EPOLLET,
                                 &p->source);
}

/* Holds the lock. */
static void enter(weft_process *p) {
    p->state = PROCESS_WATCHED;
    pid_map_add(&children, &p->node, p->pid);
    list_append(&processes_of(p->worker)->all, &p->link);
}

static void leave(weft_process *p) {
    p->state = PROCESS_STOPPED;
    pid_map_remove(&children, &p->node);
    list_remove(&p->swept_link);
    list_remove(&p->link);
}

/* Holds the lock. Its pid is another child's by now. */
static void supersede(weft_process *older) {
    older->superseded = true;
    pid_map_remove(&children, &older->node);
}

static weft_process *find(pid_t pid) {
    struct pid_node *node = pid_map_find(&children, pid);
    return node ? container_of(node, weft_process, node) : NULL;
}

void process_begin(weft_process *p) {
    lock_take(&children_lock);
    weft_process *older = find(p->pid);
    if (older)
        supersede(older);
    enter(p);
    lock_drop(&children_lock);
    if (p->pidfd < 0 || listen_to_pidfd(p) < 0)
        sweep_also(p);
}

/* What pidfd_open() would have said. */
static int explain_no_child(pid_t pid) {
    struct thread_status status;
    if (pid != getpid() && thread_status_read(pid, &status) == 0)
        return -EINVAL;
    return os_kill(pid, 0) == -ESRCH ? -ESRCH : -ECHILD;
}

/* The pidfd of a child that somebody else started, -1 where they are refused. 0, or -errno. */
static int open_child(pid_t pid, int *ret_pidfd) {
    int pidfd = os_pidfd_open(pid);
    if (pidfd == -ENOSYS || pidfd == -EPERM)
        pidfd = -1;
    else if (pidfd < 0)
        return pidfd;
    siginfo_t info;
    int r = os_child_peek(pidfd, pid, &info);
    if (r == 0)
        *ret_pidfd = pidfd;
    else if (pidfd >= 0)
        os_close(pidfd);
    else
        r = explain_no_child(pid);
    return r;
}

/* Holds the lock. Is the pid watched, and still that child's? */
static int check_unwatched(const weft_process *p) {
    weft_process *other = find(p->pid);
    siginfo_t info;
    if (!other)
        return 0;
    if (other->pidfd >= 0 && os_child_peek(other->pidfd, other->pid, &info) == -ECHILD &&
        !MUTANT("process-recycled-refused")) {
        supersede(other); /* its status was stolen, and its pid given to this one */
        return 0;
    }
    return other->worker->runtime == p->worker->runtime ? -EEXIST : -EBUSY;
}

static int watch(weft_process *p, pid_t pid) {
    int r = open_child(pid, &p->pidfd);
    if (r < 0)
        return r;
    p->pid = pid;
    lock_take(&children_lock);
    r = check_unwatched(p);
    if (r == 0)
        enter(p);
    lock_drop(&children_lock);
    if (r < 0)
        return r;
    if (p->pidfd < 0) {
        sweep_also(p);
        return 0;
    }
    r = listen_to_pidfd(p);
    if (r < 0 && !MUTANT("process-refused-kept")) {
        lock_take(&children_lock);
        leave(p);
        lock_drop(&children_lock);
    }
    return r;
}

int weft_process_watch(weft_worker *w, pid_t pid,
                       void (*fn)(weft_process *process, const siginfo_t *info, void *arg),
                       void *arg, weft_process **ret_process) {
    int r = worker_owner_check(w, "weft_process_watch");
    if (r < 0)
        return r;
    if (!fn || pid <= 0)
        return -EINVAL;
    r = process_may_watch(w);
    if (r < 0)
        return r;
    weft_process *p = process_create(w, fn, arg);
    if (!p)
        return -ENOMEM;
    r = watch(p, pid);
    if (r < 0) {
        process_free(p);
        return r;
    }
    if (ret_process)
        *ret_process = p;
    return 0;
}

void weft_process_stop(weft_process *p) {
    if (!p || !worker_owner_check_void(p->worker, "weft_process_stop"))
        return;
    if (p->in_callback && !MUTANT("process-stopped-in-fn"))
        return;
    close_ends(p);
    lock_take(&children_lock);
    bool watched = p->state == PROCESS_WATCHED;
    bool alone = children_of(p)->sentinel_gone && !MUTANT("process-stop-unheard");
    if (watched)
        leave(p);
    /* Under the lock: once the sentinel has said that it is gone, nobody tells it anything. */
    if (watched && !alone)
        sentinel_tell(p->worker->runtime, &p->task, forget_run);
    lock_drop(&children_lock);
    if (!watched)
        p->muted = true; /* its message is on its way here, and will free it */
    else if (alone)
        forget(p);
}

int weft_process_kill(weft_process *p, int signo) {
    if (!p)
        return -EINVAL;
    int r = worker_owner_check(p->worker, "weft_process_kill");
    if (r < 0)
        return r;
    r = -ESRCH;
    /* Under the lock it cannot be reaped, so that even a pid is still its own. */
    lock_take(&children_lock);
    if (p->state == PROCESS_WATCHED && (!p->superseded || MUTANT("process-kills-the-next")))
        r = p->pidfd >= 0 ? os_pidfd_signal(p->pidfd, signo) : os_kill(p->pid, signo);
    lock_drop(&children_lock);
    return r;
}

pid_t weft_process_pid(const weft_process *p) {
    if (!p)
        return -EINVAL;
    return process_is_forked() ? -EPERM : p->pid;
}

int weft_process_stdio(weft_process *p, int fd) {
    if (!p)
        return -EINVAL;
    int r = worker_owner_check(p->worker, "weft_process_stdio");
    if (r < 0)
        return r;
    if (fd < 0 || fd > 2)
        return -EINVAL;
    int end = p->ends[fd];
    p->ends[fd] = -1;
    return end >= 0 ? end : -ENOENT;
}

static int part_create(weft_worker *w, void *state) {
    (void)w;
    list_init(&((struct worker_processes *)state)->all);
    return 0;
}

/* The sentinel is gone, and all it had to say was heard: these children will not be seen to end. */
static void part_finish(weft_worker *w, void *state) {
    struct worker_processes *wp = state;
    (void)w;
    while (!list_is_empty(&wp->all)) {
        weft_process *p = container_of(wp->all.next, weft_process, link);
        list_remove(&p->link);
        if (!MUTANT("process-left-untold"))
            call(p, NULL);
        lock_take(&children_lock);
        leave(p);
        lock_drop(&children_lock);
        forget(p);
    }
}

static const struct worker_part processes_part = {
    .state_size = sizeof(struct worker_processes),
    .create = part_create,
    .finish = part_finish,
};

__attribute__((constructor)) static void part_register(void) {
    worker_part_register(&processes_part);
}
