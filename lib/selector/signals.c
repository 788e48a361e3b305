/* DESIGN
 *
 * A signalfd reports what is pending and blocked, so registering blocks the number in the calling
 * thread. The mask is that thread's alone: another one that unregisters cannot give it back. Each
 * thread that registers therefore has a record of how many of its registrations of a number still
 * stand, and of what weft blocked. Anyone may count down; the mask and the note of it are the
 * thread's own. What another thread unregistered leaves the number blocked, and still noted as
 * weft's, until this thread unregisters it or ends. */
#include "selector/internal.h"

enum { SIGNAL_LIMIT = 65 }; /* numbers of Linux are 1 to 64 */

struct signal_thread {
    _Atomic unsigned references;                  /* the thread's own, and one per source */
    _Atomic unsigned registrations[SIGNAL_LIMIT]; /* by number */
    uint64_t blocked;                             /* by weft; this thread only */
};

struct signal_source {
    struct source source;
    struct signal_thread *thread;
    int signo;
    bool has_info;
    struct signalfd_siginfo info; /* last delivered */
};

/* Initial-exec: one pointer of the static TLS, there from the thread's first instruction on. */
static _Thread_local struct signal_thread *self __attribute__((tls_model("initial-exec")));
static pthread_key_t self_key;
static pthread_once_t self_key_once = PTHREAD_ONCE_INIT;

/* Registrations of each number in the whole process. */
static _Atomic unsigned registrations_everywhere[SIGNAL_LIMIT];

static sigset_t signal_set(int signo) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return set;
}

/* Release on every drop, acquire for the last: who frees sees the others done with the record. */
static void thread_unref(struct signal_thread *thread) {
    if (atom_sub(&thread->references, 1, acq_rel) == 1)
        mem_free(thread, sizeof *thread);
}

static void thread_end(void *thread) {
    self = NULL;
    thread_unref(thread);
}

static void self_key_create(void) {
    pthread_key_create(&self_key, thread_end);
}

/* The calling thread's record, made at first use; NULL without memory. */
static struct signal_thread *thread_self(void) {
    if (self)
        return self;
    pthread_once(&self_key_once, self_key_create);
    struct signal_thread *thread = mem_zalloc(sizeof *thread);
    if (!thread)
        return NULL;
    if (pthread_setspecific(self_key, thread) != 0) {
        mem_free(thread, sizeof *thread);
        return NULL;
    }
    atom_store(&thread->references, 1, relaxed);
    self = thread;
    return thread;
}

/* A record that has nothing to remember goes at once: the main thread may never end. References: 1
 * can only become more by this thread's own doing. */
static void thread_self_trim(void) {
    struct signal_thread *thread = self;
    if (!thread || thread->blocked || atom_load(&thread->references, acquire) != 1)
        return;
    pthread_setspecific(self_key, NULL);
    thread_end(thread);
}

/* Blocks signo in the calling thread. 1: it was not blocked before. */
static int signal_block(int signo) {
    sigset_t set = signal_set(signo), old;
    int r = os_sigmask(SIG_BLOCK, &set, &old);
    return r < 0 ? r : !sigismember(&old, signo);
}

static void signal_unblock(int signo) {
    sigset_t set = signal_set(signo);
    (void)os_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* What is still pending was meant for the registration that goes; unblocked, it could kill. */
static void signal_discard_pending(int signo) {
    sigset_t set = signal_set(signo);
    while (os_sigtimedwait_now(&set) > 0)
        ;
}

/* Ends one registration of `thread`, with what that means for the calling thread's mask. */
static void signal_withdraw(struct signal_thread *thread, int signo) {
    bool is_last = atom_sub(&registrations_everywhere[signo], 1, relaxed) == 1;
    if (atom_sub(&thread->registrations[signo], 1, relaxed) != 1 || thread != self)
        return;
    bool is_ours = (thread->blocked & signal_bit(signo)) != 0 || MUTANT("selector-unblock-always");
    /* Where the number stays blocked, and somebody else waits for it, what pends is theirs. */
    if (is_ours || is_last)
        signal_discard_pending(signo);
    if (is_ours)
        signal_unblock(signo);
    thread->blocked &= ~signal_bit(signo);
}

static int signal_take(struct weft_selector *s, int fd, struct source *source, weft_ready *ready) {
    (void)s;
    struct signal_source *signal = container_of(source, struct signal_source, source);
    struct signalfd_siginfo info;
    ssize_t n = os_read(fd, &info, sizeof info);
    if (n < 0)
        return (int)n;
    signal->info = info;
    signal->has_info = true;
    ready->events = WEFT_SIGNAL;
    ready->value = info.ssi_signo;
    return 0;
}

static void signal_release(struct weft_selector *s, int fd, struct source *source) {
    struct signal_source *signal = container_of(source, struct signal_source, source);
    if (fd >= 0)
        os_close(fd);
    s->signals &= ~signal_bit(signal->signo);
    signal_withdraw(signal->thread, signal->signo);
    thread_unref(signal->thread);
    mem_free(signal, sizeof *signal);
    thread_self_trim();
}

static const struct source_kind signal_kind = {signal_take, signal_release};

/* Blocks first: what arrives in between is then pending, not lost, and is delivered as ever when
 * the registration fails and the mask is put back. */
static int signal_enter(struct weft_selector *s, struct signal_source *signal, void *data) {
    const int signo = signal->signo;
    sigset_t set = signal_set(signo);
    int newly_blocked = signal_block(signo);
    if (newly_blocked < 0)
        return newly_blocked;
    const struct attachment a = {META_ACTIVE | META_SOURCE, EPOLLIN, data, &signal->source};
    int fd = os_signalfd(-1, &set);
    int r = fd < 0 ? fd : entry_attach(s, fd, &a, NULL);
    if (r < 0) {
        if (fd >= 0)
            os_close(fd);
        if (newly_blocked && !MUTANT("fault-mask-kept"))
            signal_unblock(signo);
        return r;
    }
    struct signal_thread *thread = signal->thread;
    thread->blocked |= newly_blocked ? signal_bit(signo) : 0;
    atom_add(&thread->registrations[signo], 1, relaxed);
    atom_add(&registrations_everywhere[signo], 1, relaxed);
    s->signals |= signal_bit(signo);
    return fd;
}

static int signal_attach(struct weft_selector *s, int signo, void *data) {
    struct signal_source *signal = mem_zalloc(sizeof *signal);
    if (!signal)
        return -ENOMEM;
    struct signal_thread *thread = thread_self();
    if (!thread) {
        mem_free(signal, sizeof *signal);
        return -ENOMEM;
    }
    signal->source.kind = &signal_kind;
    signal->signo = signo;
    signal->thread = thread;
    /* The source's reference, taken before anything that could release another source. */
    atom_add(&thread->references, 1, relaxed);
    int r = signal_enter(s, signal, data);
    if (r < 0) {
        thread_unref(thread);
        mem_free(signal, sizeof *signal);
        thread_self_trim();
    }
    return r;
}

int weft_selector_register_signal(weft_selector *s, int signo, void *data) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    if (!signal_is_watchable(signo))
        return -EINVAL;
    selector_lock(s);
    r = s->signals & signal_bit(signo) ? -EEXIST : signal_attach(s, signo, data);
    selector_unlock(s);
    return r;
}

int weft_selector_signal_info(weft_selector *s, int fd, struct signalfd_siginfo *ret_info) {
    int r = selector_check(s);
    if (r < 0)
        return r;
    selector_lock(s);
    struct selector_entry *e = table_find(s, fd);
    const struct signal_source *signal = NULL;
    if (!e || !meta_is_live(atom_load(&e->meta, relaxed)))
        r = -ENOENT;
    else if (!e->source || e->source->kind != &signal_kind)
        r = -EINVAL;
    else
        signal = container_of(e->source, struct signal_source, source);
    if (signal && !signal->has_info)
        r = -ENODATA;
    else if (signal && ret_info)
        *ret_info = signal->info;
    selector_unlock(s);
    return r;
}
