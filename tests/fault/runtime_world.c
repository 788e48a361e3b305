#include "runtime_world.h"

#include "log_keeper.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* No stalls: the sentinel sleeps, and what is swept is what is operated. */
static const weft_runtime_options usual = {.workers = 2, .stall_ns = WEFT_FOREVER};

struct world *world_create(const weft_runtime_options *options) {
    static struct world world;
    log_keep();
    memset(&world, 0, sizeof world);
    sigprocmask(SIG_SETMASK, NULL, &world.mask);
    CHECK_EQ(pipe2(world.ends, O_CLOEXEC | O_NONBLOCK), 0);
    world.rt = rt_create_with(options ? options : &usual);
    world.w = weft_runtime_worker(world.rt, 0);
    return &world;
}

void world_start(struct world *world) {
    CHECK_EQ(weft_runtime_start(world->rt), 0);
    for (unsigned i = 0; i < weft_runtime_worker_count(world->rt); i++)
        rt_await_armed(weft_runtime_worker(world->rt, i));
}

void *world_open(void) {
    struct world *world = world_create(NULL);
    world_start(world);
    return world;
}

/* Of a runtime that the operation has ended already: rt is NULL. */
void world_close(void *arg) {
    struct world *world = arg;
    weft_runtime_destroy(world->rt);
    close(world->ends[0]);
    close(world->ends[1]);
    pthread_sigmask(SIG_SETMASK, &world->mask, NULL);
}

struct operation {
    struct world *world;
    int (*operate)(struct world *world);
    int result;
};

static void operation_run(void *arg) {
    struct operation *o = arg;
    sweep_mark();
    o->result = o->operate(o->world);
    sweep_unmark();
}

int world_on_worker(struct world *world, int (*operate)(struct world *world)) {
    struct operation o = {.world = world, .operate = operate};
    rt_call(world->w, operation_run, &o);
    return o.result;
}

void world_count(void *arg) {
    struct world *world = arg;
    atomic_fetch_add(&world->ran, 1);
}

bool is_loop_call(enum os_call call) {
    return call == OS_EPOLL_WAIT || call == OS_READ || call == OS_WRITE;
}
