/* weft/stream_id.h: streams by id, from any thread.
 *
 * A weft_stream belongs to its worker's thread and goes when it closes. Its id may be kept and
 * passed to anybody: it names that stream for ever and no other one, in this process. What is sent
 * or posted by it reaches the stream on whichever worker it lives by then, in the order in which
 * one thread sent it, also across moves; a stream that is gone is an answer, never a crash. None of
 * this takes a lock or waits for the stream's worker, and foreign threads need no registration.
 *
 *     weft_stream_id id = weft_stream_id_of(s);       // on s's worker; then, from anywhere:
 *     if (weft_send(rt, id, "hello\n", 6) == -ENOENT)
 *         forget(id);
 */
#ifndef WEFT_STREAM_ID_H
#define WEFT_STREAM_ID_H

#include <weft/api.h>
#include <weft/runtime.h>

WEFT_BEGIN_DECLS

typedef struct weft_stream weft_stream;

/* All zero names no stream. To be compared as a whole. */
typedef struct weft_stream_id {
    uint64_t value[2];
} weft_stream_id;

/* The stream's id, the same for all its life. The first call gives the stream a mailbox of 128
 * bytes.
 *
 * Thread:  owner.
 * Returns: the id; all zero for NULL, on another thread, for a stream that has ended without one,
 *          and where there is no memory for it.
 * See:     weft_send(), weft_stream_post(), weft/directory.h.
 */
WEFT_API weft_stream_id weft_stream_id_of(const weft_stream *s);

/* Writes len bytes to the stream on its own worker, as weft_stream_write() does there: at once
 * where the caller is on that worker and nothing sent before is under way, else as soon as the
 * worker comes to it.
 *
 * Thread:  any. Not async-signal-safe: it allocates.
 * Owns:    data is copied, and free on return.
 * Returns: 0: it is on its way, and arrives unless the stream ends or half-closes before; one that
 *          turns out too much only then, because the stream wrote as well, closes the stream with
 *          -ENOBUFS. Or
 *          -EINVAL  rt is NULL, or data is NULL and len is not 0
 *          -ENOENT  the stream is gone, or there never was one of that id
 *          -ENOBUFS  together with what is unsent and under way it is more than max_pending, or a
 *                   write of the stream's own was refused, and its on_drain has not come yet;
 *                   never for a len of 0
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     weft_stream_write(); weft_protocol.max_pending.
 */
WEFT_API int weft_send(weft_runtime *rt, weft_stream_id id, const void *data, size_t len);

/* Calls fn(s, arg) on the stream's worker, as a callback of s, once and after its on_open. If the
 * stream ends first, fn gets NULL instead, on the worker that owned it last and after its on_close.
 *
 * Thread:  any. Not async-signal-safe: it allocates.
 * Returns: 0: fn runs exactly once. Or
 *          -EINVAL  rt or fn is NULL
 *          -ENOENT  the stream is gone, or there never was one of that id; fn is not called
 *          -ENOMEM  no memory
 *          -EPERM   in a forked child
 * See:     weft_post_fn().
 */
WEFT_API int weft_stream_post(weft_runtime *rt, weft_stream_id id,
                              void (*fn)(weft_stream *s, void *arg), void *arg);

WEFT_END_DECLS

#endif
