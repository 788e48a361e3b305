/* weft: a multithreaded reactor for Linux.
 *
 * N worker threads each own an epoll selector; what is registered with a worker is served on that
 * worker's thread and needs no lock. Work crosses threads as tasks, through a lock-free queue and
 * an eventfd. One more thread, the sentinel, owns the signals and
 * the exits of children.
 *
 *     weft/api.h        durations, WEFT_CONTAINER_OF, and the rules that hold for every call
 *     weft/error.h      the names of errors, the version, the log
 *     weft/event.h      event bits; an event that any thread or signal handler can trigger
 *     weft/selector.h   the selector alone: usable without a runtime, safe across threads
 *     weft/runtime.h    create, start, stop and join a set of workers
 *     weft/worker.h     the worker a callback runs on: its clock, data and counters
 *     weft/task.h       run a function on another worker, from any thread; retire shared memory
 *     weft/timer.h      timers of a worker
 *     weft/watch.h      readiness of a file descriptor as a callback
 *     weft/hook.h       a callback at a fixed point of each iteration
 *     weft/signal.h     signals of the process as callbacks
 *     weft/process.h    start programs; learn how children ended
 *     weft/stream.h     listeners and streams, of TCP and unix sockets
 *     weft/stream_id.h  streams by id, from any thread
 *     weft/directory.h  from a key of the program's to a stream, for any thread
 *
 * Each header may be included alone. The shortest server, and a safe one: a client that does not
 * read its replies pauses itself, and the memory that all of them may hold is bounded.
 *
 *     #include <signal.h>
 *     #include <weft.h>
 *
 *     static size_t echo(weft_stream *s, const uint8_t *data, size_t len) {
 *         weft_stream_write(s, data, len);
 *         return len;
 *     }
 *
 *     int main(void) {
 *         static const weft_protocol protocol = { .on_data = echo };
 *         weft_runtime *rt = NULL;
 *         int r = weft_runtime_create(NULL, &rt);
 *         if (r == 0) r = weft_listen(rt, ":7000", &protocol, NULL, NULL);
 *         if (r == 0) r = weft_runtime_stop_on(rt, SIGINT);
 *         if (r == 0) r = weft_runtime_run(rt);
 *         weft_runtime_destroy(rt);
 *         return r < 0;
 *     }
 */
#ifndef WEFT_H
#define WEFT_H

#include <weft/api.h>
#include <weft/directory.h>
#include <weft/error.h>
#include <weft/event.h>
#include <weft/hook.h>
#include <weft/process.h>
#include <weft/runtime.h>
#include <weft/selector.h>
#include <weft/signal.h>
#include <weft/stream.h>
#include <weft/stream_id.h>
#include <weft/task.h>
#include <weft/timer.h>
#include <weft/watch.h>
#include <weft/worker.h>

#endif
