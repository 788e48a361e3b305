/* weft: the sentinel reads, a worker is called. */
#include "common/apart.h"
#include "events/signals.h"

#include <sys/signalfd.h>
#include <weft.h>

static void on_signal(const struct signalfd_siginfo *info, void *arg) {
    signals_take(arg, info->ssi_int);
}

static void on_end(const struct signalfd_siginfo *info, void *arg) {
    (void)info;
    (void)arg;
    weft_runtime_stop(weft_worker_runtime(weft_worker_current()));
}

static void on_start(weft_worker *w, void *arg) {
    must("weft_signal_watch", weft_signal_watch(w, SIGNAL_COUNTED, on_signal, arg, NULL));
    must("weft_signal_watch", weft_signal_watch(w, SIGNAL_END, on_end, arg, NULL));
    signals_go(arg);
}

double signals_weft(const void *arg) {
    struct signals *s = signals_start(0);
    const int watched[] = {SIGNAL_COUNTED, SIGNAL_END, 0};
    const weft_runtime_options options = {
        .workers = 1, .signals = watched, .on_worker_start = on_start, .arg = s};
    weft_runtime *rt = NULL;
    (void)arg;
    must("weft_runtime_create", weft_runtime_create(&options, &rt));
    must("weft_runtime_run", weft_runtime_run(rt));
    weft_runtime_destroy(rt);
    return signals_finish(s);
}
