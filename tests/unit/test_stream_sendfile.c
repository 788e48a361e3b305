/* weft_stream_sendfile(): a part of a file among other writes, and files that are not what was
 * promised. */
#include "net_fixture.h"

#include <signal.h>
#include <sys/stat.h>

enum { LARGE = 8 << 20 };
static uint8_t back[LARGE];
static int file_fd;

/* A file of net_byte()s without a name. */
static int file_of(size_t length) {
    static uint8_t bytes[1 << 16];
    FILE *file = tmpfile();
    CHECK_MSG(file != NULL, "tmpfile: %s", strerror(errno));
    for (size_t at = 0; at < length; at += sizeof bytes) {
        size_t part = length - at < sizeof bytes ? length - at : sizeof bytes;
        net_fill(bytes, part, at);
        CHECK_EQ(fwrite(bytes, 1, part, file), part);
    }
    fflush(file);
    int fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0);
    fclose(file);
    return fd;
}

static void small_open(weft_stream *s) {
    (void)setsockopt(weft_stream_fd(s), SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    note_open(s);
}

/* --- order ------------------------------------------------------------------------------------ */

static size_t send_parts(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    int fd = file_of(300000);
    (void)lseek(fd, 77, SEEK_SET);
    NOTE_EQ(weft_stream_write(s, "head", 4), 0);
    NOTE_EQ(weft_stream_sendfile(s, fd, 1000, 200000), 0);
    NOTE_EQ(weft_stream_write(s, "middle", 6), 0);
    NOTE_EQ(weft_stream_sendfile(s, fd, 0, 1), 0);
    NOTE_EQ(weft_stream_sendfile(s, fd, 0, 0), 0);
    NOTE_EQ(weft_stream_sendfile(s, fd, 299999, 1), 0);
    NOTE_EQ(weft_stream_write(s, "tail", 4), 0);
    NOTE_EQ(lseek(fd, 0, SEEK_CUR), 77);
    close(fd); /* the stream has its own */
    return len;
}

static void expect_parts(void) {
    static const weft_protocol protocol = {.on_data = send_parts};
    char text[8] = "";
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_expect(fd, "head");
    net_get(fd, back, 200000);
    CHECK_EQ(net_check(back, 200000, 1000), 200000);
    net_expect(fd, "middle");
    net_get(fd, text, 6);
    CHECK_EQ((uint8_t)text[0], net_byte(0));
    CHECK_EQ((uint8_t)text[1], net_byte(299999));
    CHECK_EQ(memcmp(text + 2, "tail", 4), 0);
    close(fd);
    net_end(&n);
}

WTEST(stream_sendfile, parts_of_a_file_keep_their_order_among_writes) {
    int before = open_fd_count();
    expect_parts();
    CHECK_EQ(open_fd_count(), before);
}

static size_t a_third(enum os_call call, size_t length) {
    bool sends = call == OS_SEND || call == OS_SENDMSG || call == OS_SENDFILE;
    return sends && length > 1 ? 1 + length / 3 : length;
}

WTEST(stream_sendfile, also_when_the_kernel_takes_a_third_of_each) {
    seam_length_fn = a_third;
    expect_parts();
}

/* --- limits ----------------------------------------------------------------------------------- */

static size_t send_large(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    note(NOTE_USER, weft_stream_sendfile(s, file_fd, 0, LARGE));
    note(NOTE_DATA, (int64_t)weft_stream_pending(s));
    NOTE_EQ(weft_stream_write(s, "0123456789", 10), 0); /* all that max_pending allows */
    return len;
}

static void then_end(weft_stream *s) {
    note_drain(s);
    NOTE_EQ(weft_stream_write(s, "end", 3), 0);
}

WTEST(stream_sendfile, file_bytes_are_pending_but_count_for_no_limit) {
    static const weft_protocol protocol = {.on_open = small_open,
                                           .on_data = send_large,
                                           .on_drain = then_end,
                                           .on_close = note_close,
                                           .max_pending = 10};
    const weft_runtime_options options = {.workers = 1, .max_buffered = 1000};
    file_fd = file_of(LARGE);
    struct net n = net_start_with(&options, NULL, &protocol);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    CHECK_EQ(note_value(NOTE_USER, 0), 0);
    CHECK_EQ(note_value(NOTE_DATA, 0), LARGE);
    rt_turns(net_worker_at(&n, 0), 3);
    CHECK_EQ(net_stats(&n).bytes_held, 10);
    CHECK_EQ(note_count(NOTE_DRAIN), 0);
    net_get(fd, back, LARGE);
    CHECK_EQ(net_check(back, LARGE, 0), LARGE);
    net_expect(fd, "0123456789end");
    CHECK_EQ(note_count(NOTE_DRAIN), 1);
    CHECK_EQ(note_count(NOTE_CLOSE), 0);
    close(fd);
    net_end(&n);
    close(file_fd);
}

/* --- files that end early, peers that go ------------------------------------------------------ */

static size_t send_whole(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, LARGE), 0);
    note(NOTE_DATA, (int64_t)len);
    return len;
}

static const weft_protocol sending = {
    .on_open = small_open, .on_data = send_whole, .on_close = note_close};

WTEST(stream_sendfile, a_file_that_turns_out_shorter_closes_with_EIO) {
    file_fd = file_of(LARGE);
    struct net n = net_start(1, &sending);
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    CHECK_EQ(ftruncate(file_fd, LARGE / 2), 0);
    while (net_get_some(fd, back, sizeof back) > 0)
        ;
    note_await(NOTE_CLOSE, 1);
    CHECK_EQ(note_value(NOTE_CLOSE, 0), -EIO);
    close(fd);
    net_end(&n);
    close(file_fd);
}

static void do_abort(void *s) {
    weft_stream_abort(s);
}

WTEST(stream_sendfile, the_duplicate_is_closed_also_when_the_stream_ends_early) {
    file_fd = file_of(LARGE);
    struct net n = net_start(1, &sending);
    int before = open_fd_count();
    int fd = net_dial_small(&n, 4096);
    net_put(fd, "x", 1);
    note_await(NOTE_DATA, 1);
    rt_call(net_worker_at(&n, 0), do_abort, note_stream());
    note_await(NOTE_CLOSE, 1);
    close(fd);
    net_await_open(&n, 0);
    CHECK_EQ(open_fd_count(), before);
    net_end(&n);
    close(file_fd);
}

/* sendfile(2) knows no MSG_NOSIGNAL. */
WTEST(stream_sendfile, a_peer_that_is_gone_is_an_error_and_no_SIGPIPE) {
    (void)signal(SIGPIPE, SIG_DFL);
    file_fd = file_of(LARGE);
    struct net n = net_start(1, &sending);
    for (unsigned i = 1; i <= 20; i++) {
        int fd = net_dial_small(&n, 4096);
        net_put(fd, "x", 1);
        note_await(NOTE_DATA, i);
        net_reset(fd);
        note_await(NOTE_CLOSE, i);
        CHECK_EQ(note_value(NOTE_CLOSE, i - 1), -ECONNRESET);
    }
    net_end(&n);
    close(file_fd);
}

/* --- bad input -------------------------------------------------------------------------------- */

static _Thread_local bool no_fd;

static int fail_dup(enum os_call call) {
    return call == OS_DUP && no_fd ? -EMFILE : 0;
}

static size_t send_nonsense(weft_stream *s, const uint8_t *data, size_t len) {
    (void)data;
    int ends[2], write_only = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int directory = open("/", O_RDONLY | O_CLOEXEC), log = open("/proc/self/exe", O_PATH);
    NOTE_EQ(pipe(ends), 0);
    NOTE_EQ(weft_stream_sendfile(NULL, file_fd, 0, 1), -EINVAL);
    NOTE_EQ(weft_stream_sendfile(s, -1, 0, 1), -EBADF);
    NOTE_EQ(weft_stream_sendfile(s, 1 << 20, 0, 1), -EBADF);
    NOTE_EQ(weft_stream_sendfile(s, log, 0, 1), -EBADF);
    NOTE_EQ(weft_stream_sendfile(s, write_only, 0, 1), -EBADF);
    NOTE_EQ(weft_stream_sendfile(s, directory, 0, 1), -EINVAL);
    NOTE_EQ(weft_stream_sendfile(s, ends[0], 0, 1), -EINVAL);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, -1, 1), -EINVAL);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 1, SIZE_MAX), -EINVAL);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 2, INT64_MAX - 1), -EINVAL);
    NOTE_EQ(weft_stream_pending(s), 0);
    close(ends[0]);
    close(ends[1]);
    close(write_only);
    close(directory);
    close(log);
    no_fd = true;
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, 1), -EMFILE);
    no_fd = false;
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, 1), -ENOBUFS); /* no hole: until on_drain */
    return len;
}

static void send_after_all(weft_stream *s) {
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, 1), 0);
    weft_stream_close(s);
    NOTE_EQ(weft_stream_sendfile(s, file_fd, 0, 1), -EPIPE);
}

WTEST(stream_sendfile, nonsense_is_answered_and_changes_nothing) {
    static const weft_protocol protocol = {.on_data = send_nonsense, .on_drain = send_after_all};
    seam_call_fn = fail_dup;
    file_fd = file_of(1);
    struct net n = net_start(1, &protocol);
    int fd = net_dial(&n);
    net_put(fd, "x", 1);
    net_get(fd, back, 1);
    CHECK_EQ(back[0], net_byte(0));
    net_expect_end(fd);
    close(fd);
    net_await_open(&n, 0);
    net_end(&n);
    close(file_fd);
}
