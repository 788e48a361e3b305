/* What the tests of listeners and streams share: a served runtime, blocking clients, and a log of
 * what the callbacks saw, which the test waits for instead of sleeping.
 *
 * Everything is of the process: each test runs in one of its own. */
#ifndef WEFT_TESTS_NET_FIXTURE_H
#define WEFT_TESTS_NET_FIXTURE_H

#include "rt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the log --------------------------------------------------------------------------------- */

enum note {
    NOTE_OPEN,
    NOTE_DATA,
    NOTE_DRAIN,
    NOTE_EOF,
    NOTE_TIMEOUT,
    NOTE_STOP,
    NOTE_CLOSE,
    NOTE_USER,
    NOTE_KINDS
};

void note(enum note kind, int64_t value); /* any thread */
unsigned note_count(enum note kind);
void note_await(enum note kind, unsigned count); /* until there are so many */
int64_t note_value(enum note kind, unsigned index);

/* The kinds in their order, one letter each: o d r(drain) e t s c u; the first 4095. */
const char *note_order(void);

/* The last stream that note_open() saw. Its address only, for use on its worker. */
weft_stream *note_stream(void);

/* Compares on any thread, as CHECK_EQ() may not; net_end() fails the test for the first that
 * differed. */
#define NOTE_EQ(actual, expected)                                                                  \
    note_compare(__FILE__, __LINE__, #actual, (intmax_t)(actual), (intmax_t)(expected))
void note_compare(const char *file, int line, const char *what, intmax_t actual, intmax_t expected);

/* Callbacks that note, with the error, length or worker as value. */
void note_open(weft_stream *s);
size_t note_data(weft_stream *s, const uint8_t *data,
                 size_t len); /* consumes, and keeps the bytes */
size_t note_echo(weft_stream *s, const uint8_t *data, size_t len); /* notes nothing */
void note_drain(weft_stream *s);
void note_eof(weft_stream *s);       /* and leaves the stream open */
void note_eof_close(weft_stream *s); /* and closes it */
void note_timeout(weft_stream *s);
void note_stop(weft_stream *s);
void note_move(weft_stream *s); /* as NOTE_USER, with the worker */
void note_close(weft_stream *s, int error);

/* What note_data() kept, of all streams together, and the wait for so much of it. */
size_t note_bytes(const uint8_t **ret_data);
void note_await_bytes(size_t length);

/* --- servers --------------------------------------------------------------------------------- */

struct net {
    weft_runtime *runtime;
    weft_listener *listener;
};

/* A runtime that runs, with a listener on 127.0.0.1:0. Options may be NULL: the defaults, with
 * that many workers. */
struct net net_start(unsigned workers, const weft_protocol *protocol);
struct net net_start_with(const weft_runtime_options *options, const weft_listen_options *listen,
                          const weft_protocol *protocol);
void net_end(struct net *n);
weft_worker *net_worker_at(const struct net *n, unsigned index);
weft_stats net_stats(const struct net *n); /* of all workers together */

/* Until a statistic of all workers together has that value. */
void net_await_open(const struct net *n, uint64_t streams);

/* --- clients; everything unexpected fails the test -------------------------------------------- */

int net_port(const weft_listener *l);
int net_dial(const struct net *n);                           /* a blocking socket */
int net_dial_small(const struct net *n, int receive_buffer); /* with an SO_RCVBUF set before */
int net_dial_port(int port);                                 /* or -errno */
void net_put(int fd, const void *data, size_t length);
void net_get(int fd, void *buffer, size_t length);
ssize_t net_get_some(int fd, void *buffer, size_t size); /* 0: the peer's end; -errno: reset */
void net_expect(int fd, const char *text);
void net_expect_end(int fd); /* the orderly one */
void net_expect_reset(int fd);
void net_end_output(int fd);
void net_reset(int fd); /* closes fd, too */
void net_await_readable(int fd);
void net_pair(int fds[2]); /* connected TCP sockets, without a listener of weft's */

/* Byte i of a stream whose order is checked. */
uint8_t net_byte(size_t i);
void net_fill(uint8_t *buffer, size_t length, size_t from);
size_t net_check(const uint8_t *data, size_t length, size_t from); /* how many are right */

/* The one after the stream's own. */
weft_worker *net_next_worker(weft_stream *s);

/* --- adopted streams -------------------------------------------------------------------------- */

/* On worker 0; the stream is the last that note_open() saw, if the protocol has it. */
weft_stream *net_adopt(const struct net *n, int fd, const weft_protocol *protocol);

#endif
