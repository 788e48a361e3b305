/* The three ways on bare epoll. Balancing is the same in each, and as simple as it may be: the
 * fd goes by a stack and an eventfd to the emptier of two others (the acceptor knows no others:
 * to the emptiest), and what was not taken after 50 ms is taken back. */
#include "accept/accept.h"
#include "common/apart.h"
#include "common/rounds.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TAKE_BACK_SECONDS 0.05

enum { SENT, TAKEN, BACK };

struct message {
    struct message *next; /* of the receiver's stack */
    struct message *sent; /* of the sender's list, oldest first */
    struct worker *to;
    double overdue;
    int fd;
    atomic_int state; /* whoever exchanges it second frees the message */
};

struct worker {
    int epoll, listening, wake;
    unsigned index;
    struct message *sent, **sent_end;
    _Alignas(128) _Atomic(struct message *) inbox;
    atomic_uint load; /* connections here or on their way here */
    atomic_bool is_slow;
};

static const struct server *server;
static struct board *board;
static unsigned count;                         /* of workers that serve */
static struct worker workers[WORKERS_MAX + 1]; /* the acceptor behind them */
static atomic_uint turn;

static void watch(struct worker *w, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    must_call("epoll_ctl", epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event));
}

static void settle(struct worker *w, int fd) {
    atomic_fetch_add(&board->open[w->index], 1);
    watch(w, fd, EPOLLIN);
}

static struct worker *emptiest(struct worker *best, unsigned first, unsigned looks) {
    unsigned least = best ? atomic_load(&best->load) : ~0u;
    for (unsigned i = 0; i < looks; i++) {
        struct worker *other = &workers[(first + i) % count];
        unsigned load = atomic_load(&other->load);
        if (load < least && !atomic_load(&other->is_slow)) {
            least = load;
            best = other;
        }
    }
    return best;
}

static struct worker *choose(struct worker *w) {
    bool serves = server->way != ACCEPTOR;
    if (serves && !server->balances)
        return w;
    unsigned first = atomic_fetch_add(&turn, 1);
    struct worker *to = server->balances ? emptiest(serves ? w : NULL, first, serves ? 2 : count)
                                         : &workers[first % count];
    return to ? to : &workers[first % count]; /* all are slow */
}

static void hand(struct worker *w, struct worker *to, int fd) {
    struct message *m = malloc(sizeof *m);
    must_call("malloc", m ? 0 : -1);
    *m = (struct message){.to = to, .fd = fd, .overdue = bench_seconds() + TAKE_BACK_SECONDS};
    if (server->balances) {
        *w->sent_end = m;
        w->sent_end = &m->sent;
    }
    atomic_fetch_add(&board->handed, 1);
    struct message *head = atomic_load(&to->inbox);
    do
        m->next = head;
    while (!atomic_compare_exchange_weak(&to->inbox, &head, m));
    if (!head)
        must_call("eventfd", (int)write(to->wake, &(uint64_t){1}, sizeof(uint64_t)));
}

static void place(struct worker *w, int fd) {
    struct worker *to = choose(w);
    atomic_fetch_add(&to->load, 1);
    if (to == w)
        settle(w, fd);
    else
        hand(w, to, fd);
}

static void take(struct worker *w) {
    uint64_t wakes;
    (void)!read(w->wake, &wakes, sizeof wakes);
    struct message *m = atomic_exchange(&w->inbox, NULL), *next;
    atomic_store(&w->is_slow, false);
    for (; m; m = next) {
        next = m->next;
        int fd = m->fd;
        bool is_mine = atomic_exchange(&m->state, TAKEN) == SENT;
        if (is_mine)
            settle(w, fd);
        if (!is_mine || !server->balances)
            free(m);
    }
}

static void take_back(struct worker *w) {
    for (struct message *m; (m = w->sent) && m->overdue <= bench_seconds();) {
        struct worker *to = m->to;
        int fd = m->fd;
        w->sent = m->sent;
        if (!w->sent)
            w->sent_end = &w->sent;
        if (atomic_exchange(&m->state, BACK) == TAKEN) {
            free(m);
            continue;
        }
        atomic_store(&to->is_slow, true);
        atomic_fetch_sub(&to->load, 1);
        place(w, fd);
    }
}

static void peer_ready(struct worker *w, int fd) {
    char bytes[64];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) {
        close(fd);
        atomic_fetch_sub(&w->load, 1);
        atomic_fetch_sub(&board->open[w->index], 1);
        return;
    }
    if (bytes[0] == 'S')
        usleep(STUCK_MS * 1000);
    (void)!send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct epoll_event events[64];
    for (;;) {
        double left_ms = w->sent ? (w->sent->overdue - bench_seconds()) * 1e3 + 1 : -1;
        int n = epoll_wait(w->epoll, events, 64, w->sent && left_ms < 0 ? 0 : (int)left_ms);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == w->wake) {
                take(w);
            } else if (fd != w->listening) {
                peer_ready(w, fd);
            } else if ((fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                place(w, fd);
            }
        }
        take_back(w);
    }
    return NULL;
}

static int listen_on(struct sockaddr_in *address) {
    socklen_t size = sizeof *address;
    int fd = must_call("socket", socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (server->way == REUSEPORT)
        must_call("SO_REUSEPORT", setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
    must_call("bind", bind(fd, (struct sockaddr *)address, size));
    must_call("listen", listen(fd, 4096));
    must_call("getsockname", getsockname(fd, (struct sockaddr *)address, &size));
    return fd;
}

static void worker_start(struct worker *w, int listening) {
    pthread_t id;
    w->index = (unsigned)(w - workers);
    w->sent_end = &w->sent;
    w->listening = listening;
    w->epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    w->wake = must_call("eventfd", eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    watch(w, w->wake, EPOLLIN);
    if (listening >= 0)
        watch(w, listening, server->way == SHARED ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN);
    must("pthread_create", -pthread_create(&id, NULL, work, w));
}

void serve_epoll(const struct server *s, unsigned worker_count, struct board *b) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server = s;
    board = b;
    count = worker_count;
    int fd = listen_on(&address);
    for (unsigned i = 0; i < count; i++) {
        int mine = s->way == REUSEPORT && i > 0 ? listen_on(&address) : fd;
        worker_start(&workers[i], s->way == ACCEPTOR ? -1 : mine);
    }
    if (s->way == ACCEPTOR)
        worker_start(&workers[count], fd);
    atomic_store(&b->port, ntohs(address.sin_port));
    for (;;)
        pause();
}
