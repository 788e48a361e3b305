/* Connections that live long and connections that come and go, directly, by a path, and through a
 * hostile network. The server echoes; both sides check every byte. */
#include "soak_network.h"

#include <sys/socket.h>

enum { SLOTS = 40 /* per worker */, LONG_SLOTS = 8, HEADER = 8, PIECE = 16 << 10, SMALL = 4096 };

enum { DIALLED, ACCEPTED, LENT, MOVED, REFUSED };

static struct account accounts[] = {
    [DIALLED] = {{"dialled", 0}, {{"closed in order", 0}, {"by error", 0}, {"by a stop", 0}}},
    [ACCEPTED] = {{"accepted", 0}, {{"closed in order", 0}, {"by error", 0}, {"by a stop", 0}}},
    [LENT] = {{"pieces lent", 0}, {{"given back", 0}}},
    [MOVED] = {{"moves", 0}, {{"arrived", 0}, {"ended on the way", 0}}},
    [REFUSED] = {{"refused: no fd, or nobody", 0}, {{NULL, 0}}},
};

static void count_close(unsigned account, int error) {
    unsigned out = error == 0 ? 0 : epoch.stopping ? 2 : 1;
    tally(&accounts[account].out[out]);
}

/* A call tells before on_close does that the other end has gone, or that the grace time is over. */
static bool is_done(int r, const char *what) {
    if (r != 0 && r != -ECONNRESET && r != -EPIPE && !(r == -ESHUTDOWN && epoch.stopping))
        soak_fail("streams: a %s gets %d", what, r);
    return r == 0;
}

/* --- the server ------------------------------------------------------------------------------- */

/* A stream's state. */
struct server {
    struct plan plan;
    uint64_t got, random;
    unsigned lent; /* pieces */
    bool is_named, is_open, on_way;
};

/* What is lent to a stream. */
struct piece {
    struct server *to;
    uint8_t data[];
};

static void server_open(weft_stream *s) {
    struct server *v = weft_stream_state(s);
    tally(&accounts[ACCEPTED].in);
    v->is_open = true;
}

static void give_back(void *arg) {
    struct piece *piece = arg;
    if (!piece->to->is_open)
        soak_fail("streams: a piece comes back after on_close");
    piece->to->lent--;
    free(piece);
    tally(&accounts[LENT].out[0]);
}

static void echo(weft_stream *s, struct server *v, const uint8_t *data, size_t len) {
    struct piece *piece = roll(&v->random, 2) == 0 ? malloc(sizeof *piece + len) : NULL;
    if (!piece) {
        (void)is_done(weft_stream_write(s, data, len), "server's write");
        return;
    }
    piece->to = v;
    memcpy(piece->data, data, len);
    if (is_done(weft_stream_write_ref(s, piece->data, len, give_back, piece), "server's write")) {
        tally(&accounts[LENT].in);
        v->lent++;
    } else {
        free(piece);
    }
}

static void move_on(weft_stream *s, struct server *v) {
    weft_worker *next = next_worker(weft_stream_worker(s));
    if (next == weft_stream_worker(s) || roll(&v->random, 16) != 0)
        return;
    if (is_done(weft_stream_move(s, next), "move")) {
        v->on_way = true;
        tally(&accounts[MOVED].in);
    }
}

static void name(weft_stream *s, struct server *v, const uint8_t *data) {
    uint64_t number;
    memcpy(&number, data, sizeof number);
    v->plan = plan_of(number);
    v->random = mix(number);
    v->is_named = true;
    if (v->plan.ending == IDLE)
        weft_stream_set_idle_timeout(s, WEFT_MSEC(20));
    if (roll(&v->random, 4) == 0) /* so that output has to wait */
        (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){SMALL}, sizeof(int));
}

static size_t server_data(weft_stream *s, const uint8_t *data, size_t len) {
    struct server *v = weft_stream_state(s);
    size_t used = v->is_named ? 0 : HEADER;
    if (len < used)
        return 0;
    if (!v->is_named)
        name(s, v, data);
    if (v->got + (len - used) > v->plan.length ||
        !is_filled(v->plan.key, v->got, data + used, len - used)) {
        soak_fail("streams: the server gets wrong bytes from %ju on, %zu of them",
                  (uintmax_t)v->got, len - used);
        weft_stream_abort(s);
        return len;
    }
    v->got += len - used;
    if (len > used)
        echo(s, v, data + used, len - used);
    if (v->plan.ending == SERVER_CLOSES && v->got >= v->plan.stop_at)
        weft_stream_close(s);
    else if (v->plan.ending == SERVER_RESETS && v->got >= v->plan.stop_at)
        weft_stream_abort(s);
    else
        move_on(s, v);
    return len;
}

static void server_move(weft_stream *s) {
    struct server *v = weft_stream_state(s);
    if (!v->on_way)
        soak_fail("streams: on_move without a move");
    v->on_way = false;
    tally(&accounts[MOVED].out[0]);
}

static void server_close(weft_stream *s, int error) {
    struct server *v = weft_stream_state(s);
    bool is_idle = error == -ETIMEDOUT && v->plan.ending == IDLE;
    if (!v->is_open)
        soak_fail("streams: a server's stream closes that is not open");
    if (v->lent)
        soak_fail("streams: %u pieces have not come back by on_close", v->lent);
    if (error != 0 && error != -ECONNRESET && !is_idle && !epoch.stopping)
        soak_fail("streams: a server's stream closes with %d", error);
    if (v->on_way)
        tally(&accounts[MOVED].out[1]);
    v->is_open = false;
    count_close(ACCEPTED, error);
}

static const weft_protocol server_protocol = {.state_size = sizeof(struct server),
                                              .on_open = server_open,
                                              .on_data = server_data,
                                              .on_move = server_move,
                                              .on_close = server_close};

/* --- clients ---------------------------------------------------------------------------------- */

/* Has one connection after the other. */
struct slot {
    weft_worker *worker;
    weft_stream *stream; /* NULL: none now */
    weft_timer timer;    /* begins the next one, or sends the next piece */
    bool is_long, eof, shut, gave_up;
    enum way way;
    uint64_t number, random, sent, got;
    struct plan plan;
};

static struct slot *slots;
static _Atomic uint64_t numbers;

static void shut(struct slot *c) {
    c->shut = true;
    (void)is_done(weft_stream_shutdown(c->stream), "shutdown");
}

static bool send_bytes(struct slot *c, uint64_t length) {
    uint8_t piece[PIECE];
    fill(c->plan.key, c->sent, piece, length);
    if (!is_done(weft_stream_write(c->stream, piece, length), "client's write"))
        return false;
    c->sent += length;
    return true;
}

static void send_next(struct slot *c) {
    if (epoch.draining)
        shut(c);
    else
        (void)send_bytes(c, 1 + roll(&c->random, UINT64_C(1) << roll(&c->random, 15)));
}

static void give_up_in_time(struct slot *c) {
    if (c->plan.ending != RESETS || c->got < c->plan.stop_at || c->gave_up)
        return;
    c->gave_up = true;
    weft_stream_abort(c->stream);
}

static void client_open(weft_stream *s) {
    struct slot *c = weft_stream_arg(s);
    if (!is_done(weft_stream_write(s, &c->number, HEADER), "client's write"))
        return;
    if (c->is_long) {
        send_next(c);
        return;
    }
    for (uint64_t left; (left = c->plan.length - c->sent) > 0;)
        if (!send_bytes(c, left < PIECE ? left : PIECE))
            return;
    if (c->plan.ending == HALF)
        shut(c);
    if (c->plan.ending == IN_ORDER && c->plan.length == 0)
        weft_stream_close(s);
    give_up_in_time(c);
}

static size_t client_data(weft_stream *s, const uint8_t *data, size_t len) {
    struct slot *c = weft_stream_arg(s);
    if (c->got + len > c->sent || c->eof || !is_filled(c->plan.key, c->got, data, len)) {
        soak_fail("streams: a client gets wrong bytes from %ju on, %zu of them, of %ju",
                  (uintmax_t)c->got, len, (uintmax_t)c->sent);
        weft_stream_abort(s);
        return len;
    }
    c->got += len;
    if (c->is_long && c->got == c->sent && !c->shut)
        weft_timer_start(c->worker, &c->timer, roll(&c->random, WEFT_MSEC(20)), 0);
    if (c->plan.ending == IN_ORDER && c->got == c->plan.length)
        weft_stream_close(s);
    give_up_in_time(c);
    return len;
}

static void client_eof(weft_stream *s) {
    struct slot *c = weft_stream_arg(s);
    c->eof = true;
    weft_stream_close(s);
}

/* Where nobody was to interfere, everything has come back. */
static void check_end(const struct slot *c, int error) {
    enum ending ending = c->plan.ending;
    bool is_hostile = c->way == HOSTILE && c->plan.reset_after != UINT64_MAX;
    bool may_fail =
        is_hostile || ending == SERVER_CLOSES || ending == SERVER_RESETS || ending == IDLE;
    bool is_whole = ending == HALF ? c->eof && c->got == c->sent : c->got == c->plan.length;
    if (error != 0 && !(may_fail && error == -ECONNRESET))
        soak_fail("streams: a client of ending %d, way %d closes with %d", ending, c->way, error);
    else if (error == 0 && !may_fail && !c->gave_up && !is_whole)
        soak_fail("streams: a client of ending %d, way %d got %ju bytes of %ju, end %d", ending,
                  c->way, (uintmax_t)c->got, (uintmax_t)c->sent, c->eof);
}

static void begin_later(struct slot *c) {
    weft_timer_start(c->worker, &c->timer, WEFT_MSEC(1 + roll(&c->random, 60)), 0);
}

static void client_close(weft_stream *s, int error) {
    struct slot *c = weft_stream_arg(s);
    if (c->stream != s)
        soak_fail("streams: a client closes twice");
    if (!epoch.stopping)
        check_end(c, error);
    count_close(DIALLED, error);
    c->stream = NULL;
    begin_later(c);
}

static const weft_protocol client_protocol = {
    .on_open = client_open, .on_data = client_data, .on_eof = client_eof, .on_close = client_close};

static bool is_scarce(int r) {
    return r == -EMFILE || r == -ENFILE || r == -EAGAIN || r == -EADDRNOTAVAIL;
}

/* Ports are scarce, paths are not. */
static enum way random_way(struct slot *c) {
    uint64_t die = roll(&c->random, 8);
    return die < 2 ? DIRECT : die < 4 ? HOSTILE : BY_PATH;
}

/* Where nobody listens, which is known at once. */
static void dial_nobody(struct slot *c) {
    weft_stream *stream = NULL;
    int r = weft_connect(c->worker, "unix:@weft-soak-nobody", &client_protocol, c, &stream);
    if (r != -ECONNREFUSED && !is_scarce(r) && !epoch.stopping)
        soak_fail("streams: connecting to nobody gets %d", r);
    tally(&accounts[REFUSED].in);
}

static void dial(struct slot *c) {
    if (roll(&c->random, 16) == 0)
        dial_nobody(c);
    c->number = 2 * atomic_fetch_add(&numbers, 1) + c->is_long;
    c->plan = plan_of(c->number);
    c->way = random_way(c);
    c->sent = c->got = 0;
    c->eof = c->shut = c->gave_up = false;
    int r = weft_connect(c->worker, network_address(c->way), &client_protocol, c, &c->stream);
    if (r == 0) {
        tally(&accounts[DIALLED].in);
        return;
    }
    c->stream = NULL;
    if (is_scarce(r))
        tally(&accounts[REFUSED].in);
    else if (!epoch.stopping)
        soak_fail("streams: connecting to %s gets %d", network_address(c->way), r);
    begin_later(c);
}

static void step(weft_timer *timer) {
    struct slot *c = WEFT_CONTAINER_OF(timer, struct slot, timer);
    if (c->stream)
        send_next(c);
    else if (!epoch.draining && !epoch.stopping)
        dial(c);
}

/* --- the part --------------------------------------------------------------------------------- */

static void begin_here(void *arg) {
    weft_worker *w = weft_worker_current();
    (void)arg;
    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned index = weft_worker_index(w) * SLOTS + i;
        struct slot *c = &slots[index];
        *c = (struct slot){.worker = w, .timer.fn = step, .is_long = i < LONG_SLOTS};
        c->random = mix(soak_seed + epoch.number * MAX_WORKERS * SLOTS + index);
        begin_later(c);
    }
}

static void begin(void) {
    slots = calloc((size_t)epoch.workers * SLOTS, sizeof *slots);
    network_listen(&server_protocol);
    on_each_worker(begin_here, NULL);
}

static bool is_drained(void) {
    return account_open(&accounts[DIALLED]) == 0 && account_open(&accounts[ACCEPTED]) == 0;
}

static void end(void) {
    free(slots);
}

const struct part streams_part = {"streams", accounts,   sizeof accounts / sizeof accounts[0],
                                  begin,     is_drained, end};
