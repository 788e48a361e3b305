/* selector: what it costs to watch an fd, ns each. All fds are the same end of one pipe, which
 * becomes readable as a whole and is never writable. */
#include "micro/selectors.h"

#include "micro/contest.h"
#include "micro/families.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum phase { REGISTER, UPDATE, UNREGISTER, DISPATCH, PHASES };
enum { TOLD = 4 }; /* times that each fd is, in a pass */

unsigned selectors_count;
int *selectors_fds;

static unsigned passes;
static uint64_t told;
static int pipe_ends[2];

void selectors_open(const void *arg) {
    const struct selectors_load *load = arg;
    selectors_count = load->fds;
    passes = load->passes;
    selectors_fds = calloc(load->fds, sizeof *selectors_fds);
    must_call("calloc", selectors_fds ? 0 : -1);
    must_call("pipe2", pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK));
    for (unsigned i = 0; i < load->fds; i++)
        selectors_fds[i] = must_call("dup", fcntl(pipe_ends[0], F_DUPFD_CLOEXEC, 0));
}

void selectors_ready(const void *data) {
    (void)data;
    told++;
}

static double time_of(void (*all)(void)) {
    double begin = bench_seconds();
    all();
    return bench_seconds() - begin;
}

static double dispatch_all(void (*dispatch)(void)) {
    char byte = 0;
    must_call("write", (int)write(pipe_ends[1], &byte, sizeof byte));
    told = 0;
    double begin = bench_seconds();
    while (told < (uint64_t)TOLD * selectors_count)
        dispatch();
    double each = (bench_seconds() - begin) / (double)told;
    must_call("read", (int)read(pipe_ends[0], &byte, sizeof byte));
    return each * selectors_count;
}

double selectors_run(const struct selectors_kind *kind) {
    double seconds[PHASES] = {0};
    for (unsigned i = 0; i < passes; i++) {
        seconds[REGISTER] += time_of(kind->register_all);
        seconds[DISPATCH] += dispatch_all(kind->dispatch);
        seconds[UPDATE] += time_of(kind->update_all);
        seconds[UNREGISTER] += time_of(kind->unregister_all);
    }
    for (enum phase phase = UPDATE; phase < PHASES; phase++)
        apart_note(phase, seconds[phase] * 1e9 / passes / selectors_count);
    return seconds[REGISTER] * 1e9 / passes / selectors_count;
}

void register_selectors(void) {
    static const struct selectors_load hundred = {100, 200}, ten_thousand = {10000, 2};
    static const struct contender contenders[] = {
        {"weft", selectors_weft},
        {"raw", selectors_epoll},
#ifdef WEFT_BENCH_UV
        {"libuv", selectors_uv},
#endif
    };
    contest_register(&(struct contest){.family = "selector",
                                       .cases = {{"100/register", NS},
                                                 {"100/update", NS},
                                                 {"100/unregister", NS},
                                                 {"100/dispatch", NS}},
                                       .arg = &hundred,
                                       CONTENDERS(contenders)});
    contest_register(&(struct contest){.family = "selector",
                                       .cases = {{"10k/register", NS},
                                                 {"10k/update", NS},
                                                 {"10k/unregister", NS},
                                                 {"10k/dispatch", NS}},
                                       .arg = &ten_thousand,
                                       CONTENDERS(contenders)});
}
