/* Numeric addresses, as text and back. */
#include "net_fixture.h"

#include "net/inner.h"

#include <net/if.h>

static bool has_ipv6(void) {
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

WTEST(address, good_ones_come_back_as_they_were) {
    static const char *const texts[] = {
        "127.0.0.1:0",   "127.0.0.1:65535", "0.0.0.0:80",        "255.255.255.255:1",
        "[::]:80",       "[::1]:7000",      "[2001:db8::1]:443", "[::ffff:192.0.2.1]:80",
        "[fe80::1%1]:5",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct address a;
        char text[80];
        CHECK_EQ(address_parse(texts[i], &a), 0);
        CHECK(!a.any);
        CHECK_EQ(address_format(&a.storage, a.size, text, sizeof text), 0);
        CHECK_STR(text, texts[i]);
    }
}

WTEST(address, a_port_alone_is_every_address) {
    struct address a;
    char text[80];
    CHECK_EQ(address_parse(":7000", &a), 0);
    CHECK(a.any);
    CHECK_EQ(address_format(&a.storage, a.size, text, sizeof text), 0);
    CHECK_STR(text, "[::]:7000");
}

WTEST(address, a_zone_may_be_a_name) {
    struct address a;
    CHECK_EQ(address_parse("[fe80::1%lo]:5", &a), 0);
    CHECK_EQ(((struct sockaddr_in6 *)&a.storage)->sin6_scope_id, if_nametoindex("lo"));
}

WTEST(address, malformed_ones_are_refused_and_change_nothing) {
    static const char *const texts[] = {
        "",
        ":",
        "7000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:123456",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:1 ",
        "127.0.0.1:0x50",
        "127.0.0.1:http",
        "127.0.0:80",
        "256.0.0.1:80",
        "localhost:80",
        " 127.0.0.1:80",
        "127.0.0.1 :80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[:80",
        "]:80",
        "[127.0.0.1]:80",
        "[::1]]:80",
        "[[::1]]:80",
        "[:::1]:80",
        "[fe80::1%]:80",
        "[fe80::1%nonesuch]:80",
        "[fe80::1%1x]:80",
        "[fe80::1%-1]:80",
        "[fe80::1%0]:80",
        "[fe80::1%4294967297]:80",
        "tcp:127.0.0.1:80",
        "*:80",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:80",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct address a, before;
        memset(&a, 0x5a, sizeof a);
        before = a;
        int r = address_parse(texts[i], &a);
        CHECK_MSG(r == -EINVAL, "\"%s\" gives %d", texts[i], r);
        CHECK(memcmp(&a, &before, sizeof a) == 0);
    }
    CHECK_EQ(address_parse(NULL, &(struct address){0}), -EINVAL);
}

WTEST(address, what_does_not_fit_leaves_the_buffer_alone) {
    struct address a;
    char text[32] = "before";
    CHECK_EQ(address_parse("127.0.0.1:7000", &a), 0);
    CHECK_EQ(address_format(&a.storage, a.size, text, strlen("127.0.0.1:7000")), -ERANGE);
    CHECK_EQ(address_format(&a.storage, a.size, text, 0), -ERANGE);
    CHECK_STR(text, "before");
    CHECK_EQ(address_format(&a.storage, a.size, text, strlen("127.0.0.1:7000") + 1), 0);
    CHECK_STR(text, "127.0.0.1:7000");
}

/* --- names of streams ------------------------------------------------------------------------- */

static char peer[80], local[80];
static int peer_short, local_short, peer_null, fd_of_stream;

static void names_open(weft_stream *s) {
    char tiny[4] = "abc";
    peer_short = weft_stream_peer(s, tiny, sizeof tiny);
    local_short = weft_stream_local(s, tiny, sizeof tiny);
    if (strcmp(tiny, "abc") != 0)
        peer_short = 0;
    peer_null = weft_stream_peer(s, NULL, 80);
    fd_of_stream = weft_stream_fd(s);
    (void)weft_stream_peer(s, peer, sizeof peer);
    (void)weft_stream_local(s, local, sizeof local);
    note_open(s);
}

static const weft_protocol names = {
    .on_open = names_open, .on_data = note_data, .on_close = note_close};

WTEST(address, a_stream_knows_both_its_names) {
    struct net n = net_start(1, &names);
    int fd = net_dial(&n);
    note_await(NOTE_OPEN, 1);
    struct sockaddr_in mine;
    socklen_t size = sizeof mine;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&mine, &size), 0);
    char text[80];
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(mine.sin_port));
    CHECK_STR(peer, text);
    CHECK_STR(local, weft_listener_address(n.listener));
    CHECK_EQ(peer_short, -ERANGE);
    CHECK_EQ(local_short, -ERANGE);
    CHECK_EQ(peer_null, -EINVAL);
    CHECK(fd_of_stream >= 0);
    close(fd);
    net_end(&n);
}

static int dial6(int port) {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

WTEST(address, a_stream_over_ipv6_has_bracketed_names) {
    if (!has_ipv6())
        wtest_skip("no IPv6 here");
    weft_runtime *rt = rt_start(1);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(rt, "[::1]:0", &names, NULL, &l), 0);
    int fd = dial6(net_port(l));
    note_await(NOTE_OPEN, 1);
    CHECK_STR(local, weft_listener_address(l));
    CHECK(strncmp(local, "[::1]:", 6) == 0);
    CHECK(strncmp(peer, "[::1]:", 6) == 0);
    close(fd);
    rt_end(rt);
}

WTEST(address, a_port_alone_serves_both_families) {
    weft_runtime *rt = rt_start(1);
    weft_listener *l = NULL;
    CHECK_EQ(weft_listen(rt, ":0", &names, NULL, &l), 0);
    int v4 = net_dial_port(net_port(l));
    CHECK(v4 >= 0);
    note_await(NOTE_OPEN, 1);
    close(v4);
    if (has_ipv6()) {
        int v6 = dial6(net_port(l));
        note_await(NOTE_OPEN, 2);
        close(v6);
    }
    rt_end(rt);
}

WTEST(address, v6only_takes_no_ipv4) {
    if (!has_ipv6())
        wtest_skip("no IPv6 here");
    weft_runtime *rt = rt_start(1);
    weft_listener *l = NULL;
    const weft_listen_options options = {.flags = WEFT_LISTEN_V6ONLY};
    CHECK_EQ(weft_listen_with(rt, ":0", &options, &names, NULL, &l), 0);
    CHECK_EQ(net_dial_port(net_port(l)), -ECONNREFUSED);
    int v6 = dial6(net_port(l));
    note_await(NOTE_OPEN, 1);
    close(v6);
    rt_end(rt);
}

/* --- unix sockets --- */

static const char *unix_text(size_t length, char first) {
    static char text[200];
    memcpy(text, "unix:", 5);
    text[5] = first;
    memset(text + 6, 'x', length - 1);
    text[5 + length] = 0;
    return text;
}

WTEST(address, unix_paths_and_names_come_back_as_they_were) {
    const char *const texts[] = {"unix:/run/x.sock", "unix:x", "unix:./a b:c", "unix:@name",
                                 "unix:@x/y"};
    for (size_t i = 0; i < array_length(texts); i++) {
        struct address a;
        char text[ADDRESS_TEXT];
        CHECK_EQ(address_parse(texts[i], &a), 0);
        CHECK(!a.any);
        CHECK_EQ(address_format(&a.storage, a.size, text, sizeof text), 0);
        CHECK_STR(text, texts[i]);
    }
}

WTEST(address, unix_names_have_107_bytes_at_most) {
    const char first[] = {'/', '@'};
    for (int i = 0; i < 2; i++) {
        struct address a = {0};
        char text[ADDRESS_TEXT];
        const char *longest = unix_text(107 + (size_t)i, first[i]);
        CHECK_EQ(address_parse(longest, &a), 0);
        CHECK_EQ(address_format(&a.storage, a.size, text, sizeof text), 0);
        CHECK_STR(text, longest);
        CHECK_EQ(address_parse(unix_text(108 + (size_t)i, first[i]), &a), -ENAMETOOLONG);
        CHECK_EQ(address_parse(unix_text(190, first[i]), &a), -ENAMETOOLONG);
    }
    CHECK_EQ(address_parse("unix:", &(struct address){0}), -EINVAL);
    CHECK_EQ(address_parse("unix:@", &(struct address){0}), -EINVAL);
}
