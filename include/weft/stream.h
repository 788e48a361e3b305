/* weft/stream.h: listeners and streams, of TCP and of unix sockets.
 *
 * A weft_protocol says what to do with a connection: a handful of callbacks and limits, usually
 * static const. weft_listen() binds an address to one; every connection it accepts becomes a
 * weft_stream on one of the workers, the streams spread evenly. weft_connect()
 * makes a stream to somebody else's listener, weft_adopt() one of a socket that is connected
 * already. Each stream carries state_size bytes of the program's in the same allocation, and lives
 * on its worker's thread: its callbacks run there, and the calls below that take a stream belong
 * there.
 *
 * Order. on_open, then on_data any number of times, then on_eof perhaps, then on_close, exactly
 * once and last; the stream is valid until on_close returns. After weft_stream_close() or
 * weft_stream_abort() only on_close follows. on_open never comes before the call that made the
 * stream has returned: for an adopted stream it comes in the next iteration, for one that connects
 * when it has. A connection that fails gets on_close alone.
 *
 * Addresses are numeric: "127.0.0.1:7000", "[::1]:7000", ":7000" (all, IPv6 and IPv4),
 * "unix:/run/x.sock" (a path), "unix:@name" (the abstract namespace). Port 0 picks one.
 *
 * Input. on_data sees the bytes in the worker's own buffer and returns how many it consumed; the
 * rest is kept, and shown again in front of the next bytes. So a protocol consumes every complete
 * message and leaves the beginning of the next. An idle stream holds no buffer. The end of input
 * comes after all bytes and never while paused; a reset closes at once.
 *
 * Output. A write is all or nothing, copies, and keeps its order. Writes to a stream inside its own
 * callback leave in one system call when the callback returns, however many they were (beyond the
 * worker's 64 KiB they may leave earlier); others leave by the end of the iteration. TCP_NODELAY is
 * on: it is weft that coalesces.
 *
 * Limits. At high_water of unsent output reading pauses by itself, so that a client that does not
 * read its replies stops sending requests; at max_pending a write is refused. Refused, a write
 * never leaves a hole in the stream: without on_drain the stream closes with -ENOBUFS, with it
 * every further write fails until on_drain. A flood on one stream does not starve another, and
 * EMFILE pauses accepting until file descriptors are to be had again.
 *
 *     static size_t lines(weft_stream *s, const uint8_t *data, size_t len) {
 *         size_t used = 0;
 *         const uint8_t *end;
 *         while ((end = memchr(data + used, '\n', len - used)) != NULL) {
 *             answer(s, data + used, (size_t)(end - (data + used)));
 *             used = (size_t)(end - data) + 1;
 *         }
 *         return used;                        // the unfinished line comes again, with its end
 *     }
 */
#ifndef WEFT_STREAM_H
#define WEFT_STREAM_H

#include <sys/types.h>
#include <sys/uio.h>

#include <weft/api.h>
#include <weft/stream_id.h>
#include <weft/worker.h>

WEFT_BEGIN_DECLS

typedef struct weft_stream weft_stream;
typedef struct weft_listener weft_listener;

/* weft_protocol.flags */
enum {
    WEFT_STREAM_PAUSE = 1u << 0, /* reading pauses at high_water also on streams of weft_connect()
                                    and weft_adopt(); on accepted ones it always does. Not where
                                    both sides send first and read later: each would wait for the
                                    other to read */
};

/* weft_listen_options.flags */
enum {
    WEFT_LISTEN_V6ONLY       = 1u << 0, /* "[::]" and ":port" take no IPv4 (IPV6_V6ONLY) */
    WEFT_LISTEN_DEFER_ACCEPT = 1u << 1, /* accept when the first bytes are there
                                           (TCP_DEFER_ACCEPT); for protocols whose client speaks
                                           first */
};

/* What streams do. Usually static const; must outlive its streams and listeners. All of it may be
 * zero but on_data. All callbacks run on the stream's worker. */
typedef struct weft_protocol {
    /* Zeroed bytes allocated with each stream; see weft_stream_state(). */
    size_t state_size;

    /* Before anything else. */
    void (*on_open)(weft_stream *s);

    /* Required. Returns the bytes consumed. Less than len without pausing waits for more bytes;
     * more than len closes the stream with -EINVAL, and stops a debug build. */
    size_t (*on_data)(weft_stream *s, const uint8_t *data, size_t len);

    /* Once, when output that had reached high_water, or was refused, fell below half of it.
     * Independent of any pause. With high_water SIZE_MAX it follows only a refusal, at half of
     * max_pending. */
    void (*on_drain)(weft_stream *s);

    /* The peer will send no more. NULL: flush, then close. */
    void (*on_eof)(weft_stream *s);

    /* No byte in or out for idle_timeout_ns. It re-arms. NULL: close with -ETIMEDOUT. */
    void (*on_timeout)(weft_stream *s);

    /* The first callback on a new worker; see weft_stream_move(). */
    void (*on_move)(weft_stream *s);

    /* The runtime is stopping: finish within the grace time. NULL: flush, then close. */
    void (*on_stop)(weft_stream *s);

    /* Once, last. error is 0 after close or abort by the program and after the peer's orderly end,
     * -ESHUTDOWN when the grace time ran out, else the -errno that ended the stream. One of weft's
     * own (-ENOBUFS, -EMSGSIZE, -EINVAL, -ETIMEDOUT, -ESHUTDOWN) has discarded pending output. */
    void (*on_close)(weft_stream *s, int error);

    uint32_t flags;              /* WEFT_STREAM_PAUSE */
    size_t high_water;           /* 0: 256 KiB of unsent output pauses reading; SIZE_MAX: never */
    size_t max_pending;          /* 0: 16 MiB of unsent output: write gives -ENOBUFS */
    size_t max_unconsumed;       /* 0: 1 MiB of input that on_data left: closes with -EMSGSIZE */
    uint64_t idle_timeout_ns;    /* 0: none */
    uint64_t connect_timeout_ns; /* 0: 30 s; then a stream of weft_connect() ends with -ETIMEDOUT */
    uint64_t close_timeout_ns;   /* 0: 10 s for a closing stream to flush to a peer that does not
                                    read */
    uint64_t reserved[8];        /* zero */
} weft_protocol;

/* All zero means the defaults. */
typedef struct weft_listen_options {
    int backlog;          /* connections the kernel keeps until they are accepted (listen(2)); 0: as
                             many as net.core.somaxconn allows */
    uint32_t flags;       /* WEFT_LISTEN_V6ONLY, WEFT_LISTEN_DEFER_ACCEPT */
    unsigned max_streams; /* accepting pauses while so many of its streams are open; 0: no limit */
    mode_t unix_mode;     /* permissions of a unix socket's path, whatever the umask; 0: what that
                             leaves of 0777. To connect one needs write permission (unix(7)) */
    uint64_t reserved[8]; /* zero */
} weft_listen_options;

/* Listens on address, with options (NULL: the defaults), and serves each connection by protocol.
 * For the addresses see above; the port that 0 picked is told by weft_listener_address().
 * SO_REUSEADDR is set. Before the runtime starts, connections wait in the backlog.
 *
 * A unix socket's path that a server left behind, on which nobody listens any more, is taken over,
 * under a lock on its directory (flock(2)), so that of two servers that start at once one gets
 * -EADDRINUSE. The path is removed when the listener closes, unless it is another socket's by then.
 *
 * Thread:  any.
 * Owns:    the listener is the runtime's; ret_listener may be NULL. options and address are read
 *          before the call returns; protocol must outlive the runtime's streams; arg is passed
 *          through, see weft_stream_arg().
 * Returns: 0, or
 *          -EINVAL  rt, address, protocol or its on_data is NULL, a malformed address, a negative
 *                   backlog, an unknown flag, reserved not zero
 *          -EAFNOSUPPORT  a family that the kernel does not know
 *          -ENAMETOOLONG  a unix socket's path or name over 107 bytes
 *          -EADDRINUSE  the port is taken, also by another weft program: starting a server twice
 *                   does not silently split its traffic (to share on purpose, see
 *                   weft_listen_fd()); a path that is somebody's socket, or no socket
 *          -ENOENT, -ENOTDIR, -EROFS, ...  as bind(2) says of a path
 *          -EADDRNOTAVAIL  the address is none of this host
 *          -EACCES  a port below net.ipv4.ip_unprivileged_port_start without CAP_NET_BIND_SERVICE;
 *                   no permission to create the path
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM, -ENOBUFS  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -ESHUTDOWN  the runtime was asked to stop
 *          -EPERM   forbidden by a security policy; in a forked child
 * See:     socket(2), bind(2), listen(2), tcp(7), ipv6(7), unix(7).
 */
WEFT_API int weft_listen_with(weft_runtime *rt, const char *address,
                              const weft_listen_options *options, const weft_protocol *protocol,
                              void *arg, weft_listener **ret_listener);

/* weft_listen_with() the default options.
 *
 * Thread:  any.
 * Owns:    as weft_listen_with().
 * Returns: 0, or
 *          -EINVAL, -EAFNOSUPPORT, -ENAMETOOLONG, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -ENOENT,
 *          -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS, -ENOSPC, -ESHUTDOWN, -EPERM, ...  as
 *          weft_listen_with()
 * See:     weft_listen_with().
 */
WEFT_API int weft_listen(weft_runtime *rt, const char *address, const weft_protocol *protocol,
                         void *arg, weft_listener **ret_listener);

/* Listens on fd, a stream socket that listens already: one that was inherited, or shared on
 * purpose.
 *
 * Thread:  any.
 * Owns:    on success fd is weft's, which sets O_NONBLOCK and closes it with the listener; on
 *          failure it stays the caller's, unchanged. Otherwise as weft_listen_with().
 * Returns: 0, or
 *          -EINVAL  rt, protocol or its on_data is NULL, protocol's unknown flag or reserved not
 *                   zero, or fd does not listen
 *          -EBADF   fd is negative or not open
 *          -ENOTSOCK  fd is no socket
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -ESHUTDOWN  the runtime was asked to stop
 *          -EPERM   in a forked child
 * See:     listen(2); socket(7), SO_ACCEPTCONN; epoll_ctl(2), EPOLLEXCLUSIVE.
 */
WEFT_API int weft_listen_fd(weft_runtime *rt, int fd, const weft_protocol *protocol, void *arg,
                            weft_listener **ret_listener);

/* Connects to address: a stream on w, whose on_open comes when it has connected. If that fails
 * later, or takes longer than connect_timeout_ns, on_close comes alone, with the errno; an error
 * that is known at once is returned, and there is no on_close. What is written before on_open
 * leaves when it has connected. weft_stream_close() meanwhile ends it with 0, at once if nothing
 * was written; weft_stream_shutdown() is -ENOTCONN; a stop of the runtime ends it with -ESHUTDOWN.
 *
 * Thread:  owner of w.
 * Owns:    the stream is weft's, and valid until on_close returns; ret_stream may be NULL. address
 *          is read before the call returns; protocol must outlive the stream.
 * Returns: 0, or
 *          -EINVAL  w, address, protocol or its on_data is NULL, a malformed address, protocol's
 *                   unknown flag or reserved not zero
 *          -ENAMETOOLONG  a unix socket's path or name over 107 bytes
 *          -EAFNOSUPPORT  a family that the kernel does not know
 *          -ECONNREFUSED  nobody listens there; -ENOENT  no such path; -EACCES  no write permission
 *                   on it; -EAGAIN  a unix socket whose backlog is full: try again later
 *          -ENETUNREACH, -EHOSTUNREACH, -EADDRNOTAVAIL (no local port left), ...  as connect(2)
 *                   says
 *          -EMFILE, -ENFILE  no file descriptor left, in this process or in the system
 *          -ENOMEM, -ENOBUFS  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -ESHUTDOWN  the runtime was asked to stop
 *          -EPERM   forbidden by a firewall; on another thread; in a forked child
 * See:     connect(2), EINPROGRESS; tcp(7), tcp_syn_retries; unix(7).
 */
WEFT_API int weft_connect(weft_worker *w, const char *address, const weft_protocol *protocol,
                          void *arg, weft_stream **ret_stream);

/* Makes a stream on w of fd, a connected stream socket. on_open comes in the next iteration.
 *
 * Thread:  owner of w.
 * Owns:    on success fd is weft's, which sets O_NONBLOCK and closes it with the stream; on failure
 *          it stays the caller's, unchanged. The stream is weft's, and valid until on_close
 *          returns; ret_stream may be NULL.
 * Returns: 0, or
 *          -EINVAL  w, protocol or its on_data is NULL, protocol's unknown flag or reserved not
 *                   zero, or a socket that is no stream, or one that listens
 *          -EBADF   fd is negative or not open
 *          -ENOTSOCK  fd is no socket
 *          -ENOTCONN  fd is not connected
 *          -EEXIST  fd is watched on w
 *          -ENOMEM  no memory; -ENOSPC  over /proc/sys/fs/epoll/max_user_watches
 *          -ESHUTDOWN  the runtime was asked to stop
 *          -EPERM   on another thread; in a forked child
 * See:     socket(7), tcp(7), epoll_ctl(2).
 */
WEFT_API int weft_adopt(weft_worker *w, int fd, const weft_protocol *protocol, void *arg,
                        weft_stream **ret_stream);

/* Closes the listener: nothing more is accepted; its streams live on. Idempotent. A connection that
 * a worker is accepting at this moment may still open.
 *
 * Thread:  any.
 * Owns:    the handle stays valid as long as the runtime, the socket does not.
 * Returns: nothing; NULL is ignored.
 * See:     close(2): connections in the backlog are reset.
 */
WEFT_API void weft_listener_close(weft_listener *l);

/* Writes len bytes, all or nothing. Together with the unsent output they must fit into max_pending,
 * even where the kernel might take them at once. Inside a callback of s the bytes wait for its
 * return and leave together; see weft_stream_flush().
 *
 * Thread:  owner.
 * Owns:    data is copied or sent, and free on return.
 * Returns: 0, or
 *          -EINVAL  s is NULL, or data is NULL and len is not 0
 *          -ENOBUFS  it does not fit into max_pending, or an earlier write did not and on_drain has
 *                   not come yet. Without on_drain the stream closes with -ENOBUFS
 *          -ENOMEM  no memory; refused like -ENOBUFS. Where it lacks for the rest of what the
 *                   kernel has begun to take, the stream closes with it
 *          -EPIPE   after weft_stream_close(), _abort() or _shutdown()
 *          -ECONNRESET, ...  the stream has failed, with that error, which on_close gets too
 *          -EPERM   on another thread; in a forked child
 * See:     send(2), with MSG_NOSIGNAL: no SIGPIPE.
 */
WEFT_API int weft_stream_write(weft_stream *s, const void *data, size_t len);

/* Writes the count pieces of iov, in order, as one weft_stream_write() of them all.
 *
 * Thread:  owner.
 * Owns:    iov and the pieces are copied or sent, and free on return.
 * Returns: 0, or
 *          -EINVAL  s is NULL, count is negative, iov is NULL and count is not 0, a piece is NULL
 *                   with a length, or the lengths add up to more than SIZE_MAX
 *          -ENOBUFS, -ENOMEM, -EPIPE, -ECONNRESET, ..., -EPERM  as weft_stream_write()
 * See:     writev(2), sendmsg(2).
 */
WEFT_API int weft_stream_writev(weft_stream *s, const struct iovec *iov, int count);

/* Lends len bytes to the stream, which sends them from where they are: for bytes that many streams
 * share, or that are too many to copy. They keep their order among all writes, and count for
 * max_pending and high_water as those do.
 *
 * Thread:  owner.
 * Owns:    on success data belongs to the stream, unchanged, until release(arg) has been called: on
 *          the owner's thread, exactly once, however the stream ends, before its on_close, and
 *          never inside a call of the program's. On failure it stays the caller's.
 * Returns: 0, or
 *          -EINVAL  s or release is NULL, or data is NULL and len is not 0
 *          -ENOBUFS, -ENOMEM, -EPIPE, -ECONNRESET, ..., -EPERM  as weft_stream_write()
 * See:     sendmsg(2). On the peer's side nothing differs; MSG_ZEROCOPY is not used.
 */
WEFT_API int weft_stream_write_ref(weft_stream *s, const void *data, size_t len,
                                   void (*release)(void *arg), void *arg);

/* Sends len bytes of a regular file, from offset on, without their passing through the program. The
 * file's position is not used. They keep their order among all writes and count as pending, for
 * high_water too, but not for max_pending or max_buffered. A file that turns out to be shorter
 * closes the stream with -EIO. Pages that are not cached are read from the disk meanwhile, and the
 * worker waits for that.
 *
 * Thread:  owner.
 * Owns:    fd stays the caller's, who may close it at once: the stream keeps a duplicate.
 * Returns: 0, or
 *          -EINVAL  s is NULL, fd is no regular file, offset is negative, or offset and len add up
 *                   to more than INT64_MAX
 *          -EBADF   fd is not open, or not for reading
 *          -EMFILE, -ENFILE, -ENOMEM  no file descriptor or memory left; refused like -ENOBUFS
 *          -ENOBUFS  an earlier write was refused, and on_drain has not come yet; or the parts of
 *                   files that wait come to more than INT64_MAX bytes
 *          -EPIPE, -ECONNRESET, ..., -EPERM  as weft_stream_write()
 * See:     sendfile(2).
 */
WEFT_API int weft_stream_sendfile(weft_stream *s, int fd, off_t offset, size_t len);

/* Sends what was written so far now, rather than when the callback returns: before long work, say.
 * What the kernel does not take stays pending.
 *
 * Thread:  owner.
 * Returns: nothing; NULL is ignored. A failure is reported by on_close, after the running callback.
 * See:     send(2).
 */
WEFT_API void weft_stream_flush(weft_stream *s);

/* The input that on_data was shown and left. on_eof is the last chance to look.
 *
 * Thread:  owner.
 * Owns:    the bytes are the stream's, valid until the running callback returns.
 * Returns: their number; 0 for NULL, *ret_data then being untouched.
 * See:     weft_protocol.on_data.
 */
WEFT_API size_t weft_stream_unconsumed(const weft_stream *s, const uint8_t **ret_data);

/* Stops reading until weft_stream_resume(): no on_data, no on_eof; the peer feels it through TCP's
 * window. Independent of the automatic pause at high_water: reading goes on when neither holds. A
 * paused stream still notices a reset. Pausing twice is pausing once.
 *
 * Thread:  owner.
 * Returns: nothing; NULL is ignored.
 * See:     tcp(7); epoll_ctl(2).
 */
WEFT_API void weft_stream_pause(weft_stream *s);

/* Ends weft_stream_pause(). Input that on_data left is shown again in the next iteration, whether
 * or not new bytes come.
 *
 * Thread:  owner.
 * Returns: nothing; NULL is ignored.
 * See:     weft_stream_pause().
 */
WEFT_API void weft_stream_resume(weft_stream *s);

/* Half-closes: the peer sees the end after all pending output, and may go on sending.
 *
 * Thread:  owner.
 * Returns: 0, also the second time, or
 *          -EINVAL  s is NULL
 *          -EPIPE   after weft_stream_close() or weft_stream_abort()
 *          -ENOTCONN  the stream is not connected
 *          -ECONNRESET, ...  the stream has failed, with that error
 *          -EPERM   on another thread; in a forked child
 * See:     shutdown(2), SHUT_WR.
 */
WEFT_API int weft_stream_shutdown(weft_stream *s);

/* Flushes, then closes; idempotent. Reading stops now. The output has close_timeout_ns to leave;
 * then the stream half-closes and discards input until the peer's end, for 1 s at most (on a stop,
 * within the grace time), so that a reset does not destroy the last reply. on_close comes after
 * that, with 0 even if the peer resets meanwhile.
 *
 * Thread:  owner.
 * Owns:    s is valid until on_close returns.
 * Returns: nothing; NULL is ignored.
 * See:     shutdown(2), close(2); RFC 9112, 9.6, on the reset that destroys a reply.
 */
WEFT_API void weft_stream_close(weft_stream *s);

/* Discards all output and resets the connection; idempotent, and legal after a close. on_close
 * comes with 0, not before the running callback has returned.
 *
 * Thread:  owner.
 * Owns:    s is valid until on_close returns.
 * Returns: nothing; NULL is ignored.
 * See:     socket(7), SO_LINGER with a time of 0; RFC 9293, 3.10.5.
 */
WEFT_API void weft_stream_abort(weft_stream *s);

/* Moves s to another worker when the callback returns, or, from elsewhere, at the end of the
 * iteration. Its address, state and id stay; what it has not read, not sent, and its timeout go
 * along. on_move is its first callback there, or on_open if that has not been called yet. Until it
 * leaves it is for reading only: writes and a shutdown give -EBUSY, and a flush does nothing. One
 * that is closed meanwhile stays.
 *
 * Thread:  owner. After the move s belongs to the thread of `to`, and to nobody on the way.
 * Returns: 0, also for its own worker, where nothing happens; or
 *          -EINVAL  s or to is NULL, or to is another runtime's
 *          -EBUSY   it is leaving already
 *          -EPIPE   after weft_stream_close() or weft_stream_abort()
 *          -ESHUTDOWN  the runtime was asked to stop; s stays. One that is on its way by then gets
 *                   on_move, then on_stop; after the grace time it ends with -ESHUTDOWN
 *          -ECONNRESET, ...  the stream has failed, with that error
 *          -ENOMEM  no memory
 *          -EPERM   on another thread; in a forked child
 *          Where the new worker cannot watch the socket (-ENOMEM, -ENOSPC: epoll_ctl(2)) on_close
 *          follows there, with that error.
 * See:     weft_stream_post(), to reach a stream that moves.
 */
WEFT_API int weft_stream_move(weft_stream *s, weft_worker *to);

/* Goes on by another protocol: what an upgrade (WebSocket, TLS, PROXY) or a first line that names
 * the protocol needs. From here on its callbacks, limits and timeouts hold; on_open is not called
 * again. Input that the old on_data left, or that it does not consume in the call that is running,
 * is shown to the new one in the next iteration. The state stays, with the size that it was
 * allocated with.
 *
 * Thread:  owner.
 * Owns:    protocol must outlive the stream; arg replaces weft_stream_arg().
 * Returns: nothing; NULL for s is ignored, and a protocol that weft_connect() would refuse as well,
 *          which is logged and stops a debug build.
 * See:     weft_protocol.
 */
WEFT_API void weft_stream_set_protocol(weft_stream *s, const weft_protocol *protocol, void *arg);

/* Sets the time, in nanoseconds, without a byte in or out after which on_timeout comes; 0 or
 * WEFT_FOREVER: none. Counted from this call; overrides weft_protocol.idle_timeout_ns.
 *
 * Thread:  owner.
 * Returns: nothing; NULL is ignored.
 * See:     weft_protocol.on_timeout.
 */
WEFT_API void weft_stream_set_idle_timeout(weft_stream *s, uint64_t timeout_ns);

/* The program's state_size bytes of the stream, zero at first, aligned for any type. Not to be
 * looked into when state_size is 0.
 *
 * Thread:  any, while s is valid; what lies there is the owner's.
 * Owns:    the bytes are the stream's, and go with it after on_close.
 * Returns: the address; NULL for NULL.
 * See:     weft_protocol.state_size.
 */
WEFT_API void *weft_stream_state(weft_stream *s);

/* The arg given to weft_listen() or weft_adopt().
 *
 * Thread:  any, while s is valid.
 * Returns: that pointer; NULL for NULL.
 * See:     weft_listen_with(), weft_adopt().
 */
WEFT_API void *weft_stream_arg(weft_stream *s);

/* The bytes that were written and that the kernel has not taken yet. What it has taken may still be
 * under way: 0 does not mean that the peer has them.
 *
 * Thread:  owner.
 * Returns: their number; 0 for NULL.
 * See:     weft_protocol.max_pending; tcp(7), SIOCOUTQ, for what the kernel holds.
 */
WEFT_API size_t weft_stream_pending(const weft_stream *s);

/* The worker that s lives on.
 *
 * Thread:  any, while s is valid.
 * Returns: the worker; NULL for NULL.
 * See:     weft/worker.h.
 */
WEFT_API weft_worker *weft_stream_worker(const weft_stream *s);

/* The socket, for options (setsockopt(2)); not for reading, writing or closing.
 *
 * Thread:  any, while s is valid.
 * Owns:    the fd stays the stream's.
 * Returns: the fd, or
 *          -EINVAL  s is NULL
 *          -EBADF   the socket is closed
 *          -EPERM   in a forked child
 * See:     socket(7), tcp(7).
 */
WEFT_API int weft_stream_fd(const weft_stream *s);

/* Writes the peer's address into buffer, of size bytes, as "192.0.2.1:80" or "[2001:db8::1]:80"
 * with a NUL; 80 bytes hold any.
 *
 * Thread:  any, while s is valid.
 * Returns: 0, or
 *          -EINVAL  s or buffer is NULL
 *          -ERANGE  it does not fit; buffer is untouched
 *          -ENOTCONN  the connection is gone; -EBADF  the socket is closed
 *          -EPERM   in a forked child
 * See:     getpeername(2), inet_ntop(3).
 */
WEFT_API int weft_stream_peer(const weft_stream *s, char *buffer, size_t size);

/* Writes the local address into buffer, as weft_stream_peer() does the peer's.
 *
 * Thread:  any, while s is valid.
 * Returns: 0, or
 *          -EINVAL  s or buffer is NULL
 *          -ERANGE  it does not fit; buffer is untouched
 *          -EBADF   the socket is closed
 *          -EPERM   in a forked child
 * See:     getsockname(2), inet_ntop(3).
 */
WEFT_API int weft_stream_local(const weft_stream *s, char *buffer, size_t size);

/* The address that the listener is bound to, with the real port after ":0".
 *
 * Thread:  any.
 * Owns:    the string is the listener's; both live as long as the runtime, also after a close.
 * Returns: the string, such as "127.0.0.1:7000"; NULL for NULL.
 * See:     getsockname(2).
 */
WEFT_API const char *weft_listener_address(const weft_listener *l);

/* Calls fn(s, arg) for each stream of w that is open, in no particular order, before it returns. fn
 * may do to any stream what a callback may, closing included; streams opened by it are not visited.
 *
 * Thread:  owner of w.
 * Returns: nothing; without w or fn it does nothing.
 * See:     weft_broadcast(), to reach the streams of all workers.
 */
WEFT_API void weft_worker_each_stream(weft_worker *w, void (*fn)(weft_stream *s, void *arg),
                                      void *arg);

WEFT_END_DECLS

#endif
