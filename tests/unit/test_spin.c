/* Looking for work before a sleep: what it finds, and when it is not worth it. */
#include "base/base.h"
#include "rt.h"

#include <limits.h>
#include <sched.h>
#include <unistd.h>

/* --- where it is allowed ---------------------------------------------------------------------- */

static void nothing(void *arg) {
    (void)arg;
}

WTEST(spin, is_off_where_no_cpu_is_spare) {
    const weft_runtime_options options = {.workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    weft_runtime *rt = NULL;
    CHECK_EQ(weft_runtime_create(&options, &rt), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    for (int i = 0; i < 100; i++)
        rt_call(weft_runtime_worker(rt, 0), nothing, NULL);
    CHECK_EQ(rt_stats(weft_runtime_worker(rt, 0)).spins, 0);
    rt_end(rt);
}

WTEST(spin, is_set_before_the_start_or_not_at_all) {
    weft_runtime *rt = rt_create(1);
    CHECK_EQ(weft_runtime_set_spin(NULL, WEFT_SPIN_NEVER), -EINVAL);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_NEVER + 1), -EINVAL);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_AUTO), 0);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_NEVER), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_ALWAYS), -EALREADY);
    for (int i = 0; i < 100; i++)
        rt_call(weft_runtime_worker(rt, 0), nothing, NULL);
    CHECK_EQ(rt_stats(weft_runtime_worker(rt, 0)).spins, 0);
    rt_end(rt);
}

WTEST(spin, a_control_groups_limit_is_read) {
    CHECK_EQ(cpu_quota_of("max 100000\n"), UINT_MAX);
    CHECK_EQ(cpu_quota_of("150000 100000\n"), 1);
    CHECK_EQ(cpu_quota_of("1600000 100000"), 16);
    CHECK_EQ(cpu_quota_of("50000 100000\n"), 0);
    CHECK_EQ(cpu_quota_of(""), 0);
    CHECK_EQ(cpu_quota_of("100000"), 0);
    CHECK_EQ(cpu_quota_of("100000 0"), 0);
    CHECK_EQ(cpu_quota_of("nonsense"), 0);
    CHECK_EQ(cpu_quota_of("18446744073709551615 1"), 0);
}

/* Whatever groups this process is in: more than none, unless they allow less than one CPU. */
WTEST(spin, the_quota_of_this_process_is_found) {
    unsigned quota = cpu_quota();
    CHECK_EQ(cpu_quota(), quota);
    CHECK(quota == 0 || quota == UINT_MAX || quota <= 1u << 20);
}

/* --- what it finds ---------------------------------------------------------------------------- */

enum { POSTS = 200 };

static weft_worker *looking;
static _Atomic unsigned posts_left, run_count;
static _Atomic bool preempted;

static void run(weft_task *task) {
    (void)task;
    atomic_fetch_add(&run_count, 1);
}

/* Just before the worker asks its selector, be it that it looks or that it sleeps, it gets work. */
static int post_before_the_wait(enum os_call call) {
    static weft_task tasks[POSTS];
    if (call != OS_EPOLL_WAIT || !looking || weft_worker_current() != looking)
        return 0;
    if (atomic_load(&preempted))
        seam_preemptions += 100;
    unsigned left = atomic_load(&posts_left);
    if (left > 0) {
        atomic_store(&posts_left, left - 1);
        tasks[left - 1].run = run;
        (void)weft_post(looking, &tasks[left - 1]);
    }
    return 0;
}

static weft_runtime *start_looking(unsigned posts) {
    const weft_runtime_options options = {.workers = 1, .stall_ns = WEFT_FOREVER};
    seam_call_fn = post_before_the_wait;
    weft_runtime *rt = rt_create_with(&options);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_ALWAYS), 0);
    looking = weft_runtime_worker(rt, 0);
    atomic_store(&posts_left, posts);
    CHECK_EQ(weft_runtime_start(rt), 0);
    rt_await(&run_count, posts);
    return rt;
}

/* A look can end too early where the machine is busy, and the worker then sleeps and is woken. */
WTEST(spin, a_post_to_a_worker_that_looks_is_found_without_a_wakeup) {
    seam_preemptions = 1;
    weft_runtime *rt = start_looking(POSTS);
    weft_stats stats = rt_stats(weft_runtime_worker(rt, 0));
    CHECK(stats.spins_hit > 0);
    CHECK(stats.spins >= stats.spins_hit);
    CHECK(stats.wakeups_sent + stats.spins_hit <= POSTS + 1);
    rt_end(rt);
}

WTEST(spin, who_is_preempted_stops_looking) {
    atomic_store(&preempted, true);
    weft_runtime *rt = start_looking(POSTS);
    weft_stats stats = rt_stats(weft_runtime_worker(rt, 0));
    CHECK(stats.spins >= 1);
    CHECK(stats.spins <= 64);
    rt_end(rt);
    seam_preemptions = 0;
}

WTEST(spin, looks_in_vain_become_rare) {
    weft_runtime *rt = rt_create(1);
    CHECK_EQ(weft_runtime_set_spin(rt, WEFT_SPIN_ALWAYS), 0);
    CHECK_EQ(weft_runtime_start(rt), 0);
    weft_worker *w = weft_runtime_worker(rt, 0);
    for (int i = 0; i < POSTS; i++) {
        rt_await_armed(w); /* it sleeps: it has found nothing */
        rt_call(w, nothing, NULL);
    }
    weft_stats stats = rt_stats(w);
    CHECK(stats.spins >= 1);
    CHECK(stats.spins <= POSTS / 10);
    rt_end(rt);
}
