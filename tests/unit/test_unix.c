/* Unix sockets: by path and by abstract name, stale paths, modes, and what a close removes. */
#include "net_fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/un.h>

static char directory[] = "/tmp/weft-unix-XXXXXX";
static char path[64], address[72];
static const weft_protocol echo = {.on_data = note_echo};
static weft_runtime *rt;

static void make_directory(void) {
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/x.sock", directory);
    snprintf(address, sizeof address, "unix:%s", path);
}

static void begin(void) {
    make_directory();
    rt = rt_start(2);
}

static bool exists(void) {
    struct stat status;
    return lstat(path, &status) == 0;
}

static void end(void) {
    rt_end(rt);
    CHECK(!exists());
    CHECK_EQ(rmdir(directory), 0);
}

static int dial_unix(const char *name, size_t length) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, name, length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (connect(fd, (struct sockaddr *)&un, size) == 0)
        return fd;
    int r = -errno;
    close(fd);
    return r;
}

static int dial_path(void) {
    return dial_unix(path, strlen(path) + 1);
}

static void check_echo(int fd) {
    CHECK(fd >= 0);
    net_put(fd, "abc", 3);
    net_expect(fd, "abc");
    close(fd);
}

/* --- it serves --- */

WTEST(unix_socket, a_path_serves_and_is_removed_with_its_listener) {
    weft_listener *l = NULL;
    begin();
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, &l), 0);
    CHECK_STR(weft_listener_address(l), address);
    check_echo(dial_path());
    weft_listener_close(l);
    CHECK(!exists());
    CHECK_EQ(dial_path(), -ENOENT);
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, &l), 0); /* and again; the stop removes it */
    CHECK(exists());
    end();
}

WTEST(unix_socket, an_abstract_name_serves) {
    char name[64], text[72];
    weft_listener *l = NULL;
    begin();
    int length = snprintf(name, sizeof name, "@weft-test-%d", (int)getpid());
    snprintf(text, sizeof text, "unix:%s", name);
    CHECK_EQ(weft_listen(rt, text, &echo, NULL, &l), 0);
    CHECK_STR(weft_listener_address(l), text);
    CHECK_EQ(weft_listen(rt, text, &echo, NULL, NULL), -EADDRINUSE);
    name[0] = 0;
    check_echo(dial_unix(name, (size_t)length));
    end();
}

static char names[3][80];

static void note_names(weft_stream *s) {
    CHECK_EQ(weft_stream_peer(s, names[0], sizeof names[0]), 0);
    CHECK_EQ(weft_stream_local(s, names[1], sizeof names[1]), 0);
    CHECK_EQ(weft_stream_peer(s, names[2], 4), -ERANGE);
    weft_stream_write(s, "hello", 5);
    note_open(s);
}

static size_t close_at_once(weft_stream *s, const uint8_t *data, size_t len) {
    note_data(s, data, len);
    weft_stream_close(s);
    return len;
}

static void connect_there(void *arg) {
    static const weft_protocol caller = {
        .on_open = note_names, .on_data = close_at_once, .on_close = note_close};
    CHECK_EQ(weft_connect(weft_worker_current(), arg, &caller, NULL, NULL), 0);
}

WTEST(unix_socket, weft_connects_to_it_and_knows_the_names) {
    begin();
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, NULL), 0);
    rt_call(weft_runtime_worker(rt, 0), connect_there, address);
    note_await(NOTE_CLOSE, 1);
    CHECK_STR(note_order(), "odc");
    CHECK_STR(names[0], address);
    CHECK_STR(names[1], "unix:");
    end();
}

/* --- taken, stale, or no socket --- */

/* What a server leaves that was killed. */
static void leave_stale(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    CHECK_EQ(listen(fd, 1), 0);
    close(fd);
    CHECK(exists());
}

WTEST(unix_socket, a_stale_path_is_taken_over) {
    begin();
    leave_stale();
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, NULL), 0);
    check_echo(dial_path());
    end();
}

WTEST(unix_socket, a_path_that_is_served_is_in_use) {
    begin();
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, NULL), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_listen(rt, address, &echo, NULL, NULL), -EADDRINUSE);
    check_echo(dial_path()); /* the first one goes on */
    end();
}

WTEST(unix_socket, what_is_no_socket_is_left_alone) {
    begin();
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    fputs("precious", file);
    fclose(file);
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, NULL), -EADDRINUSE);
    struct stat status;
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_size, 8);
    CHECK_EQ(unlink(path), 0);
    end();
}

WTEST(unix_socket, a_path_that_went_to_another_socket_is_not_removed) {
    weft_listener *l = NULL;
    begin();
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, &l), 0);
    CHECK_EQ(unlink(path), 0);
    leave_stale(); /* somebody else's by now */
    weft_listener_close(l);
    CHECK(exists());
    CHECK_EQ(unlink(path), 0);
    end();
}

/* Two that start at once on a stale path, many times: one serves, the other is told. */
static _Atomic int won, lost;
static weft_listener *winner;

static void *take_over(void *arg) {
    pthread_barrier_t *start = arg;
    weft_listener *l = NULL;
    pthread_barrier_wait(start);
    int r = weft_listen(rt, address, &echo, NULL, &l);
    won += r == 0;
    lost += r == -EADDRINUSE;
    if (r == 0)
        winner = l;
    return NULL;
}

static _Atomic unsigned looking;
static __thread bool has_asked;

/* Who is the first to learn that the path is stale waits until the other has, too, and has taken it
 * over; in vain where they take turns, so not for ever. */
static int learn_together(enum os_call call) {
    if (call == OS_CONNECT)
        has_asked = true;
    if (call != OS_CLOSE || !has_asked)
        return 0;
    has_asked = false;
    bool is_first = ++looking == 1;
    for (int i = 0; i < 20000 && (looking < 2 || (is_first && won + lost == 0)); i++)
        sched_yield();
    return 0;
}

WTEST(unix_socket, of_two_that_take_over_at_once_one_serves) {
    pthread_barrier_t start;
    seam_call_fn = learn_together;
    begin();
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 30; i++) {
        leave_stale();
        won = lost = 0;
        looking = 0;
        pthread_t threads[2];
        for (int j = 0; j < 2; j++)
            threads[j] = thread_begin(take_over, &start);
        for (int j = 0; j < 2; j++)
            thread_end(threads[j]);
        CHECK_EQ(won, 1);
        CHECK_EQ(lost, 1);
        check_echo(dial_path());
        weft_listener_close(winner);
        CHECK(!exists());
    }
    end();
    seam_call_fn = NULL;
}

/* --- the mode --- */

WTEST(unix_socket, the_mode_is_as_asked_whatever_the_umask) {
    const mode_t modes[] = {0600, 0666, 0777, 0200};
    begin();
    umask(027);
    for (unsigned i = 0; i < array_length(modes); i++) {
        const weft_listen_options options = {.unix_mode = modes[i]};
        weft_listener *l = NULL;
        struct stat status;
        CHECK_EQ(weft_listen_with(rt, address, &options, &echo, NULL, &l), 0);
        CHECK_EQ(stat(path, &status), 0);
        CHECK_EQ(status.st_mode & 0777, modes[i]);
        weft_listener_close(l);
    }
    weft_listener *l = NULL;
    struct stat status;
    CHECK_EQ(weft_listen(rt, address, &echo, NULL, &l), 0);
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0750);
    end();
}

/* --- failures --- */

static int error;
static unsigned left;
static enum os_call only;

static int fail_nth(enum os_call call) {
    return call == only && left > 0 && --left == 0 ? error : 0;
}

WTEST(unix_socket, a_failed_listen_leaves_no_path_and_no_fd) {
    const weft_listen_options options = {.unix_mode = 0600};
    const enum os_call calls[] = {OS_SOCKET,      OS_BIND,  OS_LISTEN,   OS_PATH,
                                  OS_GETSOCKNAME, OS_ALLOC, OS_EPOLL_CTL};
    make_directory();
    seam_call_fn = fail_nth;
    for (unsigned i = 0; i < array_length(calls); i++)
        for (unsigned n = 1; n <= 4; n++) {
            rt = rt_create(1); /* a listener's memory goes with its runtime */
            int fds = open_fd_count();
            only = calls[i];
            error = -EACCES;
            left = n;
            weft_listener *l = NULL;
            int r = weft_listen_with(rt, address, &options, &echo, NULL, &l);
            bool reached = left == 0;
            left = 0;
            CHECK(r == 0 || reached);
            if (r < 0) {
                CHECK(l == NULL);
                CHECK(!exists());
                CHECK_EQ(weft_listen_with(rt, address, &options, &echo, NULL, &l), 0);
            }
            weft_runtime_destroy(rt);
            CHECK(!exists());
            (void)fds;
        }
    seam_call_fn = NULL;
    CHECK_EQ(rmdir(directory), 0);
}

WTEST(unix_socket, wrong_paths_are_answered) {
    begin();
    CHECK_EQ(weft_listen(rt, "unix:/nonexistent/x", &echo, NULL, NULL), -ENOENT);
    CHECK_EQ(weft_listen(rt, "unix:", &echo, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_listen(rt, "unix:@", &echo, NULL, NULL), -EINVAL);
    char longer[200] = "unix:";
    memset(longer + 5, 'x', 108);
    CHECK_EQ(weft_listen(rt, longer, &echo, NULL, NULL), -ENAMETOOLONG);
    end();
}
