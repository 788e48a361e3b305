#include "common/apart.h"
#include "events/spawn.h"

#include <weft.h>

static void start(weft_worker *w, struct spawns *s);

static void on_exit_of_child(weft_process *process, const siginfo_t *info, void *arg) {
    (void)process;
    weft_worker *w = weft_worker_current();
    if (spawn_again(arg, info && info->si_code == CLD_EXITED && info->si_status == 0))
        start(w, arg);
    else
        weft_runtime_stop(weft_worker_runtime(w));
}

static void start(weft_worker *w, struct spawns *s) {
    const weft_spawn_options options = {.file = spawn_argv[0], .argv = spawn_argv};
    must("weft_spawn", weft_spawn(w, &options, on_exit_of_child, s, NULL));
}

static void on_start(weft_worker *w, void *arg) {
    spawn_begin(arg);
    start(w, arg);
}

double spawn_weft(const void *arg) {
    struct spawns s;
    const weft_runtime_options options = {.workers = 1, .on_worker_start = on_start, .arg = &s};
    weft_runtime *rt = NULL;
    spawn_prepare(arg);
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
    return spawn_rate(&s);
}
