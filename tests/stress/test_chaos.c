/* Ten thousand connections through a hostile network: every byte that arrives is the right one,
 * what was not disturbed arrives whole, and whatever happens each stream ends once, with the truth.
 *
 * A connection is its number: what is sent, how, and what the network does to it follow from that
 * and the seed (WTEST_SEED). WTEST_CONNECTIONS changes how many there are; WTEST_ONLY=n runs the
 * nth alone. */
#include "chaos_plan.h"

enum { CONNECTIONS = 10000, AT_A_TIME = 150 /* per worker */, WORKERS = 2, BEGIN_S = 45 };

static unsigned total, only;
static struct connection *connections;
static char proxy_address[64];
static uint64_t last_begin_ns; /* where everything is slow there are fewer */
static _Atomic unsigned lent, given_back, moved;
static _Atomic unsigned begun, opened, client_closes, server_closes, nameless_closes;
static weft_protocol client_protocols[VARIANTS], server_protocols[KINDS][VARIANTS];

/* --- both sides ------------------------------------------------------------------------------- */

static struct side *side_of(weft_stream *s) {
    return weft_stream_arg(s);
}

static void give_up_in_time(struct side *s) {
    if (s->sent + s->got < s->abort_at || s->gave_up)
        return;
    s->gave_up = true;
    weft_stream_abort(s->stream);
}

/* Everything is as expected so far, and these bytes too. */
static bool take(struct side *s, const uint8_t *data, size_t length) {
    const char *who = s->is_server ? "server" : "client";
    if (s->got + length > s->to_get || s->eof)
        complain(s->of, "%s got %zu bytes of %zu, end %d", who, s->got + length, s->to_get, s->eof);
    else if (!is_right(s, data, length))
        complain(s->of, "%s got wrong bytes from %zu, %zu of them", who, s->got, length);
    else {
        s->got += length;
        give_up_in_time(s);
        return true;
    }
    s->gave_up = true;
    weft_stream_abort(s->stream);
    return false;
}

static size_t high_water_of(const struct side *s) {
    size_t mark = client_protocols[s->of->number % VARIANTS].high_water;
    return mark ? mark : 256 << 10;
}

static void give_back(void *copy) {
    free(copy);
    given_back++;
}

static int lend(weft_stream *s, const void *data, size_t length) {
    void *copy = malloc(length);
    if (!copy)
        return weft_stream_write(s, data, length);
    memcpy(copy, data, length);
    int r = weft_stream_write_ref(s, copy, length, give_back, copy);
    if (r == 0)
        lent++;
    else
        free(copy);
    return r;
}

/* After a failure every write gets what on_close is about to get; after a refusal it is refused,
 * however small. */
static int put_raw(struct side *s, const void *data, size_t length) {
    bool lends = s->is_server && s->of->kind == ECHO && roll(&s->random, 2) == 0;
    int r = lends ? lend(s->stream, data, length) : weft_stream_write(s->stream, data, length);
    if (r == -ENOBUFS || (r == 0 && weft_stream_pending(s->stream) >= high_water_of(s)))
        s->drain_owed = true;
    if (r == -ENOBUFS && weft_stream_write(s->stream, data, 1) != -ENOBUFS)
        complain(s->of, "after a write that was refused the next one is not");
    if (r != 0 && r != -ENOBUFS && r != -ECONNRESET && r != -EPIPE)
        complain(s->of, "a write gets %d", r);
    return r;
}

static int put(struct side *s, const uint8_t *data, size_t length) {
    int r = put_raw(s, data, length);
    if (r == 0)
        s->sent += length;
    return r;
}

static void take_drain(struct side *s) {
    if (!s->drain_owed)
        complain(s->of, "on_drain at the %s, but none is owed", s->is_server ? "server" : "client");
    s->drain_owed = false;
}

static void sent_all(struct side *s) {
    const struct connection *c = s->of;
    bool closes = s->is_server && (c->kind == AFTER || c->kind == FIRST);
    s->shut = true;
    s->closing_ns = now_ns();
    if (closes || s->eof)
        weft_stream_close(s->stream);
    else if (weft_stream_shutdown(s->stream) == -EPIPE)
        complain(c, "shutdown is refused");
}

/* Sends on, in pieces, and goes on later: at random, at high_water, or when a write was refused. */
static void pump(struct side *s) {
    uint8_t piece[PIECE];
    while (s->sent < s->to_send && !s->gave_up) {
        size_t length = 1 + roll(&s->random, UINT64_C(1) << roll(&s->random, 15));
        length = length < s->to_send - s->sent ? length : s->to_send - s->sent;
        fill(s->out, s->sent, piece, length);
        if (put(s, piece, length) != 0)
            return; /* on_drain, or on_close */
        give_up_in_time(s);
        if (s->drain_owed)
            return;
        if (roll(&s->random, 4) == 0) {
            weft_timer_start(weft_stream_worker(s->stream), &s->pump,
                             WEFT_USEC(roll(&s->random, 2000)), 0);
            return;
        }
    }
    if (s->sent == s->to_send && !s->shut && !s->gave_up)
        sent_all(s);
}

static void pump_fires(weft_timer *timer) {
    pump(WEFT_CONTAINER_OF(timer, struct side, pump));
}

static void resume_fires(weft_timer *timer) {
    weft_stream_resume(WEFT_CONTAINER_OF(timer, struct side, resume)->stream);
}

/* How much of it to look at. */
static size_t restless(struct side *s, size_t length) {
    if (s->of->kind != RESTLESS || roll(&s->random, 4) != 0)
        return length;
    weft_stream_pause(s->stream);
    weft_timer_start(weft_stream_worker(s->stream), &s->resume, WEFT_USEC(roll(&s->random, 1000)),
                     0);
    return roll(&s->random, length + 1);
}

static void side_begin(struct side *s, weft_stream *stream) {
    int size = 1 << (12 + roll(&s->random, 8)); /* the kernel doubles it */
    s->stream = stream;
    if (roll(&s->random, 4) == 0)
        (void)setsockopt(weft_stream_fd(stream), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    s->pump.fn = pump_fires;
    s->resume.fn = resume_fires;
}

static void side_close(struct side *s, int error) {
    s->error = error;
    s->closed_ns = now_ns();
    weft_timer_stop(&s->pump);
    weft_timer_stop(&s->resume);
    if (atomic_fetch_add(&s->closes, 1) != 0)
        complain(s->of, "%s closed again", s->is_server ? "server" : "client");
}

/* --- the server ------------------------------------------------------------------------------- */

static size_t header_data(weft_stream *s, const uint8_t *data, size_t len) {
    uint64_t number;
    if (len < HEADER)
        return 0;
    memcpy(&number, data, sizeof number);
    if (number >= total) {
        complain(connections, "no connection has number %ju", (uintmax_t)number);
        weft_stream_abort(s);
        return HEADER;
    }
    struct connection *c = &connections[number];
    if (c->server.stream)
        complain(c, "a second one");
    side_begin(&c->server, s);
    weft_stream_set_protocol(s, &server_protocols[c->kind][number % VARIANTS], &c->server);
    if (c->kind == FIRST || c->kind == BOTH)
        pump(&c->server);
    return HEADER;
}

/* A client that gave up, or a network that did, before the header was here. */
static void header_close(weft_stream *s, int error) {
    (void)s;
    if (error != -ECONNRESET && error != 0)
        complain(connections, "without a name, closed with %d", error);
    nameless_closes++;
    server_closes++;
}

static const weft_protocol header_protocol = {.on_data = header_data, .on_close = header_close};

/* Now and then to the other worker, where what is left of a part is shown again. */
static size_t moving(struct side *s, size_t length) {
    if (s->of->kind != ECHO || s->gave_up || roll(&s->random, 8) != 0)
        return length;
    s->moves = true;
    return roll(&s->random, length + 1);
}

static void move_on(struct side *s) {
    weft_worker *w = weft_stream_worker(s->stream);
    unsigned next = (weft_worker_index(w) + 1) % WORKERS;
    int r = weft_stream_move(s->stream, weft_runtime_worker(weft_worker_runtime(w), next));
    s->moves = false;
    if (r == 0)
        moved++;
    else if (r != -EPIPE && r != -ECONNRESET)
        complain(s->of, "a move gets %d", r);
}

static size_t echo_data(weft_stream *stream, const uint8_t *data, size_t len) {
    struct side *s = side_of(stream);
    size_t used = moving(s, restless(s, len));
    if (take(s, data, used) && used && !s->gave_up)
        (void)put(s, data, used);
    if (s->moves)
        move_on(s);
    return used;
}

/* Stops in between when the output has reached the mark: the end of that pause shows the rest. */
static size_t records_data(weft_stream *stream, const uint8_t *data, size_t len) {
    struct side *s = side_of(stream);
    size_t record = s->of->record, used = 0;
    bool choked = false;
    while (len - used >= record && !choked && !s->gave_up) {
        if (take(s, data + used, record) && !s->gave_up)
            (void)put(s, data + used, record);
        used += record;
        choked = weft_stream_pending(stream) >= high_water_of(s);
    }
    return used;
}

static void records_eof(weft_stream *stream) {
    struct side *s = side_of(stream);
    const uint8_t *rest = NULL;
    size_t length = weft_stream_unconsumed(stream, &rest);
    if (length >= s->of->record)
        complain(s->of, "%zu bytes were left of records of %zu", length, s->of->record);
    if (length && take(s, rest, length) && !s->gave_up)
        (void)put(s, rest, length);
    s->eof = true;
    weft_stream_close(stream);
}

static size_t longer_data(weft_stream *stream, const uint8_t *data, size_t len) {
    struct side *s = side_of(stream);
    size_t factor = s->of->factor;
    uint8_t answer[1024];
    if (!take(s, data, len) || s->gave_up)
        return len;
    for (size_t i = 0; i < len; i += sizeof answer / factor) {
        size_t part = len - i < sizeof answer / factor ? len - i : sizeof answer / factor;
        for (size_t j = 0; j < part * factor; j++)
            answer[j] = data[i + j / factor] ^ (uint8_t)(31 * (s->sent + j));
        if (put(s, answer, part * factor) != 0)
            break;
    }
    return len;
}

static size_t only_take(weft_stream *stream, const uint8_t *data, size_t len) {
    (void)take(side_of(stream), data, len);
    return len;
}

static void server_eof(weft_stream *stream) {
    struct side *s = side_of(stream);
    s->eof = true;
    if (s->of->kind == AFTER)
        pump(s);
    else if (s->of->kind < AFTER || s->shut)
        weft_stream_close(stream);
}

static void server_drain(weft_stream *stream) {
    struct side *s = side_of(stream);
    take_drain(s);
    if (s->of->kind >= AFTER)
        pump(s);
}

static void server_close(weft_stream *stream, int error) {
    side_close(side_of(stream), error);
    server_closes++;
}

/* --- the clients ------------------------------------------------------------------------------ */

static void client_open(weft_stream *stream) {
    struct side *s = side_of(stream);
    uint64_t number = s->of->number;
    if (put_raw(s, &number, HEADER) != 0)
        complain(s->of, "the header is refused");
    pump(s);
}

static size_t client_data(weft_stream *stream, const uint8_t *data, size_t len) {
    struct side *s = side_of(stream);
    size_t used = restless(s, len);
    (void)take(s, data, used);
    return used;
}

static void client_eof(weft_stream *stream) {
    struct side *s = side_of(stream);
    s->eof = true;
    if (s->of->kind != BOTH || s->shut)
        weft_stream_close(stream);
}

static void client_drain(weft_stream *stream) {
    take_drain(side_of(stream));
    pump(side_of(stream));
}

static void begin_next(weft_worker *w);

static void client_close(weft_stream *stream, int error) {
    weft_worker *w = weft_stream_worker(stream);
    side_close(side_of(stream), error);
    begin_next(w);
    client_closes++;
}

static void begin_next(weft_worker *w) {
    unsigned number = begun++;
    if (only != UINT32_MAX)
        number = number == 0 ? only : total;
    if (number >= total || first_complaint() || now_ns() > last_begin_ns)
        return;
    struct connection *c = &connections[number];
    weft_stream *stream = NULL;
    int r =
        weft_connect(w, proxy_address, &client_protocols[number % VARIANTS], &c->client, &stream);
    if (r != 0) {
        complain(c, "connect: %d", r);
        return;
    }
    opened++;
    side_begin(&c->client, stream);
}

static void begin_some(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < AT_A_TIME; i++)
        begin_next(weft_worker_current());
}

/* --- protocols -------------------------------------------------------------------------------- */

static struct chaos_fate fate_of(const uint8_t *key) {
    uint64_t number;
    memcpy(&number, key, sizeof number);
    return number < total ? connections[number].fate
                          : (struct chaos_fate){.seed = 1, .reset_after = UINT64_MAX};
}

/* Four sets of marks: the defaults, marks that everything reaches, some in between, and refusals
 * instead of marks where the program can cope with them. */
static void plan_protocols(void) {
    static const size_t marks[VARIANTS] = {0, 1, 5000, SIZE_MAX};
    static size_t (*const on_data[KINDS])(weft_stream *, const uint8_t *, size_t) = {
        echo_data, echo_data, records_data, longer_data, only_take, only_take, only_take};
    for (unsigned v = 0; v < VARIANTS; v++) {
        const size_t max_pending = marks[v] == SIZE_MAX ? PIECE + 100 : 0;
        client_protocols[v] = (weft_protocol){.on_open = client_open,
                                              .on_data = client_data,
                                              .on_drain = client_drain,
                                              .on_eof = client_eof,
                                              .on_close = client_close,
                                              .high_water = marks[v],
                                              .close_timeout_ns = WEFT_SEC(1000),
                                              .max_pending = max_pending};
        for (unsigned k = 0; k < KINDS; k++)
            server_protocols[k][v] =
                (weft_protocol){.on_data = on_data[k],
                                .on_drain = server_drain,
                                .on_eof = k == RECORDS ? records_eof : server_eof,
                                .on_close = server_close,
                                .high_water = marks[v],
                                .close_timeout_ns = WEFT_SEC(1000),
                                .max_pending = k >= AFTER ? max_pending : 0};
    }
}

/* --- the test --------------------------------------------------------------------------------- */

static unsigned number_from(const char *name, unsigned usual) {
    const char *asked = getenv(name);
    return asked ? (unsigned)strtoul(asked, NULL, 0) : usual;
}

static void raise_fd_limit(void) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* While something still ends now and then, there is hope. A client that closes has begun the next
 * one by then. */
static void await_all(void) {
    unsigned seen = 0;
    uint64_t since_ns = now_ns();
    while ((client_closes < opened || server_closes < opened) && !first_complaint()) {
        poll(NULL, 0, 5);
        if (client_closes + server_closes != seen)
            since_ns = now_ns();
        seen = client_closes + server_closes;
        CHECK_MSG(now_ns() - since_ns < 40 * NSEC_PER_SEC,
                  "WTEST_SEED=%ju: nothing ends any more, %u clients have, %u servers, of %u",
                  (uintmax_t)chaos_seed, client_closes, server_closes, opened);
    }
    CHECK_MSG(first_complaint() == NULL, "%s", first_complaint());
}

static void prepare(void) {
    const char *asked = getenv("WTEST_SEED");
    chaos_seed = asked ? strtoull(asked, NULL, 0) : 4711;
    total = number_from("WTEST_CONNECTIONS", CONNECTIONS / (wtest_slowdown() > 1 ? 10u : 1u));
    only = number_from("WTEST_ONLY", UINT32_MAX);
    connections = calloc(total, sizeof *connections);
    CHECK(connections != NULL);
    for (unsigned i = 0; i < total; i++)
        plan(&connections[i], i);
    plan_protocols();
    raise_fd_limit();
}

WTEST(chaos, ten_thousand_connections_tell_the_truth) {
    prepare();
    struct net n = net_start(WORKERS, &header_protocol);
    struct chaos *chaos = chaos_begin(net_port(n.listener), fate_of);
    int fds = open_fd_count();
    uint64_t start_ns = now_ns();
    snprintf(proxy_address, sizeof proxy_address, "127.0.0.1:%d", chaos_port(chaos));
    last_begin_ns = start_ns + BEGIN_S * NSEC_PER_SEC;
    for (unsigned i = 0; i < WORKERS; i++)
        rt_call(net_worker_at(&n, i), begin_some, NULL);
    await_all();
    net_await_open(&n, 0);
    double took = (double)(now_ns() - start_ns) / 1e9;
    weft_stats stats = net_stats(&n);
    CHECK_EQ(stats.bytes_held, 0);
    struct chaos_stats network = chaos_end(chaos);
    CHECK_EQ(open_fd_count(), fds - 3);
    net_end(&n);
    for (unsigned i = 0; i < total; i++)
        if (connections[i].client.stream)
            check_connection(&connections[i]);
    CHECK_MSG(first_complaint() == NULL, "%s", first_complaint());
    CHECK_EQ(client_closes, opened);
    CHECK_EQ(network.connections, opened);
    CHECK_EQ(server_closes, opened);
    CHECK_EQ(given_back, lent);
    printf(
        "seed %ju: %u connections in %.1f s, %ju MB in; %ju resets by the network, %ju by an end, "
        "%u before the header; %ju pieces, %ju delays, %ju stalls; %u moves, %u pieces lent\n",
        (uintmax_t)chaos_seed, opened, took, (uintmax_t)stats.bytes_in >> 20,
        (uintmax_t)network.resets, (uintmax_t)network.passed_on, nameless_closes,
        (uintmax_t)network.pieces, (uintmax_t)network.delays, (uintmax_t)network.stalls, moved,
        lent);
    free(connections);
}
