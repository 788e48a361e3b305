/*
 * What the load generator and the servers share on their command lines: numbers, durations,
 * numeric addresses, and the one clock they read. Nothing here uses weft: the programs that weft is
 * compared with, and the one that measures, must not depend on it.
 */
#ifndef WEFT_BENCH_CLI_H
#define WEFT_BENCH_CLI_H

#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#define CLI_NS_PER_SEC 1000000000ull
#define CLI_ADDRESS_TEXT 64

typedef struct cli_address {
    struct sockaddr_storage storage;
    socklen_t len;
} cli_address;

static inline uint64_t cli_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * CLI_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* All return 0, or -EINVAL with the result untouched. */
int cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number);
int cli_seconds(const char *text, uint64_t *ret_ns);               /* "0.25" is 250 000 000 */
int cli_parse_address(const char *text, cli_address *ret_address); /* "127.0.0.1:80", "[::1]:80" */

void cli_format_address(const cli_address *address, char text[CLI_ADDRESS_TEXT]);

/* Raises the soft limit on open files to the hard one: a thousand connections exceed the usual
 * 1 024. */
void cli_raise_fd_limit(void);

#endif
