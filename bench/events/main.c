/* Signals and processes: weft, libuv, and the system calls by themselves.
 *
 * weft-events signals [ROUNDS]   100 000 queued signals: how fast, and how many are lost
 * weft-events spawn [ROUNDS]     one child after the other, from parents of several kinds
 * weft-events exits [ROUNDS]     many children that end at once */
#include "common/cli.h"
#include "common/rounds.h"
#include "events/exits.h"
#include "events/signals.h"
#include "events/spawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    void (*table)(unsigned rounds);
    unsigned rounds;
} contests[] = {
    {"signals", table_of_signals, 15},
    {"spawn", table_of_spawns, 9},
    {"exits", table_of_exits, 3},
};

int main(int argc, char **argv) {
    uint64_t rounds = 0;
    bool usable = argc == 2 || (argc == 3 && cli_number(argv[2], 1, ROUNDS_MAX, &rounds) == 0);
    cli_raise_fd_limit();
    for (unsigned i = 0; usable && i < sizeof contests / sizeof contests[0]; i++)
        if (strcmp(argv[1], contests[i].name) == 0) {
            contests[i].table(rounds ? (unsigned)rounds : contests[i].rounds);
            return EXIT_SUCCESS;
        }
    fprintf(stderr, "usage: weft-events signals|spawn|exits [ROUNDS]\n");
    return EXIT_FAILURE;
}
