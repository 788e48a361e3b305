/* What the files of net/ share.
 *
 *   address.c   text to sockaddr and back        stream.c  a stream's life: open, service, end
 *   listener.c  listening, from any thread       input.c   socket, scratch, on_data, what it left
 *   accept.c    one acceptor per worker and      output.c  writes, the worker's buffer, one send,
 *               listener: accept, pause                    what the kernel refused
 *   place.c     on which worker a stream opens   clock.c   idle, close and linger deadlines
 *   part.c      net's state in every worker      shed.c    the memory limit over all streams
 *   access.c    getters                     connect.c outgoing connections
 *   unix.c      sockets that have a path       chain.c    unsent output (chain.h)
 *   ref.c       output that the program lends  sendfile.c output that the kernel reads
 *   spare.c     memory kept for its next use   mailbox.c  ids, and what comes by them (mailbox.h)
 *   move.c      from worker to worker
 *
 * The way of a byte in: stream_ready() -> os_recv() into the worker's scratch -> on_data.
 * The way of a byte out: weft_stream_write() -> the worker's output buffer -> one os_send() when
 * the callback returns; what the kernel refuses -> the stream's own chain, and WRITE is asked for.
 *
 * Callbacks never nest and never run inside a call of the program's. What a call wants done is
 * noted in the stream's flags, and the stream is put on one of two lists of its worker: `dirty`,
 * served at the end of this iteration (output, interest, end), or `later`, served in the next one
 * (open, left-over input, drain). A stream that has ended stays in memory until the end of the
 * iteration that called its on_close. */
#ifndef WEFT_LIB_NET_INNER_H
#define WEFT_LIB_NET_INNER_H

#include "runtime/runtime.h"

#include "weft/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

enum {
    MAILBOX_CHUNKS = 25,        /* of a table that doubles with each: 2^31 mailboxes */
    SPARE_CLASSES = 11,         /* of memory kept for its next use: 64 bytes to 64 KiB */
    NET_OUTPUT = 64 << 10,      /* bytes of the worker's output buffer */
    NET_HIGH_WATER = 256 << 10, /* defaults of weft_protocol */
    NET_MAX_PENDING = 16 << 20,
    NET_MAX_UNCONSUMED = 1 << 20,
    IDLE_UNIT_NS = 1024, /* 48 bits of them are nine years */
    ADDRESS_TEXT = 128,  /* the longest address as text: "unix:" and a path of 107 bytes */
};
#define NET_CLOSE_TIMEOUT_NS (10 * NSEC_PER_SEC)
#define NET_LINGER_NS NSEC_PER_SEC
#define NET_CONNECT_TIMEOUT_NS (30 * NSEC_PER_SEC)

/* Stream flags. A stream without any of them takes the fast path, but for those in STREAM_FAST. */
enum {
    STREAM_UNOPENED = 1u << 0,   /* on_open has not been called */
    STREAM_IDLE = 1u << 1,       /* has an idle timeout: activity is noted */
    STREAM_STRICT = 1u << 2,     /* limits below the worker's buffer: every write is counted */
    STREAM_PAUSED = 1u << 3,     /* by the program */
    STREAM_CHOKED = 1u << 4,     /* by high_water */
    STREAM_KEPT = 1u << 5,       /* input that on_data left */
    STREAM_UNSENT = 1u << 6,     /* output that the kernel refused, or that waits for the flush */
    STREAM_BLOCKED = 1u << 7,    /* the kernel's buffer is full: WRITE is asked for */
    STREAM_EOF = 1u << 8,        /* recv said 0 */
    STREAM_EOF_TOLD = 1u << 9,   /* on_eof has been called */
    STREAM_REFUSED = 1u << 10,   /* a write was: further ones fail until on_drain */
    STREAM_DRAIN = 1u << 11,     /* on_drain is owed once output fell below the mark */
    STREAM_SHUT = 1u << 12,      /* the program half-closed */
    STREAM_SHUT_SENT = 1u << 13, /* and the kernel was told */
    STREAM_CLOSING = 1u << 14,   /* flush, then linger */
    STREAM_LINGER = 1u << 15,    /* half-closed; input is discarded until the peer's end */
    STREAM_ENDED = 1u << 16,     /* out of the selector; on_close is owed */
    STREAM_RESET = 1u << 17,     /* the socket closes with a reset */
    STREAM_SHOW = 1u << 18,      /* later: show left-over input and a withheld end of input */
    STREAM_LISTED = 1u << 19,    /* on `dirty` or `later` */
    STREAM_STOP_TOLD = 1u << 20,
    STREAM_TIMED = 1u << 21,    /* closing, and its deadline runs */
    STREAM_UNCHOKED = 1u << 22, /* high_water does not pause its reading */
    STREAM_CONNECTING = 1u << 23,
    STREAM_MOVING = 1u << 24,   /* leaves for another worker at the end of the iteration */
    STREAM_SEES_IN = 1u << 25,  /* the selector looks for input, */
    STREAM_SEES_OUT = 1u << 26, /* for room for output */
    STREAM_MISFILED = 1u << 27, /* its deadline is earlier than where the wheel has it */
    STREAM_FAST = STREAM_IDLE | STREAM_UNCHOKED | STREAM_SEES_IN | STREAM_SEES_OUT,
};

struct output; /* chain.h: unsent output */

struct kept { /* input that on_data left: data[start, end) */
    size_t capacity, start, end;
    uint8_t data[];
};

/* A path that a listener has bound, as it is in the file system. */
struct unix_path {
    char name[108]; /* empty: none */
    struct path_identity identity;
};

struct net_worker;

/* One allocation, the program's state behind it. The first line is what an event touches. All of it
 * is 112 bytes, a size that jemalloc has a class for. */
struct weft_stream {
    struct worker_source source;
    struct net_worker *net;
    const weft_protocol *protocol;
    void *arg;
    int fd;
    uint32_t flags;
    uint64_t idle : 48; /* in IDLE_UNIT_NS; 0: none; while it connects: from then on */
    int64_t error : 16;
    struct output *out;
    struct kept *in;

    struct wheel_node clock; /* in its worker's wheel, also without a deadline: UINT64_MAX */
    weft_stream *service;    /* the next on dirty or later */
    struct mailbox *mailbox; /* NULL: its id was not asked for */
    weft_listener *listener;
    max_align_t state[];
};

struct stream_list { /* linked through `service`, each stream on one at most */
    weft_stream *first, **tail;
};

/* One per worker and listener. */
struct acceptor {
    struct worker_source source;
    weft_worker *worker;
    weft_listener *listener;
    weft_timer retry;
    weft_task resume_task;
    _Atomic uint32_t resume_posted;
    _Atomic uint32_t waiting; /* for the listener's streams to become fewer than its limit */
};

struct weft_listener {
    struct runtime_owned owned;
    weft_runtime *runtime;
    const weft_protocol *protocol;
    void *arg;
    int fd;
    bool is_foreign; /* handed in by the program: others may share it */
    bool fd_retired; /* somebody else closes the fd */
    _Atomic uint32_t closed;
    _Atomic uint32_t pause_logged;
    unsigned max_streams;
    _Atomic uint32_t streams; /* open, on their way, or about to be accepted */
    unsigned acceptor_count;
    char address[ADDRESS_TEXT];
    struct unix_path path; /* what closing it removes */
    struct acceptor acceptors[];
};

/* Net's state in a worker. */
struct net_worker {
    weft_worker *worker;
    uint8_t *scratch;
    uint8_t *output; /* what the running callback of `current` wrote */
    size_t output_length;
    weft_stream *current; /* whose callback runs */
    struct stream_list dirty, later;
    struct wheel clocks; /* all streams, and their deadlines */
    weft_timer clocks_timer;
    uint64_t clocks_due_ns; /* when it fires; UINT64_MAX: it does not run */
    unsigned visits;        /* loops over all streams that call the program: none is moved */
    bool misfiled;          /* what they left to be moved */
    struct worker_job later_job;
    struct piece *released, **released_tail; /* lent bytes that go back to the program */
    struct worker_job release_job;
    struct spare *spares[SPARE_CLASSES];
    size_t spared;           /* their bytes */
    struct list handed;      /* what went to other workers lately */
    weft_timer handed_timer; /* to look whether they took it */
    bool stopping, expired;
    struct list moves; /* streams that leave at the end of this iteration */
    struct queue_node *mailboxes, **mailboxes_tail; /* to be used again */
    struct queue_node *news_taken;                  /* and not looked at yet */

    /* Any thread. */
    _Atomic uint32_t mailbox_count; /* in the chunks, which never move; the owner adds */
    struct mailbox *mailbox_chunks[MAILBOX_CHUNKS];
    struct queue news; /* mailboxes that somebody left something in */
    weft_task news_task;
    _Atomic uint32_t assigned;     /* streams here or handed over to here: what placing looks at */
    _Atomic uint32_t unresponsive; /* left a connection where it was handed over to */
    _Atomic uint32_t shed_posted;
    _Atomic uint32_t shedding; /* worker 0's stands for the runtime: somebody is at it */
    weft_task shed_task;
};

extern const struct worker_part net_part;

static inline struct net_worker *net_of(weft_worker *w) {
    return worker_part_state(w, &net_part);
}

/* address.c */
struct address {
    struct sockaddr_storage storage;
    socklen_t size;
    bool any; /* ":port": IPv6 with IPv4, or IPv4 alone where there is no IPv6 */
};
int address_parse(const char *text, struct address *ret_address);
int address_format(const struct sockaddr_storage *storage, socklen_t storage_size, char *buffer,
                   size_t size);
const char *address_path(const struct address *a);
void address_any_v4(struct address *a); /* for ":port" where there is no IPv6 */
int protocol_check(const weft_protocol *protocol);

/* accept.c */
void acceptor_init(struct acceptor *a, weft_listener *l, weft_worker *w);
int acceptor_watch(struct acceptor *a);
void acceptor_unwatch(struct acceptor *a);
void listener_stream_gone(weft_listener *l);

/* place.c */
void connection_place(weft_listener *l, weft_worker *mine, int fd);
void placing_init(struct net_worker *net);
void placing_end(struct net_worker *net);

/* stream.c */
int stream_create(struct net_worker *net, int fd, const weft_protocol *protocol, void *arg,
                  weft_listener *listener, uint32_t flags, weft_stream **ret_stream);
void stream_open(weft_stream *s);
int stream_watch(weft_stream *s);
void stream_enlist(weft_stream *s); /* among those of its worker, which it holds from now on */
void socket_close_with_reset(int fd);
void stream_stop(weft_stream *s);
void stream_end(weft_stream *s, int error); /* on_close follows; error < 0 resets the connection */
void stream_expire(weft_stream *s);
void stream_service_soon(weft_stream *s);  /* at the end of this iteration */
void stream_service_later(weft_stream *s); /* in the next */
void stream_settle(weft_stream *s);        /* after anything that may change what it waits for */
void streams_unlist_moving(struct net_worker *net); /* what moves, from the lists of service */
void streams_flush(struct net_worker *net);
void streams_later(struct worker_job *job);

/* A callback of s runs between these two, the function at that address: its writes gather in the
 * worker's output buffer. */
void stream_enter(weft_stream *s, uintptr_t callback);
void stream_leave(weft_stream *s);

/* input.c */
void stream_ready(struct worker_source *source, uint32_t epoll_events);
void stream_show_kept(weft_stream *s);
void stream_tell_eof(weft_stream *s);
void stream_drop_kept(weft_stream *s);

/* spare.c */
void *spare_alloc(struct net_worker *net, size_t size);
void spare_free(struct net_worker *net, void *memory, size_t size);
void spares_release(struct net_worker *net);

/* ref.c */
void releases_init(struct net_worker *net);
void releases_run(struct net_worker *net);

/* output.c */
int output_admit(weft_stream *s, size_t length); /* may so many bytes be written? */
bool output_fits(weft_stream *s, size_t length); /* into max_pending */
int output_refuse(weft_stream *s, int error);    /* they may not: returns error */
void output_grown(weft_stream *s);
void output_gathered_send(weft_stream *s); /* the worker's buffer, when the callback returns */
void output_sent_partly(weft_stream *s, ssize_t n); /* of it; n: or -errno */
void output_send(weft_stream *s);                   /* the stream's own chain */
void output_drop(weft_stream *s);                   /* chain.c */
size_t output_held(const weft_stream *s);           /* bytes of it in memory */
void output_sent_all(weft_stream *s);               /* shutdown or close may have waited for it */
bool output_is_below_mark(const weft_stream *s);
size_t output_pending(const weft_stream *s);

/* connect.c */
void stream_connected(weft_stream *s); /* or not */

/* unix.c */
int unix_listen(int fd, const struct address *a, mode_t mode, int backlog,
                struct unix_path *ret_path);
void unix_remove(const struct unix_path *path);

/* clock.c */
void clocks_init(struct net_worker *net);
void stream_clock_file(weft_stream *s); /* puts it into its worker's wheel, with the deadline set */
void stream_clock_begin(weft_stream *s);
void stream_clock_connected(weft_stream *s);
void stream_clock_idle(weft_stream *s, uint64_t idle_ns);
void stream_clock_deadline(weft_stream *s, uint64_t delay_ns);
void stream_clock_stop(weft_stream *s);
weft_stream *stream_after(struct net_worker *net, weft_stream *s); /* NULL: the first, the last */
void streams_visit(struct net_worker *net, void (*fn)(weft_stream *s, void *arg), void *arg);

/* The worker's last reading of the clock will do if it is not old: callbacks may have run long. */
static inline uint64_t stream_clock_now(const weft_stream *s) {
    weft_worker *w = s->net->worker;
    if (clock_cycles() - w->clock_cycles - 1 >= CLOCK_STALE_CYCLES - 1)
        (void)worker_clock_read(w);
    return w->clock_ns;
}

static inline uint64_t stream_idle_ns(const weft_stream *s) {
    return (uint64_t)s->idle * IDLE_UNIT_NS; /* a product of 48 bits without the cast */
}

/* Only stores a later time: the wheel looks at it when it comes to the stream. */
static inline void stream_note_activity(weft_stream *s) {
    uint64_t now_ns = stream_clock_now(s);
    if (!MUTANT("net-idle-deaf"))
        s->clock.deadline_ns = now_ns + stream_idle_ns(s);
}

/* mailbox.c */
void mailboxes_init(struct net_worker *net);
void mailboxes_release(struct net_worker *net);
void mailbox_note_room(weft_stream *s); /* its output or its limits have changed */
void mailbox_read(weft_stream *s);      /* where no callback runs */
void mailbox_depart(weft_stream *s, struct net_worker *to);
void mailbox_arrive(weft_stream *s);
void mailbox_close(weft_stream *s); /* after its on_close */

/* move.c */
void streams_depart(struct net_worker *net);

/* shed.c */
void net_hold_depart(weft_stream *s); /* what it holds goes with it */
void net_hold_arrive(weft_stream *s);
void net_hold(weft_stream *s, size_t bytes);
void net_unhold(weft_stream *s, size_t bytes);
void net_shed(weft_task *task);

static inline bool stream_is_fast(const weft_stream *s) {
    return (s->flags & ~(uint32_t)STREAM_FAST) == 0;
}

static inline bool stream_may_read(const weft_stream *s) {
    if (MUTANT("net-closed-still-read"))
        return (s->flags & (STREAM_PAUSED | STREAM_CHOKED | STREAM_EOF)) == 0;
    return (s->flags &
            (STREAM_PAUSED | STREAM_CHOKED | STREAM_EOF | STREAM_CLOSING | STREAM_ENDED)) == 0;
}

/* Did the callback that ran just now move it? The next one is called where it goes. */
static inline bool stream_leaves(const weft_stream *s) {
    return s->flags & STREAM_MOVING && !MUTANT("move-reads-on") && !MUTANT("move-end-overtakes");
}

static inline size_t stream_high_water(const weft_stream *s) {
    return s->protocol->high_water ? s->protocol->high_water : NET_HIGH_WATER;
}

static inline size_t stream_max_pending(const weft_stream *s) {
    return s->protocol->max_pending ? s->protocol->max_pending : NET_MAX_PENDING;
}

static inline size_t stream_max_unconsumed(const weft_stream *s) {
    return s->protocol->max_unconsumed ? s->protocol->max_unconsumed : NET_MAX_UNCONSUMED;
}

/* The fast way out: everything that the callback wrote, in one system call, of a stream of which
 * nothing is unsent and whose activity is not noted. True: all of it is out. */
static inline bool output_gathered_pass(weft_stream *s, struct net_worker *net) {
    ssize_t n = os_send(s->fd, net->output, net->output_length);
    if (unlikely(n != (ssize_t)net->output_length)) {
        output_sent_partly(s, n);
        return false;
    }
    net->output_length = 0;
    stat_add(&net->worker->stats.bytes_out, (size_t)n);
    return true;
}

/* What calls on a stream that has ended or is closing answer: its error, or -EPIPE; else 0. */
static inline int stream_end_check(const weft_stream *s) {
    if (s->flags & STREAM_ENDED && s->error != 0)
        return s->error;
    return s->flags & (STREAM_ENDED | STREAM_CLOSING) ? -EPIPE : 0;
}

/* The owner's thread, a live stream: what every call on a stream asks first. */
int stream_check(const weft_stream *s, const char *call);

#endif
