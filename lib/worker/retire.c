/* Retirement: liburcu's call_rcu behind weft's door (memb flavour).
 *
 * One reclaimer thread per process, made here rather than by liburcu, because 0.13.2 creates it
 * with the caller's signal mask: a signal of the program could end up in it. The retiring thread
 * names the reclaimer for the length of one call, which has two consequences: nobody else's
 * call_rcu() in that thread is redirected, and the thread needs no registration, since
 * registering protects a reader against losing a per-CPU reclaimer, of which weft has none.
 * (Registering a thread that the program itself has registered would abort in liburcu.) */
#include "worker/inner.h"

#include <pthread.h>
#include <urcu/urcu-memb.h>

char grace_period;

struct retired {
    struct rcu_head head;
    void (*fn)(void *arg);
    void *arg;
};

static struct call_rcu_data *_Atomic reclaimer; /* NULL until first used */
static pthread_mutex_t reclaimer_lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool is_reclaimer;
static _Atomic uint64_t waiting;

__thread bool worker_in_section __attribute__((tls_model("initial-exec")));

void rcu_thread_enter(void) {
    urcu_memb_register_thread();
    worker_in_section = true;
}

void rcu_thread_leave(void) {
    worker_in_section = false;
    urcu_memb_unregister_thread();
}

static void *probe_run(void *arg) {
    _Atomic uint32_t *ran = arg;
    atom_store(ran, 1, release);
    os_futex_wake(ran, 1);
    return NULL;
}

/* liburcu ends the process where it cannot make its thread. Whether there is one to be had is asked
 * just before, by making one, so that having none is an answer here. */
static bool can_make_thread(void) {
    /* Of the process: the thread may still wake it when we have gone. */
    static _Atomic uint32_t ran;
    pthread_t thread;
    atom_store(&ran, 0, relaxed);
    if (os_thread_create(&thread, probe_run, &ran) < 0)
        return MUTANT("fault-reclaimer-unasked");
    while (atom_load(&ran, acquire) == 0)
        (void)os_futex_wait(&ran, 0);
    pthread_detach(thread);
    return true;
}

static struct call_rcu_data *reclaimer_create(void) {
    sigset_t all, old;
    struct call_rcu_data *created = NULL;
    signal_mask_of_own_threads(&all);
    if (os_sigmask(SIG_SETMASK, &all, &old) < 0)
        return NULL;
    if (MUTANT("reclaimer-takes-signals"))
        (void)os_sigmask(SIG_SETMASK, &old, NULL);
    if (can_make_thread())
        created = urcu_memb_create_call_rcu_data(0, -1);
    (void)os_sigmask(SIG_SETMASK, &old, NULL);
    return created;
}

/* Made with the first use; where that fails the next one tries again. */
static struct call_rcu_data *reclaimer_of_process(void) {
    /* Acquire: pairs with the release below, so that the reclaimer is seen as it was made. */
    struct call_rcu_data *r = atom_load(&reclaimer, acquire);
    if (likely(r))
        return r;
    pthread_mutex_lock(&reclaimer_lock);
    r = atom_load(&reclaimer, relaxed);
    if (!r) {
        r = reclaimer_create();
        atom_store(&reclaimer, r, release);
    }
    pthread_mutex_unlock(&reclaimer_lock);
    return r;
}

static void retired_run(struct rcu_head *head) {
    struct retired *r = container_of(head, struct retired, head);
    ORDER_ACQUIRE(&grace_period);
    void (*fn)(void *) = r->fn;
    void *arg = r->arg;
    is_reclaimer = true;
    mem_free(r, sizeof *r);
    fn(arg);
    atom_sub(&waiting, 1, relaxed);
}

/* The thread names weft's reclaimer for the length of the call. */
static void hand_over(struct call_rcu_data *mine, struct rcu_head *head,
                      void (*fn)(struct rcu_head *head)) {
    ORDER_RELEASE(&grace_period);
    struct call_rcu_data *others = urcu_memb_get_thread_call_rcu_data();
    urcu_memb_set_thread_call_rcu_data(mine);
    urcu_memb_call_rcu(head, fn);
    urcu_memb_set_thread_call_rcu_data(others);
}

int weft_retire(void (*fn)(void *arg), void *arg) {
    if (!fn)
        return -EINVAL;
    int prepared = process_prepare();
    if (prepared < 0)
        return prepared;
    struct call_rcu_data *mine = reclaimer_of_process();
    if (!mine)
        return -ENOMEM;
    struct retired *r = mem_alloc(sizeof *r);
    if (!r)
        return -ENOMEM;
    r->fn = fn;
    r->arg = arg;
    atom_add(&waiting, 1, relaxed);
    if (MUTANT("retire-at-once"))
        retired_run(&r->head);
    else
        hand_over(mine, &r->head, retired_run);
    return 0;
}

uint64_t retire_waiting(void) {
    return atom_load(&waiting, relaxed);
}

struct marker {
    struct rcu_head head;
    _Atomic uint32_t passed;
};

static void marker_passed(struct rcu_head *head) {
    struct marker *m = container_of(head, struct marker, head);
    ORDER_ACQUIRE(&grace_period);
    /* Release: pairs with the acquire in retire_wait(): what ran before is done and seen. */
    atom_store(&m->passed, 1, release);
    os_futex_wake(&m->passed, 1);
}

/* The reclaimer runs functions in the order of their retirement, so once a marker of ours has
 * passed, all before it have. urcu_memb_barrier() would wait for the program's own as well, and
 * ends the process where it gets no memory. */
void retire_wait(void) {
    /* Inside a reader's section, or in a retired function, the wait would be for ourselves. */
    if (retire_waiting() == 0 || is_reclaimer || urcu_memb_read_ongoing())
        return;
    struct marker marker = {.passed = 0};
    hand_over(atom_load(&reclaimer, acquire), &marker.head, marker_passed);
    while (atom_load(&marker.passed, acquire) == 0)
        (void)os_futex_wait(&marker.passed, 0);
}
