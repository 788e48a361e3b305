/* Whole connections, of which each call of the workers fails once. Either the client gets every
 * byte, or the stream closes once with exactly that error; the neighbour's connection and the
 * listener go on, and the next connection is served. */
#include "net_world.h"

static void *open_one(void) {
    return net_world_open(1);
}

static void *open_two(void) {
    return net_world_open(2);
}

/* What the stream's own calls on its socket answer; the rest is in is_answer(). */
static int answer_of_transfer(int error) {
    if (error == -EAGAIN || error == -EINTR)
        return 0;
    return error == -EPIPE ? -ECONNRESET : error; /* EPIPE is what the program ends: stream.h */
}

static bool lingers; /* the server closes first: what it reads then is nobody's, errors neither */

static bool is_answer(void *unused, const struct sweep_fault *f, int r) {
    (void)unused;
    world_neighbour_lives();
    switch (f->call) {
    case OS_RECV:
        if (lingers && r == 0)
            return true;
        __attribute__((fallthrough));
    case OS_SEND:
    case OS_SENDMSG:
    case OS_SENDFILE: return r == answer_of_transfer(f->error);
    /* A connection that cannot become a stream is reset, and one that cannot be watched any more
     * ends; to leave the set always succeeds. */
    case OS_EPOLL_CTL:
        /* What is there and cannot be replaced: kernel_add(). */
        if (f->error == -EEXIST && r == -ENOENT)
            return true;
        return r == LIFE_REFUSED || r == f->error || r == 0;
    /* A write that finds no memory is refused, which ends a stream without on_drain; a move that
     * does is one that the server gives up on. */
    case OS_ALLOC:
        return r == LIFE_REFUSED || r == -ENOMEM || r == -ENOBUFS || r == -ECONNRESET || r == 0;
    /* A file that cannot be sent: the server gives up; refused, as a write, without a duplicate. */
    case OS_FSTAT: return r == -ECONNRESET;
    case OS_DUP: return r == -ENOBUFS;
    /* Accepted later; waited for again; a reset that is a plain end; told by recv(). */
    default: return r == 0;
    }
}

/* Where the client waits a second for a stream that lingers, or a tenth for one to be accepted,
 * once is enough. The write that wakes a worker cannot fail (inbox_push()), and would be missed. */
static bool accept_fails;

static bool may_fail(enum os_call call, int error) {
    if (call == OS_WRITE || call == OS_READ)
        return false;
    return call == OS_ACCEPT ? accept_fails : call != OS_SHUTDOWN || error == -ENOTCONN;
}

#define LIFE(name_, workers_, script_, least_)                                                     \
    static int name_##_life(void *unused) {                                                        \
        (void)unused;                                                                              \
        return life(script_);                                                                      \
    }                                                                                              \
    WTEST(fault_life, name_) {                                                                     \
        static const struct sweep sweep = {.name = "life: " #name_,                                \
                                           .scope = SWEEP_WORKERS,                                 \
                                           .least = least_,                                        \
                                           .open = open_##workers_,                                \
                                           .operate = name_##_life,                                \
                                           .close = net_world_close,                               \
                                           .may_fail = may_fail,                                   \
                                           .is_answer = is_answer,                                 \
                                           .snapshot = world_snapshot,                             \
                                           .keeps_memory = true,                                   \
                                           .repeats = true};                                       \
        lingers = strchr(script_, 'c') != NULL;                                                    \
        accept_fails = strchr(script_, 'h') != NULL;                                               \
        sweep_run(&sweep);                                                                         \
    }

LIFE(echo, one, "eh", 10)
LIFE(closed_by_the_server, one, "ec", 10)
LIFE(much_output, one, "b", 10)
LIFE(lent_output, one, "r", 10)
LIFE(file, one, "f", 10)
LIFE(handed_over, two, "e", 10)
LIFE(moved, two, "mm", 10)
