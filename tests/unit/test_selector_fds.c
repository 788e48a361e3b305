/* Fds that are closed, duplicated, reused, hung up or many: bugs that reactors really had. */
#include "test_selector.h"

#include "selector/selector.h"

#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

/* A fresh socket under the number `fd`, which must be free; the peer is returned. */
static int reopen_as(int fd) {
    int ends[2];
    make_pair(ends); /* may well get the number in question */
    int mine = fcntl(ends[0], F_DUPFD_CLOEXEC, 100), peer = fcntl(ends[1], F_DUPFD_CLOEXEC, 100);
    close_both(ends);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
    CHECK_EQ(dup3(mine, fd, O_CLOEXEC), fd);
    close(mine);
    return peer;
}

WTEST(selector_fds, close_within_a_batch_in_both_orders) {
    for (int victim = 0; victim < 2; victim++) {
        int a[2], b[2];
        weft_ready batch[2];
        make_pair(a);
        make_pair(b);
        weft_selector *s = make_selector();
        CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(1)), 0);
        CHECK_EQ(weft_selector_register(s, b[0], WEFT_READ, tag(2)), 0);
        put_byte(a[1]);
        put_byte(b[1]);
        CHECK_EQ(look(s, batch, 2), 2);
        CHECK_EQ(weft_selector_unregister(s, batch[victim].fd), 0);
        close(batch[victim].fd);
        CHECK(!weft_selector_is_live(s, &batch[victim]));
        CHECK(weft_selector_is_live(s, &batch[1 - victim]));
        weft_ready r = expect_one(s);
        CHECK_EQ(r.fd, batch[1 - victim].fd);
        weft_selector_destroy(s);
        close(batch[1 - victim].fd);
        close(a[1]);
        close(b[1]);
    }
}

WTEST(selector_fds, number_reused_within_a_batch) {
    int a[2];
    weft_ready old;
    make_pair(a);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(1)), 0);
    put_byte(a[1]);
    CHECK_EQ(look(s, &old, 1), 1);
    CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
    close(a[0]);
    int peer = reopen_as(a[0]);
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(2)), 0);
    CHECK(!weft_selector_is_live(s, &old));
    expect_none(s);
    put_byte(peer);
    weft_ready r = expect_one(s);
    CHECK(r.data == tag(2));
    CHECK(r.generation != old.generation);
    weft_selector_destroy(s);
    close_both(a);
    close(peer);
}

/* The seed could neither unregister nor register again a fd that was closed first. */
WTEST(selector_fds, closed_before_unregister) {
    static const uint32_t interests[] = {WEFT_READ, 0};
    for (int i = 0; i < 2; i++) {
        int a[2];
        make_pair(a);
        weft_selector *s = make_selector();
        CHECK_EQ(weft_selector_register(s, a[0], interests[i], tag(1)), 0);
        close(a[0]);
        CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(9)), -EBADF);
        CHECK(data_of(s, a[0]) == tag(1)); /* an error changes nothing */
        CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
        CHECK(!weft_selector_contains(s, a[0]));
        CHECK_EQ(weft_selector_count(s), 0);
        CHECK_EQ(weft_selector_unregister(s, a[0]), -ENOENT);
        int peer = reopen_as(a[0]);
        CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(2)), 0);
        put_byte(peer);
        CHECK(expect_one(s).data == tag(2));
        weft_selector_destroy(s);
        close_both(a);
        close(peer);
    }
}

WTEST(selector_fds, reused_number_supersedes_the_stale_entry) {
    static const uint32_t interests[] = {WEFT_READ, 0};
    for (int first = 0; first < 2; first++)
        for (int second = 0; second < 2; second++) {
            int a[2];
            make_pair(a);
            weft_selector *s = make_selector();
            CHECK_EQ(weft_selector_register(s, a[0], interests[first], tag(1)), 0);
            weft_ready old = {.fd = a[0], .generation = 1};
            CHECK(weft_selector_is_live(s, &old)); /* generations start at 1 */
            close(a[0]);
            int peer = reopen_as(a[0]);
            put_byte(peer);
            CHECK_EQ(weft_selector_register(s, a[0], interests[second], tag(2)), 0);
            CHECK(!weft_selector_is_live(s, &old));
            CHECK(data_of(s, a[0]) == tag(2));
            CHECK_EQ(weft_selector_count(s), interests[second] != 0);
            CHECK_EQ(tfd_count(s), interests[second] != 0);
            CHECK_EQ(weft_selector_update(s, a[0], WEFT_READ), 0);
            CHECK(expect_one(s).data == tag(2));
            CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
            CHECK_EQ(weft_selector_count(s), 0);
            weft_selector_destroy(s);
            close_both(a);
            close(peer);
        }
}

WTEST(selector_fds, dup2_to_the_same_number) {
    int a[2], b[2];
    make_pair(a);
    make_pair(b);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(dup2(a[0], a[0]), a[0]); /* nothing happens */
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(2)), -EEXIST);
    CHECK_EQ(dup2(b[0], a[0]), a[0]); /* another file takes the number over */
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(3)), 0);
    put_byte(b[1]);
    CHECK(expect_one(s).data == tag(3));
    weft_selector_destroy(s);
    close_both(a);
    close_both(b);
}

WTEST(selector_fds, update_of_a_closed_or_reused_fd_changes_nothing) {
    for (int paused = 0; paused < 2; paused++)
        for (int reused = 0; reused < 2; reused++) {
            int a[2], peer = -1;
            make_pair(a);
            weft_selector *s = make_selector();
            CHECK_EQ(weft_selector_register(s, a[0], paused ? 0 : WEFT_READ, tag(1)), 0);
            close(a[0]);
            if (reused)
                peer = reopen_as(a[0]);
            CHECK_EQ(weft_selector_update(s, a[0], WEFT_WRITE), -EBADF);
            CHECK_EQ(weft_selector_update(s, a[0], WEFT_READ | WEFT_EXCLUSIVE), -EBADF);
            CHECK_EQ(weft_selector_update(s, a[0], 0), paused ? 0 : -EBADF);
            CHECK_EQ(weft_selector_count(s), !paused);
            CHECK(data_of(s, a[0]) == tag(1));
            CHECK_EQ(tfd_count(s), 0); /* what has the number now was not registered */
            CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
            weft_selector_destroy(s);
            close_both(a);
            close(peer);
        }
}

/* weft closes what it created, but not what has got the number since. */
WTEST(selector_fds, a_timerfd_closed_by_the_program_is_not_closed_again) {
    for (int way = 0; way < 3; way++) {
        weft_selector *s = make_selector();
        int timer = weft_selector_register_timer(s, WEFT_SEC(1000), 0, NULL);
        CHECK(timer >= 0);
        close(timer);
        int peer = reopen_as(timer);
        if (way == 0)
            CHECK_EQ(weft_selector_unregister(s, timer), 0);
        if (way == 1)
            CHECK_EQ(weft_selector_register(s, timer, WEFT_READ, tag(1)), 0);
        weft_selector_destroy(s);
        CHECK_EQ(fcntl(timer, F_GETFD), FD_CLOEXEC);
        close(timer);
        close(peer);
    }
}

static int waits;

static int count_waits(enum os_call call) {
    waits += call == OS_EPOLL_WAIT;
    return 0;
}

/* A duplicate keeps a closed fd in epoll: the loop is idle nevertheless. */
static void expect_idle(weft_selector *s) {
    weft_ready ready[8];
    waits = 0;
    seam_call_fn = count_waits;
    for (int i = 0; i < 4; i++)
        CHECK_EQ(weft_selector_select(s, WEFT_MSEC(10), ready, 8), 0);
    seam_call_fn = NULL;
    CHECK_MSG(waits <= 8, "%d waits in 4 selects", waits);
}

WTEST(selector_fds, duplicate_of_a_closed_fd_is_neither_shown_nor_spun_on) {
    int a[2];
    make_pair(a);
    weft_selector *s = make_selector();
    int epoll_fd = weft_selector_fd(s);
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(1)), 0);
    int duplicate = dup(a[0]);
    close(a[0]);
    CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
    int before = open_fds();
    put_byte(a[1]);
    expect_idle(s);
    CHECK_EQ(tfd_count(s), 0);
    CHECK_EQ(weft_selector_fd(s), epoll_fd);
    CHECK_EQ(open_fds(), before);
    CHECK(fcntl(epoll_fd, F_GETFD) & FD_CLOEXEC);
    weft_selector_destroy(s);
    close(duplicate);
    close(a[1]);
}

WTEST(selector_fds, duplicate_of_a_superseded_fd_is_not_shown_as_the_new_one) {
    int a[2];
    make_pair(a);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(1)), 0);
    int duplicate = dup(a[0]);
    close(a[0]);
    int peer = reopen_as(a[0]);
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_READ, tag(2)), 0);
    put_byte(a[1]);
    expect_idle(s);
    CHECK_EQ(tfd_count(s), 1);
    put_byte(peer);
    CHECK(expect_one(s).data == tag(2));
    weft_selector_destroy(s);
    close_both(a);
    close(peer);
    close(duplicate);
}

WTEST(selector_fds, duplicate_moved_back_to_its_number_can_be_registered) {
    static const uint32_t interests[] = {WEFT_READ, 0};
    for (int i = 0; i < 2; i++) {
        int a[2];
        make_pair(a);
        weft_selector *s = make_selector();
        CHECK_EQ(weft_selector_register(s, a[0], interests[i], tag(1)), 0);
        int duplicate = dup(a[0]);
        close(a[0]);
        CHECK_EQ(weft_selector_unregister(s, a[0]), 0);
        CHECK_EQ(dup2(duplicate, a[0]), a[0]);
        CHECK_EQ(weft_selector_register(s, a[0], interests[i], tag(2)), 0);
        CHECK_EQ(weft_selector_update(s, a[0], WEFT_READ), 0);
        CHECK_EQ(tfd_count(s), 1);
        put_byte(a[1]);
        CHECK(expect_one(s).data == tag(2));
        weft_selector_destroy(s);
        close_both(a);
        close(duplicate);
    }
}

/* Everything else goes on over a rebuild as if nothing had happened. */
WTEST(selector_fds, rebuild_keeps_every_kind_of_entry) {
    int orphan[2], level[2], edge[2], fired[2], armed[2], paused[2], gone[2];
    weft_ready ready[8];
    make_pair(orphan), make_pair(level), make_pair(edge), make_pair(fired);
    make_pair(armed), make_pair(paused), make_pair(gone);
    weft_selector *s = make_selector();
    CHECK_EQ(weft_selector_register(s, fired[0], WEFT_READ | WEFT_ONESHOT, tag(3)), 0);
    put_byte(fired[1]);
    CHECK(expect_one(s).data == tag(3));
    int done = weft_selector_register_timer(s, 0, WEFT_ONESHOT, tag(7));
    CHECK(expect_one(s).data == tag(7));
    CHECK_EQ(weft_selector_register(s, orphan[0], WEFT_READ, tag(0)), 0);
    CHECK_EQ(weft_selector_register(s, level[0], WEFT_READ | WEFT_EXCLUSIVE, tag(1)), 0);
    CHECK_EQ(weft_selector_register(s, edge[0], WEFT_READ | WEFT_EDGE, tag(2)), 0);
    CHECK_EQ(weft_selector_register(s, armed[0], WEFT_READ | WEFT_ONESHOT, tag(4)), 0);
    CHECK_EQ(weft_selector_register(s, paused[0], 0, tag(5)), 0);
    CHECK_EQ(weft_selector_register(s, gone[0], WEFT_READ, tag(6)), 0);
    CHECK_EQ(weft_selector_count(s), 5);

    int duplicate = dup(orphan[0]);
    close(orphan[0]);
    close(gone[0]);
    int reused = reopen_as(gone[0]); /* never registered: must not be seen */
    put_byte(reused);
    CHECK_EQ(weft_selector_unregister(s, orphan[0]), 0);
    put_byte(orphan[1]);
    put_byte(armed[1]); /* in the batch that finds the orphan */
    CHECK_EQ(look(s, ready, 8), 1);
    CHECK(ready[0].data == tag(4));
    expect_none(s);

    CHECK_EQ(tfd_events(s, level[0]), EPOLLIN | EPOLLEXCLUSIVE);
    CHECK_EQ(tfd_events(s, edge[0]), EPOLLIN | EPOLLRDHUP | EPOLLET);
    CHECK_EQ(tfd_events(s, armed[0]), EPOLLONESHOT);
    CHECK_EQ(tfd_events(s, fired[0]), EPOLLONESHOT);
    CHECK_EQ(tfd_events(s, done), EPOLLIN);
    CHECK_EQ(tfd_events(s, gone[0]), -1);
    CHECK_EQ(tfd_count(s), 5);
    CHECK_EQ(weft_selector_count(s), 2);
    CHECK_EQ(weft_selector_update(s, gone[0], WEFT_READ), -EBADF);
    CHECK_EQ(weft_selector_register(s, gone[0], WEFT_READ, tag(8)), 0);
    CHECK(expect_one(s).data == tag(8));
    CHECK_EQ(weft_selector_unregister(s, gone[0]), 0);
    CHECK_EQ(weft_selector_update(s, fired[0], WEFT_READ | WEFT_ONESHOT), 0);
    CHECK(expect_one(s).data == tag(3));
    put_byte(edge[1]);
    CHECK(expect_one(s).data == tag(2));
    put_byte(level[1]);
    CHECK(expect_one(s).data == tag(1));
    CHECK_EQ(weft_selector_unregister(s, level[0]), 0);
    put_byte(paused[1]);
    CHECK_EQ(weft_selector_update(s, paused[0], WEFT_READ), 0);
    CHECK(expect_one(s).data == tag(5));
    CHECK_EQ(weft_selector_unregister(s, done), 0);
    CHECK_EQ(fcntl(done, F_GETFD), -1);
    weft_selector_destroy(s);
    close(duplicate), close(orphan[1]), close(reused);
    close_both(level), close_both(edge), close_both(fired), close_both(armed), close_both(paused);
    close_both(gone);
}

/* As a worker meets it: raw events, and no select that could rebuild afterwards. */
WTEST(selector_fds, raw_event_of_an_orphan_rebuilds_the_set) {
    int a[2], b[2];
    struct epoll_event events[4];
    struct weft_selector *s = NULL;
    make_pair(a);
    make_pair(b);
    CHECK_EQ(selector_create(&s), 0);
    CHECK_EQ(selector_register_raw(s, a[0], EPOLLIN, tag(1)), 0);
    CHECK_EQ(selector_register_raw(s, b[0], EPOLLIN, tag(2)), 0);
    int duplicate = dup(a[0]);
    close(a[0]);
    CHECK_EQ(selector_unregister(s, a[0]), 0);
    put_byte(a[1]);
    CHECK_EQ(selector_wait(s, events, 4, WEFT_FOREVER), 1);
    CHECK(selector_live(s, &events[0], NULL) == NULL);
    CHECK_EQ(selector_wait(s, events, 4, 0), 0);
    put_byte(b[1]);
    CHECK_EQ(selector_wait(s, events, 4, WEFT_FOREVER), 1);
    CHECK(selector_live(s, &events[0], NULL) == tag(2));
    selector_destroy(s);
    close(duplicate);
    close(a[1]);
    close_both(b);
}

/* A fd watched for WRITE alone does not spin on a peer that closed its half. */
WTEST(selector_fds, half_close_is_not_reported_to_a_writer) {
    int a[2];
    static char block[1 << 16];
    make_pair(a);
    weft_selector *s = make_selector();
    while (write(a[0], block, sizeof block) > 0)
        ;
    CHECK_EQ(weft_selector_register(s, a[0], WEFT_WRITE, NULL), 0);
    CHECK_EQ(shutdown(a[1], SHUT_WR), 0);
    expect_idle(s);
    CHECK_EQ(weft_selector_update(s, a[0], WEFT_READ | WEFT_WRITE), 0);
    CHECK_EQ(expect_one(s).events, WEFT_READ | WEFT_HANGUP);
    weft_selector_destroy(s);
    close_both(a);
}

/* A hang-up comes together with the data before it, and is no error. */
static void expect_data_then_hangup(int reader, bool ends_readable) {
    weft_selector *s = make_selector();
    char bytes[64];
    CHECK_EQ(weft_selector_register(s, reader, WEFT_READ, NULL), 0);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.events, WEFT_READ | WEFT_HANGUP);
    CHECK_EQ(r.error, 0);
    CHECK_EQ(read(reader, bytes, sizeof bytes), 5);
    CHECK(memcmp(bytes, "bytes", 5) == 0);
    r = expect_one(s);
    CHECK_EQ(r.events & ~(uint32_t)WEFT_READ, WEFT_HANGUP);
    CHECK(!ends_readable || (r.events & WEFT_READ));
    weft_selector_destroy(s);
    close(reader);
}

WTEST(selector_fds, hangup_does_not_hide_data) {
    int ends[2];
    make_pipe(ends);
    CHECK_EQ(write(ends[1], "bytes", 5), 5);
    close(ends[1]);
    expect_data_then_hangup(ends[0], false);

    make_pair(ends);
    CHECK_EQ(write(ends[1], "bytes", 5), 5);
    close(ends[1]);
    expect_data_then_hangup(ends[0], true);

    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        wtest_skip("no pseudo-terminals here");
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0);
    CHECK_EQ(write(slave, "bytes", 5), 5);
    close(slave);
    expect_data_then_hangup(master, false);
}

WTEST(selector_fds, error_is_so_error_and_consumed) {
    weft_selector *s = make_selector();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, not listening: refuses */
    CHECK_EQ(bind(bound, (struct sockaddr *)&address, size), 0);
    CHECK_EQ(getsockname(bound, (struct sockaddr *)&address, &size), 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK_EQ(connect(client, (struct sockaddr *)&address, size), -1);
    CHECK_EQ(weft_selector_register(s, client, WEFT_WRITE, NULL), 0);
    weft_ready r = expect_one(s);
    CHECK(r.events & WEFT_ERROR);
    CHECK_EQ(r.error, -ECONNREFUSED);
    int error = -1;
    socklen_t error_size = sizeof error;
    CHECK_EQ(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &error_size), 0);
    CHECK_EQ(error, 0);
    CHECK_EQ(weft_selector_unregister(s, client), 0);

    int ends[2]; /* an error that is none of a socket */
    make_pipe(ends);
    close(ends[0]);
    CHECK_EQ(weft_selector_register(s, ends[1], WEFT_WRITE, NULL), 0);
    r = expect_one(s);
    CHECK(r.events & WEFT_ERROR);
    CHECK_EQ(r.error, 0);
    weft_selector_destroy(s);
    close(ends[1]);
    close(client);
    close(bound);
}

/* The seed refused the last legal fd, and read the limit only once. */
WTEST(selector_fds, the_last_legal_fd_and_a_limit_raised_later) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t hard = limit.rlim_max;
    if (hard < 3000)
        wtest_skip("the hard limit of open files is below 3000");
    limit.rlim_cur = 256;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    weft_selector *s = make_selector();
    int fd = eventfd(1, EFD_CLOEXEC), last = fcntl(fd, F_DUPFD_CLOEXEC, 255);
    CHECK_EQ(last, 255);
    CHECK_EQ(weft_selector_register(s, last, WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_register(s, 2999, WEFT_READ, tag(2)), -EBADF);
    limit.rlim_cur = 3000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 2999);
    CHECK_EQ(high, 2999);
    CHECK_EQ(weft_selector_register(s, high, WEFT_READ, tag(2)), 0);
    weft_ready ready[4];
    CHECK_EQ(look(s, ready, 4), 2);
    CHECK_EQ(weft_selector_unregister(s, last), 0);
    CHECK(expect_one(s).data == tag(2));
    weft_selector_destroy(s);
    close(last);
    close(high);
    close(fd);
}

/* To what was asked, or, where only root may and the kernel lets it, to the hard limit. */
static int raise_fd_limit(rlim_t wanted) {
    struct rlimit limit = {wanted, wanted};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return (int)wanted;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return (int)limit.rlim_cur;
}

/* Growth moves nothing: pointers to data stay good. */
WTEST(selector_fds, growth_keeps_slots_in_place) {
    enum { FIRST = 1000, FDS_MAX = 200000, STEP = 61 };
    int fds = raise_fd_limit(FDS_MAX + 10) - 10;
    if (fds < 5000)
        wtest_skip("the hard limit of open files is below 5010");
    weft_selector *s = make_selector();
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    static void **slots[FDS_MAX];
    unsigned step = STEP * wtest_slowdown();
    for (int i = FIRST; i < fds; i += i < 1100 ? 1 : (int)step) {
        CHECK_EQ(dup3(fd, i, O_CLOEXEC), i);
        CHECK_EQ(weft_selector_register(s, i, WEFT_READ | WEFT_EDGE, tag((uintptr_t)i)), 0);
        slots[i] = weft_selector_data(s, i);
        CHECK(slots[i] != NULL);
    }
    for (int i = FIRST; i < fds; i++)
        if (slots[i]) {
            CHECK(*slots[i] == tag((uintptr_t)i));
            *slots[i] = tag((uintptr_t)i + 1); /* written through the pointer of then */
            CHECK(data_of(s, i) == tag((uintptr_t)i + 1));
            CHECK(weft_selector_data(s, i) == slots[i]);
        }
    weft_selector_destroy(s);
    for (int i = FIRST; i < fds; i++)
        if (slots[i])
            close(i);
    close(fd);
}
