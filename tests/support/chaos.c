#include "chaos.h"

#include "wtest.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Segments are short, as on a real network: with loopback's of 64 KiB a small window stays shut for
 * whole persist timeouts (RFC 9293, 3.8.6.1). */
enum { BUFFER = 64 << 10, BATCH = 256, MOOD_PIECES = 64, LARGEST_BITS = 16, SEGMENT = 4096 };

/* A socket. Events are edges: what they said holds until the kernel says EAGAIN. */
struct end {
    struct link *link;
    int fd;
    bool readable, writable;
};

struct way {
    struct end *from, *to;
    uint64_t forwarded, reset_after;
    size_t start, end; /* of what is held */
    unsigned turns;    /* to let pass */
    unsigned mood;     /* bits of the first pieces' sizes */
    unsigned pieces;
    bool eof, shut;
    bool discards; /* `to` takes no more: its end of output may still be on its way here */
    uint8_t data[BUFFER];
};

/* Two sockets, the client's and the server's, and the ways between them. */
struct link {
    struct link *next, *previous; /* of all, or of the pool */
    struct chaos *chaos;
    struct end client, server;
    uint64_t random;
    unsigned quirks;
    bool known; /* by its key */
    bool busy;  /* on the list of those that have something to do */
    struct way ways[2];
};

struct chaos {
    pthread_t thread;
    int epoll, listener, stop, port, server_port;
    struct chaos_fate (*fate)(const uint8_t *key);
    struct link *links, *pool;
    struct link **busy;
    size_t busy_count, busy_capacity;
    struct chaos_stats stats;
    _Atomic int failure; /* an errno: of a call that does not fail on a healthy system */
};

static void *checked(void *memory) {
    if (!memory)
        abort();
    return memory;
}

static uint64_t below(struct link *l, uint64_t limit) {
    l->random ^= l->random >> 12;
    l->random ^= l->random << 25;
    l->random ^= l->random >> 27;
    return l->random * UINT64_C(2685821657736338717) % limit;
}

/* As many small ones as large ones: the logarithm is even. */
static size_t piece_of(struct link *l, struct way *way) {
    uint64_t bits = way->pieces++ < MOOD_PIECES ? way->mood : below(l, LARGEST_BITS + 1);
    l->chaos->stats.pieces++;
    return 1 + below(l, UINT64_C(1) << bits);
}

/* --- links ------------------------------------------------------------------------------------ */

static void note_failure(struct chaos *c) {
    int none = 0;
    atomic_compare_exchange_strong(&c->failure, &none, errno);
}

static void watch(struct chaos *c, struct end *end) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = end};
    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, end->fd, &event) < 0)
        note_failure(c);
}

static void make_busy(struct link *l) {
    struct chaos *c = l->chaos;
    if (l->busy)
        return;
    if (c->busy_count == c->busy_capacity) {
        c->busy_capacity = c->busy_capacity ? 2 * c->busy_capacity : 64;
        c->busy = checked(realloc(c->busy, c->busy_capacity * sizeof(struct link *)));
    }
    c->busy[c->busy_count++] = l;
    l->busy = true;
}

static struct link *link_take(struct chaos *c) {
    struct link *l = c->pool;
    if (l)
        c->pool = l->next;
    else
        l = checked(malloc(sizeof *l));
    memset(l, 0, offsetof(struct link, ways));
    for (int i = 0; i < 2; i++)
        memset(&l->ways[i], 0, offsetof(struct way, data));
    l->chaos = c;
    l->random = ++c->stats.connections;
    l->client = (struct end){.link = l};
    l->server = (struct end){.link = l};
    l->ways[CHAOS_TO_SERVER].from = l->ways[CHAOS_TO_CLIENT].to = &l->client;
    l->ways[CHAOS_TO_SERVER].to = l->ways[CHAOS_TO_CLIENT].from = &l->server;
    l->next = c->links;
    if (l->next)
        l->next->previous = l;
    c->links = l;
    return l;
}

static int dial(int port) {
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &(int){SEGMENT}, sizeof(int));
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 &&
        errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void link_open(struct chaos *c, int fd) {
    int server = dial(c->server_port);
    if (server < 0) {
        note_failure(c);
        close(fd);
        return;
    }
    struct link *l = link_take(c);
    l->client.fd = fd;
    l->server.fd = server;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    watch(c, &l->client);
    watch(c, &l->server);
}

static void link_close(struct link *l, bool reset) {
    struct chaos *c = l->chaos;
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct end *ends[] = {&l->client, &l->server};
    for (int i = 0; i < 2; i++) {
        if (reset)
            setsockopt(ends[i]->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(ends[i]->fd);
    }
    if (l->previous)
        l->previous->next = l->next;
    else
        c->links = l->next;
    if (l->next)
        l->next->previous = l->previous;
    l->next = c->pool;
    c->pool = l;
}

static void shrink(struct link *l, int fd) {
    int size = 1 << (12 + below(l, 5)); /* 4 KiB to 64 KiB; the kernel doubles it */
    if (below(l, 4) == 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (below(l, 4) == 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* What the key says, once it is there; an end without one has a fate of its own. */
static void look_at_key(struct link *l) {
    struct way *up = &l->ways[CHAOS_TO_SERVER];
    struct chaos_fate fate = {.seed = l->random, .reset_after = UINT64_MAX};
    if (!l->server.writable || (up->end < CHAOS_KEY && !up->eof))
        return;
    if (up->end >= CHAOS_KEY)
        fate = l->chaos->fate(up->data);
    l->known = true;
    l->random = fate.seed;
    l->quirks = fate.quirks;
    for (int i = 0; i < 2; i++) {
        l->ways[i].reset_after =
            fate.reset_way == (enum chaos_way)i ? fate.reset_after : UINT64_MAX;
        l->ways[i].mood = (unsigned)below(l, LARGEST_BITS + 1);
    }
    shrink(l, l->client.fd);
    shrink(l, l->server.fd);
}

/* --- ways ------------------------------------------------------------------------------------- */

static bool can_read(const struct way *way) {
    return way->from->readable && !way->eof && way->end < BUFFER;
}

static bool can_write(const struct link *l, const struct way *way) {
    return l->known && way->start < way->end && way->to->writable;
}

static bool can_end(const struct link *l, const struct way *way) {
    return l->known && way->eof && way->start == way->end && !way->shut;
}

static bool must_reset(const struct link *l, const struct way *way) {
    return l->known && way->forwarded == way->reset_after;
}

static bool has_to_do(const struct link *l, const struct way *way) {
    return can_read(way) || can_write(l, way) || can_end(l, way) || must_reset(l, way);
}

/* False: `from` was reset. */
static bool way_read(struct link *l, struct way *way) {
    size_t room = BUFFER - way->end, piece = l->known ? piece_of(l, way) : BUFFER;
    ssize_t n = recv(way->from->fd, way->data + way->end, piece < room ? piece : room, 0);
    if (n < 0)
        way->from->readable = false;
    if (n < 0 && errno != EAGAIN)
        return false;
    if (n == 0)
        way->eof = true;
    if (n > 0 && !way->discards)
        way->end += (size_t)n;
    return true;
}

/* False: `to` was reset. EPIPE is a reset that follows its end of output: what it sent before is
 * still to be read here. */
static bool way_write(struct link *l, struct way *way) {
    size_t held = way->end - way->start, piece = piece_of(l, way);
    uint64_t left = way->reset_after - way->forwarded;
    piece = piece < held ? piece : held;
    ssize_t n =
        send(way->to->fd, way->data + way->start, piece < left ? piece : left, MSG_NOSIGNAL);
    if (n < 0)
        way->to->writable = false;
    if (n < 0 && errno != EAGAIN && errno != EPIPE)
        return false;
    way->discards |= n < 0 && errno == EPIPE;
    if (n > 0) {
        way->start += (size_t)n;
        way->forwarded += (size_t)n;
    }
    if (way->start == way->end || way->discards)
        way->start = way->end = 0;
    return true;
}

static void way_rest(struct link *l, struct way *way) {
    if (l->quirks == 0)
        return;
    if (below(l, l->quirks) == 0) {
        way->turns = 1 + (unsigned)below(l, 8);
        l->chaos->stats.delays++;
    } else if (below(l, 50 * l->quirks) == 0) {
        way->turns = 100 + (unsigned)below(l, 200);
        l->chaos->stats.stalls++;
    }
}

enum verdict { GOES_ON, RESET, IS_RESET };

static enum verdict way_step(struct link *l, struct way *way, bool *moved) {
    if (!has_to_do(l, way))
        return GOES_ON;
    if (way->turns > 0) {
        way->turns--;
        return GOES_ON;
    }
    *moved = true;
    if (can_read(way) && !way_read(l, way))
        return IS_RESET;
    if (!l->known)
        look_at_key(l);
    if (!must_reset(l, way) && can_write(l, way) && !way_write(l, way))
        return IS_RESET;
    if (must_reset(l, way))
        return RESET;
    if (can_end(l, way)) {
        way->shut = true;
        (void)shutdown(way->to->fd, SHUT_WR); /* fails where `to` is gone */
    }
    way_rest(l, way);
    return GOES_ON;
}

/* One turn of a link. False: it has gone, or has nothing to do until an event comes. */
static bool link_step(struct link *l, bool *moved) {
    struct chaos *c = l->chaos;
    for (int i = 0; i < 2; i++) {
        enum verdict verdict = way_step(l, &l->ways[i], moved);
        if (verdict != GOES_ON) {
            c->stats.resets += verdict == RESET;
            c->stats.passed_on += verdict == IS_RESET;
            link_close(l, true);
            return false;
        }
    }
    if (l->ways[0].shut && l->ways[1].shut) {
        link_close(l, false);
        return false;
    }
    l->busy = has_to_do(l, &l->ways[0]) || has_to_do(l, &l->ways[1]);
    return l->busy;
}

/* --- the thread ------------------------------------------------------------------------------- */

static void accept_all(struct chaos *c) {
    int fd;
    while ((fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        link_open(c, fd);
    if (errno != EAGAIN && errno != ECONNABORTED)
        note_failure(c);
}

static void end_event(struct end *end, uint32_t events) {
    end->readable |= (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    end->writable |= (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    if (!end->link->known)
        look_at_key(end->link);
    make_busy(end->link);
}

/* Returns whether somebody did more than wait. */
static bool take_turn(struct chaos *c) {
    bool moved = false;
    size_t kept = 0;
    for (size_t i = 0; i < c->busy_count; i++)
        if (link_step(c->busy[i], &moved))
            c->busy[kept++] = c->busy[i];
    c->busy_count = kept;
    return moved;
}

static void *run(void *arg) {
    struct chaos *c = arg;
    struct epoll_event events[BATCH];
    int timeout_ms = -1;
    for (;;) {
        int n = epoll_wait(c->epoll, events, BATCH, timeout_ms);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &c->stop)
                return NULL;
            if (events[i].data.ptr == &c->listener)
                accept_all(c);
            else
                end_event(events[i].data.ptr, events[i].events);
        }
        bool moved = take_turn(c);
        timeout_ms = moved ? 0 : c->busy_count ? 1 : -1;
    }
}

static void watch_own(struct chaos *c, int *fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    CHECK_EQ(epoll_ctl(c->epoll, EPOLL_CTL_ADD, *fd, &event), 0);
}

struct chaos *chaos_begin(int server_port, struct chaos_fate (*fate)(const uint8_t *key)) {
    struct chaos *c = checked(calloc(1, sizeof *c));
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    c->server_port = server_port;
    c->fate = fate;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->stop = eventfd(0, EFD_CLOEXEC);
    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(c->epoll >= 0 && c->stop >= 0 && c->listener >= 0);
    CHECK_EQ(bind(c->listener, (struct sockaddr *)&name, sizeof name), 0);
    CHECK_EQ(setsockopt(c->listener, IPPROTO_TCP, TCP_MAXSEG, &(int){SEGMENT}, sizeof(int)), 0);
    CHECK_EQ(listen(c->listener, SOMAXCONN), 0);
    CHECK_EQ(getsockname(c->listener, (struct sockaddr *)&name, &size), 0);
    c->port = ntohs(name.sin_port);
    watch_own(c, &c->listener);
    watch_own(c, &c->stop);
    CHECK_EQ(pthread_create(&c->thread, NULL, run, c), 0);
    return c;
}

int chaos_port(const struct chaos *chaos) {
    return chaos->port;
}

struct chaos_stats chaos_end(struct chaos *chaos) {
    CHECK_EQ(write(chaos->stop, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
    CHECK_EQ(pthread_join(chaos->thread, NULL), 0);
    CHECK_MSG(chaos->failure == 0, "the proxy failed: %s", strerror(chaos->failure));
    while (chaos->links)
        link_close(chaos->links, true);
    for (struct link *l; (l = chaos->pool) != NULL;) {
        chaos->pool = l->next;
        free(l);
    }
    close(chaos->epoll);
    close(chaos->listener);
    close(chaos->stop);
    const struct chaos_stats stats = chaos->stats;
    free(chaos->busy);
    free(chaos);
    return stats;
}
