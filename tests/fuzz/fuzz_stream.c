/* One stream against a model of its contract. The input says what the peer does, what the program
 * calls, in callbacks and out of them, and what the kernel refuses; the model says what each call
 * must return and which callbacks may come; poll(2), fdinfo and the peer say whether it is true.
 *
 * Deterministic: the workers' threads take turns. Whoever comes to its epoll_wait goes on with the
 * input, and when that wants an iteration of a worker, the turn is that worker's. Nobody ever
 * sleeps, and time is the input's as well. */
#include "fuzz_stream_model.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct world world;
struct model m;

static sem_t turns[WORKERS + 1]; /* the last is the fuzzer's own thread */
static __thread unsigned me = NOBODY;

enum stage { OPERATE, RESUME, DRAIN, CLOSE, DRAIN_CLOSED, WAIT, DONE };

static struct {
    enum stage stage;
    bool settles, looked; /* until nothing moves */
    unsigned rounds;
    bool is_late[WORKERS]; /* time has passed since its last iteration */
} plan;

void trace(const char *format, ...) {
    static int traces = -1;
    va_list arguments;
    if (traces < 0)
        traces = getenv("FUZZ_TRACE") != NULL;
    if (!traces)
        return;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* --- faults ----------------------------------------------------------------------------------- */

static int fault_of(enum os_call call) {
    if (me == NOBODY || m.fault_times == 0 || call != m.fault_call)
        return 0;
    if (m.fault_in > 0) {
        m.fault_in--;
        return 0;
    }
    m.fault_times--;
    m.faults++;
    trace("fault: %s is %d", seam_call_name(call), m.fault_error);
    return m.fault_error;
}

static size_t limit_length(enum os_call call, size_t length) {
    if (me == NOBODY || !m.length_limit || call == OS_READ || call == OS_WRITE)
        return length;
    return length < m.length_limit ? length : m.length_limit;
}

static void arm_fault(void) {
    static const struct {
        enum os_call call;
        int errors[4];
    } faults[] = {
        {OS_RECV, {-EAGAIN, -EINTR, -ECONNRESET, -ETIMEDOUT}},
        {OS_SEND, {-EAGAIN, -EINTR, -EPIPE, -EHOSTUNREACH}},
        {OS_SENDMSG, {-EAGAIN, -EAGAIN, -ECONNRESET, -ENOMEM}},
        {OS_SENDFILE, {-EAGAIN, -EIO, -EPIPE, -ENOMEM}},
        {OS_ALLOC, {-ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM}},
        {OS_DUP, {-EMFILE, -EMFILE, -ENFILE, -EMFILE}},
        {OS_MMAP, {-ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM}},
        {OS_SHUTDOWN, {-ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN}},
        {OS_GETSOCKOPT, {-ENOMEM, -ENOMEM, -ENOMEM, -ENOMEM}},
        {OS_EPOLL_WAIT, {-EINTR, -EINTR, -EINTR, -EINTR}},
        {OS_EPOLL_CTL, {-ENOMEM, -ENOSPC, -ENOMEM, -ENOMEM}},
    };
    unsigned which = input_below(&m.in, sizeof faults / sizeof faults[0]);
    unsigned how = input_byte(&m.in);
    model_observe();
    if (faults[which].call == OS_EPOLL_CTL && m.moves)
        return; /* a stream cannot leave where the kernel does not let it go */
    m.fault_call = faults[which].call;
    m.fault_error = faults[which].errors[how & 3];
    m.fault_in = how >> 2 & 7;
    m.fault_times = 1 + (how >> 5 & 7) * (m.fault_error == -EAGAIN);
}

/* --- operations ------------------------------------------------------------------------------- */

static void adopt(void *arg) {
    (void)arg;
    int r = weft_adopt(weft_worker_current(), m.fd, m.protocol, &m, &m.s);
    MUST(r == 0 && m.s, "adopt: %d", r);
    memset(weft_stream_state(m.s), 0x5a, 16);
    m.active_ns = clock_test_ns;
}

static bool is_here(void) {
    return m.s && !m.moving && world.workers[m.worker] == weft_worker_current();
}

/* From a task of the worker's: outside of the stream's callbacks. */
static void run_calls(void *arg) {
    (void)arg;
    if (!is_here())
        return;
    m.in_callback = true;
    calls_make(4);
    m.in_callback = false;
}

static void run_spurious(void *arg) {
    if (!is_here() || m.ended)
        return;
    calls_probe();
    struct worker_source *source = (struct worker_source *)(void *)m.s;
    if (!m.ended)
        source->ready(source, (uint32_t)(uintptr_t)arg);
}

static void run_end(void *arg) {
    (void)arg;
    if (!is_here())
        return;
    calls_probe();
    weft_stream_resume(m.s);
    if (m.paused)
        m.show_may = m.show_must = true;
    m.paused = false;
}

static void run_close(void *arg) {
    (void)arg;
    if (!is_here())
        return;
    calls_probe();
    model_close(clock_test_ns);
    weft_stream_close(m.s);
}

static void post(void (*fn)(void *arg), void *arg) {
    unsigned times = m.fault_times;
    m.fault_times = 0;
    MUST(weft_post_fn(world.workers[m.worker], fn, arg) == 0, "post");
    m.fault_times = times;
}

static void advance(uint64_t ns) {
    clock_test_ns += ns;
    trace("time goes on by %ju ms", (uintmax_t)(ns / 1000000));
    for (unsigned i = 0; i < WORKERS; i++) {
        world.workers[i]->clock_cycles = 0; /* its last reading is old */
        plan.is_late[i] = true;
    }
}

static void settle(void) {
    m.length_limit = 0; /* or it takes too long */
    plan.settles = true;
    plan.looked = false;
    plan.rounds = 0;
}

static void operate_peer(unsigned choice) {
    static const uint32_t events[] = {EPOLLIN,  EPOLLOUT, EPOLLIN | EPOLLOUT,
                                      EPOLLERR, EPOLLHUP, EPOLLIN | EPOLLHUP | EPOLLERR,
                                      0};
    static const size_t limits[] = {0, 1, 3, 100};
    switch (choice) {
    case 0: peer_end(); break;
    case 1: peer_close(false); break;
    case 2: peer_close(true); break;
    case 3: advance(WEFT_MSEC(1 + input_byte(&m.in))); break;
    case 4: advance(WEFT_SEC(1 + input_below(&m.in, 12))); break;
    case 5: arm_fault(); break;
    case 6: m.length_limit = limits[input_below(&m.in, 4)]; break;
    case 7: post(run_spurious, (void *)(uintptr_t)events[input_below(&m.in, 7)]); break;
    case 8: send_by_id(pick_length()); break;
    case 9: post_by_id(); break;
    default: break;
    }
}

/* One operation: the worker whose iteration it wants, or NOBODY. */
static unsigned operate(void) {
    unsigned choice = input_byte(&m.in);
    m.calls++;
    trace("operation %u", choice);
    if (choice < 64)
        return m.worker;
    if (choice < 80)
        return 1 - m.worker;
    if (choice < 120)
        peer_send(pick_length());
    else if (choice < 150)
        (void)peer_read(pick_length());
    else if (choice < 200)
        post(run_calls, NULL);
    else if (choice < 210)
        settle();
    else
        operate_peer(choice % 10);
    return NOBODY;
}

/* sendfile() has no way to ask for none. */
static void check_no_signal(void) {
    sigset_t pending, pipe;
    const struct timespec now = {0, 0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    if (!sigismember(&pending, SIGPIPE))
        return;
    MUST(m.used_sendfile, "SIGPIPE");
    (void)sigtimedwait(&pipe, NULL, &now);
}

/* --- whose turn ------------------------------------------------------------------------------- */

static bool is_idle(weft_worker *w) {
    struct pollfd p = {.fd = weft_selector_fd(w->selector), .events = POLLIN};
    return !w->pending && list_is_empty(&w->jobs) && !w->flush_wanted &&
           queue_is_armed(&w->inbox.queue) && poll(&p, 1, 0) == 0;
}

/* A worker that has something to do, or NOBODY; the stream's has a last look. */
static unsigned settle_on(void) {
    MUST(plan.rounds++ < 5000, "it does not come to rest");
    m.fault_times = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        if (is_idle(world.workers[i]) && !plan.is_late[i])
            continue;
        plan.looked = false;
        return i;
    }
    if (!plan.looked) {
        plan.looked = true;
        return m.worker;
    }
    plan.settles = false;
    quiet_check();
    return NOBODY;
}

/* The end of an input: no more faults, the peer takes everything, the program closes. */
static void go_on(void) {
    enum stage next = plan.stage + 1;
    switch (plan.stage) {
    case RESUME: post(run_end, NULL); break;
    case DRAIN:
    case DRAIN_CLOSED:
        if (peer_read(SIZE_MAX) > 0)
            next = plan.stage;
        break;
    case CLOSE:
        post(run_close, NULL);
        peer_end();
        break;
    case WAIT: advance(WEFT_SEC(31)); break;
    case OPERATE:
    case DONE: break;
    }
    plan.stage = next;
    trace("stage %u", next);
    settle();
}

/* Until an iteration is wanted: whose; or NOBODY's, the end. */
static unsigned drive(void) {
    if (plan.stage != DONE) {
        model_observe();
        check_no_signal();
    }
    for (;;) {
        unsigned next = NOBODY;
        if (plan.settles)
            next = settle_on();
        else if (plan.stage == DONE)
            return NOBODY;
        else if (plan.stage == OPERATE && input_left(&m.in) && m.calls < MAX_CALLS)
            next = operate();
        else
            go_on();
        if (next != NOBODY) {
            trace("- worker %u", next);
            plan.is_late[next] = false;
            return next;
        }
    }
}

static void hand_over(unsigned next) {
    if (next == me)
        return;
    sem_post(&turns[next]);
    while (sem_wait(&turns[me]) < 0)
        ;
}

static int on_call(enum os_call call) {
    if (me != NOBODY && call == OS_EPOLL_WAIT) {
        weft_worker *w = worker_current;
        worker_current = NULL; /* what the input does now is done by another thread */
        unsigned mine = me;
        me = NOBODY; /* whom no fault hits */
        unsigned next = drive();
        me = mine;
        hand_over(next);
        worker_current = w;
    }
    return fault_of(call);
}

static bool never_block(void) {
    return false;
}

/* --- the world -------------------------------------------------------------------------------- */

static void *run_worker(void *arg) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    me = (unsigned)(uintptr_t)arg;
    while (sem_wait(&turns[me]) < 0)
        ;
    worker_run(world.workers[me]);
    return NULL;
}

static void make_file(void) {
    world.file_length = 70000;
    world.file = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(world.file >= 0 &&
             write(world.file, bytes_own(0), world.file_length) == (ssize_t)world.file_length,
         "no file");
}

static void make_listener(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    world.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(bind(world.listener, (struct sockaddr *)&address, sizeof address) == 0 &&
             listen(world.listener, 10) == 0,
         "no listener");
}

static void quietly(int level, const char *message, void *arg) {
    (void)level, (void)message, (void)arg;
}

static void make_world(void) {
    const weft_runtime_options options = {
        .workers = WORKERS, .stall_ns = WEFT_FOREVER, .max_buffered = SIZE_MAX / 2};
    clock_test_ns = WEFT_SEC(1000);
    weft_set_log(quietly, NULL);
    MUST(weft_runtime_create(&options, &world.rt) == 0, "no runtime");
    (void)weft_runtime_set_spin(world.rt, WEFT_SPIN_NEVER);
    make_file();
    make_listener();
    for (unsigned i = 0; i <= WORKERS; i++)
        sem_init(&turns[i], 0, 0);
    seam_call_fn = on_call;
    seam_length_fn = limit_length;
    seam_block_fn = never_block;
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_t thread;
        world.workers[i] = weft_runtime_worker(world.rt, i);
        worker_mark_running(world.workers[i]);
        MUST(pthread_create(&thread, NULL, run_worker, (void *)(uintptr_t)i) == 0, "no thread");
        pthread_detach(thread);
    }
    plan.stage = DONE; /* as far as their first waits */
    for (unsigned i = 0; i < WORKERS; i++)
        hand_over(i);
}

static int lowest_free_fd(void) {
    int fd = fcntl(world.file, F_DUPFD_CLOEXEC, 0);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!world.rt)
        make_world();
    memset(&m, 0, sizeof m);
    memset(&plan, 0, sizeof plan);
    m.in = (struct input){data, data + size};
    int free_fd = lowest_free_fd();
    unsigned kind = input_byte(&m.in);
    m.moves = (kind & 4) == 0;
    m.protocol = &fuzz_protocols[(kind >> 3) % PROTOCOLS];
    m.idle_ns = m.protocol->idle_timeout_ns;
    m.is_tcp = kind & 1;
    peer_connect(m.is_tcp, kind & 2);
    for (unsigned i = 0; i < WORKERS; i++)
        m.bytes_out_before += stat_read(&world.workers[i]->stats.bytes_out);
    post(adopt, NULL);
    hand_over(0);
    end_check();
    MUST(lowest_free_fd() == free_fd, "fd %d is still open", free_fd);
    return 0;
}
