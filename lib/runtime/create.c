/* Creating a runtime, and the references that keep it. */
#include "runtime/inner.h"

#include <sys/sysinfo.h>

enum { WORKERS_MAX = 1024 };
#define GRACE_DEFAULT_NS NSEC_PER_SEC

static int options_check(const weft_runtime_options *o) {
    if (o->workers > WORKERS_MAX || (o->flags & ~(uint32_t)WEFT_PIN_WORKERS))
        return -EINVAL;
    return is_all_zero(o->reserved) ? 0 : -EINVAL;
}

/* CPUs of the mask that this process may run on; machines can have more than CPU_SETSIZE. */
static int cpus_allowed(cpu_set_t **ret_set, size_t *ret_size) {
    for (int cpus = CPU_SETSIZE; cpus <= (1 << 20); cpus *= 2) {
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        cpu_set_t *set = mem_zalloc(size);
        if (!set)
            return -ENOMEM;
        int r = os_affinity_get(set, size);
        if (r >= 0) {
            *ret_set = set;
            *ret_size = size;
            return CPU_COUNT_S(size, set);
        }
        mem_free(set, size);
        if (r != -EINVAL)
            return r;
    }
    return -EINVAL;
}

/* Worker i runs on the i-th allowed CPU, round and round. */
static void assign_cpus(weft_runtime *rt, const cpu_set_t *set, size_t size) {
    int cpu = -1;
    for (unsigned i = 0; i < rt->worker_count; i++) {
        do {
            cpu = (cpu + 1) % (int)(size * 8);
        } while (!CPU_ISSET_S((size_t)cpu, size, set));
        rt->threads[i].cpu = cpu;
    }
}

/* May workers spin? The sentinel, the reclaimer and the program's own threads need a CPU as well,
 * so one more than there are workers is not yet one to spare. */
static bool cpus_are_spare(unsigned cpus, unsigned workers) {
    return cpus >= workers + 2 && cpu_quota() >= workers + 2;
}

static void set_spin(weft_runtime *rt, uint32_t spin) {
    bool may = spin == WEFT_SPIN_AUTO ? rt->cpus_are_spare : spin == WEFT_SPIN_ALWAYS;
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_set_spin(rt->workers[i], may);
}

static int memory_quarter(size_t *ret_bytes) {
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return -errno;
    *ret_bytes = (size_t)info.totalram * info.mem_unit / 4;
    return 0;
}

static int runtime_allocate(unsigned worker_count, weft_runtime **ret_runtime) {
    weft_runtime *rt = mem_zalloc_aligned(128, sizeof *rt);
    if (!rt)
        return -ENOMEM;
    rt->worker_count = worker_count;
    rt->workers = mem_zalloc(worker_count * sizeof rt->workers[0]);
    rt->threads = mem_zalloc((worker_count + 1) * sizeof rt->threads[0]);
    pthread_mutex_init(&rt->lock, NULL);
    pthread_mutex_init(&rt->join_lock, NULL);
    if (!rt->workers || !rt->threads) {
        runtime_deallocate(rt);
        return -ENOMEM;
    }
    for (unsigned i = 0; i <= worker_count; i++)
        rt->threads[i] = (struct runtime_thread){.runtime = rt, .cpu = -1};
    atomic_init(&rt->references, 1);
    list_init(&rt->owned);
    list_init(&rt->signals.exposed);
    list_init(&rt->children.swept);
    list_init(&rt->sentinel.alarms);
    list_init(&rt->sentinel.grace.link);
    list_init(&rt->signals.retry.link);
    list_init(&rt->children.sweep_alarm.link);
    list_init(&rt->watchdog.tick.link);
    rt->signals.fd = -1;
    *ret_runtime = rt;
    return 0;
}

void runtime_deallocate(weft_runtime *rt) {
    watchdog_destroy(rt);
    pthread_mutex_destroy(&rt->join_lock);
    pthread_mutex_destroy(&rt->lock);
    mem_free(rt->workers, rt->worker_count * sizeof rt->workers[0]);
    mem_free(rt->threads, (rt->worker_count + 1) * sizeof rt->threads[0]);
    mem_free_aligned(rt, 128, sizeof *rt);
}

static int runtime_fill(weft_runtime *rt, const weft_runtime_options *o) {
    rt->flags = o->flags;
    rt->grace_ns = o->grace_ns ? o->grace_ns : GRACE_DEFAULT_NS;
    rt->max_buffered = o->max_buffered;
    rt->on_worker_start = o->on_worker_start;
    rt->on_worker_stop = o->on_worker_stop;
    rt->arg = o->arg;
    if (!rt->max_buffered) {
        int r = memory_quarter(&rt->max_buffered);
        if (r < 0)
            return r;
    }
    return watchdog_create(rt, o->stall_ns);
}

static int workers_create(weft_runtime *rt) {
    for (unsigned i = 0; i < rt->worker_count; i++) {
        int r = worker_create(rt, i, &runtime_host, &rt->workers[i]);
        if (r < 0) {
            while (i-- > 0)
                worker_destroy(rt->workers[i]);
            return r;
        }
        rt->threads[i].worker = rt->workers[i];
    }
    return 0;
}

void runtime_free(weft_runtime *rt) {
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_destroy(rt->workers[i]);
    signals_destroy(rt);
    sentinel_destroy(rt);
    for (struct list *node; (node = list_pop(&rt->owned));) {
        struct runtime_owned *owned = container_of(node, struct runtime_owned, link);
        owned->release(owned);
    }
    runtime_deallocate(rt);
}

static int runtime_build(const weft_runtime_options *o, const cpu_set_t *cpus, size_t cpus_size,
                         unsigned worker_count, weft_runtime **ret_runtime) {
    weft_runtime *rt = NULL;
    int r = runtime_allocate(worker_count, &rt);
    if (r < 0)
        return r;
    r = runtime_fill(rt, o);
    if (r < 0)
        goto fill_failed;
    if (o->flags & WEFT_PIN_WORKERS)
        assign_cpus(rt, cpus, cpus_size);
    r = sentinel_create(rt);
    if (r < 0)
        goto fill_failed;
    r = workers_create(rt);
    if (r < 0)
        goto workers_failed;
    rt->cpus_are_spare = cpus_are_spare((unsigned)CPU_COUNT_S(cpus_size, cpus), worker_count);
    set_spin(rt, WEFT_SPIN_AUTO);
    r = signals_create(rt, o->signals); /* last: it is what others can see */
    if (r < 0)
        goto signals_failed;
    *ret_runtime = rt;
    return 0;

signals_failed:
    for (unsigned i = 0; i < rt->worker_count; i++)
        worker_destroy(rt->workers[i]);
workers_failed:
    sentinel_destroy(rt);
fill_failed:
    runtime_deallocate(rt);
    return r;
}

int weft_runtime_create(const weft_runtime_options *options, weft_runtime **ret_runtime) {
    static const weft_runtime_options defaults;
    const weft_runtime_options *o = options ? options : &defaults;
    if (!ret_runtime)
        return -EINVAL;
    int r = options_check(o);
    if (r == 0)
        r = process_prepare();
    if (r < 0)
        return r;
    cpu_set_t *cpus = NULL;
    size_t cpus_size = 0;
    int cpu_count = cpus_allowed(&cpus, &cpus_size);
    if (cpu_count < 0)
        return cpu_count;
    unsigned automatic = cpu_count < WORKERS_MAX ? (unsigned)cpu_count : WORKERS_MAX;
    r = runtime_build(o, cpus, cpus_size, o->workers ? o->workers : automatic, ret_runtime);
    mem_free(cpus, cpus_size);
    return r;
}

int weft_runtime_set_spin(weft_runtime *rt, uint32_t spin) {
    if (!rt || spin > WEFT_SPIN_NEVER)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    lock_take(&rt->lock);
    bool created = atom_load(&rt->phase, relaxed) == RUNTIME_CREATED;
    if (created)
        set_spin(rt, spin);
    lock_drop(&rt->lock);
    return created ? 0 : -EALREADY;
}

weft_runtime *weft_runtime_ref(weft_runtime *rt) {
    if (rt && !process_is_forked())
        atom_add(&rt->references, 1, relaxed);
    return rt;
}

void weft_runtime_unref(weft_runtime *rt) {
    /* Release and acquire: whoever drops the last one frees what the others wrote. */
    if (rt && !process_is_forked() && atom_sub(&rt->references, 1, acq_rel) == 1)
        runtime_free(rt);
}

int runtime_own(weft_runtime *rt, struct runtime_owned *owned) {
    int r = 0;
    lock_take(&rt->lock);
    if (runtime_is_stopping(rt))
        r = -ESHUTDOWN;
    else
        list_append(&rt->owned, &owned->link);
    lock_drop(&rt->lock);
    return r;
}

void runtime_stop_owned(weft_runtime *rt) {
    lock_take(&rt->lock);
    for (struct list *node = rt->owned.next; node != &rt->owned; node = node->next) {
        struct runtime_owned *owned = container_of(node, struct runtime_owned, link);
        owned->stop(owned);
    }
    lock_drop(&rt->lock);
}

unsigned weft_runtime_worker_count(const weft_runtime *rt) {
    return rt ? rt->worker_count : 0;
}

weft_worker *weft_runtime_worker(weft_runtime *rt, unsigned index) {
    return rt && index < rt->worker_count ? rt->workers[index] : NULL;
}

weft_worker *weft_runtime_pick(weft_runtime *rt) {
    if (!rt)
        return NULL;
    /* The emptier of two neighbours, the pair moving on with every call. */
    unsigned first = atom_add(&rt->next_pick, 1, relaxed) % rt->worker_count;
    weft_worker *a = rt->workers[first];
    weft_worker *b = rt->workers[(first + 1) % rt->worker_count];
    return stat_read(&a->stats.streams_open) <= stat_read(&b->stats.streams_open) ? a : b;
}
