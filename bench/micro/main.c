/* weft-micro [Google Benchmark's flags]      each benchmark for itself, order shuffled
 * weft-micro queues [ROUNDS]                 weft's queue and others in interleaved rounds
 * weft-micro timers [ROUNDS]                 a million timers: weft's wheel and libuv
 * weft-micro directory [ROUNDS]              look-ups in weft's directory, and under locks */
#include "micro/shim.h"
#include "micro/tables.h"

#include <stdlib.h>
#include <string.h>

int bench_main(int argc, char **argv) {
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (argc > 1 && strcmp(argv[1], "queues") == 0) {
        table_of_queues(rounds ? rounds : 41);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "timers") == 0) {
        table_of_timers(rounds ? rounds : 7);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "directory") == 0) {
        table_of_directories(rounds ? rounds : 31);
        return 0;
    }
    return -1;
}
