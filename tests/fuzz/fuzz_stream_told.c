/* Every callback: may it come now, and with these bytes? Then it makes calls of its own. */
#include "fuzz_stream_model.h"

static size_t max_unconsumed(void) {
    return m.protocol->max_unconsumed ? m.protocol->max_unconsumed : 1 << 20;
}

static void enter(weft_stream *s, const char *callback) {
    trace(" %s", callback);
    model_observe();
    MUST(s == m.s && !m.gone, "%s of another stream", callback);
    MUST(!m.closing_told, "%s after on_close", callback);
    MUST(!m.in_callback, "%s inside a callback", callback);
    m.in_callback = true;
}

/* Any but the first and the last: those of a stream that goes on. */
static void enter_live(weft_stream *s, const char *callback) {
    enter(s, callback);
    MUST(m.opened, "%s before on_open", callback);
    MUST(!m.ended && !m.closing, "%s after the program closed it", callback);
    MUST(!m.moving, "%s of a stream that leaves", callback);
    MUST(weft_worker_current() == world.workers[m.worker], "%s elsewhere", callback);
}

static void leave(void) {
    m.in_callback = false;
}

static void arrived(void) {
    if (m.moving)
        m.worker = m.target;
    m.moving = false;
    MUST(weft_worker_current() == world.workers[m.worker], "it is on another worker");
}

static void told_open(weft_stream *s) {
    enter(s, "on_open");
    MUST(!m.opened && !m.ended && !m.closing, "on_open again, or of a stream that was closed");
    arrived();
    m.opened = true;
    calls_make(3);
    leave();
}

static void told_move(weft_stream *s) {
    enter(s, "on_move");
    MUST(m.opened && m.moving && !m.ended && !m.closing, "on_move of a stream that did not");
    arrived();
    calls_make(3);
    leave();
}

/* Reading is paused by itself until output is below the mark. */
static void check_reading(const char *callback) {
    MUST(!m.paused, "%s while paused", callback);
    MUST(!m.choked || model_below(), "%s with %zu bytes pending", callback, model_pending());
    m.choked = false;
}

static void check_bytes(const uint8_t *data, size_t length) {
    size_t left = m.shown - m.consumed;
    MUST(length >= left && length > 0, "%zu bytes are shown, where %zu were left", length, left);
    MUST(m.consumed + length <= m.peer_sent, "bytes that nobody sent");
    for (size_t i = 0, part; i < length; i += part) {
        part = length - i < BYTES_MOST ? length - i : BYTES_MOST;
        MUST(memcmp(data + i, bytes_in(m.consumed + i), part) == 0, "wrong input");
    }
    if (length == left)
        MUST(m.show_may, "what was left is shown again for no reason");
    else
        MUST(!m.show_must || left == 0, "new bytes are received before what was left is shown");
}

static size_t pick_used(size_t length) {
    unsigned choice = input_byte(&m.in);
    if (choice < 128)
        return length;
    if (choice < 160)
        return 0;
    return choice < 192 ? length / 2 : (choice - 191) % (length + 1);
}

static size_t told_data(weft_stream *s, const uint8_t *data, size_t length) {
    enter_live(s, "on_data");
    trace("  %zu bytes, %zu left", length, m.shown - m.consumed);
    check_reading("on_data");
    MUST(!m.eof_told, "on_data after on_eof");
    check_bytes(data, length);
    if (length > m.shown - m.consumed)
        m.active_ns = clock_test_ns;
    m.shown = m.consumed + length;
    m.show_may = m.show_must = false;
    calls_make(4);
    size_t used = pick_used(length);
    m.consumed += used;
    if (!m.closing && length - used > max_unconsumed())
        model_end(-EMSGSIZE);
    leave();
    return used;
}

static void told_eof(weft_stream *s) {
    enter_live(s, "on_eof");
    check_reading("on_eof");
    MUST(m.peer_ended && !m.eof_told, "on_eof again, or of no end");
    MUST(m.shown == m.peer_sent || m.peer_closed, "on_eof after %zu bytes of %zu", m.shown,
         m.peer_sent);
    MUST(!m.show_must || m.shown == m.consumed, "on_eof before what was left");
    m.eof_told = true;
    size_t left = weft_stream_unconsumed(s, NULL);
    MUST(left == m.shown - m.consumed, "%zu bytes left at the end, not %zu", left,
         m.shown - m.consumed);
    calls_make(3);
    leave();
}

static void told_drain(weft_stream *s) {
    enter_live(s, "on_drain");
    MUST(m.drain_may, "on_drain, but none is owed");
    MUST(model_below(), "on_drain with %zu bytes pending", model_pending());
    m.drain_may = m.drain_must = m.refused = false;
    calls_make(3);
    leave();
}

static void told_timeout(weft_stream *s) {
    enter_live(s, "on_timeout");
    MUST(m.idle_ns && clock_test_ns >= m.active_ns + m.idle_ns, "on_timeout %ju ns early",
         (uintmax_t)(m.active_ns + m.idle_ns - clock_test_ns));
    m.active_ns = clock_test_ns;
    calls_make(2);
    leave();
}

/* Of a close: everything has left, and the peer has ended or had its second. */
static void check_orderly_end(void) {
    MUST(m.closing || model_eof_closes(), "on_close(0), but nobody closed");
    MUST(model_out() >= m.own, "on_close(0) after %zu bytes of %zu", model_out(), m.own);
    if (m.peer_ended || m.faults || !m.closing)
        return;
    MUST(clock_test_ns >= m.close_ns + WEFT_SEC(1), "a close that does not wait for the peer");
}

static void told_close(weft_stream *s, int error) {
    enter(s, "on_close");
    trace("  error %d", error);
    MUST(m.lent == m.given_back, "on_close before %u releases", m.lent - m.given_back);
    if (m.moving && !m.closing && weft_worker_current() == world.workers[m.target])
        arrived();
    MUST(weft_worker_current() == world.workers[m.worker], "on_close elsewhere");
    model_end_otherwise(error);
    if (m.ended)
        MUST(error == m.error, "on_close(%d), not %d", error, m.error);
    else if (error == 0)
        check_orderly_end();
    else
        MUST(model_may_fail(error), "on_close(%d)", error);
    model_end(error);
    m.error = error;
    m.closing_told = true;
    calls_make(3);
    m.gone = true;
    m.s = NULL;
    leave();
}

#define COMMON                                                                                     \
    .state_size = 16, .on_open = told_open, .on_data = told_data, .on_move = told_move,            \
    .on_close = told_close

const weft_protocol fuzz_protocols[PROTOCOLS] = {
    {COMMON, .on_drain = told_drain, .on_eof = told_eof, .on_timeout = told_timeout},
    {COMMON, .on_drain = told_drain, .on_eof = told_eof, .flags = WEFT_STREAM_PAUSE,
     .high_water = 1000, .max_pending = 4000, .max_unconsumed = 300},
    {COMMON, .flags = WEFT_STREAM_PAUSE, .high_water = 3000, .max_pending = 2000,
     .close_timeout_ns = WEFT_MSEC(20)},
    {COMMON, .on_drain = told_drain, .on_eof = told_eof, .on_timeout = told_timeout,
     .high_water = SIZE_MAX, .max_pending = 100000, .idle_timeout_ns = WEFT_MSEC(5)},
    {COMMON, .on_eof = told_eof, .flags = WEFT_STREAM_PAUSE, .max_unconsumed = 70000,
     .idle_timeout_ns = WEFT_MSEC(50)},
    {COMMON, .on_drain = told_drain, .on_eof = told_eof, .on_timeout = told_timeout,
     .flags = WEFT_STREAM_PAUSE, .high_water = 1, .max_unconsumed = 5000},
};
