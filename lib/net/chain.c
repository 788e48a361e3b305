#include "net/chain.h"

/* With their headers. Beyond BLOCK_MAX they are as large as the write, within a limit: allocators
 * give back what is larger than some megabytes at once, and all its pages fault in anew. */
enum { BLOCK_MIN = 1 << 10, BLOCK_MAX = 64 << 10, BLOCK_LIMIT = 1 << 20 };

struct block {
    struct piece piece;
    size_t capacity;
    uint8_t bytes[];
};

static void block_end(struct net_worker *net, struct piece *piece) {
    struct block *b = container_of(piece, struct block, piece);
    spare_free(net, b, sizeof *b + b->capacity);
}

static const struct piece_kind block_kind = {.end = block_end};

/* The next block is twice the size of the one before it, within limits, or what is needed. */
static struct block *block_create(struct net_worker *net, size_t length, const struct block *last) {
    size_t size = last ? 2 * (sizeof *last + last->capacity) : BLOCK_MIN;
    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    while (size < BLOCK_MAX && size - sizeof(struct block) < length)
        size *= 2;
    if (size - sizeof(struct block) < length)
        size = sizeof(struct block) + (length < BLOCK_LIMIT ? length : BLOCK_LIMIT);
    struct block *b = spare_alloc(net, size);
    if (b)
        *b = (struct block){.piece = {.kind = &block_kind, .data = b->bytes},
                            .capacity = size - sizeof *b};
    return b;
}

static size_t block_room(const struct block *b) {
    return b ? (size_t)(b->bytes + b->capacity - (b->piece.data + b->piece.length)) : 0;
}

static void block_fill(struct block *b, const uint8_t *data, size_t length) {
    memcpy(b->bytes + (b->piece.data - b->bytes) + b->piece.length, data, length);
    b->piece.length += length;
}

/* The block that further bytes go to, if there is one. */
static struct block *tail_block(const struct output *out) {
    if (!out->last || out->last->kind != &block_kind)
        return NULL;
    return container_of(out->last, struct block, piece);
}

static int ensure_output(weft_stream *s) {
    if (s->out)
        return 0;
    s->out = spare_alloc(s->net, sizeof *s->out);
    if (!s->out)
        return -ENOMEM;
    *s->out = (struct output){.first = NULL};
    return 0;
}

/* Frees an output without pieces. */
static void chain_drop_empty(weft_stream *s) {
    if (!s->out || s->out->first)
        return;
    spare_free(s->net, s->out, sizeof *s->out);
    s->out = NULL;
}

static void count_in(weft_stream *s, size_t length, bool in_memory) {
    s->out->bytes += length;
    s->flags |= STREAM_UNSENT;
    if (in_memory)
        net_hold(s, length);
    else
        s->out->file_bytes += length;
    mailbox_note_room(s);
}

static void link_last(struct output *out, struct piece *piece) {
    piece->next = NULL;
    if (out->last)
        out->last->next = piece;
    else
        out->first = piece;
    out->last = piece;
}

/* Empty blocks for so many bytes, linked; nothing where there is no memory for all of them. */
static struct piece *blocks_create(struct net_worker *net, size_t length, struct block *last) {
    struct piece *first = NULL, **link = &first;
    while (length > 0) {
        struct block *b = block_create(net, length, last);
        if (!b) {
            while (first) {
                struct piece *piece = first;
                first = piece->next;
                block_end(net, piece);
            }
            return NULL;
        }
        length -= length < b->capacity ? length : b->capacity;
        *link = &b->piece;
        link = &b->piece.next;
        last = b;
    }
    return first;
}

/* Where the next bytes go: the last block, as long as it has room, then the first of the new. */
struct filler {
    struct output *out;
    struct block *block;
    struct piece *fresh;
};

static bool next_block(struct filler *f) {
    struct piece *piece = f->fresh;
    if (!piece)
        return false;
    f->fresh = piece->next;
    link_last(f->out, piece);
    f->block = container_of(piece, struct block, piece);
    return true;
}

static void fill(struct filler *f, const uint8_t *data, size_t length) {
    while (length > 0 && (block_room(f->block) > 0 || next_block(f))) {
        size_t room = block_room(f->block), part = length < room ? length : room;
        block_fill(f->block, data, part);
        data += part;
        length -= part;
    }
}

/* What the last block cannot hold goes into new ones, which are asked for before anything has
 * changed. */
int chain_write(weft_stream *s, const struct iovec *iov, int count, size_t total) {
    if (ensure_output(s) < 0)
        return -ENOMEM;
    struct filler f = {.out = s->out, .block = tail_block(s->out)};
    size_t room = block_room(f.block);
    if (total > room) {
        f.fresh = blocks_create(s->net, total - room, f.block);
        if (!f.fresh) {
            chain_drop_empty(s);
            return -ENOMEM;
        }
    }
    for (int i = 0; i < count; i++)
        fill(&f, iov[i].iov_base, iov[i].iov_len);
    count_in(s, total, true);
    return 0;
}

int chain_write_first(weft_stream *s, const uint8_t *data, size_t length) {
    if (ensure_output(s) < 0)
        return -ENOMEM;
    struct block *b = block_create(s->net, length, NULL); /* within the worker's buffer */
    if (!b)
        return -ENOMEM;
    block_fill(b, data, length);
    b->piece.next = s->out->first;
    s->out->first = &b->piece;
    if (!s->out->last)
        s->out->last = &b->piece;
    count_in(s, length, true);
    return 0;
}

int chain_append(weft_stream *s, struct piece *piece) {
    if (ensure_output(s) < 0)
        return -ENOMEM;
    link_last(s->out, piece);
    count_in(s, piece->length, piece->data != NULL);
    return 0;
}

static void end_first(weft_stream *s) {
    struct output *out = s->out;
    struct piece *piece = out->first;
    out->first = piece->next;
    if (!out->first)
        out->last = NULL;
    piece->kind->end(s->net, piece);
}

void chain_sent(weft_stream *s, size_t length) {
    struct output *out = s->out;
    out->bytes -= length;
    net_unhold(s, length);
    while (out->first && length >= out->first->length) {
        if (!out->first->data)
            break; /* it sends, and ends, itself */
        length -= out->first->length;
        end_first(s);
    }
    if (length > 0 && out->first) {
        out->first->data += length;
        out->first->length -= length;
    }
    mailbox_note_room(s);
}

void chain_file_sent(weft_stream *s, size_t length) {
    struct output *out = s->out;
    out->bytes -= length;
    out->file_bytes -= length;
    if (out->first->length == 0)
        end_first(s);
}

size_t output_held(const weft_stream *s) {
    return s->out ? s->out->bytes - s->out->file_bytes : 0;
}

void output_drop(weft_stream *s) {
    if (!s->out)
        return;
    net_unhold(s, MUTANT("net-drop-counted") ? 0 : output_held(s));
    while (s->out->first)
        end_first(s);
    chain_drop_empty(s);
    mailbox_note_room(s);
    s->flags &= ~(uint32_t)(STREAM_UNSENT | STREAM_BLOCKED);
}
