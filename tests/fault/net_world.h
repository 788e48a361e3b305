/* The world of the net floor's sweeps: a runtime that serves, with a neighbour whose connection
 * must not notice anything; and a client that plays a whole connection by a script, one letter for
 * each message of MESSAGE bytes and its exact answer:
 *
 *     e  an echo                     r  BIG bytes that are lent
 *     h  an echo, sent in halves     f  BIG bytes of a file
 *     b  BIG bytes                   m  an echo by the next worker, after a move
 *     s  SMALL bytes
 *     c  an echo, then the server closes; ends a script, which else ends with the client's
 *        half-close, to which the server says good-bye */
#ifndef WEFT_TESTS_FAULT_NET_WORLD_H
#define WEFT_TESTS_FAULT_NET_WORLD_H

#include "net/inner.h"
#include "net_fixture.h"
#include "sweep.h"

enum { MESSAGE = 16, BIG = 300000, SMALL = 3000 };

extern struct net world;
extern const weft_protocol world_protocol;

/* One per test; workers with a listener on 127.0.0.1:0, and the neighbour on one of them. */
void *net_world_open(unsigned workers);
void net_world_close(void *unused);
void world_neighbour_lives(void);
void world_echoes(int fd); /* a client's */

/* Counts of workers, listener and streams; and each selector as the kernel sees it. */
size_t world_snapshot(void *unused, void *buffer, size_t size);

/* Runs fn(arg) on worker 0: struct sweep.on_thread. */
void net_world_on_worker(void *unused, void (*fn)(void *arg), void *arg);

/* 0: every byte came, and every stream closed with 0; LIFE_REFUSED: the connection was reset before
 * it was a stream; else what on_close got. Back when no stream is left. */
enum { LIFE_REFUSED = -ECONNREFUSED };
int life(const char *script);

#endif
