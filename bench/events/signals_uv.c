/* libuv: a handler writes what it got into a pipe, and drops what does not fit. It passes no
 * payload on, so the order cannot be seen. */
#include "common/apart.h"
#include "events/signals.h"

#include <math.h>
#include <uv.h>

static void on_signal(uv_signal_t *handle, int signo) {
    (void)signo;
    signals_count(handle->data);
}

static void on_end(uv_signal_t *handle, int signo) {
    (void)signo;
    uv_stop(handle->loop);
}

static void watch(uv_loop_t *loop, uv_signal_t *handle, uv_signal_cb fn, int signo) {
    must("uv_signal_init", uv_signal_init(loop, handle));
    must("uv_signal_start", uv_signal_start(handle, fn, signo));
}

static double receive(unsigned pace) {
    struct signals *s = signals_start(pace);
    uv_loop_t loop;
    uv_signal_t counted = {.data = s}, end;
    must("uv_loop_init", uv_loop_init(&loop));
    watch(&loop, &counted, on_signal, SIGNAL_COUNTED);
    watch(&loop, &end, on_end, SIGNAL_END);
    signals_go(s);
    uv_run(&loop, UV_RUN_DEFAULT);
    double rate = signals_finish(s);
    apart_note(2, NAN); /* not known */
    return rate;
}

double signals_uv(const void *arg) {
    (void)arg;
    return receive(0);
}

double signals_uv_paced(const void *arg) {
    (void)arg;
    return receive(SIGNALS_PACE);
}
