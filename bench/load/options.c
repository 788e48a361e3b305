#include "load/options.h"

#include "load/schedule.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define DAY_S 86400

enum {
    OPT_ADDRESS = 256,
    OPT_CONNECTIONS,
    OPT_PIPELINE,
    OPT_SIZE,
    OPT_SIZES,
    OPT_RATE,
    OPT_CHURN,
    OPT_DURATION,
    OPT_REQUESTS,
    OPT_WARMUP,
    OPT_THREADS,
    OPT_SERVER_PID,
    OPT_VERIFY,
    OPT_NO_VERIFY,
    OPT_BURST_WRITES,
    OPT_JSON,
    OPT_QUIET,
    OPT_PROGRESS,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"pipeline", required_argument, NULL, OPT_PIPELINE},
    {"size", required_argument, NULL, OPT_SIZE},
    {"sizes", required_argument, NULL, OPT_SIZES},
    {"rate", required_argument, NULL, OPT_RATE},
    {"churn", no_argument, NULL, OPT_CHURN},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"requests", required_argument, NULL, OPT_REQUESTS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"server-pid", required_argument, NULL, OPT_SERVER_PID},
    {"verify", no_argument, NULL, OPT_VERIFY},
    {"no-verify", no_argument, NULL, OPT_NO_VERIFY},
    {"burst-writes", no_argument, NULL, OPT_BURST_WRITES},
    {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"progress", no_argument, NULL, OPT_PROGRESS},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static const char usage[] =
    "usage: weft-load --address HOST:PORT [options]\n"
    "Load on an echo server. Closed loop unless --rate or --churn is given: each connection sends "
    "a\n"
    "batch, waits for its echo, and sends the next.\n"
    "  --address HOST:PORT  numeric, [::1]:7000 for IPv6\n"
    "  --connections N      (1)\n"
    "  --rate N             open loop: N requests per second over all connections, as planned\n"
    "                       ahead; latency counts from when a request was due, sent or not\n"
    "  --churn              connect, exchange a batch, close, again; latency is that of a\n"
    "                       connection, from connect() to the last byte of the echo\n"
    "  --pipeline N         messages per batch; with --rate, at most under way at a time (1)\n"
    "  --size BYTES         of a message (64), or\n"
    "  --sizes A:W,B:W,...  mixed: A bytes with weight W, and so on; the same in every run\n"
    "  --duration SEC       measured time (5), or\n"
    "  --requests N         messages to measure, over all connections; connections with --churn\n"
    "  --warmup SEC         traffic before the measured part (0)\n"
    "  --threads N          (1)\n"
    "  --burst-writes       one send per message rather than one per batch\n"
    "  --no-verify          do not compare the echoed bytes with those sent\n"
    "  --server-pid PID     report that process's CPU time and context switches\n"
    "  --json, --quiet      how to report\n"
    "  --progress           a line a second on stderr (default on a terminal)\n"
    "exit: 0 every byte came back, 1 a mismatch or a failed connection, 2 usage\n";

static int set_number(const char *text, uint64_t max, unsigned *field) {
    uint64_t number;
    int r = cli_number(text, 1, max, &number);
    if (r == 0)
        *field = (unsigned)number;
    return r;
}

static int apply(load_options *o, int option, const char *value) {
    uint64_t number;
    int r = 0;
    switch (option) {
    case OPT_ADDRESS: return cli_parse_address(value, &o->address);
    case OPT_CONNECTIONS: return set_number(value, 1000000, &o->connections);
    case OPT_PIPELINE: return set_number(value, 65536, &o->pipeline);
    case OPT_SIZE:
        o->sizes = (sizes){.count = 1, .upto = {1}};
        return set_number(value, SIZES_LARGEST, &o->sizes.bytes[0]);
    case OPT_SIZES: o->sizes_text = value; return 0;
    case OPT_RATE: return cli_number(value, 1, CLI_NS_PER_SEC, &o->rate);
    case OPT_CHURN: o->churn = true; return 0;
    case OPT_THREADS: return set_number(value, 1024, &o->threads);
    case OPT_REQUESTS: return cli_number(value, 1, UINT64_MAX, &o->requests);
    case OPT_WARMUP: return cli_seconds(value, &o->warmup_ns);
    case OPT_DURATION:
        r = cli_seconds(value, &o->duration_ns);
        return r == 0 && o->duration_ns == 0 ? -EINVAL : r;
    case OPT_SERVER_PID:
        r = cli_number(value, 1, INT_MAX, &number);
        if (r == 0)
            o->server_pid = (pid_t)number;
        return r;
    case OPT_VERIFY: o->verify = true; return 0;
    case OPT_NO_VERIFY: o->verify = false; return 0;
    case OPT_BURST_WRITES: o->burst_writes = true; return 0;
    case OPT_JSON: o->json = true; return 0;
    case OPT_QUIET: o->quiet = true; return 0;
    case OPT_PROGRESS: o->progress = true; return 0;
    default: return -EINVAL;
    }
}

/* What a value has to be, where that is not plain. */
static const char *expected(int option) {
    switch (option) {
    case OPT_RATE: return "requests per second, from 1 to 1000000000";
    case OPT_DURATION: return "seconds, more than 0";
    case OPT_ADDRESS: return "a numeric HOST:PORT";
    default: return "not a valid value";
    }
}

static int complain(const char *what) {
    fprintf(stderr, "weft-load: %s (see weft-load --help)\n", what);
    return -EINVAL;
}

static int check_sizes(load_options *o) {
    if (o->sizes_text == NULL) {
        if (o->sizes.count == 0)
            o->sizes = (sizes){.count = 1, .bytes = {64}, .upto = {1}};
        return 0;
    }
    if (o->sizes.count > 0)
        return complain("--size and --sizes exclude each other");
    if (o->burst_writes)
        return complain("--burst-writes is for messages of one --size");
    if (sizes_parse(o->sizes_text, &o->sizes) < 0)
        return complain("--sizes: up to 16 of BYTES:WEIGHT with commas between, bytes from 1 to "
                        "67108864, weights from 1 to 1000000");
    return 0;
}

static int check_rate(const load_options *o) {
    if (o->rate == 0)
        return 0;
    if (o->churn)
        return complain("--rate plans messages and --churn plans none: give one of them");
    if (o->requests == 0 && schedule_requests_in(o->rate, o->warmup_ns + o->duration_ns) ==
                                schedule_requests_in(o->rate, o->warmup_ns))
        return complain("no request is due within the --duration: raise it, or the --rate");
    if (o->requests / o->rate > DAY_S)
        return complain("the --requests take more than a day at this --rate: ask for fewer");
    return 0;
}

/* What no single option can know. */
static int check(load_options *o, int rest) {
    if (rest > 0)
        return complain("only options are expected");
    if (o->address.len == 0)
        return complain("--address is required");
    if (o->requests > 0 && o->duration_ns > 0)
        return complain("--requests and --duration exclude each other");
    if (o->threads > o->connections)
        return complain("--threads exceeds --connections");
    if (o->requests == 0 && o->duration_ns == 0)
        o->duration_ns = 5 * CLI_NS_PER_SEC;
    int r = check_sizes(o);
    return r == 0 ? check_rate(o) : r;
}

int options_parse(int argc, char **argv, load_options *ret_options) {
    load_options o = {
        .connections = 1,
        .threads = 1,
        .pipeline = 1,
        .verify = true,
        .progress = isatty(STDERR_FILENO) == 1,
    };
    int option, index = 0;
    while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (option == OPT_HELP) {
            fputs(usage, stdout);
            return 1;
        }
        if (option == '?') /* getopt_long has said what is wrong */
            return -EINVAL;
        if (apply(&o, option, optarg) < 0) {
            fprintf(stderr, "weft-load: --%s %s: %s (see weft-load --help)\n",
                    long_options[index].name, optarg, expected(option));
            return -EINVAL;
        }
    }
    int r = check(&o, argc - optind);
    if (r == 0)
        *ret_options = o;
    return r;
}
