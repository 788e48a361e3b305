/* Streams that are sent to by id from foreign threads while they move between the workers. Both
 * ends of each are adopted; the far end checks that every record comes, in order. */
#include "soak.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SENDERS = 2, LIFE_ROUNDS = 60 };

enum { RECORDS, POSTS, MOVES, ADOPTED };

static struct account accounts[] = {
    [RECORDS] = {{"records sent by id", 0}, {{"received", 0}, {"cut off by a stop", 0}}},
    [POSTS] = {{"posted by id", 0}, {{"run", 0}, {"run for a stream that had gone", 0}}},
    [MOVES] = {{"moves", 0}, {{"arrived", 0}, {"ended on the way", 0}}},
    [ADOPTED] = {{"adopted", 0}, {{"closed", 0}}},
};

/* A pair of streams: what is sent to the one arrives at the other. */
struct mail {
    weft_stream_id id;
    int fds[2];
    int result;    /* of an adoption */
    bool on_way;   /* the near one, between workers; its worker's */
    uint64_t next; /* the far one's worker's */
    _Atomic unsigned open;
};

struct sender {
    pthread_t thread;
    uint64_t random;
};

static struct sender senders[SENDERS];
static _Atomic unsigned living; /* mails */

/* --- on the workers --------------------------------------------------------------------------- */

static void mail_close(struct mail *m) {
    tally(&accounts[ADOPTED].out[0]);
    atomic_fetch_sub_explicit(&m->open, 1, memory_order_release);
}

static void check_error(int error, const char *who) {
    if (error != 0 && !epoch.stopping)
        soak_fail("mail: the %s end closes with %d", who, error);
}

static size_t near_data(weft_stream *s, const uint8_t *data, size_t len) {
    (void)s;
    (void)data;
    soak_fail("mail: %zu bytes out of nowhere", len);
    return len;
}

static void near_move(weft_stream *s) {
    struct mail *m = weft_stream_arg(s);
    if (!m->on_way)
        soak_fail("mail: on_move without a move");
    m->on_way = false;
    tally(&accounts[MOVES].out[0]);
}

static void near_close(weft_stream *s, int error) {
    struct mail *m = weft_stream_arg(s);
    if (m->on_way)
        tally(&accounts[MOVES].out[1]);
    check_error(error, "near");
    mail_close(m);
}

static size_t far_data(weft_stream *s, const uint8_t *data, size_t len) {
    struct mail *m = weft_stream_arg(s);
    size_t used = 0;
    for (uint64_t record; len - used >= sizeof record; used += sizeof record) {
        memcpy(&record, data + used, sizeof record);
        if (record != m->next)
            soak_fail("mail: record %ju, expected %ju", (uintmax_t)record, (uintmax_t)m->next);
        m->next++;
        tally(&accounts[RECORDS].out[0]);
    }
    return used;
}

static void far_close(weft_stream *s, int error) {
    check_error(error, "far");
    mail_close(weft_stream_arg(s));
}

static const weft_protocol near_protocol = {
    .on_data = near_data, .on_move = near_move, .on_close = near_close};
static const weft_protocol far_protocol = {.on_data = far_data, .on_close = far_close};

static void adopt_near(void *arg) {
    struct mail *m = arg;
    weft_stream *s = NULL;
    m->result = weft_adopt(weft_worker_current(), m->fds[0], &near_protocol, m, &s);
    if (m->result == 0)
        m->id = weft_stream_id_of(s);
}

static void adopt_far(void *arg) {
    struct mail *m = arg;
    m->result = weft_adopt(weft_worker_current(), m->fds[1], &far_protocol, m, NULL);
}

/* Is there a stream? Counts either way. */
static bool is_there(weft_stream *s) {
    tally(&accounts[POSTS].out[s == NULL]);
    if (!s && !epoch.stopping)
        soak_fail("mail: a stream has gone that nobody closed");
    return s != NULL;
}

static void move_on(weft_stream *s, void *arg) {
    struct mail *m = arg;
    weft_worker *next;
    if (!is_there(s) || (next = next_worker(weft_stream_worker(s))) == weft_stream_worker(s))
        return;
    int r = weft_stream_move(s, next);
    if (r == 0) {
        m->on_way = true;
        tally(&accounts[MOVES].in);
    } else if (r != -EBUSY && !epoch.stopping) { /* two of these in one callback's time */
        soak_fail("mail: a move gets %d", r);
    }
}

static void close_it(weft_stream *s, void *arg) {
    (void)arg;
    if (is_there(s))
        weft_stream_close(s);
}

/* --- senders ---------------------------------------------------------------------------------- */

/* False: not now, for want of an fd, or not any more. */
static bool mail_begin(struct mail *m, struct sender *from) {
    int types[] = {SOCK_STREAM | SOCK_CLOEXEC, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK};
    void (*const adopt[])(void *) = {adopt_near, adopt_far};
    if (socketpair(AF_UNIX, types[roll(&from->random, 2)], 0, m->fds) < 0)
        return false;
    atomic_store(&m->open, 2);
    for (unsigned i = 0; i < 2; i++) {
        int r = weft_call(worker_at((unsigned)roll(&from->random, MAX_WORKERS)), adopt[i], m);
        r = r ? r : m->result;
        if (r == 0) {
            tally(&accounts[ADOPTED].in);
            continue;
        }
        if (r != -ESHUTDOWN || !epoch.stopping)
            soak_fail("mail: adopting gets %d", r);
        close(m->fds[i]);
        atomic_fetch_sub(&m->open, 1);
        if (i == 0) {
            close(m->fds[1]);
            atomic_fetch_sub(&m->open, 1);
            break;
        }
    }
    return true;
}

/* Sends some records; false: the stream has gone. */
static bool mail_send(const struct mail *m, uint64_t *sent, uint64_t count) {
    for (; count > 0; count--) {
        int r = weft_send(epoch.rt, m->id, sent, sizeof *sent);
        if (r == -ENOENT && epoch.stopping)
            return false;
        if (r != 0) {
            soak_fail("mail: a send gets %d", r);
            return false;
        }
        ++*sent;
        tally(&accounts[RECORDS].in);
    }
    return true;
}

static void mail_post(struct mail *m, void (*fn)(weft_stream *s, void *arg)) {
    int r = weft_stream_post(epoch.rt, m->id, fn, m);
    if (r == 0)
        tally(&accounts[POSTS].in);
    else if (r != -ENOENT || !epoch.stopping)
        soak_fail("mail: a post by id gets %d", r);
}

static void mail_run(struct sender *from) {
    struct mail m = {.next = 0};
    uint64_t sent = 0;
    if (!mail_begin(&m, from)) {
        pause_us(5000);
        return;
    }
    for (unsigned i = 0; i < LIFE_ROUNDS && !epoch.draining && m.open == 2; i++) {
        if (!mail_send(&m, &sent, roll(&from->random, 30)))
            break;
        if (roll(&from->random, 3) == 0)
            mail_post(&m, move_on);
        if (roll(&from->random, 3) == 0)
            pause_us((unsigned)roll(&from->random, 3000));
    }
    if (m.open == 2)
        mail_post(&m, close_it);
    while (atomic_load_explicit(&m.open, memory_order_acquire) > 0)
        pause_us(200);
    if (m.next != sent && !epoch.stopping)
        soak_fail("mail: %ju records of %ju came", (uintmax_t)m.next, (uintmax_t)sent);
    tally_many(&accounts[RECORDS].out[1], sent - m.next);
}

static void *sender_run(void *arg) {
    while (!epoch.over && !epoch.draining)
        mail_run(arg);
    atomic_fetch_sub(&living, 1);
    return NULL;
}

/* --- the part --------------------------------------------------------------------------------- */

static void begin(void) {
    atomic_store(&living, SENDERS);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i].random = mix(soak_seed + UINT64_C(77) * (epoch.number * SENDERS + i));
        senders[i].thread = thread_begin(sender_run, &senders[i]);
    }
}

static bool is_drained(void) {
    return atomic_load(&living) == 0;
}

static void end(void) {
    for (unsigned i = 0; i < SENDERS; i++)
        thread_end(senders[i].thread);
}

const struct part mail_part = {"mail", accounts,   sizeof accounts / sizeof accounts[0],
                               begin,  is_drained, end};
