/* Many schedules of one test (scheduler.h). */
#include "scheduler.h"

#include "fibre.h"
#include "wtest.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef WEFT_SEAM

/* All on one CPU: the baton then passes by a switch, not by an interrupt to a sleeping CPU. Pool
 * threads inherit it, and those that they create. Fibres are on one CPU anyway. */
static void gather_on_one_cpu(cpu_set_t *ret_before) {
    cpu_set_t one;
    sched_getaffinity(0, sizeof *ret_before, ret_before);
    if (fibre_is_possible())
        return;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

static bool explore_one(const struct sched_test *test, uint64_t seed,
                        enum sched_strategy strategy) {
    test->setup(seed);
    if (!sched_run(seed, strategy))
        return false;
    const char *wrong = test->verdict();
    if (wrong) {
        fprintf(stderr, "schedule %s:%" PRIu64 " of %s: %s\n  replay: WEFT_SEED=%s:%" PRIu64 "\n",
                sched_strategy_names[strategy], seed, test->name, wrong,
                sched_strategy_names[strategy], seed);
        return false;
    }
    return true;
}

/* "pct:4711": that one; "4711": that seed of each strategy. */
static bool explore_replay(const struct sched_test *test, const char *asked) {
    const char *colon = strchr(asked, ':');
    uint64_t seed = strtoull(colon ? colon + 1 : asked, NULL, 0);
    for (int s = 0; s < SCHED_STRATEGIES; s++) {
        size_t length = strlen(sched_strategy_names[s]);
        if (colon && ((size_t)(colon - asked) != length ||
                      strncmp(asked, sched_strategy_names[s], length) != 0))
            continue;
        if (!explore_one(test, seed, (enum sched_strategy)s))
            return false;
        fprintf(stderr, "%s: %s:%" PRIu64 " passed, %" PRIu64 " steps, trace %016" PRIx64 "\n",
                test->name, sched_strategy_names[s], seed, sched_steps(), sched_trace_hash());
    }
    return true;
}

static int count_fds(void) {
    enum { FDS_MAX = 1024 };
    int count = 0;
    for (int fd = 0; fd < FDS_MAX; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* tests/summary.awk adds up what these lines say. */
static bool explore_all(const struct sched_test *test, unsigned schedules) {
    struct timespec begin, end;
    uint64_t steps = 0;
    int fds = 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int s = 0; s < SCHED_STRATEGIES; s++)
        for (uint64_t seed = 1; seed <= schedules; seed++) {
            if (!explore_one(test, seed, (enum sched_strategy)s))
                return false;
            steps += sched_steps();
            if (fds == 0)
                fds = count_fds(); /* with those that a test keeps */
        }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    double all = (double)schedules * SCHED_STRATEGIES;
    fprintf(stderr, "%s: %.0f schedules, %.1f steps each, %.0f schedules/s\n", test->name, all,
            (double)steps / all, all / seconds);
    if (count_fds() == fds)
        return true;
    fprintf(stderr, "%s: %d fds were open after the first schedule, %d are after the last\n",
            test->name, fds, count_fds());
    return false;
}

bool sched_explore(const struct sched_test *test, unsigned schedules) {
    const char *asked = getenv("WEFT_SEED"), *number = getenv("WEFT_SCHEDULES");
    if (asked)
        return explore_replay(test, asked);
    unsigned slowdown = wtest_slowdown();
    schedules = number ? (unsigned)strtoul(number, NULL, 0) : (schedules + slowdown - 1) / slowdown;
    if (number)
        alarm(0); /* who asks for more does so without the runner's limit */
    cpu_set_t before;
    gather_on_one_cpu(&before);
    bool passed = explore_all(test, schedules);
    sched_setaffinity(0, sizeof before, &before);
    return passed;
}

#endif
