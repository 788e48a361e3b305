#include "net/inner.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

/* Decimal digits alone, 0 to 65535. */
static int port_parse(const char *text, uint16_t *ret_port) {
    unsigned port = 0;
    if (!*text || strlen(text) > 5)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        port = port * 10 + (unsigned)(*text - '0');
    }
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

static int v4_fill(const char *host, uint16_t port, struct address *a) {
    struct sockaddr_in *in = (struct sockaddr_in *)&a->storage;
    if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
        return -EINVAL;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    a->size = sizeof *in;
    return 0;
}

/* An interface's name or number (RFC 4007); 0: neither. */
static uint32_t zone_parse(const char *zone) {
    uint32_t index = if_nametoindex(zone);
    size_t digits = strspn(zone, "0123456789");
    if (index == 0 && digits < 10 && zone[digits] == 0)
        index = (uint32_t)strtoul(zone, NULL, 10);
    return index;
}

/* The host may carry a zone: "fe80::1%eth0" or "fe80::1%2". */
static int v6_fill(char *host, uint16_t port, struct address *a) {
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->storage;
    char *zone = strchr(host, '%');
    if (zone) {
        *zone++ = 0;
        in6->sin6_scope_id = zone_parse(zone);
        if (in6->sin6_scope_id == 0)
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
        return -EINVAL;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    a->size = sizeof *in6;
    return 0;
}

/* A path, or "@name" in the abstract namespace, where a name is its bytes and nothing behind them
 * (unix(7)). */
static int unix_fill(const char *name, struct address *a) {
    struct sockaddr_un *un = (struct sockaddr_un *)&a->storage;
    size_t length = strlen(name);
    bool is_abstract = *name == '@';
    if (length == 0 || (is_abstract && length == 1))
        return -EINVAL;
    if (length >= sizeof un->sun_path + is_abstract)
        return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, name, length);
    if (is_abstract)
        un->sun_path[0] = 0;
    a->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !is_abstract);
    return 0;
}

/* The path of a unix socket that has one, NULL for any other address. */
const char *address_path(const struct address *a) {
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->storage;
    return un->sun_family == AF_UNIX && un->sun_path[0] ? un->sun_path : NULL;
}

int address_parse(const char *text, struct address *ret_address) {
    struct address a = {0};
    char host[64];
    uint16_t port = 0;
    if (!text)
        return -EINVAL;
    if (strncmp(text, "unix:", 5) == 0) {
        int filled = unix_fill(text + 5, &a);
        if (filled == 0)
            *ret_address = a;
        return filled;
    }
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host || port_parse(colon + 1, &port) < 0)
        return -EINVAL;
    size_t length = (size_t)(colon - text);
    memcpy(host, text, length);
    host[length] = 0;
    int r;
    if (length == 0) {
        a.any = true;
        r = v6_fill(strcpy(host, "::"), port, &a);
    } else if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = 0;
        r = v6_fill(host + 1, port, &a);
    } else {
        r = v4_fill(host, port, &a);
    }
    if (r == 0)
        *ret_address = a;
    return r;
}

/* As it was given; an adopted socket pair, or a client that did not bind, has no name. */
static int unix_format(const struct sockaddr_storage *storage, socklen_t size, char *text,
                       size_t text_size) {
    const struct sockaddr_un *un = (const struct sockaddr_un *)storage;
    size_t length = size - offsetof(struct sockaddr_un, sun_path);
    if (size <= offsetof(struct sockaddr_un, sun_path))
        length = 0;
    else if (un->sun_path[0])
        length = strnlen(un->sun_path, length); /* the kernel counts a NUL behind it */
    bool is_abstract = length > 0 && un->sun_path[0] == 0;
    return snprintf(text, text_size, "unix:%s%.*s", is_abstract ? "@" : "",
                    (int)length - is_abstract, un->sun_path + is_abstract);
}

void address_any_v4(struct address *a) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->storage;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = in6->sin6_port};
    memset(&a->storage, 0, sizeof a->storage);
    memcpy(&a->storage, &in, sizeof in);
    a->size = sizeof in;
}

int address_format(const struct sockaddr_storage *storage, socklen_t storage_size, char *buffer,
                   size_t size) {
    char host[INET6_ADDRSTRLEN], text[ADDRESS_TEXT];
    int n;
    if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)storage;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        n = snprintf(text, sizeof text, "%s:%u", host, ntohs(in->sin_port));
    } else if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)storage;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        if (in6->sin6_scope_id)
            n = snprintf(text, sizeof text, "[%s%%%u]:%u", host, in6->sin6_scope_id,
                         ntohs(in6->sin6_port));
        else
            n = snprintf(text, sizeof text, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        n = unix_format(storage, storage_size, text, sizeof text);
    }
    if (n < 0 || (size_t)n >= size)
        return -ERANGE;
    memcpy(buffer, text, (size_t)n + 1);
    return 0;
}

int protocol_check(const weft_protocol *p) {
    if (!p || !p->on_data || (p->flags & ~(uint32_t)WEFT_STREAM_PAUSE) || !is_all_zero(p->reserved))
        return -EINVAL;
    return p->state_size > UINT32_MAX ? -EINVAL : 0;
}
