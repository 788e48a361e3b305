#include "chaos_plan.h"

#include <stdarg.h>

enum { LARGEST = 256 << 10 };

uint64_t chaos_seed;

/* --- the first complaint ---------------------------------------------------------------------- */

static pthread_mutex_t complaint_lock = PTHREAD_MUTEX_INITIALIZER;
static char complaint[256];

void complain(const struct connection *c, const char *format, ...) {
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&complaint_lock);
    if (!complaint[0])
        snprintf(complaint, sizeof complaint, "WTEST_SEED=%ju WTEST_ONLY=%u (kind %d, end %d): %s",
                 (uintmax_t)chaos_seed, c->number, c->kind, c->end, text);
    pthread_mutex_unlock(&complaint_lock);
}

/* It does not change any more once it is there. */
const char *first_complaint(void) {
    pthread_mutex_lock(&complaint_lock);
    bool has = complaint[0] != 0;
    pthread_mutex_unlock(&complaint_lock);
    return has ? complaint : NULL;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t roll(uint64_t *state, uint64_t limit) {
    *state = mix(*state);
    return *state % limit;
}

/* Byte i of a sequence. */
static uint8_t byte_of(uint64_t key, size_t i) {
    return (uint8_t)(mix(key + i / 8) >> 8 * (i % 8));
}

void fill(uint64_t key, size_t from, uint8_t *buffer, size_t length) {
    uint64_t word = mix(key + from / 8);
    for (size_t i = 0; i < length; i++) {
        if ((from + i) % 8 == 0)
            word = mix(key + (from + i) / 8);
        buffer[i] = (uint8_t)(word >> 8 * ((from + i) % 8));
    }
}

/* Byte i of what the server sends. */
static uint8_t answer_byte(const struct connection *c, size_t i) {
    if (c->kind == LONGER)
        return byte_of(c->client.out, i / c->factor) ^ (uint8_t)(31 * i);
    return byte_of(c->kind < LONGER ? c->client.out : c->server.out, i);
}

bool is_right(const struct side *s, const uint8_t *data, size_t length) {
    static _Thread_local uint8_t expected[LARGEST];
    const struct connection *c = s->of;
    if (s->is_server || c->kind != LONGER) {
        for (size_t i = 0, part; i < length; i += part) {
            part = length - i < LARGEST ? length - i : LARGEST;
            fill(s->in, s->got + i, expected, part);
            if (memcmp(expected, data + i, part) != 0)
                return false;
        }
        return true;
    }
    for (size_t i = 0; i < length; i++)
        if (data[i] != answer_byte(c, s->got + i))
            return false;
    return true;
}

/* --- plans ------------------------------------------------------------------------------------ */

/* Up to 256 KiB, mostly small. */
static size_t random_length(uint64_t *state) {
    uint64_t bits = roll(state, 18), other = roll(state, 18);
    if (roll(state, 10) == 0)
        return 0;
    if (roll(state, 3) != 0)
        bits = bits < other ? bits : other;
    return (size_t)roll(state, (UINT64_C(1) << bits) + 1);
}

/* Lengths without the header. */
static void plan_lengths(struct connection *c, uint64_t *state) {
    size_t up = random_length(state), down = up;
    c->factor = 2 + roll(state, 3);
    c->record = 1 + roll(state, UINT64_C(1) << roll(state, 14));
    if (c->kind == LONGER)
        down = up * c->factor;
    else if (c->kind >= AFTER)
        down = random_length(state);
    c->client.to_send = c->server.to_get = up;
    c->server.to_send = c->client.to_get = down;
}

/* One in eight. Nobody gives up who would be done before the other one notices. */
static void plan_end(struct connection *c, uint64_t *state) {
    size_t up = HEADER + c->client.to_send, down = c->server.to_send;
    c->fate.reset_after = UINT64_MAX;
    c->client.abort_at = c->server.abort_at = SIZE_MAX;
    if (roll(state, 8) != 0)
        return;
    c->end = (enum end)(BY_NETWORK + roll(state, 3));
    if (c->end == BY_CLIENT) {
        c->client.abort_at = roll(state, c->client.to_send + c->client.to_get + 1);
    } else if (c->end == BY_SERVER) {
        c->server.abort_at = roll(state, c->server.to_send + c->server.to_get + 1);
    } else if (c->kind != FIRST && (down == 0 || roll(state, 2) == 0)) {
        c->fate.reset_way = CHAOS_TO_SERVER;
        c->fate.reset_after = roll(state, up);
    } else if (down > 0) {
        c->fate.reset_way = CHAOS_TO_CLIENT;
        c->fate.reset_after = roll(state, down);
    } else {
        c->end = IN_ORDER;
    }
}

void plan(struct connection *c, unsigned number) {
    uint64_t state = mix(chaos_seed ^ mix(number));
    c->number = number;
    c->kind = (enum kind)roll(&state, KINDS);
    c->client.of = c->server.of = c;
    c->server.is_server = true;
    c->client.out = c->server.in = mix(state) & ~UINT64_C(0xffffffff);
    c->server.out = c->kind < AFTER ? c->client.out : mix(~state) & ~UINT64_C(0xffffffff);
    c->client.in = c->server.out;
    c->client.random = mix(state + 1);
    c->server.random = mix(state + 2);
    plan_lengths(c, &state);
    plan_end(c, &state);
    c->fate.seed = mix(state + 3) | 1;
    c->fate.quirks = (unsigned)roll(&state, 32);
}

/* --- verdicts --------------------------------------------------------------------------------- */

static bool is_complete(const struct side *s) {
    const enum kind kind = s->of->kind;
    bool has_sent = s->sent == s->to_send || (kind == FIRST && !s->is_server);
    bool has_got = s->got == s->to_get && s->eof;
    return has_sent && (has_got || (kind == FIRST && s->is_server));
}

/* A server that has closed reads on for a second, and then whoever is slower to take the end of the
 * answer, and still sends, is reset. Only where everything is very slow. */
static bool outstayed(const struct connection *c) {
    return c->kind == FIRST && c->server.closed_ns - c->server.closing_ns >= NSEC_PER_SEC;
}

static void check_side(const struct side *s) {
    const struct connection *c = s->of;
    const char *who = s->is_server ? "server" : "client";
    bool may_fail = c->end != IN_ORDER || (!s->is_server && outstayed(c));
    if (s->closes != 1 && !(s->is_server && may_fail && !s->stream))
        complain(c, "%s closed %u times", who, s->closes);
    else if (s->error != 0 && s->error != (may_fail && !s->gave_up ? -ECONNRESET : 0))
        complain(c, "%s closed with %d", who, s->error);
    else if (s->error == 0 && s->closes && !s->gave_up && !is_complete(s))
        complain(c, "%s closed with 0, sent %zu of %zu, got %zu of %zu", who, s->sent, s->to_send,
                 s->got, s->to_get);
}

void check_connection(const struct connection *c) {
    const struct side *receiver = c->fate.reset_way == CHAOS_TO_SERVER ? &c->server : &c->client;
    size_t header = receiver->is_server ? HEADER : 0;
    check_side(&c->client);
    check_side(&c->server);
    if (c->end == BY_NETWORK && receiver->stream &&
        (receiver->error != -ECONNRESET || receiver->got + header > c->fate.reset_after))
        complain(c, "reset after %ju bytes, it closed with %d and had got %zu",
                 (uintmax_t)c->fate.reset_after, receiver->error, receiver->got);
}
