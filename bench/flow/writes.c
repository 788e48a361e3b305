/* stream_write: what it costs the writer's thread to send what one callback writes. A raw loop
 * looks at its epoll set once per turn, as the others do.
 *
 * tcp_write_batch: libuv's benchmark of this name, shorter: very many small writes at once, and
 * then until all have arrived. */
#include "flow/writes.h"

#include "flow/flow.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum { IOV_AT_ONCE = 1024 };

const char writes_data[4096];
const struct writes *writes;

static unsigned turns_made;
static double begin, cpu_begin, cpu_end, *arrived; /* shared with the peer */

static void drain(int socket, const void *arg) {
    const struct writes *w = arg;
    flow_receive(socket, w->bytes * w->per_turn * w->turns);
    *arrived = bench_seconds();
}

int writes_connect(const struct writes *load) {
    writes = load;
    arrived = apart_shared(sizeof *arrived);
    return flow_connect(drain, load);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void writes_begin(void) {
    flow_pin(0);
    begin = bench_seconds();
    cpu_begin = cpu_seconds();
}

bool writes_again(void) {
    return turns_made++ < writes->turns;
}

void writes_end(void) {
    cpu_end = cpu_seconds();
}

double writes_figure(void) {
    if (writes->turns == 1)
        return writes->per_turn / (*arrived - begin) / 1e6;
    return (cpu_end - cpu_begin) * 1e9 / writes->turns;
}

/* --- by hand ---------------------------------------------------------------------------------- */

static struct iovec pieces[IOV_AT_ONCE];

/* All or nothing fits mostly; else what is left is sent when there is room. */
static void send_pieces(int fd, unsigned count) {
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    for (size_t left = count * writes->bytes; left > 0;) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            must_call("poll", poll(&room, 1, -1));
            continue;
        }
        left -= (size_t)must_call("sendmsg", (int)n);
        size_t sent = count * writes->bytes - left;
        size_t done = sent / writes->bytes, part = sent % writes->bytes;
        message.msg_iov = pieces + done;
        message.msg_iovlen = count - done;
        if (part > 0)
            pieces[done] =
                (struct iovec){(char *)(uintptr_t)writes_data + part, writes->bytes - part};
    }
}

static double by_hand(const struct writes *load, unsigned pieces_at_once) {
    int epoll = must_call("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    int fd = writes_connect(load);
    struct epoll_event event = {.events = EPOLLIN};
    must_call("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    writes_begin();
    while (writes_again()) {
        for (unsigned made = 0, count; made < writes->per_turn; made += count) {
            count = writes->per_turn - made;
            count = count < pieces_at_once ? count : pieces_at_once;
            for (unsigned i = 0; i < count; i++)
                pieces[i] = (struct iovec){(char *)(uintptr_t)writes_data, writes->bytes};
            send_pieces(fd, count);
        }
        must_call("epoll_wait", epoll_wait(epoll, &event, 1, 0));
    }
    must_call("epoll_wait", epoll_wait(epoll, &event, 1, -1));
    writes_end();
    return writes_figure();
}

double writes_send(const void *arg) {
    return by_hand(arg, 1);
}

double writes_writev(const void *arg) {
    return by_hand(arg, IOV_AT_ONCE);
}

void register_writes(void) {
    static const struct writes loads[] = {{"small_each", 40000, 1, 64},
                                          {"coalesced", 10000, 16, 64},
                                          {"large", 20000, 1, sizeof writes_data}};
    static const struct writes batch = {"arrived", 1, 100000, 16};
    static const struct contender contenders[] = {
        {"weft", writes_weft},         {"raw", writes_send},
        {"raw_writev", writes_writev},
#ifdef WEFT_BENCH_UV
        {"libuv", writes_uv},          {"libuv_try_write", writes_uv_try},
#endif
    };
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        contest_register(&(struct contest){.family = "stream_write",
                                           .cases = {{loads[i].name, NS}},
                                           .arg = &loads[i],
                                           CONTENDERS(contenders)});
    contest_register(&(struct contest){.family = "tcp_write_batch",
                                       .cases = {{batch.name, MILLIONS_PER_S}},
                                       .arg = &batch,
                                       CONTENDERS(contenders)});
}
