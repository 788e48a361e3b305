/* weft_stream_sendfile(): a part of a file, from the page cache to the socket by the kernel. */
#include "net/chain.h"

struct file {
    struct piece piece;
    off_t offset;
    int fd; /* a duplicate of the program's */
};

static ssize_t file_send(struct piece *piece, int socket) {
    struct file *f = container_of(piece, struct file, piece);
    ssize_t n = os_sendfile(socket, f->fd, f->offset, piece->length);
    if (n == 0 && !MUTANT("net-short-file-waits"))
        return -EIO; /* the file ends before the piece does */
    if (n > 0) {
        f->offset += n;
        piece->length -= (size_t)n;
    }
    return n;
}

static void file_end(struct net_worker *net, struct piece *piece) {
    struct file *f = container_of(piece, struct file, piece);
    if (!MUTANT("net-file-leaked"))
        os_close(f->fd);
    spare_free(net, f, sizeof *f);
}

static const struct piece_kind file_kind = {.send = file_send, .end = file_end};

static int file_create(weft_stream *s, int fd, off_t offset, size_t len, struct file **ret_file) {
    struct file *f = spare_alloc(s->net, sizeof *f);
    if (!f)
        return -ENOMEM;
    int own = MUTANT("net-file-borrowed") ? fd : os_dup(fd);
    if (own < 0) {
        spare_free(s->net, f, sizeof *f);
        return own;
    }
    *f = (struct file){.piece = {.kind = &file_kind, .length = len}, .offset = offset, .fd = own};
    *ret_file = f;
    return 0;
}

int weft_stream_sendfile(weft_stream *s, int fd, off_t offset, size_t len) {
    int r = stream_check(s, "weft_stream_sendfile");
    if (r == 0 && (offset < 0 || len > (size_t)INT64_MAX - (size_t)offset))
        r = -EINVAL;
    if (r == 0)
        r = os_fd_check_file(fd);
    if (r == 0)
        r = output_admit(s, 0);
    if (r < 0 || len == 0)
        return r;
    if (len > (size_t)INT64_MAX - (s->out ? s->out->file_bytes : 0))
        return output_refuse(s, -ENOBUFS); /* no limit, but the sum has to be one number */
    struct file *f = NULL;
    r = file_create(s, fd, offset, len, &f);
    if (r < 0)
        return output_refuse(s, r); /* no memory or no fd left: as a write that does not fit */
    r = chain_append(s, &f->piece);
    if (r < 0) {
        file_end(s->net, &f->piece);
        return output_refuse(s, r);
    }
    output_grown(s);
    return 0;
}
