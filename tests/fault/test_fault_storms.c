/* Nothing fails for good, but nothing comes as one would like it: single bytes, EAGAIN again and
 * again, and events that are not true, come twice, late or in another order. Every byte arrives. */
#include "net_world.h"
#include "random.h"

static pthread_mutex_t random_lock = PTHREAD_MUTEX_INITIALIZER; /* workers share the sequence */

static uint64_t draw(uint64_t limit) {
    pthread_mutex_lock(&random_lock);
    uint64_t drawn = random_below(limit);
    pthread_mutex_unlock(&random_lock);
    return drawn;
}

static void lives(uint64_t seed) {
    static const char *const scripts[] = {"hbe", "rc", "fe", "mhm", "brf"};
    char then[2048] = "", now[2048] = "";
    net_world_open(2);
    (void)world_snapshot(NULL, then, sizeof then - 1);
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        int r = life(scripts[i]);
        CHECK_MSG(r == 0, "seed %llu, %s: %d", (unsigned long long)seed, scripts[i], r);
        world_neighbour_lives();
    }
    for (int turn = 0; turn < 1000 && strcmp(now, then) != 0; turn++)
        (void)world_snapshot(NULL, memset(now, 0, sizeof now), sizeof now - 1);
    CHECK_STR(now, then);
    net_world_close(NULL);
}

/* --- lengths --------------------------------------------------------------------------------- */

static size_t few_bytes(enum os_call call, size_t length) {
    bool is_stream =
        call == OS_RECV || call == OS_SEND || call == OS_SENDMSG || call == OS_SENDFILE;
    return is_stream && weft_worker_current() && length > 0 ? 1 + draw(64) % length : length;
}

static size_t one_byte(enum os_call call, size_t length) {
    bool is_stream =
        call == OS_RECV || call == OS_SEND || call == OS_SENDMSG || call == OS_SENDFILE;
    return is_stream && weft_worker_current() && length > 0 ? 1 : length;
}

WTEST(fault_storms, single_bytes) {
    seam_length_fn = one_byte;
    net_world_open(2);
    CHECK_EQ(life("hehm"), 0);
    CHECK_EQ(life("ec"), 0);
    CHECK_EQ(life("s"), 0);
    net_world_close(NULL);
}

WTEST(fault_storms, few_bytes) {
    uint64_t seed = random_seed(1);
    seam_length_fn = few_bytes;
    lives(seed);
}

/* --- EAGAIN ---------------------------------------------------------------------------------- */

static int later(enum os_call call) {
    bool may = call == OS_RECV || call == OS_SEND || call == OS_SENDMSG || call == OS_SENDFILE ||
               call == OS_ACCEPT;
    return may && weft_worker_current() && draw(4) != 0 ? -EAGAIN : 0;
}

WTEST(fault_storms, later_again_and_again) {
    for (uint64_t seed = random_seed(1), end = seed + 5; seed < end; seed++) {
        random_state = seed;
        seam_call_fn = later;
        lives(seed);
    }
}

/* --- events ---------------------------------------------------------------------------------- */

enum { REMEMBERED = 32 };

/* Of one worker's set: what was reported once may be reported again, whatever has become of it. */
static __thread struct epoll_event remembered[REMEMBERED];
static __thread unsigned remembered_count;

static int untrue(struct epoll_event *events, int count, int capacity) {
    static const uint32_t bits[] = {EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP};
    if (!weft_worker_current())
        return count;
    for (int i = 0; i < count; i++)
        remembered[remembered_count++ % REMEMBERED] = events[i];
    unsigned known = remembered_count < REMEMBERED ? remembered_count : REMEMBERED;
    for (uint64_t more = draw(4); more > 0 && count < capacity && known > 0; more--) {
        events[count] = remembered[draw(known)];
        events[count++].events = bits[draw(5)] | bits[draw(5)];
    }
    for (int i = count - 1; i > 0; i--) {
        uint64_t j = draw((uint64_t)i + 1);
        struct epoll_event swapped = events[i];
        events[i] = events[j];
        events[j] = swapped;
    }
    return count;
}

WTEST(fault_storms, untrue_and_permuted_events) {
    for (uint64_t seed = random_seed(1), end = seed + 20; seed < end; seed++) {
        random_state = seed;
        seam_events_fn = untrue;
        lives(seed);
    }
}
