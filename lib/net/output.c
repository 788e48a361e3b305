/* Output: writes -> the worker's buffer -> one send when the callback returns; what the kernel
 * refuses, and what is written from elsewhere, waits in the stream's own chain of blocks. */
#include "net/inner.h"

enum { BLOCK_MIN = 4 << 10, BLOCK_MAX = 64 << 10, SEND_PIECES = 64 };

size_t output_pending(const weft_stream *s) {
    size_t gathered = s->net->current == s ? s->net->output_length : 0;
    return gathered + (s->out ? s->out->bytes : 0);
}

/* The chain. */

static struct block *block_create(size_t length, const struct block *last) {
    size_t capacity = last ? 2 * last->capacity : BLOCK_MIN;
    if (capacity > BLOCK_MAX)
        capacity = BLOCK_MAX;
    if (capacity < length)
        capacity = length;
    struct block *b = mem_alloc(sizeof *b + capacity);
    if (b)
        *b = (struct block){.capacity = capacity};
    return b;
}

static void block_free(struct block *b) {
    mem_free(b, sizeof *b + b->capacity);
}

/* Room for `length` bytes behind the chain, in the last block and at most one new one: after it
 * nothing can fail, so a write is all or nothing. */
static int chain_reserve(weft_stream *s, size_t length) {
    if (!s->out) {
        s->out = mem_zalloc(sizeof *s->out);
        if (!s->out)
            return -ENOMEM;
    }
    struct block *last = s->out->last;
    size_t room = last ? last->capacity - last->end : 0;
    if (room >= length)
        return 0;
    struct block *b = block_create(length - room, last);
    if (!b)
        return -ENOMEM;
    if (last)
        last->next = b;
    else
        s->out->first = b;
    /* `last` stays where the next byte goes: the new block becomes it once the old one is full. */
    if (room == 0)
        s->out->last = b;
    return 0;
}

static void chain_append(weft_stream *s, const uint8_t *data, size_t length) {
    struct output *out = s->out;
    if (length == 0)
        return;
    out->bytes += length;
    s->flags |= STREAM_UNSENT;
    net_hold(s, length);
    while (length) {
        struct block *b = out->last;
        size_t room = b->capacity - b->end, part = length < room ? length : room;
        memcpy(b->data + b->end, data, part);
        b->end += part;
        data += part;
        length -= part;
        if (b->end == b->capacity && b->next)
            out->last = b->next;
    }
}

static void chain_consume(weft_stream *s, size_t length) {
    struct output *out = s->out;
    out->bytes -= length;
    net_unhold(s, length);
    while (length > 0 && out->first) {
        struct block *b = out->first;
        size_t held = b->end - b->start;
        if (length < held) {
            b->start += length;
            return;
        }
        length -= held;
        out->first = b->next;
        block_free(b);
    }
    if (!out->first)
        out->last = NULL;
}

void output_drop(weft_stream *s) {
    struct output *out = s->out;
    if (!out)
        return;
    net_unhold(s, out->bytes);
    while (out->first) {
        struct block *b = out->first;
        out->first = b->next;
        block_free(b);
    }
    mem_free(out, sizeof *out);
    s->out = NULL;
    s->flags &= ~(uint32_t)(STREAM_UNSENT | STREAM_BLOCKED);
}

/* Sending. */

bool output_is_below_mark(const weft_stream *s) {
    size_t mark =
        stream_high_water(s) < stream_max_pending(s) ? stream_high_water(s) : stream_max_pending(s);
    return output_pending(s) < mark - mark / 2 || output_pending(s) == 0;
}

static void note_sent(weft_stream *s, size_t n) {
    stat_add(&s->net->worker->stats.bytes_out, n);
    if (n > 0 && (s->flags & STREAM_IDLE))
        stream_note_activity(s);
}

/* What is written reached a mark: reading pauses, and on_drain is owed. */
static void note_grown(weft_stream *s) {
    if (output_pending(s) < stream_high_water(s))
        return;
    s->flags |= s->flags & STREAM_UNCHOKED ? STREAM_DRAIN : STREAM_CHOKED | STREAM_DRAIN;
    stream_service_soon(s);
}

static void send_failed(weft_stream *s, int error) {
    /* A peer that is gone while we linger took what it wanted. */
    stream_end(s, s->flags & STREAM_LINGER ? 0 : error);
}

/* The kernel took less than everything: the rest waits in the chain. */
OUT_OF_LINE static void gathered_sent_partly(weft_stream *s, size_t length, ssize_t n) {
    struct net_worker *net = s->net;
    size_t sent = n > 0 ? (size_t)n : 0;
    note_sent(s, sent);
    if (n < 0 && n != -EAGAIN) {
        send_failed(s, (int)n);
        return;
    }
    if (chain_reserve(s, length - sent) < 0) {
        stream_end(s, -ENOMEM); /* half of it is out: there is no way back */
        return;
    }
    chain_append(s, net->output + sent, length - sent);
    s->flags |= STREAM_BLOCKED;
    note_grown(s);
    stream_service_soon(s);
}

/* The fast way out: everything that the callback wrote, in one system call. */
void output_gathered_send(weft_stream *s) {
    struct net_worker *net = s->net;
    size_t length = net->output_length;
    ssize_t n = os_send(s->fd, net->output, length);
    net->output_length = 0;
    if (unlikely(n != (ssize_t)length)) {
        gathered_sent_partly(s, length, n);
        return;
    }
    stat_add(&net->worker->stats.bytes_out, length);
    if (unlikely(s->flags & STREAM_IDLE))
        stream_note_activity(s);
}

void output_sent_all(weft_stream *s) {
    if ((s->flags & STREAM_SHUT) && (s->flags & STREAM_SHUT_SENT) == 0) {
        s->flags |= STREAM_SHUT_SENT;
        (void)os_shutdown(s->fd,
                          SHUT_WR); /* fails only when the connection is gone, which recv tells */
    }
}

static size_t chain_pieces(const struct output *out, struct iovec *iov) {
    size_t count = 0;
    for (struct block *b = out->first; b && count < SEND_PIECES; b = b->next)
        if (b->end > b->start)
            iov[count++] =
                (struct iovec){.iov_base = b->data + b->start, .iov_len = b->end - b->start};
    return count;
}

/* The chain, as far as the kernel takes it now. One system call: others wait for their turn. */
void output_send(weft_stream *s) {
    struct iovec iov[SEND_PIECES];
    if ((s->flags & (STREAM_UNSENT | STREAM_BLOCKED)) != STREAM_UNSENT)
        return;
    size_t count = chain_pieces(s->out, iov);
    ssize_t n = os_sendv(s->fd, iov, count);
    if (n == -EAGAIN)
        n = 0;
    if (n < 0) {
        send_failed(s, (int)n);
        return;
    }
    size_t before = s->out->bytes;
    note_sent(s, (size_t)n);
    chain_consume(s, (size_t)n);
    if ((size_t)n < before)
        s->flags |= STREAM_BLOCKED;
    else
        output_drop(s);
    if ((s->flags & (STREAM_DRAIN | STREAM_CHOKED)) && output_is_below_mark(s))
        stream_service_later(s);
}

/* Writing. */

static int refuse(weft_stream *s, int error) {
    if (!s->protocol->on_drain) {
        stream_end(s, -ENOBUFS);
        return error;
    }
    s->flags |= MUTANT("net-refused-hole") ? STREAM_DRAIN : STREAM_REFUSED | STREAM_DRAIN;
    if (output_is_below_mark(s))
        stream_service_later(s);
    return error;
}

/* May anything be written at all? */
static int writable(weft_stream *s) {
    if (s->flags & STREAM_ENDED && s->error != 0)
        return s->error;
    if (s->flags & (STREAM_ENDED | STREAM_CLOSING | STREAM_SHUT))
        return -EPIPE;
    return s->flags & STREAM_REFUSED ? -ENOBUFS : 0;
}

static bool gathers(const weft_stream *s) {
    return s->net->current == s && ((s->flags & STREAM_UNSENT) == 0 || MUTANT("net-overtaking"));
}

static size_t total_of(const struct iovec *iov, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++)
        if (__builtin_add_overflow(total, iov[i].iov_len, &total))
            return SIZE_MAX;
    return total;
}

static void gather(struct net_worker *net, const void *data, size_t length) {
    memcpy(net->output + net->output_length, data, length);
    net->output_length += length;
}

/* All pieces, whole, or an error and nothing changed. */
static int write_pieces(weft_stream *s, const struct iovec *iov, int count, size_t total) {
    struct net_worker *net = s->net;
    int r = writable(s);
    if (r < 0 || total == 0)
        return r;
    size_t pending = output_pending(s);
    if (total > stream_max_pending(s) || pending > stream_max_pending(s) - total)
        return refuse(s, -ENOBUFS);
    if (gathers(s) && total > NET_OUTPUT - net->output_length && net->output_length > 0)
        output_gathered_send(s); /* the buffer is full: what is in it leaves early */
    if (s->flags & STREAM_ENDED)
        return s->error ? s->error : -EPIPE;
    if (gathers(s) && total <= NET_OUTPUT - net->output_length) {
        for (int i = 0; i < count; i++)
            if (iov[i].iov_len)
                gather(net, iov[i].iov_base, iov[i].iov_len);
        note_grown(s);
        return 0;
    }
    if (chain_reserve(s, total) < 0)
        return refuse(s, -ENOMEM);
    for (int i = 0; i < count; i++)
        chain_append(s, iov[i].iov_base, iov[i].iov_len);
    note_grown(s);
    stream_service_soon(s);
    return 0;
}

OUT_OF_LINE static int write_slowly(weft_stream *s, const void *data, size_t len) {
    int r = stream_check(s, "weft_stream_write");
    if (r < 0 || (!data && len))
        return r < 0 ? r : -EINVAL;
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    return write_pieces(s, &piece, 1, len);
}

int weft_stream_write(weft_stream *s, const void *data, size_t len) {
    /* The fast way: its own callback runs, nothing is special, and it fits. */
    if (likely(s && worker_is_mine(s->net->worker) && s->net->current == s &&
               !process_is_forked() && (s->flags & STREAM_FAST_MASK) == STREAM_FAST &&
               len <= NET_OUTPUT - s->net->output_length && data)) {
        gather(s->net, data, len);
        if (MUTANT("net-send-per-write"))
            output_gathered_send(s);
        return 0;
    }
    return write_slowly(s, data, len);
}

int weft_stream_writev(weft_stream *s, const struct iovec *iov, int count) {
    int r = stream_check(s, "weft_stream_writev");
    if (r < 0)
        return r;
    if (count < 0 || (!iov && count))
        return -EINVAL;
    for (int i = 0; i < count; i++)
        if (!iov[i].iov_base && iov[i].iov_len)
            return -EINVAL;
    size_t total = total_of(iov, count);
    return total == SIZE_MAX ? -EINVAL : write_pieces(s, iov, count, total);
}

void weft_stream_flush(weft_stream *s) {
    if (!s || !worker_owner_check_void(s->net->worker, "weft_stream_flush"))
        return;
    if (s->flags & STREAM_ENDED)
        return;
    if (s->net->current == s && s->net->output_length)
        output_gathered_send(s);
    if ((s->flags & STREAM_ENDED) == 0)
        output_send(s);
    stream_service_soon(s);
}

int weft_stream_shutdown(weft_stream *s) {
    int r = stream_check(s, "weft_stream_shutdown");
    if (r < 0)
        return r;
    if (s->flags & STREAM_ENDED && s->error != 0)
        return s->error;
    if (s->flags & (STREAM_ENDED | STREAM_CLOSING))
        return -EPIPE;
    if (s->flags & STREAM_CONNECTING && !MUTANT("connect-shut-early"))
        return -ENOTCONN;
    s->flags |= STREAM_SHUT;
    stream_service_soon(s);
    return 0;
}
