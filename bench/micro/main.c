/* weft-micro [Google Benchmark's flags]: weft, libuv, and the same by hand, side by side. */
#include "common/cli.h"
#include "flow/flow.h"
#include "micro/families.h"
#include "micro/shim.h"

void bench_prepare(void) {
    cli_raise_fd_limit();
    flow_prepare();
    register_posts();
    register_asyncs();
    register_queues();
    register_timers();
    register_selectors();
    register_directories();
    register_wakeups();
    register_calls();
    register_ping_pongs();
    register_writes();
    register_sends();
    register_transfers();
    register_moves();
    register_signals();
    register_spawns();
    register_exits();
}
