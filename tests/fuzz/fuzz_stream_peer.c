/* The other end of the connection: a plain socket, and a check of every byte it gets. */
#include "fuzz_stream_model.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { OWN = 127, BY_ID = 100, IN = 251 }; /* the periods of the sequences */

/* Compared as blocks: a loop over bytes is slow where each branch is counted. */
static const uint8_t *sequence(size_t i, uint8_t first, unsigned period) {
    static uint8_t bytes[3][BYTES_MOST + IN];
    uint8_t *these = bytes[period == OWN ? 0 : period == BY_ID ? 1 : 2];
    if (these[1] != (uint8_t)(first + 1))
        for (size_t j = 0; j < sizeof bytes[0]; j++)
            these[j] = (uint8_t)(first + j % period);
    return these + i % period;
}

const uint8_t *bytes_in(size_t i) {
    return sequence(i, 0, IN);
}

const uint8_t *bytes_own(size_t i) {
    return sequence(i, 0, OWN);
}

const uint8_t *bytes_by_id(size_t i) {
    return sequence(i, 128, BY_ID);
}

static void connect_tcp(void) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    MUST(getsockname(world.listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    m.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)connect(m.peer, (struct sockaddr *)&address, size);
    do
        m.fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC);
    while (m.fd < 0 && errno == EINTR);
}

void peer_connect(bool is_tcp, bool small) {
    int fds[2], size = 1;
    if (is_tcp)
        connect_tcp();
    else {
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
        m.fd = fds[0];
        m.peer = fds[1];
    }
    MUST(m.fd >= 0 && m.peer >= 0, "no connection");
    MUST(fcntl(m.peer, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    if (!small)
        return;
    (void)setsockopt(m.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(m.peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

void peer_send(size_t length) {
    if (m.peer_ended || m.peer_closed || length == 0)
        return;
    ssize_t n = send(m.peer, bytes_in(m.peer_sent), length, MSG_DONTWAIT | MSG_NOSIGNAL);
    trace("peer sends %zd of %zu", n, length);
    if (n > 0)
        m.peer_sent += (size_t)n;
}

static void take_one(uint8_t byte) {
    bool is_own = byte < 128;
    size_t *got = is_own ? &m.got_own : &m.got_by_id;
    uint8_t expected = is_own ? *bytes_own(*got) : *bytes_by_id(*got);
    MUST(byte == expected, "byte %zu of those %s is %u, not %u", *got,
         is_own ? "written" : "sent by id", byte, expected);
    ++*got;
}

static void take(const uint8_t *bytes, size_t length) {
    if (memcmp(bytes, bytes_own(m.got_own), length) == 0)
        m.got_own += length;
    else
        for (size_t i = 0; i < length; i++)
            take_one(bytes[i]);
}

/* The end comes after all that was accepted, unless the stream was given up. */
static void saw_end(void) {
    m.peer_saw_end = true;
    MUST(m.shut || m.closing || m.ended || m.gone || model_eof_closes(), "an end that nobody made");
    if (m.aborted || m.ended || (m.gone && m.error) || m.overfull)
        return;
    MUST(m.got_own == m.own, "the end comes after %zu bytes of %zu", m.got_own, m.own);
}

size_t peer_read(size_t most) {
    static uint8_t bytes[BYTES_MOST];
    if (m.peer_closed || most == 0)
        return 0;
    ssize_t n = recv(m.peer, bytes, most < sizeof bytes ? most : sizeof bytes, MSG_DONTWAIT);
    trace("peer reads %zd", n);
    if (n > 0)
        take(bytes, (size_t)n);
    MUST(m.got_own <= m.own + m.torn && m.got_by_id <= m.by_id + m.torn, "bytes that nobody wrote");
    if (n == 0 && !m.peer_saw_end && !m.peer_saw_reset)
        saw_end();
    if (n < 0 && errno == ECONNRESET) {
        m.peer_saw_reset = true;
        MUST(m.closing || m.ended || m.gone, "a reset that nobody made");
    }
    return n > 0 ? (size_t)n : 0;
}

void peer_end(void) {
    if (m.peer_closed || m.peer_ended)
        return;
    trace("peer half-closes");
    m.peer_ended = true;
    m.peer_end_ns = clock_test_ns;
    (void)shutdown(m.peer, SHUT_WR);
}

/* Unread bytes make it a reset in any case. */
void peer_close(bool reset) {
    int unread = 0;
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (m.peer_closed)
        return;
    (void)ioctl(m.peer, FIONREAD, &unread);
    if (reset)
        (void)setsockopt(m.peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    trace("peer closes, %d unread", unread);
    close(m.peer);
    m.peer_reset = unread > 0 || (reset && m.is_tcp);
    if (!m.peer_ended)
        m.peer_end_ns = clock_test_ns;
    m.peer_closed = m.peer_ended = true;
}
