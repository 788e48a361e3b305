/* weft/directory.h: from a key of the program's to a stream, looked up from any thread.
 *
 * A directory maps keys, which are any bytes (a user's name, a session number, nothing at all), to
 * ids of streams. Who wants to reach a user asks it for the id, and sends by that. A look-up takes
 * no lock and waits for nobody, however many write at the same time; it finds the id from before a
 * put that is under way, or the one from after it, and never none.
 *
 *     static void on_open(weft_stream *s) {
 *         struct session *session = weft_stream_state(s);
 *         weft_directory_put(users, session->name, session->name_len, weft_stream_id_of(s));
 *     }
 *
 *     weft_stream_id id;                                            // on any thread
 *     if (weft_directory_get(users, name, name_len, &id) == 0) ...
 *
 * A directory does not know its streams: an entry stays until it is removed or replaced, and may
 * name a stream that is gone. That is harmless, since ids are never reused. To look up is to learn
 * what was true a moment ago; where it matters that an entry is still the own one (a user who comes
 * back before the old connection has closed), let one thread put and remove that key.
 *
 * What a put or a remove takes out is freed once every callback that was running then, on any
 * worker of any runtime, and every look-up have ended; until then it takes memory. Programs whose
 * keys come from the network need not fear chosen ones: the table hashes with a random key of its
 * own. It grows with the number of entries, and keeps that size until it is destroyed.
 */
#ifndef WEFT_DIRECTORY_H
#define WEFT_DIRECTORY_H

#include <weft/api.h>
#include <weft/stream_id.h>

WEFT_BEGIN_DECLS

typedef struct weft_directory weft_directory;

/* Creates a directory without entries. It belongs to no runtime.
 *
 * Thread:  any.
 * Owns:    the directory is the caller's; weft_directory_destroy() ends it.
 * Returns: 0, or
 *          -EINVAL  ret_directory is NULL
 *          -ENOMEM  no memory
 *          -ENOSYS  the kernel gives no random bytes (a sandbox that forbids them)
 *          -EPERM   in a forked child
 * See:     liburcu, rculfhash.h; getrandom(2).
 */
WEFT_API int weft_directory_create(weft_directory **ret_directory);

/* Ends d with all its entries. It waits for nobody, on a worker neither; the memory of a large one
 * is freed before it returns, which takes a while, or a little later by the reclaimer.
 *
 * Nobody else may be using d any more. Where callbacks may still hold it, forbid them to find it
 * and retire it: weft_retire(destroy, d), with a destroy that calls this.
 *
 * Thread:  any.
 * Owns:    d ends here.
 * Returns: nothing; NULL is ignored.
 * See:     weft_retire().
 */
WEFT_API void weft_directory_destroy(weft_directory *d);

/* Sets the id of a key, in the stead of the one it had. Who looks the key up meanwhile finds one of
 * the two. Time and memory: one allocation of the key's length and 48 bytes.
 *
 * Thread:  any; not for signal handlers. A foreign thread needs no preparation.
 * Owns:    key is copied. With len 0 it may be NULL: the empty key is one like others.
 * Returns: 0, or
 *          -EINVAL  d is NULL, or key is with a len that is not 0
 *          -ENOMEM  no memory; the key has the id that it had
 *          -EPERM   in a forked child
 * See:     liburcu, rculfhash.h, cds_lfht_add_replace().
 */
WEFT_API int weft_directory_put(weft_directory *d, const void *key, size_t len, weft_stream_id id);

/* Looks a key up. Without a lock, an allocation or a system call, but for the first time in a
 * foreign thread, which makes it known to liburcu.
 *
 * Thread:  any; not for signal handlers. A foreign thread needs no preparation. liburcu ends the
 *          process where it has no memory to note the thread.
 * Owns:    nothing.
 * Returns: 0, or
 *          -ENOENT  the key has no id; *ret_id is untouched, as on every failure
 *          -EINVAL  d is NULL, or key is with a len that is not 0
 *          -EPERM   in a forked child
 * See:     liburcu, rculfhash.h, cds_lfht_lookup(), and urcu-bp.h.
 */
WEFT_API int weft_directory_get(weft_directory *d, const void *key, size_t len,
                                weft_stream_id *ret_id);

/* Removes a key and its id, whichever that is.
 *
 * Thread:  any; not for signal handlers. A foreign thread needs no preparation.
 * Owns:    nothing.
 * Returns: 0, or
 *          -ENOENT  the key has no id; of two that remove one at once, one gets this
 *          -EINVAL  d is NULL, or key is with a len that is not 0
 *          -EPERM   in a forked child
 * See:     liburcu, rculfhash.h, cds_lfht_del().
 */
WEFT_API int weft_directory_remove(weft_directory *d, const void *key, size_t len);

WEFT_END_DECLS

#endif
