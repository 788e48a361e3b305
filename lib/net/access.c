#include "net/inner.h"

void *weft_stream_state(weft_stream *s) {
    return s ? s->state : NULL;
}

void *weft_stream_arg(weft_stream *s) {
    return s ? s->arg : NULL;
}

size_t weft_stream_pending(const weft_stream *s) {
    return s ? output_pending(s) : 0;
}

weft_worker *weft_stream_worker(const weft_stream *s) {
    return s ? plain_load(&s->net)->worker : NULL;
}

int weft_stream_fd(const weft_stream *s) {
    if (!s)
        return -EINVAL;
    if (process_is_forked())
        return -EPERM;
    int fd = plain_load(&s->fd);
    return fd >= 0 ? fd : -EBADF;
}

static int name_of(const weft_stream *s, char *buffer, size_t size,
                   int (*ask)(int, struct sockaddr_storage *, socklen_t *)) {
    struct sockaddr_storage storage;
    socklen_t length = 0;
    if (!s || !buffer)
        return -EINVAL;
    int fd = weft_stream_fd(s);
    if (fd < 0)
        return fd;
    int r = ask(fd, &storage, &length);
    return r < 0 ? r : address_format(&storage, length, buffer, size);
}

int weft_stream_peer(const weft_stream *s, char *buffer, size_t size) {
    return name_of(s, buffer, size, os_getpeername);
}

int weft_stream_local(const weft_stream *s, char *buffer, size_t size) {
    return name_of(s, buffer, size, os_getsockname);
}

size_t weft_stream_unconsumed(const weft_stream *s, const uint8_t **ret_data) {
    if (!s)
        return 0;
    const struct kept *kept = s->in;
    if (ret_data)
        *ret_data = kept ? kept->data + kept->start : NULL;
    return kept ? kept->end - kept->start : 0;
}

int stream_check(const weft_stream *s, const char *call) {
    if (unlikely(!s))
        return -EINVAL;
    const weft_worker *owner = plain_load(&s->net)->worker;
    if (likely(worker_is_mine(owner) && !process_is_forked()))
        return 0;
    return worker_owner_check(owner, call);
}
