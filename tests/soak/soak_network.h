/* What the streams of the soak do, and the ways on which they do it. */
#ifndef WEFT_TESTS_SOAK_NETWORK_H
#define WEFT_TESTS_SOAK_NETWORK_H

#include "soak.h"

/* How a connection ends. */
enum ending {
    HALF,          /* the client half-closes, gets the rest and the end */
    IN_ORDER,      /* the client gets everything, and closes */
    RESETS,        /* the client resets */
    SERVER_CLOSES, /* somewhere in the middle */
    SERVER_RESETS,
    IDLE, /* the client says nothing; the server's timeout ends it */
    ENDINGS
};

enum way { DIRECT, BY_PATH, HOSTILE, WAYS };

/* A pure function of the connection's number and the seed, so that client, server and network agree
 * without a word. */
struct plan {
    enum ending ending;
    bool is_long;         /* lives until its epoch drains or stops */
    uint64_t key;         /* of its bytes */
    uint64_t length;      /* of what the client sends, and gets back */
    uint64_t stop_at;     /* bytes after which whoever is to end it does */
    uint64_t reset_after; /* by the network, if it goes that way; UINT64_MAX: never */
};

struct plan plan_of(uint64_t number);

/* Before there is any thread: the hostile network gets a process, and so fds, of its own. */
void network_begin(void);
void network_end(void); /* says what it did */

/* Makes the listeners of the epoch's runtime, one for each way. */
void network_listen(const weft_protocol *server);
const char *network_address(enum way way); /* to connect to */

#endif
