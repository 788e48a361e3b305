#include "common/apart.h"
#include "events/exits.h"

#include <stdlib.h>
#include <uv.h>

static void on_exit_of_child(uv_process_t *process, int64_t status, int signo) {
    exits_told(process->data, status == 0 && signo == 0);
    uv_close((uv_handle_t *)process, NULL);
}

static void start_all(struct exits *e, uv_loop_t *loop, uv_process_t *processes) {
    uv_stdio_container_t stdio[3] = {{.flags = UV_INHERIT_FD, .data.fd = e->hold[0]},
                                     {.flags = UV_INHERIT_FD, .data.fd = e->ready[1]},
                                     {.flags = UV_IGNORE}};
    const uv_process_options_t options = {.file = exits_argv[0],
                                          .args = exits_argv,
                                          .stdio = stdio,
                                          .stdio_count = 3,
                                          .exit_cb = on_exit_of_child};
    for (unsigned i = 0; i < e->load->children; i++) {
        processes[i].data = e;
        must("uv_spawn", uv_spawn(loop, &processes[i], &options));
    }
}

double exits_uv(const void *arg) {
    struct exits e;
    uv_loop_t loop;
    exits_open(&e, arg);
    uv_process_t *processes = calloc(e.load->children, sizeof *processes);
    must_call("calloc", processes ? 0 : -1);
    must("uv_loop_init", uv_loop_init(&loop));
    start_all(&e, &loop, processes);
    exits_release(&e);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(processes);
    return exits_us_each(&e);
}
