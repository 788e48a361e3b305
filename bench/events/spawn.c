#include "events/spawn.h"

#include "micro/contest.h"
#include "micro/families.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define SLICE_SECONDS 0.25

enum { OPEN_FDS = 10000 };

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

void register_spawns(void) {
    static const struct spawn_parent parents[] = {
        {"small_parent", 0, 0},
        {"1_GiB_parent", (size_t)1 << 30, 0},
        {"10k_fds_parent", 0, OPEN_FDS},
    };
    static const struct contender contenders[] = {
        {"weft", spawn_weft},     {"raw", spawn_vfork}, {"raw_posix_spawn", spawn_posix_spawn},
        {"raw_fork", spawn_fork},
#ifdef WEFT_BENCH_UV
        {"libuv", spawn_uv},
#endif
    };
    for (unsigned i = 0; i < sizeof parents / sizeof parents[0]; i++)
        contest_register(&(struct contest){.family = "spawn",
                                           .cases = {{parents[i].name, PER_S}},
                                           .arg = &parents[i],
                                           CONTENDERS(contenders)});
}
