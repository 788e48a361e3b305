#ifndef WEFT_BENCH_OPTIONS_H
#define WEFT_BENCH_OPTIONS_H

#include "common/cli.h"
#include "load/sizes.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct load_options {
    cli_address address;
    unsigned connections;
    unsigned threads;
    unsigned pipeline;      /* messages under way per connection */
    sizes sizes;            /* of messages */
    const char *sizes_text; /* as given, or NULL */
    uint64_t rate;          /* requests per second of the open loop; 0: closed */
    uint64_t requests;      /* 0: run for duration_ns */
    uint64_t duration_ns;   /* measured, after the warm-up */
    uint64_t warmup_ns;
    pid_t server_pid; /* 0: server CPU is not measured */
    bool verify;
    bool churn;
    bool burst_writes; /* one send per message instead of one per batch */
    bool json;
    bool quiet;
    bool progress;
} load_options;

/* 0; 1 when --help was printed; -EINVAL when what is wrong was said on stderr. */
int options_parse(int argc, char **argv, load_options *ret_options);

#endif
