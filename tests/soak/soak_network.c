#include "soak_network.h"

#include "chaos.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_BITS = 16, LISTEN_BACKLOG = 4096 };

static pid_t network;
static int to_network = -1, from_network = -1;
static int hostile_listener = -1; /* kept over the epochs: what comes in between waits there */
static char hostile_address[64], path_address[64];
static const char *addresses[WAYS];

struct plan plan_of(uint64_t number) {
    uint64_t state = mix(soak_seed ^ mix(number));
    struct plan p = {.is_long = number & 1, .key = mix(state), .reset_after = UINT64_MAX};
    p.ending = p.is_long ? HALF : (enum ending)roll(&state, ENDINGS);
    p.length = p.is_long ? UINT64_MAX : roll(&state, UINT64_C(1) << roll(&state, LONGEST_BITS));
    if (p.ending == IDLE)
        p.length = 0;
    p.stop_at = p.is_long ? 0 : roll(&state, p.length + 1);
    if (!p.is_long && roll(&state, 4) == 0)
        p.reset_after = roll(&state, CHAOS_KEY + p.length);
    return p;
}

/* --- the hostile network ---------------------------------------------------------------------- */

static struct chaos_fate fate_of(const uint8_t *key) {
    uint64_t number;
    memcpy(&number, key, sizeof number);
    return (struct chaos_fate){.seed = mix(number) | 1,
                               .reset_after = plan_of(number).reset_after,
                               .reset_way = CHAOS_TO_SERVER,
                               .quirks = 8 + (unsigned)(mix(~number) % 32)};
}

_Noreturn static void network_run(int server_port, int from, int to) {
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct chaos *chaos = chaos_begin(server_port, fate_of);
    int port = chaos_port(chaos);
    bool told = write(to, &port, sizeof port) == sizeof port;
    while (told && read(from, &byte, 1) < 0 && errno == EINTR)
        ;
    struct chaos_stats stats = chaos_end(chaos);
    told = write(to, &stats, sizeof stats) == sizeof stats;
    _exit(!told);
}

static int listen_anywhere(int *ret_port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 || listen(fd, LISTEN_BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) < 0)
        abort();
    *ret_port = ntohs(name.sin_port);
    return fd;
}

void network_begin(void) {
    int there[2], back[2], port = 0;
    hostile_listener = listen_anywhere(&port);
    if (pipe(there) < 0 || pipe(back) < 0 || (network = fork()) < 0)
        abort();
    if (network == 0) {
        close(there[1]);
        close(back[0]);
        close(hostile_listener);
        network_run(port, there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    to_network = there[1];
    from_network = back[0];
    if (read(from_network, &port, sizeof port) != sizeof port)
        abort();
    snprintf(hostile_address, sizeof hostile_address, "127.0.0.1:%d", port);
    snprintf(path_address, sizeof path_address, "unix:/tmp/weft-soak-%d.sock", getpid());
    addresses[HOSTILE] = hostile_address;
    addresses[BY_PATH] = path_address;
}

void network_end(void) {
    struct chaos_stats stats;
    int status = -1;
    close(to_network);
    close(hostile_listener);
    if (read(from_network, &stats, sizeof stats) == sizeof stats)
        printf("hostile network: %ju connections, %ju resets, %ju passed on, %ju pieces, "
               "%ju delays, %ju stalls\n",
               (uintmax_t)stats.connections, (uintmax_t)stats.resets, (uintmax_t)stats.passed_on,
               (uintmax_t)stats.pieces, (uintmax_t)stats.delays, (uintmax_t)stats.stalls);
    close(from_network);
    if (waitpid(network, &status, 0) != network || status != 0)
        soak_fail("streams: the hostile network ends with %#x", (unsigned)status);
}

/* --- listeners -------------------------------------------------------------------------------- */

void network_listen(const weft_protocol *server) {
    weft_listener *direct = NULL;
    int shared = dup(hostile_listener);
    int r = weft_listen(epoch.rt, "127.0.0.1:0", server, NULL, &direct);
    if (r == 0)
        r = weft_listen(epoch.rt, path_address, server, NULL, NULL);
    if (r == 0)
        r = weft_listen_fd(epoch.rt, shared, server, NULL, NULL);
    if (r != 0)
        soak_fail("streams: listening gets %d", r);
    addresses[DIRECT] = weft_listener_address(direct);
}

const char *network_address(enum way way) {
    return addresses[way];
}
