/* What a loop is told of a uv_poll_t is told to the kernel in the loop's next iteration, which is
 * part of it here. uv_poll_init, which tries the fd out, is not. */
#include "micro/contest.h"
#include "micro/selectors.h"

#include <stdlib.h>
#include <uv.h>

static uv_loop_t loop;
static uv_poll_t *polls;

static void on_ready(uv_poll_t *poll, int status, int events) {
    (void)events;
    must("uv_poll", status);
    selectors_ready(poll);
}

static void dispatch(void) {
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void start_all(int events) {
    for (unsigned i = 0; i < selectors_count; i++)
        must("uv_poll_start", uv_poll_start(&polls[i], events, on_ready));
    dispatch();
}

static void register_all(void) {
    start_all(UV_READABLE);
}

static void update_all(void) {
    start_all(UV_READABLE | UV_WRITABLE);
}

static void unregister_all(void) {
    for (unsigned i = 0; i < selectors_count; i++)
        must("uv_poll_stop", uv_poll_stop(&polls[i]));
    dispatch();
}

double selectors_uv(const void *arg) {
    static const struct selectors_kind kind = {register_all, update_all, unregister_all, dispatch};
    selectors_open(arg);
    polls = calloc(selectors_count, sizeof *polls);
    must_call("calloc", polls ? 0 : -1);
    must("uv_loop_init", uv_loop_init(&loop));
    for (unsigned i = 0; i < selectors_count; i++)
        must("uv_poll_init", uv_poll_init(&loop, &polls[i], selectors_fds[i]));
    return selectors_run(&kind);
}
