/* Output: writes -> the worker's buffer -> one send when the callback returns; what the kernel
 * refuses, what is lent, and what is written from elsewhere, waits in the stream's own chain. */
#include "net/chain.h"

enum { SEND_PIECES = 64, SEND_TURN = 256 << 10 };

size_t output_pending(const weft_stream *s) {
    size_t gathered = s->net->current == s ? s->net->output_length : 0;
    return gathered + (s->out ? s->out->bytes : 0);
}

/* Without what lies in files. */
static size_t pending_in_memory(const weft_stream *s) {
    return output_pending(s) - (s->out && !MUTANT("net-file-counted") ? s->out->file_bytes : 0);
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
    bool pauses = (s->flags & STREAM_UNCHOKED) == 0 && !MUTANT("net-never-chokes");
    s->flags |= pauses ? STREAM_CHOKED | STREAM_DRAIN : STREAM_DRAIN;
    stream_service_soon(s);
}

void output_grown(weft_stream *s) {
    note_grown(s);
    stream_service_soon(s);
}

static void send_failed(weft_stream *s, int error) {
    if (MUTANT("fault-net-error-swallowed"))
        return;
    /* A peer that is gone while we linger took what it wanted. */
    stream_end(s, s->flags & STREAM_LINGER ? 0 : error);
}

/* The kernel took less of the worker's buffer than everything: the rest goes first in the chain. */
static void keep_gathered(weft_stream *s, size_t sent, size_t length) {
    const struct iovec rest = {.iov_base =
                                   s->net->output + (MUTANT("net-short-send-again") ? 0 : sent),
                               .iov_len = length - sent};
    int r = MUTANT("net-gathered-last") ? chain_write(s, &rest, 1, rest.iov_len)
                                        : chain_write_first(s, rest.iov_base, rest.iov_len);
    if (r < 0) {
        stream_end(s, -ENOMEM); /* half of it is out: there is no way back */
        return;
    }
    s->flags |= STREAM_BLOCKED;
    output_grown(s);
}

OUT_OF_LINE void output_sent_partly(weft_stream *s, ssize_t n) {
    size_t sent = n > 0 ? (size_t)n : 0, length = s->net->output_length;
    s->net->output_length = 0;
    note_sent(s, sent);
    if (n < 0 && !os_says_later(n))
        send_failed(s, (int)n);
    else
        keep_gathered(s, sent, length);
}

void output_sent_all(weft_stream *s) {
    if ((s->flags & STREAM_SHUT) && (s->flags & STREAM_SHUT_SENT) == 0) {
        s->flags |= STREAM_SHUT_SENT;
        /* Fails only when the connection is gone, which recv tells. */
        (void)os_shutdown(s->fd, MUTANT("net-shut-both") ? SHUT_RDWR : SHUT_WR);
    }
}

/* The first pieces that are in memory: how many, and their bytes in all. */
static size_t memory_pieces(const struct output *out, struct iovec *iov, size_t room,
                            size_t *ret_bytes, bool *ret_file_next) {
    size_t count = 0;
    const struct piece *piece = out ? out->first : NULL;
    for (; piece && piece->data && count < room; piece = piece->next) {
        iov[count++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)piece->data, .iov_len = piece->length};
        *ret_bytes += piece->length;
    }
    *ret_file_next = piece && !piece->data;
    return count;
}

/* One system call's worth of what is in memory, the worker's buffer of `gathered` bytes in front:
 * the bytes sent, or -errno. *ret_all: everything that was offered. A file that follows shares the
 * last packet. */
static ssize_t send_memory(weft_stream *s, size_t gathered, bool *ret_all) {
    struct iovec iov[SEND_PIECES];
    size_t count = 0, offered = gathered;
    bool file_next = false;
    if (gathered)
        iov[count++] = (struct iovec){.iov_base = s->net->output, .iov_len = gathered};
    count += memory_pieces(s->out, iov + count, SEND_PIECES - count, &offered, &file_next);
    ssize_t n = os_sendv(s->fd, iov, count, file_next);
    *ret_all = n == (ssize_t)offered;
    return n;
}

static ssize_t send_first_file(weft_stream *s, bool *ret_all) {
    struct piece *piece = s->out->first;
    ssize_t n = piece->kind->send(piece, s->fd);
    *ret_all = piece->length == 0;
    if (n > 0)
        chain_file_sent(s, (size_t)n);
    return n;
}

/* One system call: the bytes sent, or -errno. */
static ssize_t send_some(weft_stream *s, bool *ret_all) {
    if (!s->out->first->data)
        return send_first_file(s, ret_all);
    ssize_t n = send_memory(s, 0, ret_all);
    if (n > 0)
        chain_sent(s, (size_t)n);
    return n;
}

static void chain_looked_at(weft_stream *s, bool all) {
    if (!s->out->first)
        output_drop(s);
    else if (!all)
        s->flags |= STREAM_BLOCKED;
    if ((s->flags & (STREAM_DRAIN | STREAM_CHOKED)) && output_is_below_mark(s))
        stream_service_later(s);
}

/* The chain, as far as the kernel takes it now, and as others may wait for their turn: the rest
 * waits for the selector to say that the socket is writable, which may be at once. */
void output_send(weft_stream *s) {
    if ((s->flags & (STREAM_UNSENT | STREAM_BLOCKED)) != STREAM_UNSENT)
        return;
    bool all = true;
    for (size_t turn = 0; all && s->out->first;) {
        ssize_t n = turn < SEND_TURN ? send_some(s, &all) : -EAGAIN;
        if (n < 0 && n != -EAGAIN) {
            send_failed(s, (int)n);
            return;
        }
        all = all && n > 0;
        turn += n > 0 ? (size_t)n : 0;
        note_sent(s, n > 0 ? (size_t)n : 0);
    }
    chain_looked_at(s, all);
}

/* The worker's buffer, and behind it pieces that were lent meanwhile. */
OUT_OF_LINE static void send_gathered_and_chain(weft_stream *s) {
    size_t length = s->net->output_length;
    bool all = false;
    ssize_t n = send_memory(s, length, &all);
    if (n < 0 || (size_t)n < length) {
        output_sent_partly(s, n);
        return;
    }
    s->net->output_length = 0;
    note_sent(s, (size_t)n);
    chain_sent(s, (size_t)n - length);
    chain_looked_at(s, all);
    if (s->flags & STREAM_UNSENT)
        output_send(s);
}

/* The fast way out: everything that the callback wrote, in one system call. */
void output_gathered_send(weft_stream *s) {
    if (unlikely(s->flags & STREAM_UNSENT)) {
        send_gathered_and_chain(s);
        return;
    }
    if (output_gathered_pass(s, s->net) && (s->flags & STREAM_IDLE))
        stream_note_activity(s);
}

/* Writing. */

int output_refuse(weft_stream *s, int error) {
    if (!s->protocol->on_drain) {
        stream_end(s, -ENOBUFS);
        return error;
    }
    s->flags |= MUTANT("net-refused-hole") ? STREAM_DRAIN : STREAM_REFUSED | STREAM_DRAIN;
    mailbox_note_room(s);
    if (output_is_below_mark(s))
        stream_service_later(s);
    return error;
}

/* May anything be written at all? */
static int writable(weft_stream *s) {
    int r = stream_end_check(s);
    if (r < 0)
        return r;
    if (s->flags & STREAM_SHUT)
        return -EPIPE;
    if (s->flags & STREAM_MOVING && !MUTANT("move-written"))
        return -EBUSY;
    return s->flags & STREAM_REFUSED ? -ENOBUFS : 0;
}

bool output_fits(weft_stream *s, size_t length) {
    size_t most = stream_max_pending(s);
    return length <= most && pending_in_memory(s) <= most - length;
}

int output_admit(weft_stream *s, size_t length) {
    int r = writable(s);
    if (r < 0 || length == 0)
        return r;
    return output_fits(s, length) ? 0 : output_refuse(s, -ENOBUFS);
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

/* Behind the first `sent` bytes, which are out. */
static int write_rest(weft_stream *s, const struct iovec *iov, int count, size_t sent,
                      size_t total) {
    size_t rest = total - sent;
    while (sent >= iov->iov_len) {
        sent -= iov->iov_len;
        iov++;
        count--;
    }
    const struct iovec first = {.iov_base = (uint8_t *)iov->iov_base + sent,
                                .iov_len = iov->iov_len - sent};
    int r = chain_write(s, &first, 1, first.iov_len);
    if (r == 0 && rest > first.iov_len)
        r = chain_write(s, iov + 1, count - 1, rest - first.iov_len);
    return r;
}

/* More than the worker's buffer holds, and nothing waits: what the kernel takes need not be copied
 * twice. */
static int write_through(weft_stream *s, const struct iovec *iov, int count, size_t total) {
    int offered = count < SEND_PIECES ? count : SEND_PIECES;
    ssize_t n = os_sendv(s->fd, iov, (size_t)offered, false);
    if (n < 0 && n != -EAGAIN) {
        send_failed(s, (int)n);
        return stream_end_check(s);
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    note_sent(s, sent);
    if (sent == total)
        return 0;
    int r = write_rest(s, iov, count, sent, total);
    if (r < 0 && sent == 0 && !s->out)
        return output_refuse(s, r);
    if (r < 0) {
        stream_end(s, r); /* half of it is out: there is no way back */
        return r;
    }
    if (count == offered)
        s->flags |= STREAM_BLOCKED;
    output_grown(s);
    return 0;
}

/* All pieces, whole, or an error and nothing changed. */
static int write_pieces(weft_stream *s, const struct iovec *iov, int count, size_t total) {
    struct net_worker *net = s->net;
    int r = output_admit(s, total);
    if (r < 0 || total == 0)
        return r;
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
    if (total > NET_OUTPUT && (s->flags & (STREAM_UNSENT | STREAM_BLOCKED)) == 0)
        return write_through(s, iov, count, total);
    if (chain_write(s, iov, count, total) < 0)
        return output_refuse(s, -ENOMEM);
    output_grown(s);
    return 0;
}

OUT_OF_LINE static int write_slowly(weft_stream *s, const void *data, size_t len) {
    int r = stream_check(s, "weft_stream_write");
    if (r < 0 || (!data && len))
        return r < 0 ? r : -EINVAL;
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    return write_pieces(s, &piece, 1, len);
}

/* memcpy() of few bytes, without the call and what has to be saved around it: the first and the
 * last of them, which may overlap. */
enum { FEW_LEAST = 16, FEW_MOST = 64 };

static bool is_few(size_t length) {
    return length - FEW_LEAST <= FEW_MOST - FEW_LEAST;
}

static void copy_few(uint8_t *to, const uint8_t *from, size_t length) {
    memcpy(to, from, 16);
    memcpy(to + length - 16, from + length - 16, 16);
    if (length > 32) {
        memcpy(to + 16, from + 16, 16);
        memcpy(to + length - 32, from + length - 32, 16);
    }
}

IN_LINE bool writes_itself(const weft_stream *s) {
    return s && worker_is_mine(s->net->worker) && s->net->current == s && !process_is_forked() &&
           stream_is_fast(s);
}

static int gathered(weft_stream *s) {
    if (MUTANT("net-send-per-write"))
        output_gathered_send(s);
    return 0;
}

__attribute__((noinline)) static int write_any(weft_stream *s, const void *data, size_t len) {
    if (!writes_itself(s) || len > NET_OUTPUT - s->net->output_length || !data)
        return write_slowly(s, data, len);
    gather(s->net, data, len);
    return gathered(s);
}

/* The fast way: its own callback runs, nothing is special, and it fits. */
int weft_stream_write(weft_stream *s, const void *data, size_t len) {
    if (likely(is_few(len) && writes_itself(s) && s->net->output_length <= NET_OUTPUT - FEW_MOST &&
               data)) {
        copy_few(s->net->output + s->net->output_length, data, len);
        s->net->output_length += len;
        return gathered(s);
    }
    return write_any(s, data, len);
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
    if (s->flags & (STREAM_ENDED | STREAM_MOVING)) /* what is unsent goes along */
        return;
    if (s->net->current == s && s->net->output_length)
        output_gathered_send(s);
    if ((s->flags & STREAM_ENDED) == 0)
        output_send(s);
    if (s->flags & STREAM_DRAIN && output_is_below_mark(s) && MUTANT("net-drain-nested"))
        s->protocol->on_drain(s);
    stream_service_soon(s);
}

int weft_stream_shutdown(weft_stream *s) {
    int r = stream_check(s, "weft_stream_shutdown");
    if (r < 0)
        return r;
    r = stream_end_check(s);
    if (r < 0)
        return r;
    if (s->flags & STREAM_CONNECTING && !MUTANT("connect-shut-early"))
        return -ENOTCONN;
    if (s->flags & STREAM_MOVING)
        return -EBUSY;
    s->flags |= STREAM_SHUT;
    stream_service_soon(s);
    return 0;
}
