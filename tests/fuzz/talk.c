#include "talk.h"

#include "rt.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static weft_runtime *rt;

struct cuts cuts_of(struct input *in, size_t length) {
    struct cuts cuts = {.count = input_below(in, TALK_PIECES)};
    size_t at = 0;
    for (unsigned i = 0; i < cuts.count; i++) {
        size_t step = input_byte(in);
        at += step < 64 ? step : (step - 64) * 8;
        cuts.at[i] = at < length ? at : length;
    }
    return cuts;
}

static void end(void) {
    rt_end(rt);
}

weft_worker *talk_worker(void) {
    if (!rt) {
        rt = rt_start(1);
        atexit(end);
    }
    return weft_runtime_worker(rt, 0);
}

struct adoption {
    const weft_protocol *protocol;
    int fd;
};

static void adopt(void *arg) {
    const struct adoption *a = arg;
    if (weft_adopt(weft_worker_current(), a->fd, a->protocol, NULL, NULL) < 0)
        abort();
}

/* false: it does not listen any more. libFuzzer's timer interrupts calls. */
static bool say(int fd, const uint8_t *bytes, size_t length) {
    return length == 0 ||
           TEMP_FAILURE_RETRY(send(fd, bytes, length, MSG_NOSIGNAL)) == (ssize_t)length;
}

size_t talk(const weft_protocol *protocol, const uint8_t *bytes, size_t length,
            const struct cuts *cuts, uint8_t *answer, size_t size) {
    int ends[2];
    weft_worker *w = talk_worker();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    rt_call(w, adopt, &(struct adoption){protocol, ends[0]});
    size_t said = 0;
    for (unsigned i = 0; i <= cuts->count; i++) {
        size_t until = i < cuts->count ? cuts->at[i] : length;
        if (!say(ends[1], bytes + said, until - said))
            break;
        said = until;
        if (i < cuts->count)
            rt_turns(w, 2);
    }
    shutdown(ends[1], SHUT_WR);
    size_t heard = 0;
    for (ssize_t n = 1; n > 0 && heard<size; heard += n> 0 ? (size_t)n : 0)
        n = TEMP_FAILURE_RETRY(recv(ends[1], answer + heard, size - heard, 0));

    CHECK(heard < size);
    close(ends[1]);
    return heard;
}
