/* Spells in which the process has no fd left: the limit comes down to little above what is open,
 * and whatever is free below it is taken at once. */
#include "soak.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPARE = 40, LONGEST_MS = 1000, MOST = 4096 };

static struct account accounts[] = {
    {{"fds taken away", 0}, {{"given back", 0}}},
};

static pthread_t thread;
static _Atomic bool has_ended;
static int taken[MOST];

static rlim_t highest_fd(void) {
    DIR *dir = opendir("/proc/self/fd");
    rlim_t highest = 0;
    if (!dir)
        return 512;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strtoul(entry->d_name, NULL, 10) > highest)
            highest = strtoul(entry->d_name, NULL, 10);
    closedir(dir);
    return highest;
}

static bool is_time_over(void) {
    return epoch.over || epoch.draining;
}

static void spell(uint64_t length_ns) {
    struct rlimit usual, low;
    unsigned count = 0;
    uint64_t end_ns = now_ns() + length_ns;
    getrlimit(RLIMIT_NOFILE, &usual);
    low = usual;
    low.rlim_cur = highest_fd() + SPARE;
    if (low.rlim_cur > usual.rlim_cur || setrlimit(RLIMIT_NOFILE, &low) != 0)
        return;
    while (now_ns() < end_ns && !is_time_over()) {
        while (count < MOST && (taken[count] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
            count++;
        pause_us(1000);
    }
    tally_many(&accounts[0].in, count);
    if (setrlimit(RLIMIT_NOFILE, &usual) != 0)
        soak_fail("scarcity: the limit of fds stays low: %s", strerror(errno));
    for (unsigned i = 0; i < count; i++)
        if (close(taken[i]) == 0)
            tally(&accounts[0].out[0]);
}

static void *run(void *arg) {
    (void)arg;
    uint64_t random = mix(soak_seed * 3 + epoch.number);
    while (!is_time_over()) {
        uint64_t begin_ns = now_ns() + WEFT_MSEC(300 + roll(&random, 2000));
        while (!is_time_over() && now_ns() < begin_ns)
            pause_us(10000);
        if (!is_time_over())
            spell(WEFT_MSEC(roll(&random, LONGEST_MS)));
    }
    atomic_store(&has_ended, true);
    return NULL;
}

static void begin(void) {
    atomic_store(&has_ended, false);
    thread = thread_begin(run, NULL);
}

static bool is_drained(void) {
    return atomic_load(&has_ended);
}

static void end(void) {
    thread_end(thread);
}

const struct part scarcity_part = {"scarcity", accounts, 1, begin, is_drained, end};
