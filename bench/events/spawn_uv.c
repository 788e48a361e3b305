#include "common/apart.h"
#include "events/spawn.h"

#include <uv.h>

static void start(uv_handle_t *handle);

static void on_exit_of_child(uv_process_t *process, int64_t status, int signo) {
    bool again = spawn_again(process->data, status == 0 && signo == 0);
    uv_close((uv_handle_t *)process, again ? start : NULL);
}

/* Once the handle is closed it may be used again. */
static void start(uv_handle_t *handle) {
    uv_process_t *process = (uv_process_t *)handle;
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_IGNORE}};
    const uv_process_options_t options = {.file = spawn_argv[0],
                                          .args = spawn_argv,
                                          .stdio = stdio,
                                          .stdio_count = 3,
                                          .exit_cb = on_exit_of_child};
    must("uv_spawn", uv_spawn(handle->loop, process, &options));
}

double spawn_uv(const void *arg) {
    uv_loop_t loop;
    struct spawns s;
    uv_process_t process = {.data = &s, .loop = &loop};
    spawn_prepare(arg);
    must("uv_loop_init", uv_loop_init(&loop));
    spawn_begin(&s);
    start((uv_handle_t *)&process);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return spawn_rate(&s);
}
