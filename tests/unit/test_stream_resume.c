/* A protocol that takes a message, pauses until it is answered elsewhere, and goes on. */
#include "net_fixture.h"

enum { AHEAD = 8192, MESSAGE = 64 };

static void go_on(void *s) {
    weft_stream_resume(s);
}

static size_t one_and_pause(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    if (len < MESSAGE)
        return 0;
    note(NOTE_DATA, 0);
    weft_stream_pause(s);
    NOTE_EQ(weft_post_fn(weft_worker_current(), go_on, s), 0); /* for the answer of another one */
    return MESSAGE;
}

static void *put_ahead(void *fd) {
    static const uint8_t message[MESSAGE];
    for (int i = 0; i < AHEAD; i++)
        net_put(*(int *)fd, message, sizeof message);
    return NULL;
}

WTEST(stream_resume, who_takes_one_message_per_pause_gets_all_that_was_sent_ahead) {
    static const weft_protocol protocol = {
        .on_data = one_and_pause, .on_close = note_close, .max_unconsumed = 70000};
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    pthread_t putter = thread_begin(put_ahead, &fd);
    note_await(NOTE_DATA, AHEAD);
    thread_end(putter);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    net_await_open(&n, 0);
    net_end(&n);
}
