/* A hostile network between TCP clients and a server on loopback: a proxy, in a thread of its own,
 * built on the system calls alone.
 *
 * Every connection has two ways, and on each of them, as its generator decides: what is forwarded
 * is split into pieces of 1 byte up to 64 KiB; bytes are held back for some turns and so coalesce;
 * reading stops for a while; socket buffers shrink; the end of input is passed on as a half-close
 * after everything else, while the other way lives on. Where a connection's fate says so, both its
 * ends are reset in the middle of the transfer. A reset by one end is passed on to the other.
 *
 * The first CHAOS_KEY bytes that a client sends decide about its connection, whatever the order in
 * which connections come. */
#ifndef WEFT_TESTS_CHAOS_H
#define WEFT_TESTS_CHAOS_H

#include <stddef.h>
#include <stdint.h>

enum { CHAOS_KEY = 8 };

enum chaos_way { CHAOS_TO_SERVER, CHAOS_TO_CLIENT };

struct chaos_fate {
    uint64_t seed;        /* of its generator; not 0 */
    uint64_t reset_after; /* so many bytes went reset_way; UINT64_MAX: never */
    enum chaos_way reset_way;
    unsigned quirks; /* the mean number of pieces between two delays; 0: none */
};

struct chaos_stats {
    uint64_t connections, resets; /* by the proxy itself */
    uint64_t passed_on;           /* resets of one end */
    uint64_t pieces, delays, stalls;
};

struct chaos;

/* Listens on a port that the kernel picks. fate() is called on the proxy's thread. */
struct chaos *chaos_begin(int server_port, struct chaos_fate (*fate)(const uint8_t *key));
int chaos_port(const struct chaos *chaos);

/* After all clients have gone. Connections that are left are reset. */
struct chaos_stats chaos_end(struct chaos *chaos);

#endif
