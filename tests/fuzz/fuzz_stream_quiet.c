/* What must hold when no worker has anything to do any more. */
#include "fuzz_stream_model.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* The events that the worker's set has for fd, as the kernel says: UINT32_MAX: none. *ret_others:
 * how many other fds it holds. */
static uint32_t watched(const weft_worker *w, int fd, unsigned *ret_others) {
    char path[64], text[4096];
    uint32_t events = UINT32_MAX;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", weft_selector_fd(w->selector));
    ssize_t length = os_read_file(path, text, sizeof text);
    MUST(length > 0, "%s: %zd", path, length);
    *ret_others = 0;
    for (char *line = strstr(text, "tfd:"); line; line = strstr(line + 1, "tfd:")) {
        int tfd;
        uint32_t found;
        MUST(sscanf(line, "tfd: %d events: %x", &tfd, &found) == 2, "%s: %s", path, line);
        if (tfd == fd)
            events = found & ~(uint32_t)(EPOLLERR | EPOLLHUP);
        else
            ++*ret_others;
    }
    return events;
}

static uint32_t wanted(void) {
    uint32_t events = 0;
    bool lingers = m.closing && model_pending() == 0;
    bool reads = !m.paused && !m.choked && !m.eof_told && !m.closing;
    if (lingers || reads)
        events |= EPOLLIN;
    if (model_pending())
        events |= EPOLLOUT;
    return events ? events : EPOLLET;
}

/* Bytes, room or an end that nobody looks at. TCP may have brought them just now, late: then the
 * worker is about to hear of them. */
static void check_progress(uint32_t events) {
    struct pollfd p = {.fd = m.fd, .events = POLLIN | POLLOUT};
    struct pollfd set = {.fd = weft_selector_fd(world.workers[m.worker]->selector),
                         .events = POLLIN};
    MUST(poll(&p, 1, 0) >= 0 && poll(&set, 1, 0) >= 0, "poll");
    if (m.is_tcp && set.revents)
        return;
    MUST(!(p.revents & POLLERR), "nobody looks at an error");
    if (events & EPOLLIN)
        MUST(!(p.revents & POLLIN), "nobody reads what is there");
    if (events & EPOLLOUT)
        MUST(!(p.revents & POLLOUT), "nobody sends what is pending");
}

static void check_live(void) {
    bool reads = !m.paused && !m.choked && !m.choke_may;
    MUST(m.opened || m.closing, "no on_open");
    if (m.closing)
        return;
    MUST(!(m.drain_must && model_below()), "on_drain is owed");
    MUST(!(m.show_must && reads && !m.eof_told && m.shown > m.consumed),
         "%zu bytes that were left are not shown again", m.shown - m.consumed);
    if (reads && !m.peer_reset && !m.faults)
        MUST(m.shown == m.peer_sent || m.is_tcp, "%zu bytes of %zu are shown", m.shown,
             m.peer_sent);
    if (!m.shut)
        MUST(m.by_id_arrived == m.by_id, "%zu bytes of %zu by id are written", m.by_id_arrived,
             m.by_id);
    if (reads && m.peer_ended && m.shown == m.peer_sent && !m.is_tcp)
        MUST(m.eof_told, "no on_eof");
    if (m.idle_ns)
        MUST(clock_test_ns < m.active_ns + m.idle_ns + WEFT_MSEC(3), "idle for %ju ns",
             (uintmax_t)(clock_test_ns - m.active_ns));
}

/* A stream that ended or closes has its on_close; one that goes on has everything it can have. */
static void check_stream(void) {
    weft_worker *w = world.workers[m.worker];
    unsigned others;
    MUST(!m.moving || m.closing, "it moves for ever");
    worker_current = w;
    calls_probe();
    worker_current = NULL;
    MUST(!m.ended, "no on_close(%d)", m.error);
    if (m.choked && model_below())
        m.choked = false;
    if (m.choke_may && !m.choked && model_below())
        m.choke_may = false;
    check_live();
    uint32_t events = watched(w, m.fd, &others);
    MUST(others == 1, "%u other fds are watched", others);
    if (!m.choke_may)
        MUST(events == wanted(), "watched for %x, not %x", events, wanted());
    check_progress(events);
    MUST(watched(world.workers[1 - m.worker], m.fd, &others) == UINT32_MAX && others == 1,
         "the other worker watches something");
    if (!m.is_tcp && m.closing && model_pending() == 0)
        MUST(!m.peer_ended, "lingers, though the peer has ended");
    if (m.drain_may && !m.drain_must && model_below() && !m.protocol->on_drain)
        m.drain_may = false;
}

static uint64_t sum_of(const stat_counter *first, const stat_counter *second) {
    return stat_read(first) + stat_read(second);
}

void quiet_check(void) {
    const struct worker_stats *a = &world.workers[0]->stats, *b = &world.workers[1]->stats;
    if (m.s)
        check_stream();
    MUST(sum_of(&a->streams_open, &b->streams_open) == (m.s ? 1 : 0), "streams are miscounted");
    MUST(m.posted == m.ran || (m.s && !m.opened), "%u of %u posted functions ran", m.ran, m.posted);
    if (!m.s || !model_pending())
        MUST(m.lent == m.given_back, "%u of %u were given back", m.given_back, m.lent);
    size_t left = m.s && !m.closing ? m.shown - m.consumed : 0, pending = model_pending();
    uint64_t held = sum_of(&a->bytes_held, &b->bytes_held);
    MUST(held <= left + pending && (m.file_bytes || held == left + pending),
         "%ju bytes are held, not %zu and %zu", (uintmax_t)held, left, pending);
}

/* Everything has been closed by now, and the peer has read it all. */
void end_check(void) {
    unsigned others;
    MUST(!m.s, "no on_close");
    MUST(fcntl(m.fd, F_GETFD) < 0, "the socket is still open");
    for (unsigned i = 0; i < WORKERS; i++) {
        watched(world.workers[i], -1, &others);
        MUST(others == 1, "worker %u watches %u fds", i, others);
    }
    /* What TCP has taken and a small window holds up comes later than we wait. */
    if (!m.aborted && m.error == 0 && !m.peer_closed && !m.peer_saw_reset && !m.is_tcp)
        MUST(m.peer_saw_end && m.got_own == m.own, "the peer got %zu bytes of %zu", m.got_own,
             m.own);
    if (!m.peer_closed)
        close(m.peer);
}
