#include "accept/accept.h"
#include "common/apart.h"
#include "common/rounds.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHURN_SECONDS 0.2
#define ASK_SECONDS 0.004

enum { LONG_LIVED = 64, STANDING = 8, ASKING = 40, CHURNERS = 4 };

static int dial(const struct target *t) {
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)atomic_load(&t->board->port)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = must_call("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must_call("connect", connect(fd, (const struct sockaddr *)&to, sizeof to));
    return fd;
}

static void ask(int fd, char what) {
    must_call("send", (int)send(fd, &what, 1, MSG_NOSIGNAL));
}

static void get(int fd) {
    char byte;
    must_call("recv", recv(fd, &byte, 1, 0) == 1 ? 0 : -1);
}

/* With a reset, so that thousands of them leave no TIME_WAIT behind. */
static void hang_up(int fd) {
    const struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void spread(const struct target *t, double *figures) {
    unsigned most = 0, fewest = LONG_LIVED;
    for (unsigned i = 0; i < t->workers; i++) {
        unsigned open = atomic_load(&t->board->open[i]);
        most = open > most ? open : most;
        fewest = open < fewest ? open : fewest;
    }
    figures[0] = most - fewest;
    figures[1] = 100.0 * most / LONG_LIVED;
}

static void all_at_once(const struct target *t, int *fds, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        fds[i] = dial(t);
    for (unsigned i = 0; i < n; i++)
        ask(fds[i], 'x');
    for (unsigned i = 0; i < n; i++)
        get(fds[i]);
}

static void close_all(const int *fds, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

void client_at_once(const struct target *t, double *figures) {
    int fds[LONG_LIVED];
    all_at_once(t, fds, LONG_LIVED);
    spread(t, figures);
    close_all(fds, LONG_LIVED);
}

void client_one_by_one(const struct target *t, double *figures) {
    int fds[LONG_LIVED];
    for (unsigned i = 0; i < LONG_LIVED; i++)
        all_at_once(t, &fds[i], 1);
    spread(t, figures);
    close_all(fds, LONG_LIVED);
}

/* One of eight connections keeps its worker for a while, during which forty others come. */
void client_stuck(const struct target *t, double *figures) {
    struct pollfd asked[ASKING];
    double at[ASKING];
    int standing[STANDING];
    for (unsigned i = 0; i < STANDING; i++)
        all_at_once(t, &standing[i], 1);
    double begin = bench_seconds(), end = begin + STUCK_MS / 1e3;
    ask(standing[STANDING / 2], 'S');
    figures[0] = figures[1] = figures[2] = 0;
    for (unsigned made = 0, answered = 0; answered < ASKING;) {
        double now = bench_seconds(), next = begin + (made + 1) * ASK_SECONDS;
        if (made < ASKING && now >= next) {
            asked[made] = (struct pollfd){.fd = dial(t), .events = POLLIN};
            at[made] = bench_seconds();
            ask(asked[made++].fd, 'x');
            continue;
        }
        poll(asked, made, made < ASKING ? 1 : -1);
        now = bench_seconds();
        for (unsigned i = 0; i < made; i++) {
            if (asked[i].fd < 0 || asked[i].revents == 0)
                continue;
            double wait_ms = (now - at[i]) * 1e3;
            figures[0] += now >= end && at[i] < end;
            figures[1] += wait_ms > 10;
            figures[2] = wait_ms > figures[2] ? wait_ms : figures[2];
            asked[i].fd = -asked[i].fd; /* answered; it stays until the end */
            answered++;
        }
    }
    close_all(standing, STANDING);
    for (unsigned i = 0; i < ASKING; i++)
        close(-asked[i].fd);
}

struct churner {
    const struct target *target;
    double until;
    unsigned long made;
};

static void *churn(void *arg) {
    struct churner *c = arg;
    for (int fd; bench_seconds() < c->until; c->made++) {
        all_at_once(c->target, &fd, 1);
        hang_up(fd);
    }
    return NULL;
}

static double cpu_seconds(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    must("clock_getcpuclockid", -clock_getcpuclockid(pid, &clock));
    must_call("clock_gettime", clock_gettime(clock, &t));
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void client_churn(const struct target *t, double *figures) {
    pthread_t ids[CHURNERS];
    struct churner churners[CHURNERS];
    unsigned long made = 0;
    double cpu = cpu_seconds(t->pid), begin = bench_seconds();
    for (unsigned i = 0; i < CHURNERS; i++) {
        churners[i] = (struct churner){.target = t, .until = begin + CHURN_SECONDS};
        must("pthread_create", -pthread_create(&ids[i], NULL, churn, &churners[i]));
    }
    for (unsigned i = 0; i < CHURNERS; i++) {
        pthread_join(ids[i], NULL);
        made += churners[i].made;
    }
    figures[0] = (double)made / (bench_seconds() - begin);
    figures[1] = (cpu_seconds(t->pid) - cpu) * 1e6 / (double)made;
    figures[2] = (double)made; /* the server knows at its end how many were handed over */
}
