#include "flow/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 256 << 10, TRIPS_PER_LOOK = 64 /* at the clock */ };

static cpu_set_t allowed;

void flow_prepare(void) {
    must_call("sched_getaffinity", sched_getaffinity(0, sizeof allowed, &allowed));
}

void flow_pin(unsigned number) {
    cpu_set_t chosen;
    for (size_t cpu = 0, left = number + 1; cpu < CPU_SETSIZE && left > 0; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            CPU_ZERO(&chosen);
            CPU_SET(cpu, &chosen);
            left--;
        }
    must_call("sched_setaffinity", sched_setaffinity(0, sizeof chosen, &chosen));
}

bool trips_again(struct trips *t) {
    if (++t->count % TRIPS_PER_LOOK != 0)
        return true;
    t->end = bench_seconds();
    if (t->begin == 0) {
        t->begin = t->end;
        t->count = 0;
    }
    return t->end - t->begin < t->seconds;
}

double trips_us_each(const struct trips *t) {
    return (t->end - t->begin) * 1e6 / t->count;
}

static int tcp_socket(void) {
    const int on = 1;
    int fd = must_call("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must_call("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    return fd;
}

static int listen_here(struct sockaddr_in *ret_address) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = tcp_socket();
    must_call("bind", bind(listener, (const struct sockaddr *)&address, size));
    must_call("listen", listen(listener, 1));
    must_call("getsockname", getsockname(listener, (struct sockaddr *)&address, &size));
    *ret_address = address;
    return listener;
}

static int connect_to(const struct sockaddr_in *address) {
    int fd = tcp_socket();
    must_call("connect", connect(fd, (const struct sockaddr *)address, sizeof *address));
    return fd;
}

static int accept_from(int listener) {
    int fd = must_call("accept4", accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    close(listener);
    return fd;
}

int flow_connect(void (*peer)(int socket, const void *arg), const void *arg) {
    struct sockaddr_in address;
    int listener = listen_here(&address);
    if (must_call("fork", fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        flow_pin(1);
        peer(connect_to(&address), arg);
        _exit(EXIT_SUCCESS);
    }
    return accept_from(listener);
}

void flow_pair(int ends[2]) {
    struct sockaddr_in address;
    int listener = listen_here(&address);
    ends[0] = connect_to(&address);
    must_call("fcntl", fcntl(ends[0], F_SETFL, O_NONBLOCK));
    ends[1] = accept_from(listener);
}

void flow_receive(int socket, size_t bytes) {
    static char buffer[RECEIVE_BYTES];
    while (bytes > 0) {
        ssize_t n = must_call("recv", (int)recv(socket, buffer, sizeof buffer, 0));
        must("more bytes", n > 0 && (size_t)n <= bytes ? 0 : -EPROTO);
        bytes -= (size_t)n;
    }
}

size_t flow_ignore(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s;
    (void)data;
    return len;
}
