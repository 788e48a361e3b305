/* One stream, its peer, and what the contract says about them: see fuzz_stream.c.
 *
 *   fuzz_stream.c        the target: whose turn it is, operations of the peer and of other threads
 *   fuzz_stream_calls.c  every call on the stream, with what it must return
 *   fuzz_stream_told.c   every callback, with when it may come
 *   fuzz_stream_peer.c   the other end of the connection, and the bytes
 *   fuzz_stream_quiet.c  what must hold once nothing moves any more: poll(2), fdinfo, counters */
#ifndef WEFT_TESTS_FUZZ_STREAM_MODEL_H
#define WEFT_TESTS_FUZZ_STREAM_MODEL_H

#include "base/base.h"
#include "base/clock.h"
#include "base/os.h"
#include "worker/worker.h"

#include "input.h"
#include "wtest.h"

#include <weft.h>

#include <string.h>

enum { WORKERS = 2, NOBODY = WORKERS, PROTOCOLS = 6, MAX_CALLS = 300 };

#define MUST(condition, ...)                                                                       \
    do {                                                                                           \
        if (!(condition))                                                                          \
            wtest_fail(__FILE__, __LINE__, __VA_ARGS__);                                           \
    } while (0)

/* What happens, on stderr, where FUZZ_TRACE is in the environment. */
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Of the process, for all inputs. */
struct world {
    weft_runtime *rt;
    weft_worker *workers[WORKERS];
    int listener, file; /* TCP; a file of `file_length` bytes of the sequence */
    size_t file_length;
};
extern struct world world;

/* Of one input. The stream's own writes are one sequence of bytes, what is sent by its id another:
 * the peer can tell them apart. */
struct model {
    struct input in;
    unsigned calls; /* made so far: an input ends after MAX_CALLS */

    /* The connection. */
    weft_stream *s; /* until on_close has returned */
    weft_stream_id id;
    int fd, peer;
    bool is_tcp;
    unsigned worker; /* whose it is; on the way: whose it was */
    unsigned target; /* where it moves */
    uint64_t bytes_out_before;

    /* What the program did and was told. */
    const weft_protocol *protocol;
    bool opened, paused, shut, closing, aborted, moving, eof_told;
    bool ended; /* with `error`: on_close is owed */
    int error;
    bool closing_told;                   /* on_close runs, or has */
    bool gone;                           /* and has returned */
    uint64_t close_ns, close_timeout_ns; /* began at the earliest, takes at least */
    bool in_callback;

    /* Input: the peer has sent, was shown, has been consumed. */
    size_t peer_sent, shown, consumed;
    bool peer_ended, peer_closed, peer_reset;
    uint64_t peer_end_ns;
    bool show_may, show_must; /* what was left is shown again, without new bytes */

    /* Output: accepted from the stream's own callbacks and tasks, and by id. */
    size_t own, by_id, by_id_arrived;
    size_t file_bytes; /* of `own` */
    size_t torn;       /* of a write that failed: some of it may be out */
    size_t got_own, got_by_id;
    bool peer_saw_end, peer_saw_reset;
    bool refused, drain_may, drain_must, choked, choke_may, overfull;
    unsigned lent, given_back;
    unsigned posted, ran;

    /* Time. */
    uint64_t idle_ns, active_ns;
    size_t out_seen;

    /* Faults. */
    enum os_call fault_call;
    int fault_error;
    unsigned fault_in, fault_times; /* calls until the first; how often then */
    unsigned faults, faults_seen;   /* injected */
    uint64_t errors[3];             /* that a fault may have caused, by number */
    size_t length_limit;            /* of one recv or send */
    bool moves;                     /* may it move? Not where epoll_ctl() fails */
    bool used_sendfile;
};
extern struct model m;

extern const weft_protocol fuzz_protocols[PROTOCOLS];

/* fuzz_stream_calls.c */
void calls_make(unsigned most); /* of the input's choice, on the stream's worker, which is ours */
void calls_probe(void);         /* is the stream what the model takes it for? */
void model_observe(void);       /* the counters */
void model_close(uint64_t since_ns);
void model_end(int error); /* on_close is owed */
void model_end_otherwise(int error);
bool model_may_fail(int error); /* without that the program did anything */
bool model_eof_closes(void);    /* the end of input does, as there is no on_eof */
size_t model_out(void);         /* bytes that the kernel took */
size_t model_pending(void);
bool model_below(void); /* output is below half of the lower mark */
int send_by_id(size_t length);
void post_by_id(void);

/* fuzz_stream_peer.c */
void peer_connect(bool is_tcp, bool small); /* m.fd and m.peer */
void peer_send(size_t length);
size_t peer_read(size_t most); /* 0: nothing there */
void peer_end(void);           /* half-closes */
void peer_close(bool reset);
const uint8_t *bytes_in(size_t i); /* of each sequence, BYTES_MOST from i on */
const uint8_t *bytes_own(size_t i);
const uint8_t *bytes_by_id(size_t i);
enum { BYTES_MOST = 150000 };

/* fuzz_stream_quiet.c */
void quiet_check(void);
void end_check(void);

size_t pick_length(void);

#endif
