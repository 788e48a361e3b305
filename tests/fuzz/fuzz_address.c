/* Addresses as text. An input is the text, then, behind a zero byte, how much room its way back
 * gets. What inet_pton() and getaddrinfo() make of the host is what weft should. */
#include "net/inner.h"
#include "input.h"
#include "wtest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum { TEXT_MAX = 255 };

/* A port as the contract has it: 1 to 5 digits, at most 65535; else -1. */
static long port_of(const char *text) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != 0)
        return -1;
    long port = strtol(text, NULL, 10);
    return port <= UINT16_MAX ? port : -1;
}

/* What getaddrinfo() says of a numeric host, which may be in another form than weft's: 127.1 is. */
static bool resolver_agrees(const char *host, const struct address *a) {
    const struct addrinfo hints = {.ai_family = a->storage.ss_family,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, "0", &hints, &found) != 0)
        return false;
    bool agrees;
    if (a->storage.ss_family == AF_INET) {
        const struct sockaddr_in *mine = (const struct sockaddr_in *)&a->storage;
        const struct sockaddr_in *its = (const struct sockaddr_in *)(const void *)found->ai_addr;
        agrees = mine->sin_addr.s_addr == its->sin_addr.s_addr;
    } else {
        const struct sockaddr_in6 *mine = (const struct sockaddr_in6 *)&a->storage;
        const struct sockaddr_in6 *its = (const struct sockaddr_in6 *)(const void *)found->ai_addr;
        agrees = memcmp(&mine->sin6_addr, &its->sin6_addr, sizeof mine->sin6_addr) == 0 &&
                 mine->sin6_scope_id == its->sin6_scope_id;
    }
    freeaddrinfo(found);
    return agrees;
}

/* Is it an address of IPv6, perhaps with a zone? */
static bool is_v6(const char *host) {
    uint8_t bytes[16];
    char part[TEXT_MAX + 1];
    const char *zone = strchr(host, '%');
    snprintf(part, sizeof part, "%.*s", zone ? (int)(zone - host) : (int)strlen(host), host);
    if (inet_pton(AF_INET6, part, bytes) != 1)
        return false;
    if (!zone || if_nametoindex(zone + 1) != 0)
        return true;
    size_t digits = strspn(zone + 1, "0123456789");
    return digits > 0 && digits < 10 && zone[1 + digits] == 0 && strtoul(zone + 1, NULL, 10) > 0;
}

/* The answer by other means, but for sun_path. */
static int expected_of(const char *text, char *ret_host, long *ret_port) {
    const char *colon = strrchr(text, ':');
    uint8_t bytes[16];
    *ret_host = 0;
    if (strncmp(text, "unix:", 5) == 0) {
        size_t length = strlen(text + 5);
        size_t most = text[5] == '@' ? 108 : 107;
        return length == 0 || strcmp(text, "unix:@") == 0 ? -EINVAL
               : length > most                            ? -ENAMETOOLONG
                                                          : 0;
    }
    if (!colon || (*ret_port = port_of(colon + 1)) < 0)
        return -EINVAL;
    size_t length = (size_t)(colon - text);
    if (length == 0)
        return 0;
    if (length >= 64)
        return -EINVAL; /* no host is so long */
    bool is_bracketed = text[0] == '[' && length > 1 && colon[-1] == ']';
    snprintf(ret_host, TEXT_MAX, "%.*s", (int)length - 2 * is_bracketed, text + is_bracketed);
    bool is_good = is_bracketed ? is_v6(ret_host) : inet_pton(AF_INET, ret_host, bytes) == 1;
    return is_good ? 0 : -EINVAL;
}

static void check_parsed(const char *host, long port, const struct address *a) {
    if (a->storage.ss_family == AF_UNIX)
        return;
    uint16_t network = a->storage.ss_family == AF_INET
                           ? ((const struct sockaddr_in *)&a->storage)->sin_port
                           : ((const struct sockaddr_in6 *)&a->storage)->sin6_port;
    CHECK_EQ(ntohs(network), port);
    CHECK_EQ(a->any, *host == 0);
    /* glibc takes a zone of an address that is not link-local as a number alone. */
    CHECK(a->any || strchr(host, '%') || resolver_agrees(host, a));
}

/* As text it is the same address, and it fits into its own length and no less. */
static void check_way_back(const char *text, const struct address *a, size_t room) {
    char back[ADDRESS_TEXT + 1], tight[ADDRESS_TEXT + 1];
    struct address again = {0};
    CHECK_EQ(address_format(&a->storage, a->size, back, ADDRESS_TEXT), 0);
    CHECK_EQ(address_parse(back, &again), 0);
    CHECK_EQ(again.size, a->size);
    CHECK(memcmp(&again.storage, &a->storage, a->size) == 0);
    CHECK(a->storage.ss_family != AF_UNIX || strcmp(back, text) == 0);

    size_t length = strlen(back);
    memset(tight, 0x5a, sizeof tight);
    int r = address_format(&a->storage, a->size, tight, room);
    CHECK_EQ(r, room > length ? 0 : -ERANGE);
    CHECK(r == 0 ? strcmp(tight, back) == 0 : tight[0] == 0x5a);
    CHECK(tight[room] == 0x5a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[TEXT_MAX + 1], host[TEXT_MAX + 1];
    size_t length = strnlen((const char *)data, size < TEXT_MAX ? size : TEXT_MAX);
    memcpy(text, data, length);
    text[length] = 0;
    struct input rest = {data + length, data + size};
    (void)input_byte(&rest);
    size_t room = input_below(&rest, ADDRESS_TEXT + 1);

    struct address a, before;
    long port = 0;
    memset(&a, 0x5a, sizeof a);
    before = a;
    int r = address_parse(text, &a);
    CHECK_EQ(r, expected_of(text, host, &port));
    if (r < 0) {
        CHECK(memcmp(&a, &before, sizeof a) == 0);
        return 0;
    }
    check_parsed(host, port, &a);
    check_way_back(text, &a, room);
    return 0;
}
