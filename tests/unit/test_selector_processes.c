/* Processes: one event for each, with the status, which stays to be reaped. */
#include "test_selector.h"

#include <pthread.h>
#include <sys/syscall.h>

/* A child that lives until its pipe closes, then ends as told: by exit status, or by a signal. */
struct child {
    pid_t pid;
    int gate; /* close it to let the child go on */
    int status, signo;
};

static void child_start(struct child *c) {
    int gate[2];
    make_pipe(gate);
    c->pid = fork();
    if (c->pid == 0) {
        char byte;
        close(gate[1]);
        fcntl(gate[0], F_SETFL, 0);
        ssize_t n = read(gate[0], &byte, 1);
        if (c->signo)
            kill(getpid(), c->signo);
        _exit(n == 0 ? c->status : 99);
    }
    CHECK(c->pid > 0);
    close(gate[0]);
    c->gate = gate[1];
}

static void child_reap(const struct child *c, int expected_status) {
    int status = -1;
    CHECK_EQ(waitpid(c->pid, &status, 0), c->pid);
    CHECK_EQ(status, expected_status);
}

WTEST(selector_processes, reports_the_wait_status_once_and_does_not_reap) {
    static const struct child kinds[] = {
        {.status = 0}, {.status = 7}, {.status = 255}, {.signo = SIGKILL}, {.signo = SIGTERM}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct child c = kinds[i];
        child_start(&c);
        weft_selector *s = make_selector();
        int fd = weft_selector_register_process(s, c.pid, tag(1));
        CHECK(fd >= 0);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        CHECK_EQ(weft_selector_count(s), 1);
        CHECK_EQ(weft_selector_register_process(s, c.pid, tag(2)), -EEXIST);
        expect_none(s);
        close(c.gate);
        weft_ready r = expect_one(s);
        CHECK_EQ(r.fd, fd);
        CHECK_EQ(r.events, WEFT_PROCESS | WEFT_ONESHOT | WEFT_FINISHED);
        CHECK_EQ(r.value, c.signo ? c.signo : c.status << 8);
        CHECK(r.data == tag(1));
        CHECK_EQ(weft_selector_count(s), 0);
        CHECK(weft_selector_contains(s, fd));
        expect_none(s); /* a zombie's pidfd stays readable */
        child_reap(&c, (int)r.value);
        expect_none(s);
        CHECK_EQ(weft_selector_update(s, fd, WEFT_READ), -EINVAL);
        CHECK_EQ(weft_selector_unregister(s, fd), 0);
        CHECK_EQ(fcntl(fd, F_GETFD), -1);
        weft_selector_destroy(s);
    }
}

/* The seed never told of a child that was dead already. */
WTEST(selector_processes, child_dead_before_the_registration) {
    struct child c = {.status = 3};
    child_start(&c);
    close(c.gate);
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT), 0);
    weft_selector *s = make_selector();
    CHECK(weft_selector_register_process(s, c.pid, NULL) >= 0);
    CHECK_EQ(expect_one(s).value, 3 << 8);
    /* Finished is not registered: the same zombie once more. */
    CHECK(weft_selector_register_process(s, c.pid, NULL) >= 0);
    CHECK_EQ(expect_one(s).value, 3 << 8);
    child_reap(&c, 3 << 8);
    weft_selector_destroy(s);
}

/* SIGCHLD coalesces, and two watched children of the seed stole each other's. */
WTEST(selector_processes, many_exits_at_once_all_arrive) {
    enum { COUNT = 150 };
    static struct child children[COUNT];
    static int fds[COUNT];
    static bool seen[COUNT];
    weft_selector *s = make_selector();
    for (int i = 0; i < COUNT; i++) {
        children[i].status = i;
        child_start(&children[i]);
        fds[i] = weft_selector_register_process(s, children[i].pid, &children[i]);
        CHECK(fds[i] >= 0);
        for (int k = 0; k <= i; k += 7)
            CHECK_EQ(weft_selector_register_process(s, children[k].pid, NULL), -EEXIST);
    }
    for (int i = COUNT; i-- > 0;)
        close(children[i].gate);
    for (int count = 0; count < COUNT; count++) {
        weft_ready r;
        CHECK_EQ(weft_selector_select(s, WEFT_SEC(10), &r, 1), 1);
        struct child *c = r.data;
        CHECK_EQ(r.value, (c - children) << 8);
        CHECK(!seen[c - children]);
        seen[c - children] = true;
        child_reap(c, (int)r.value);
    }
    CHECK(weft_selector_is_empty(s));
    weft_selector_destroy(s);
}

WTEST(selector_processes, status_taken_by_another_is_an_error) {
    struct child c = {.status = 3};
    child_start(&c);
    weft_selector *s = make_selector();
    CHECK(weft_selector_register_process(s, c.pid, NULL) >= 0);
    close(c.gate);
    child_reap(&c, 3 << 8);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.events, WEFT_PROCESS | WEFT_ONESHOT | WEFT_FINISHED | WEFT_ERROR);
    CHECK_EQ(r.error, -ECHILD);
    CHECK_EQ(r.value, 0);
    expect_none(s);
    CHECK_EQ(weft_selector_register_process(s, c.pid, NULL), -ESRCH);
    weft_selector_destroy(s);
}

/* A grandchild: there to be watched, but not ours to wait for. */
WTEST(selector_processes, process_that_is_no_child_is_an_error) {
    int tell[2];
    pid_t grandchild = 0;
    int gate[2];
    make_pipe(tell);
    make_pipe(gate);
    pid_t child = fork();
    if (child == 0) {
        pid_t pid = fork();
        char byte;
        fcntl(gate[0], F_SETFL, 0);
        close(gate[1]);
        if (pid > 0 && write(tell[1], &pid, sizeof pid) == sizeof pid)
            _exit(0);
        _exit(read(gate[0], &byte, 1) == 0 ? 3 : 99);
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(read(tell[0], &grandchild, sizeof grandchild), sizeof grandchild);
    weft_selector *s = make_selector();
    CHECK(weft_selector_register_process(s, grandchild, NULL) >= 0);
    close(gate[1]);
    weft_ready r = expect_one(s);
    CHECK_EQ(r.events, WEFT_PROCESS | WEFT_ONESHOT | WEFT_FINISHED | WEFT_ERROR);
    CHECK_EQ(r.error, -ECHILD);
    CHECK_EQ(r.value, 0);
    weft_selector_destroy(s);
    close(gate[0]);
    close_both(tell);
}

struct thread_id {
    _Atomic pid_t id;
    _Atomic bool is_over;
};

static void *tell_thread_id(void *arg) {
    struct thread_id *t = arg;
    atomic_store(&t->id, (pid_t)syscall(SYS_gettid));
    while (!atomic_load(&t->is_over))
        usleep(1000);
    return NULL;
}

WTEST(selector_processes, refuses_what_is_no_process) {
    struct thread_id t = {0};
    pthread_t thread;
    weft_selector *s = make_selector();
    int before = open_fds();
    CHECK_EQ(weft_selector_register_process(s, 0, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_process(s, -1, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_process(s, INT32_MIN, NULL), -EINVAL);
    CHECK_EQ(weft_selector_register_process(s, INT32_MAX, NULL), -ESRCH);
    struct child c = {.status = 0};
    child_start(&c);
    close(c.gate);
    child_reap(&c, 0);
    CHECK_EQ(weft_selector_register_process(s, c.pid, NULL), -ESRCH);
    CHECK_EQ(pthread_create(&thread, NULL, tell_thread_id, &t), 0);
    while (!atomic_load(&t.id))
        usleep(1000);
    CHECK_EQ(weft_selector_register_process(s, atomic_load(&t.id), NULL), -EINVAL);
    atomic_store(&t.is_over, true);
    pthread_join(thread, NULL);
    CHECK_EQ(open_fds(), before);
    CHECK(weft_selector_is_empty(s));
    weft_selector_destroy(s);
}
