/* weft: each of two workers starts half of the children, and is told of their exits. */
#include "common/apart.h"
#include "events/exits.h"

#include <weft.h>

enum { WORKERS = 2 };

static void on_exit_of_child(weft_process *process, const siginfo_t *info, void *arg) {
    (void)process;
    if (exits_told(arg, info && info->si_code == CLD_EXITED && info->si_status == 0))
        weft_runtime_stop(weft_worker_runtime(weft_worker_current()));
}

static void on_start(weft_worker *w, void *arg) {
    struct exits *e = arg;
    const weft_spawn_options options = {
        .file = exits_argv[0],
        .argv = exits_argv,
        .stdio = {WEFT_STDIO_FD(e->hold[0]), WEFT_STDIO_FD(e->ready[1]), WEFT_STDIO_NULL}};
    for (unsigned i = weft_worker_index(w); i < e->load->children; i += WORKERS)
        must("weft_spawn", weft_spawn(w, &options, on_exit_of_child, e, NULL));
}

double exits_weft(const void *arg) {
    struct exits e;
    const weft_runtime_options options = {.workers = WORKERS,
                                          .stall_ns = WEFT_FOREVER, /* one starts all */
                                          .on_worker_start = on_start,
                                          .arg = &e};
    weft_runtime *rt = NULL;
    exits_open(&e, arg);
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_start", weft_runtime_start(rt));
    exits_release(&e);
    must("weft_runtime_join", weft_runtime_join(rt));
    weft_runtime_destroy(rt);
    return exits_us_each(&e);
}
