/*
 * Echo on weft: its shortest program, with the options that the other servers have.
 */
#include "servers/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

static size_t echo(weft_stream *s, const uint8_t *data, size_t len) {
    weft_stream_write(s, data, len);
    return len;
}

/* What a handler does that replies to each message. */
static size_t echo_per_message(weft_stream *s, const uint8_t *data, size_t len) {
    const server_options *options = weft_stream_arg(s);
    for (size_t at = 0; at < len;) {
        size_t piece = len - at < options->per_message ? len - at : options->per_message;
        if (weft_stream_write(s, data + at, piece) < 0)
            break; /* weft closes the stream */
        at += piece;
    }
    return len;
}

static void take_id(weft_stream *s) {
    (void)weft_stream_id_of(s);
}

int main(int argc, char **argv) {
    static const uint64_t minute_ns = 60 * UINT64_C(1000000000);
    server_options options;
    char version[64];
    snprintf(version, sizeof version, "weft %s", weft_version());
    server_parse(argc, argv, version,
                 SERVER_PER_MESSAGE | SERVER_SPIN | SERVER_IDS | SERVER_TIMEOUTS, &options);
    const weft_protocol protocol = {
        .on_open = options.flags & SERVER_IDS ? take_id : NULL,
        .on_data = options.per_message > 0 ? echo_per_message : echo,
        .idle_timeout_ns = options.flags & SERVER_TIMEOUTS ? minute_ns : 0,
    };

    weft_runtime_options runtime_options = {.workers = options.workers};
    weft_listen_options listen_options = {.backlog = options.backlog};
    weft_runtime *rt = NULL;
    weft_listener *listener = NULL;
    server_check(weft_runtime_create(&runtime_options, &rt), "weft_runtime_create");
    if (options.flags & SERVER_SPIN)
        server_check(weft_runtime_set_spin(rt, WEFT_SPIN_ALWAYS), "weft_runtime_set_spin");
    server_check(
        weft_listen_with(rt, options.address_text, &listen_options, &protocol, &options, &listener),
        "weft_listen_with");
    server_check(weft_runtime_stop_on(rt, SIGTERM), "weft_runtime_stop_on");
    server_check(weft_runtime_stop_on(rt, SIGINT), "weft_runtime_stop_on");
    if (options.idle_thread)
        server_start_idle_thread();
    server_announce(weft_listener_address(listener));
    server_check(weft_runtime_run(rt), "weft_runtime_run");
    weft_runtime_destroy(rt);
    return EXIT_SUCCESS;
}
