#include "common/cli.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MAX_SECONDS 86400.0

int cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number) {
    if (!isdigit((unsigned char)text[0])) /* strtoull would take a sign, and wrap "-1" */
        return -EINVAL;
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return -EINVAL;
    *ret_number = value;
    return 0;
}

int cli_seconds(const char *text, uint64_t *ret_ns) {
    char *end = NULL;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(seconds) || seconds < 0 || seconds > MAX_SECONDS)
        return -EINVAL;
    *ret_ns = (uint64_t)(seconds * (double)CLI_NS_PER_SEC);
    return 0;
}

int cli_parse_address(const char *text, cli_address *ret_address) {
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return -EINVAL;
    bool v6 = text[0] == '[';
    if (v6 && (colon == text || colon[-1] != ']'))
        return -EINVAL;
    const char *from = v6 ? text + 1 : text;
    size_t len = (size_t)(colon - from) - (v6 ? 1 : 0);
    uint64_t port;
    if (len >= sizeof host || cli_number(colon + 1, 0, UINT16_MAX, &port) < 0)
        return -EINVAL;
    memcpy(host, from, len);
    host[len] = '\0';

    cli_address address = {.len = 0};
    if (v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address.storage;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        address.len = sizeof *in6;
        if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
            return -EINVAL;
    } else {
        struct sockaddr_in *in4 = (struct sockaddr_in *)&address.storage;
        in4->sin_family = AF_INET;
        in4->sin_port = htons((uint16_t)port);
        address.len = sizeof *in4;
        if (inet_pton(AF_INET, host, &in4->sin_addr) != 1)
            return -EINVAL;
    }
    *ret_address = address;
    return 0;
}

void cli_format_address(const cli_address *address, char text[CLI_ADDRESS_TEXT]) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(text, CLI_ADDRESS_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->storage;
        inet_ntop(AF_INET, &in4->sin_addr, host, sizeof host);
        snprintf(text, CLI_ADDRESS_TEXT, "%s:%u", host, ntohs(in4->sin_port));
    }
}

void cli_raise_fd_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
