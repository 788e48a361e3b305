#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_MAX = 64 << 10, FIRST = 1 << 10, DIGITS_MAX = 24 };

uint8_t *reply_extend(struct reply *reply, size_t length) {
    if (length > reply->capacity - reply->length) {
        size_t capacity = reply->capacity ? reply->capacity : FIRST;
        while (capacity - reply->length < length)
            capacity *= 2;
        uint8_t *bytes = realloc(reply->bytes, capacity);
        if (!bytes) {
            reply->is_broken = true;
            return NULL;
        }
        reply->bytes = bytes;
        reply->capacity = capacity;
    }
    uint8_t *room = reply->bytes + reply->length;
    reply->length += length;
    return room;
}

void reply_bytes(struct reply *reply, const void *bytes, size_t length) {
    uint8_t *room = length ? reply_extend(reply, length) : NULL;
    if (room)
        memcpy(room, bytes, length);
}

/* ":12\r\n", "$12\r\n": into DIGITS_MAX bytes; returns their number. */
static size_t format_number(uint8_t *room, char kind, int64_t number) {
    uint8_t digits[DIGITS_MAX];
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    size_t count = 0, length = 0;
    do {
        digits[count++] = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left);
    room[length++] = (uint8_t)kind;
    if (number < 0)
        room[length++] = '-';
    while (count)
        room[length++] = digits[--count];
    room[length++] = '\r';
    room[length++] = '\n';
    return length;
}

static void reply_number(struct reply *reply, char kind, int64_t number) {
    uint8_t *room = reply_extend(reply, DIGITS_MAX);
    if (room)
        reply->length -= DIGITS_MAX - format_number(room, kind, number);
}

void reply_integer(struct reply *reply, int64_t number) {
    reply_number(reply, ':', number);
}

void reply_array(struct reply *reply, size_t count) {
    reply_number(reply, '*', (int64_t)count);
}

void reply_nil(struct reply *reply) {
    REPLY_LITERAL(reply, "$-1\r\n");
}

void reply_bulk(struct reply *reply, struct slice bytes) {
    size_t room_for = DIGITS_MAX + bytes.length + 2;
    uint8_t *room = reply_extend(reply, room_for);
    if (!room)
        return;
    size_t header = format_number(room, '$', (int64_t)bytes.length);
    if (bytes.length)
        memcpy(room + header, bytes.bytes, bytes.length);
    room[header + bytes.length] = '\r';
    room[header + bytes.length + 1] = '\n';
    reply->length -= room_for - (header + bytes.length + 2);
}

static bool lend(struct reply *reply, struct value *value) {
    if (reply->lent_count == reply->lent_capacity) {
        uint32_t capacity = reply->lent_capacity ? 2 * reply->lent_capacity : 4;
        struct lent *grown = realloc(reply->lent, capacity * sizeof *grown);
        if (!grown)
            return false;
        reply->lent = grown;
        reply->lent_capacity = capacity;
    }
    value_hold(value);
    reply->lent[reply->lent_count++] = (struct lent){.value = value, .at = reply->length};
    return true;
}

void reply_value(struct reply *reply, struct value *value) {
    if (value->length < REPLY_LEND) {
        reply_bulk(reply, value_bytes(value));
        return;
    }
    reply_number(reply, '$', value->length);
    if (!reply->is_broken && !lend(reply, value))
        reply->is_broken = true;
    REPLY_LITERAL(reply, "\r\n");
}

void reply_error(struct reply *reply, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = 0;
    size_t used = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    for (size_t i = 0; i < used; i++)
        if ((unsigned char)text[i] < ' ')
            text[i] = ' ';
    REPLY_LITERAL(reply, "-");
    reply_bytes(reply, text, used);
    REPLY_LITERAL(reply, "\r\n");
}

/* Back to where it was `length` bytes long. */
static void cut(struct reply *reply, size_t length) {
    while (reply->lent_count > reply->lent_sent && reply->lent[reply->lent_count - 1].at >= length)
        value_release(reply->lent[--reply->lent_count].value);
    reply->length = length;
}

bool reply_finish(struct reply *reply, size_t start) {
    if (!reply->is_broken)
        return true;
    cut(reply, start);
    reply->is_broken = false;
    REPLY_LITERAL(reply, "-OOM out of memory\r\n");
    return !reply->is_broken;
}

/* The next bytes, or the next lent value: the result of its write. */
static int write_some(struct reply *reply, weft_stream *s, size_t end) {
    const struct lent *lent =
        reply->lent_sent < reply->lent_count ? &reply->lent[reply->lent_sent] : NULL;
    if (lent && lent->at == reply->sent) {
        struct value *value = lent->value;
        reply->lent_sent++;
        int r = weft_stream_write_ref(s, value->bytes, value->length, value_release, value);
        if (r < 0)
            value_release(value);
        return r;
    }
    size_t until = lent && lent->at < end ? lent->at : end;
    size_t length = until - reply->sent;
    if (length > REPLY_PIECE_MAX)
        length = REPLY_PIECE_MAX;
    const uint8_t *from = reply->bytes + reply->sent;
    reply->sent += length;
    return weft_stream_write(s, from, length);
}

/* They will not be sent. */
static void skip(struct reply *reply, size_t end) {
    while (reply->lent_sent < reply->lent_count && reply->lent[reply->lent_sent].at < end)
        value_release(reply->lent[reply->lent_sent++].value);
    reply->sent = end;
}

bool reply_write(struct reply *reply, weft_stream *s, size_t end) {
    while (reply->sent < end) {
        if (weft_stream_pending(s) >= REPLY_FULL)
            return false;
        if (write_some(reply, s, end) < 0) {
            weft_stream_abort(
                s); /* it has failed, or there is no memory: no reply may be left out */
            skip(reply, end);
        }
    }
    return true;
}

void reply_clear(struct reply *reply) {
    skip(reply, SIZE_MAX);
    if (reply->capacity > KEEP_MAX)
        reply_destroy(reply);
    reply->length = reply->sent = reply->lent_count = reply->lent_sent = 0;
    reply->is_broken = false;
}

void reply_destroy(struct reply *reply) {
    skip(reply, SIZE_MAX);
    free(reply->bytes);
    free(reply->lent);
    *reply = (struct reply){.bytes = NULL};
}
