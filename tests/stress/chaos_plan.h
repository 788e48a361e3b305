/* What each connection of the chaos test is: a pure function of its number and the seed; and the
 * verdict about what became of it. */
#ifndef WEFT_TESTS_CHAOS_PLAN_H
#define WEFT_TESTS_CHAOS_PLAN_H

#include "chaos.h"
#include "net_fixture.h"

enum { HEADER = CHAOS_KEY, PIECE = 16 << 10, VARIANTS = 4 };

/* What the server does with what comes. */
enum kind {
    ECHO,     /* sends it back, lent as often as copied, and moves between the workers */
    RESTLESS, /* the same; both sides pause and resume, and leave a part of what they are shown */
    RECORDS,  /* the same, in whole records; the rest at the end */
    LONGER,   /* answers each byte by several */
    AFTER,    /* answers after the end of input, something of its own */
    FIRST,    /* answers at once and closes, whatever is still on its way here */
    BOTH,     /* sends something of its own all the while, and half-closes on its own */
    KINDS
};

/* Who ends it before its time. */
enum end { IN_ORDER, BY_NETWORK, BY_CLIENT, BY_SERVER };

/* One side of a connection; belongs to its stream's worker until it has closed. */
struct side {
    struct connection *of;
    weft_stream *stream;
    weft_timer pump, resume;
    uint64_t random;
    size_t sent, to_send, got, to_get;
    size_t abort_at;  /* so many bytes sent and got: it gives up */
    uint64_t out, in; /* the keys of the bytes */
    bool is_server, eof, shut, gave_up, moves;
    bool drain_owed;                /* an on_drain */
    uint64_t closing_ns, closed_ns; /* of FIRST's server */
    _Atomic unsigned closes;
    int error;
};

struct connection {
    uint32_t number;
    enum kind kind;
    enum end end;
    size_t factor, record; /* of LONGER, of RECORDS */
    struct chaos_fate fate;
    struct side client, server;
};

extern uint64_t chaos_seed;

/* A random number below the limit. */
uint64_t roll(uint64_t *state, uint64_t limit);

/* Bytes [from, from + length) of the sequence of that key. */
void fill(uint64_t key, size_t from, uint8_t *buffer, size_t length);

/* Are these the bytes that s is to get next? */
bool is_right(const struct side *s, const uint8_t *data, size_t length);

void plan(struct connection *c, unsigned number);
void check_connection(const struct connection *c); /* after both sides have closed */

/* Any thread; the first complaint is kept. */
void complain(const struct connection *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *first_complaint(void); /* NULL: none */

#endif
