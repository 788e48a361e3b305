/* proxy: passes bytes on, in both directions.
 *
 *   proxy LISTEN TARGET     "127.0.0.1:0 127.0.0.1:7000", "unix:/run/front.sock unix:@back", ...
 *
 * Every client that connects to LISTEN gets a connection to TARGET, on the same worker, so the two
 * know each other by a pointer and need no lock. Each direction by itself:
 *
 *   back-pressure   What one side cannot send yet is held, BUFFER bytes at most. Beyond, a write is
 *                   refused, the other side's bytes stay where they are, and it is not read any
 *                   more until on_drain. So a slow reader slows its sender down, and nobody else.
 *   half-close      The end of one side's input is passed on as the end of the other's output; the
 *                   way back stays open, as the two may want it.
 *
 * A reset is passed on, too. SIGINT and SIGTERM stop it, once what is under way has arrived or a
 * second has passed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <weft.h>

enum { BUFFER = 256 << 10 };

/* The state of a stream, on either side. */
struct side {
    weft_stream *other; /* NULL: it is gone */
    bool has_ended;     /* its input */
};

static struct side *side_of(weft_stream *s) {
    return weft_stream_state(s);
}

static size_t pass_on(weft_stream *s, const uint8_t *data, size_t len) {
    int r = weft_stream_write(side_of(s)->other, data, len);
    if (r == 0)
        return len;
    if (r == -ENOBUFS) {
        weft_stream_pause(s); /* not consumed: it comes again when we resume */
        return 0;
    }
    weft_stream_abort(s);
    return len;
}

static void drained(weft_stream *s) {
    if (side_of(s)->other)
        weft_stream_resume(side_of(s)->other);
}

/* While it connects there is no output to end yet; connected() makes up for it. */
static void end_output(weft_stream *s) {
    if (weft_stream_shutdown(s) == -ENOTCONN)
        return;
    if (side_of(s)->has_ended) { /* and the other way has ended before */
        weft_stream_close(side_of(s)->other);
        weft_stream_close(s);
    }
}

static void ended(weft_stream *s) {
    side_of(s)->has_ended = true;
    end_output(side_of(s)->other);
}

static void connected(weft_stream *s) {
    weft_stream *client = side_of(s)->other;
    if (client && side_of(client)->has_ended)
        end_output(s);
}

/* A side that is gone takes the other along: in order, or with a reset where it had one. */
static void closed(weft_stream *s, int error) {
    weft_stream *other = side_of(s)->other;
    if (!other)
        return;
    side_of(other)->other = NULL;
    if (error < 0)
        weft_stream_abort(other);
    else
        weft_stream_close(other);
}

/* high_water would stop reading a side because it does not take what the other sends: here each
 * direction minds only itself, by max_pending. */
static const weft_protocol target_protocol = {
    .state_size = sizeof(struct side),
    .on_open = connected,
    .on_data = pass_on,
    .on_drain = drained,
    .on_eof = ended,
    .on_close = closed,
    .high_water = SIZE_MAX,
    .max_pending = BUFFER,
};

static void accepted(weft_stream *s) {
    weft_stream *target = NULL;
    int r =
        weft_connect(weft_stream_worker(s), weft_stream_arg(s), &target_protocol, NULL, &target);
    if (r < 0) {
        fprintf(stderr, "proxy: %s: %s\n", (char *)weft_stream_arg(s), weft_strerror(r));
        weft_stream_abort(s);
        return;
    }
    side_of(s)->other = target;
    side_of(target)->other = s;
}

int main(int argc, char **argv) {
    static weft_protocol client_protocol;
    weft_runtime *rt = NULL;
    weft_listener *listener = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: proxy LISTEN TARGET\n");
        return 1;
    }
    client_protocol = target_protocol;
    client_protocol.on_open = accepted;
    int r = weft_runtime_create(NULL, &rt);
    if (r == 0)
        r = weft_runtime_stop_on(rt, SIGINT);
    if (r == 0)
        r = weft_runtime_stop_on(rt, SIGTERM);
    if (r == 0)
        r = weft_listen(rt, argv[1], &client_protocol, argv[2], &listener);
    if (r == 0) {
        printf("listening on %s\n", weft_listener_address(listener));
        fflush(stdout);
        r = weft_runtime_run(rt);
    }
    weft_runtime_destroy(rt);
    if (r < 0)
        fprintf(stderr, "proxy: %s\n", weft_strerror(r));
    return r < 0;
}
