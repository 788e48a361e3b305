/* echo: the shortest server that is also a safe one.
 *
 *   echo [address]            default :7000; "127.0.0.1:0" picks a port
 *
 * One worker per CPU. A client that does not read its replies stops being read; SIGINT and SIGTERM
 * stop the server, which first sends what it owes. */
#include <signal.h>
#include <stdio.h>
#include <weft.h>

static size_t echo(weft_stream *s, const uint8_t *data, size_t len) {
    weft_stream_write(s, data, len);
    return len;
}

int main(int argc, char **argv) {
    static const weft_protocol protocol = {.on_data = echo};
    weft_runtime *rt = NULL;
    weft_listener *listener = NULL;

    int r = weft_runtime_create(NULL, &rt);
    if (r == 0)
        r = weft_listen(rt, argc > 1 ? argv[1] : ":7000", &protocol, NULL, &listener);
    if (r == 0)
        r = weft_runtime_stop_on(rt, SIGINT);
    if (r == 0)
        r = weft_runtime_stop_on(rt, SIGTERM);
    if (r == 0) {
        printf("listening on %s with %u workers\n", weft_listener_address(listener),
               weft_runtime_worker_count(rt));
        fflush(stdout);
        r = weft_runtime_run(rt);
    }
    weft_runtime_destroy(rt);
    if (r < 0)
        fprintf(stderr, "echo: %s\n", weft_strerror(r));
    return r < 0;
}
