/* Every call on the stream, made where the input says, with what it must return. */
#include "fuzz_stream_model.h"

#include <stdlib.h>

/* --- what is known of the stream -------------------------------------------------------------- */

static size_t high_water(void) {
    return m.protocol->high_water ? m.protocol->high_water : 256 << 10;
}

static size_t max_pending(void) {
    return m.protocol->max_pending ? m.protocol->max_pending : 16 << 20;
}

static uint64_t bytes_out(void) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        sum += stat_read(&world.workers[i]->stats.bytes_out);
    return sum;
}

size_t model_out(void) {
    return (size_t)(bytes_out() - m.bytes_out_before);
}

size_t model_pending(void) {
    return m.s ? weft_stream_pending(m.s) : 0;
}

static bool is_below(size_t pending) {
    size_t mark = high_water() < max_pending() ? high_water() : max_pending();
    return pending < mark - mark / 2 || pending == 0;
}

bool model_below(void) {
    return is_below(model_pending());
}

static uint64_t *error_word(int error) {
    return &m.errors[((unsigned)-error / 64) % 3];
}

static void expect_error(int error) {
    *error_word(error) |= UINT64_C(1) << ((unsigned)-error % 64);
}

static uint64_t close_timeout(void) {
    return m.protocol->close_timeout_ns ? m.protocol->close_timeout_ns : WEFT_SEC(10);
}

static bool time_is_up(void) {
    if (m.closing)
        return clock_test_ns >= m.close_ns + m.close_timeout_ns;
    if (model_eof_closes() && clock_test_ns >= m.peer_end_ns + close_timeout())
        return true;
    return m.idle_ns && !m.protocol->on_timeout && clock_test_ns >= m.active_ns + m.idle_ns;
}

bool model_may_fail(int error) {
    if (error == -ECONNRESET && m.peer_closed)
        return true;
    if (error == -ETIMEDOUT && time_is_up())
        return true;
    if (error == -ENOBUFS && m.overfull)
        return true;
    return error < 0 && (*error_word(error) >> ((unsigned)-error % 64) & 1);
}

bool model_eof_closes(void) {
    return !m.protocol->on_eof && m.peer_ended && m.opened &&
           (m.shown == m.peer_sent || m.peer_closed);
}

void model_end(int error) {
    if (m.ended)
        return;
    m.ended = true;
    m.error = error;
    m.closing = true;
}

/* There was no memory to keep what was too much. */
void model_end_otherwise(int error) {
    if (m.ended && m.error == -EMSGSIZE && model_may_fail(error))
        m.error = error;
}

void model_close(uint64_t since_ns) {
    if (m.closing)
        return;
    m.closing = true;
    m.close_ns = since_ns;
    m.close_timeout_ns = close_timeout();
}

/* Faults have an effect in the call that they hit: afterwards the model asks what it was. */
static void note_faults(void) {
    for (; m.faults_seen < m.faults; m.faults_seen++) {
        expect_error(m.fault_error == -EPIPE ? -ECONNRESET : m.fault_error);
        if (m.fault_call == OS_ALLOC || m.fault_call == OS_DUP || m.fault_call == OS_MMAP) {
            expect_error(-ENOMEM);
            expect_error(-ENOBUFS);
        }
    }
}

/* What it brings when it arrives, nobody sees. */
static void note_under_way(void) {
    size_t under_way = m.by_id - m.by_id_arrived;
    if (under_way && model_pending() + under_way > max_pending())
        m.overfull = true;
    if (under_way && model_pending() + under_way >= high_water())
        m.drain_may = m.choke_may = m.show_may = true;
}

/* Bytes left since the last look, so the idle time begins again. What is not out is pending. */
void model_observe(void) {
    size_t out = model_out();
    note_faults();
    if (out != m.out_seen)
        m.active_ns = clock_test_ns;
    m.out_seen = out;
    size_t most = m.own + m.by_id + m.torn, sum = out + model_pending();
    MUST(out <= most, "%zu bytes out, of %zu", out, most);
    /* Less where it has ended, which is not known yet. */
    if (m.gone || m.ended || m.moving || m.torn || sum < m.own + m.by_id_arrived)
        return;
    size_t pending = model_pending(), arrived = sum - m.own - m.by_id_arrived;
    m.by_id_arrived += arrived;
    /* It may have been less before that arrived; in a callback the pause ends after it, if output
     * is below the mark then, too. */
    if (m.choked && is_below(pending - (arrived < pending ? arrived : pending))) {
        m.choked = false;
        m.choke_may |= m.in_callback || arrived > 0;
    }
    note_under_way();
}

/* --- what a call must return ------------------------------------------------------------------ */

static int end_result(void) {
    if (m.ended)
        return m.error ? m.error : -EPIPE;
    return m.closing ? -EPIPE : 0;
}

static int writable(void) {
    int r = end_result();
    if (r < 0)
        return r;
    if (m.shut)
        return -EPIPE;
    if (m.moving)
        return -EBUSY;
    return m.refused ? -ENOBUFS : 0;
}

/* 1: fits, -1: does not, 0: that depends on how much of what is pending lies in files. */
static int fits(size_t length, size_t under_way) {
    size_t most = max_pending(), pending = model_pending() + under_way;
    size_t in_files = m.file_bytes < pending ? m.file_bytes : pending;
    if (length <= most && pending <= most - length)
        return 1;
    return length > most || pending - in_files > most - length ? -1 : 0;
}

static void refuse(void) {
    if (!m.protocol->on_drain) {
        model_end(-ENOBUFS);
        return;
    }
    m.refused = m.drain_may = m.drain_must = true;
}

static void note_grown(void) {
    if (model_pending() < high_water())
        return;
    m.drain_may = true;
    m.drain_must = m.protocol->on_drain != NULL;
    if (m.protocol->flags & WEFT_STREAM_PAUSE)
        m.choked = m.show_may = m.show_must = true;
}

/* The call said something that follows from no rule alone: a fault, or a peer that is gone. */
static void surprise(const char *call, int r, int expected) {
    MUST(!m.ended && !m.closing, "%s of a stream that ended with %d is %d, not %d", call, m.error,
         r, expected);
    MUST(model_may_fail(r), "%s is %d, not %d", call, r, expected);
}

/* What was accepted is out or pending. */
static void check_sum(void) {
    size_t sum = model_out() + model_pending();
    MUST(m.ended || (sum >= m.own && sum <= m.own + m.by_id),
         "%zu out and %zu pending, of %zu written and %zu by id", model_out(), model_pending(),
         m.own, m.by_id);
}

/* Where writes are refused anyway they do not tell that the stream has ended or closes; a move to
 * where it is does, and no more. */
static void check_unseen_end(void) {
    int r = m.ended || m.closing ? 0 : weft_stream_move(m.s, world.workers[m.worker]);
    if (r == 0 || r == -EBUSY)
        return;
    if (r == -EPIPE && model_eof_closes()) {
        model_close(m.peer_end_ns);
        return;
    }
    surprise("a move to where it is", r, 0);
    model_end(r);
}

static void check_state(void) {
    int r = weft_stream_write(m.s, "", 0);
    model_end_otherwise(r);
    int expected = writable();
    if (r == expected) {
        check_unseen_end();
        return;
    }
    if (r == -EPIPE && !m.shut && model_eof_closes()) {
        model_close(m.peer_end_ns);
        return;
    }
    if (r == 0 && m.refused && !m.protocol->on_drain) {
        m.refused = false;
        return;
    }
    if (r == -ENOBUFS && expected == 0 && model_may_fail(-ENOMEM) && m.protocol->on_drain) {
        refuse();
        return;
    }
    if (m.closing && !m.ended && model_may_fail(r)) {
        model_end(r);
        return;
    }
    surprise("a write of nothing", r, expected);
    model_end(r);
}

void calls_probe(void) {
    if (!m.s)
        return;
    model_observe();
    check_state();
    if (!m.ended)
        m.torn = 0; /* it was refused, whole */
    check_sum();
}

/* --- writes ----------------------------------------------------------------------------------- */

size_t pick_length(void) {
    static const size_t lengths[] = {0, 1, 20, 300, 999, 1500, 4000, 9000, 66000, 140000};
    unsigned choice = input_byte(&m.in);
    size_t count = sizeof lengths / sizeof lengths[0];
    return choice < 3 * count ? lengths[choice % count] : choice - 3 * count;
}

/* After a write of any kind that the model had an opinion about. */
static void wrote(const char *call, size_t length, int r, int expected, bool unsure) {
    trace("  %s %zu: %d, %d%s; pending %zu", call, length, r, expected, unsure ? "?" : "",
          model_pending());
    note_faults();
    if (unsure && (r == 0 || r == -ENOBUFS))
        expected = r;
    if (r != expected) {
        surprise(call, r, expected);
        m.torn = r < 0 ? length : 0;
    }
    if (r == 0)
        m.own += length;
    if (r == 0 && length)
        note_grown();
    /* Where nothing had been refused before, this was: the reason is not remembered. */
    if (r == -ENOBUFS && expected == r && writable() == 0)
        refuse();
}

static int expected_of(size_t length, bool in_file, bool *ret_unsure) {
    int r = writable(), fit = in_file ? 1 : fits(length, 0);
    *ret_unsure = r == 0 && length && fit == 0;
    if (r == -ENOBUFS && !m.protocol->on_drain)
        *ret_unsure = true;
    return r < 0 || length == 0 || fit >= 0 ? r : -ENOBUFS;
}

static void call_write(void) {
    bool unsure;
    size_t length = pick_length();
    int expected = expected_of(length, false, &unsure);
    wrote("write", length, weft_stream_write(m.s, bytes_own(m.own), length), expected, unsure);
}

static void call_writev(void) {
    bool unsure;
    size_t first = pick_length(), second = pick_length();
    const uint8_t *bytes = bytes_own(m.own);
    if (first + second > BYTES_MOST)
        second = 0;
    const struct iovec iov[] = {{(void *)(uintptr_t)bytes, first},
                                {(void *)(uintptr_t)bytes, 0},
                                {(void *)(uintptr_t)(bytes + first), second}};
    int expected = expected_of(first + second, false, &unsure);
    wrote("writev", first + second, weft_stream_writev(m.s, iov, 3), expected, unsure);
}

/* What was lent is freed, so that a sanitizer sees who still sends it. */
static void released(void *arg) {
    MUST(!m.in_callback, "a release inside a callback, or a call of one");
    MUST(!m.closing_told, "a release after on_close");
    m.given_back++;
    free(arg);
    if (m.s && !m.gone && world.workers[m.worker] == weft_worker_current()) {
        m.in_callback = true;
        calls_make(1);
        m.in_callback = false;
    }
}

static void call_write_ref(void) {
    bool unsure;
    size_t length = pick_length();
    int expected = expected_of(length, false, &unsure);
    uint8_t *copy = malloc(length + 1);
    memcpy(copy, bytes_own(m.own), length);
    int r = weft_stream_write_ref(m.s, copy, length, released, copy);
    if (r == 0)
        m.lent++;
    else
        free(copy);
    wrote("write_ref", length, r, expected, unsure);
}

/* Now and then longer than the file. */
static void call_sendfile(void) {
    bool unsure;
    size_t length = pick_length(), offset = m.own % 127;
    int expected = expected_of(length, true, &unsure);
    if (length && writable() == 0 && offset + length > world.file_length)
        expect_error(-EIO);
    m.used_sendfile = true;
    int r = weft_stream_sendfile(m.s, world.file, (off_t)offset, length);
    m.file_bytes += r == 0 ? length : 0;
    wrote("sendfile", length, r, expected, unsure);
}

/* --- the others ------------------------------------------------------------------------------- */

static void call_shutdown(void) {
    trace("  shutdown");
    int expected = end_result();
    if (expected == 0 && m.moving)
        expected = -EBUSY;
    int r = weft_stream_shutdown(m.s);
    MUST(r == expected, "shutdown is %d, not %d", r, expected);
    m.shut |= r == 0;
}

static void call_close(void) {
    trace("  close");
    weft_stream_close(m.s);
    model_close(clock_test_ns);
}

static void call_abort(void) {
    trace("  abort");
    weft_stream_abort(m.s);
    m.aborted |= !m.ended;
    model_end(0);
}

static void call_pause(void) {
    trace("  pause");
    weft_stream_pause(m.s);
    m.paused = true;
}

static void call_resume(void) {
    trace("  resume");
    weft_stream_resume(m.s);
    if (m.paused)
        m.show_may = m.show_must = true;
    m.paused = false;
}

static void call_flush(void) {
    trace("  flush");
    weft_stream_flush(m.s);
}

static void set_idle(uint64_t idle_ns) {
    if (m.closing || m.ended)
        return;
    m.idle_ns = idle_ns;
    m.active_ns = clock_test_ns;
}

static void call_set_protocol(void) {
    trace("  set_protocol");
    m.protocol = &fuzz_protocols[input_below(&m.in, PROTOCOLS)];
    weft_stream_set_protocol(m.s, m.protocol, &m);
    m.show_may = m.show_must = true;
    m.drain_must = false; /* of other marks */
    set_idle(m.protocol->idle_timeout_ns);
    if (close_timeout() < m.close_timeout_ns) /* the one that was there when it began to wait */
        m.close_timeout_ns = close_timeout();
    if (model_pending() >= high_water()) /* seen where the kernel takes only some of it */
        m.drain_may = m.choke_may = m.show_may = true;
    if (m.refused && !m.protocol->on_drain)
        m.drain_may = true;
}

static void call_set_idle_timeout(void) {
    trace("  set_idle_timeout");
    uint64_t idle_ns = WEFT_MSEC(input_below(&m.in, 4) * 7);
    weft_stream_set_idle_timeout(m.s, idle_ns);
    set_idle(idle_ns);
}

static void call_move(void) {
    trace("  move");
    unsigned to = input_below(&m.in, WORKERS);
    if (!m.moves)
        return;
    int expected = end_result();
    if (expected == 0 && m.moving)
        expected = -EBUSY;
    int r = weft_stream_move(m.s, world.workers[to]);
    note_faults();
    if (r == -ENOMEM && model_may_fail(r))
        return;
    MUST(r == expected, "move is %d, not %d", r, expected);
    if (r < 0 || to == m.worker)
        return;
    m.moving = m.show_may = m.show_must = true;
    m.target = to;
}

/* What on_data has left; during on_data, what it had left before. */
static void call_unconsumed(void) {
    const uint8_t *left = NULL;
    size_t length = weft_stream_unconsumed(m.s, &left);
    MUST(length <= m.shown - m.consumed, "%zu bytes were left, not %zu", length,
         m.shown - m.consumed);
    MUST(length > BYTES_MOST || !length || memcmp(left, bytes_in(m.consumed), length) == 0,
         "wrong bytes were left");
}

/* --- by id ------------------------------------------------------------------------------------ */

/* Unseen by us, and then what was under way is nobody's any more. */
static bool may_have_ended(void) {
    return m.peer_closed || m.faults || m.overfull || time_is_up() || model_eof_closes();
}

int send_by_id(size_t length) {
    const bool is_known = m.id.value[1] != 0;
    int fit = fits(length, m.by_id - m.by_id_arrived), expected = 0;
    if (m.gone || !is_known)
        expected = -ENOENT;
    else if (length && !m.ended && !m.closing && (m.refused || fit < 0))
        expected = -ENOBUFS;
    trace("  send by id, %zu bytes", length);
    int r = weft_send(world.rt, m.id, bytes_by_id(m.by_id), length);
    note_faults();
    bool unsure =
        expected != -ENOENT && length &&
        (fit == 0 || m.closing || m.ended || m.shut || (m.refused && !m.protocol->on_drain) ||
         (fit < 0 && m.in_callback) || (expected < 0 && may_have_ended()));
    if (unsure && (r == 0 || r == -ENOBUFS))
        expected = r;
    if (r == -ENOMEM && model_may_fail(r)) {
        m.torn = length;
        return r;
    }
    MUST(r == expected, "a send by id of %zu is %d, not %d", length, r, expected);
    if (r == 0 && length)
        m.by_id += length;
    note_under_way();
    return r;
}

static void call_send_by_id(void) {
    size_t length = pick_length();
    size_t before = m.own + m.by_id_arrived;
    int r = send_by_id(length);
    /* At hand it is as a write; else it waits. */
    if (r == 0 && length && !m.ended && model_out() + model_pending() > before)
        note_grown();
}

static void posted(weft_stream *s, void *arg) {
    (void)arg;
    m.ran++;
    if (!s) {
        MUST(m.gone, "a posted function finds no stream before on_close");
        return;
    }
    MUST(!m.gone && s == m.s, "a posted function finds another stream");
    m.moving &= !m.closing; /* one that was closed before it left stays */
    MUST(m.opened && !m.ended && !m.moving, "a posted function runs on a stream that %s",
         !m.opened ? "is not open"
         : m.ended ? "has ended"
                   : "is leaving");
    MUST(world.workers[m.worker] == weft_worker_current(), "a posted function runs elsewhere");
    m.in_callback = true;
    calls_make(3);
    m.in_callback = false;
}

void post_by_id(void) {
    int expected = m.gone || m.id.value[1] == 0 ? -ENOENT : 0;
    int r = weft_stream_post(world.rt, m.id, posted, NULL);
    note_faults();
    m.posted += r == 0;
    if (r == -ENOMEM && model_may_fail(r))
        return;
    MUST(r == expected, "a post by id is %d, not %d", r, expected);
}

static void call_id(void) {
    trace("  id_of");
    weft_stream_id id = weft_stream_id_of(m.s);
    if (m.id.value[1])
        MUST(memcmp(&id, &m.id, sizeof id) == 0, "the id is another one");
    m.id = id;
}

/* --- of the input's choice -------------------------------------------------------------------- */

void calls_make(unsigned most) {
    static void (*const calls[])(void) = {
        call_write,    call_writev, call_write_ref,    call_sendfile,
        call_shutdown, call_close,  call_abort,        call_pause,
        call_resume,   call_flush,  call_set_protocol, call_set_idle_timeout,
        call_move,     call_id,     call_unconsumed,   call_send_by_id,
        post_by_id,    call_write,  call_write,        call_write_ref,
        call_resume,   call_pause,  call_write,        call_resume};
    unsigned count = input_below(&m.in, most + 1);
    calls_probe();
    for (unsigned i = 0; i < count && m.calls < MAX_CALLS; i++) {
        m.calls++;
        calls[input_below(&m.in, sizeof calls / sizeof calls[0])]();
        calls_probe();
    }
}
