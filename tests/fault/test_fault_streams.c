/* Each call on a stream, as a task of its worker, with each of its system calls and allocations
 * failing: exactly that -errno or what is documented, nothing else changed, and then it works. What
 * was accepted, and nothing else, arrives at the peer. */
#include "net_world.h"

#include <sys/mman.h>

enum { LARGE = 200000 };

static weft_stream *stream;
static int peer, file = -1;
static size_t accepted; /* bytes */
static uint8_t bytes[4 * LARGE];
static _Atomic unsigned lent, given_back, drained, closed;

static void pair_drained(weft_stream *s) {
    (void)s;
    atomic_fetch_add(&drained, 1);
}

static void pair_closed(weft_stream *s, int error) {
    (void)s;
    NOTE_EQ(error, 0);
    atomic_fetch_add(&closed, 1);
}

static size_t pair_data(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s, (void)data;
    return len;
}

/* With on_drain a write that was refused does not end the stream; with these limits it comes in
 * the next iteration. */
static const weft_protocol pair_protocol = {.on_data = pair_data,
                                            .on_drain = pair_drained,
                                            .on_close = pair_closed,
                                            .high_water = SIZE_MAX};

/* Adopted, and its interest settled. */
static void *open_pair(void) {
    int fds[2];
    net_world_open(2);
    net_pair(fds);
    net_fill(bytes, sizeof bytes, 0);
    peer = fds[0];
    stream = net_adopt(&world, fds[1], &pair_protocol);
    rt_turns(net_worker_at(&world, 0), 3);
    accepted = 0;
    atomic_store(&lent, 0), atomic_store(&given_back, 0), atomic_store(&closed, 0);
    return &world;
}

/* More than the kernel takes: what is written now waits behind it. */
static void fill_up(void *unused) {
    (void)unused;
    CHECK_EQ(weft_stream_write(stream, bytes, 2 * LARGE), 0);
    accepted = 2 * LARGE;
}

static void *open_blocked(void) {
    const int small = 4096;
    (void)open_pair();
    CHECK_EQ(setsockopt(weft_stream_fd(stream), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    net_world_on_worker(NULL, fill_up, NULL);
    rt_turns(net_worker_at(&world, 0), 3);
    return &world;
}

static void close_stream(void *unused) {
    (void)unused;
    weft_stream_close(stream);
}

static void close_pair(void *unused) {
    static uint8_t got[sizeof bytes];
    rt_turns(net_worker_at(&world, 0), 2); /* one that moves has left */
    rt_call(weft_stream_worker(stream), close_stream, NULL);
    net_get(peer, got, accepted);
    CHECK(memcmp(got, bytes, accepted) == 0);
    net_expect_end(peer);
    close(peer);
    net_await_open(&world, 1);
    CHECK_EQ(atomic_load(&closed), 1);
    CHECK_EQ(atomic_load(&given_back), atomic_load(&lent));
    net_world_close(unused);
}

/* --- the calls ------------------------------------------------------------------------------- */

static int write_small(void *unused) {
    (void)unused;
    int r = weft_stream_write(stream, bytes + accepted, 100);
    accepted += r == 0 ? 100 : 0;
    return r;
}

static int write_large(void *unused) {
    (void)unused;
    int r = weft_stream_write(stream, bytes + accepted, LARGE);
    accepted += r == 0 ? LARGE : 0;
    return r;
}

static int write_pieces(void *unused) {
    const struct iovec iov[] = {{bytes + accepted, 10}, {bytes + accepted + 10, LARGE - 10}};
    (void)unused;
    int r = weft_stream_writev(stream, iov, 2);
    accepted += r == 0 ? LARGE : 0;
    return r;
}

static void give_back(void *arg) {
    (void)arg;
    atomic_fetch_add(&given_back, 1);
}

static int lend(void *unused) {
    (void)unused;
    int r = weft_stream_write_ref(stream, bytes + accepted, LARGE, give_back, NULL);
    accepted += r == 0 ? LARGE : 0;
    lent += r == 0;
    return r;
}

static int send_file(void *unused) {
    (void)unused;
    int r = weft_stream_sendfile(stream, file, (off_t)accepted, LARGE);
    accepted += r == 0 ? LARGE : 0;
    return r;
}

static int flush(void *unused) {
    int r = write_small(unused);
    weft_stream_flush(stream);
    return r;
}

static int names(void *unused) {
    char name[80] = "?";
    (void)unused;
    int r = weft_stream_peer(stream, name, sizeof name);
    if (r == 0)
        r = weft_stream_local(stream, name, sizeof name);
    return r;
}

static int id(void *unused) {
    weft_stream_id none = {0}, it = weft_stream_id_of(stream);
    (void)unused;
    return memcmp(&it, &none, sizeof it) == 0 ? -ENOMEM : 0;
}

static int send_by_id(void *unused) {
    weft_stream_id it = weft_stream_id_of(stream);
    (void)unused;
    int r = weft_send(world.runtime, it, bytes + accepted, 100);
    accepted += r == 0 ? 100 : 0;
    return r;
}

static int begin_move(void *unused) {
    (void)unused;
    return weft_stream_move(stream, net_worker_at(&world, 1));
}

static int change(void *unused) {
    (void)unused;
    weft_stream_pause(stream);
    weft_stream_set_idle_timeout(stream, 1000 * NSEC_PER_SEC);
    weft_stream_resume(stream);
    weft_stream_set_protocol(stream, &pair_protocol, NULL);
    return weft_stream_shutdown(stream);
}

/* Before it is made again, on_drain must have come, if a write was refused. An id of zero is all
 * that tells of any failure to make one. */
static bool drains(void *unused, const struct sweep_fault *f, int r) {
    (void)unused;
    rt_turns(net_worker_at(&world, 0), 4);
    bool no_id = f->call == OS_MMAP || f->call == OS_ALLOC;
    return r == f->error || (no_id && (r == -ENOMEM || r == -ENOENT));
}

#define CALL(name_, open_, operate_, least_)                                                       \
    WTEST(fault_streams, name_) {                                                                  \
        static const struct sweep sweep = {.name = "stream: " #name_,                              \
                                           .scope = SWEEP_CALLER,                                  \
                                           .least = least_,                                        \
                                           .open = open_,                                          \
                                           .operate = operate_,                                    \
                                           .close = close_pair,                                    \
                                           .on_thread = net_world_on_worker,                       \
                                           .is_answer = drains,                                    \
                                           .may_fail = memory_fails,                               \
                                           .snapshot = world_snapshot,                             \
                                           .keeps_memory = true};                                  \
        file = memfd_create("file", MFD_CLOEXEC);                                                  \
        net_fill(bytes, sizeof bytes, 0);                                                          \
        CHECK_EQ(write(file, bytes, sizeof bytes), (ssize_t)sizeof bytes);                         \
        sweep_run(&sweep);                                                                         \
    }

/* What the socket says ends the stream, which whole connections show. */
static bool memory_fails(enum os_call call, int error) {
    (void)error;
    return call != OS_SEND && call != OS_SENDMSG && call != OS_SENDFILE && call != OS_WRITE;
}

CALL(write, open_pair, write_small, 1)
CALL(write_large, open_blocked, write_large, 1)
CALL(writev, open_blocked, write_pieces, 1)
CALL(write_ref, open_pair, lend, 1)
CALL(write_ref_behind_others, open_blocked, lend, 1)
CALL(sendfile, open_pair, send_file, 3)
CALL(flush, open_pair, flush, 0)
CALL(names, open_pair, names, 2)
CALL(id, open_pair, id, 1)
CALL(send_by_id, open_pair, send_by_id, 1)
CALL(move, open_pair, begin_move, 1)
CALL(change, open_pair, change, 0)
