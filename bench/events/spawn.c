#include "events/spawn.h"

#include "common/apart.h"
#include "common/rounds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define SLICE_SECONDS 0.25

enum { OPEN_FDS = 10000, OTHER_FDS = 64 };

char *spawn_argv[] = {(char[]){"/bin/true"}, NULL};

void spawn_prepare(const struct spawn_parent *parent) {
    if (parent->memory > 0) {
        void *memory =
            mmap(NULL, parent->memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must_call("mmap", memory == MAP_FAILED ? -1 : 0);
        madvise(memory, parent->memory, MADV_NOHUGEPAGE); /* as most heaps are */
        memset(memory, 1, parent->memory);
    }
    for (unsigned i = 0; i < parent->fds; i++)
        must_call("/dev/null", open("/dev/null", O_RDWR | O_CLOEXEC));
}

void spawn_begin(struct spawns *s) {
    *s = (struct spawns){.begin = bench_seconds()};
}

bool spawn_again(struct spawns *s, bool succeeded) {
    must("/bin/true failed", succeeded ? 0 : -ECHILD);
    s->exits++;
    s->end = bench_seconds();
    return s->end - s->begin < SLICE_SECONDS;
}

double spawn_rate(const struct spawns *s) {
    return s->exits / (s->end - s->begin);
}

static bool can_open(unsigned fds) {
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= fds + OTHER_FDS)
        return true;
    printf("a parent with %u fds is left out: ulimit -n is %lu\n", fds,
           (unsigned long)limit.rlim_cur);
    return false;
}

void table_of_spawns(unsigned rounds) {
    static const struct spawn_parent parents[] = {
        {"spawns, a small parent", 0, 0},
        {"spawns, a parent of 1 GiB", (size_t)1 << 30, 0},
        {"spawns, a parent with 10 000 fds", 0, OPEN_FDS},
    };
    static const struct contender contenders[] = {
        {"weft", spawn_weft}, {"vfork + pidfd", spawn_vfork}, {"posix_spawn", spawn_posix_spawn},
        {"fork", spawn_fork},
#ifdef WEFT_BENCH_UV
        {"libuv", spawn_uv},
#endif
    };
    for (unsigned i = 0; i < sizeof parents / sizeof parents[0]; i++) {
        const struct contest contest = {.title = parents[i].title,
                                        .unit = "spawns/s",
                                        .contenders = contenders,
                                        .count = sizeof contenders / sizeof contenders[0],
                                        .arg = &parents[i],
                                        .rounds = rounds};
        if (can_open(parents[i].fds))
            contest_run_apart(&contest);
    }
}
