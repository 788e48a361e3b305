/* weft-soak [--minutes=N | --seconds=N] [--epoch=SECONDS]: the epochs, one after the other, and the
 * report. The seed is WTEST_SEED, else the time. Exits with 0 when the books balance and nothing
 * grows. */
#include "failure.h"
#include "soak.h"
#include "soak_network.h"
#include "soak_signals.h"
#include "soak_world.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { PARTS = 8, PATIENCE_S = 120, PATIENCE_AFTER_FAILURE_S = 20, PAUSES_PER_S = 100 };

/* How an epoch ends. */
enum ending_of_epoch {
    DRAINED,  /* everything has come to its own end before */
    GRACEFUL, /* streams may flush */
    ABRUPT,   /* no time for anything */
    BY_SIGNAL,
    BY_TWO, /* signals: the second one ends the grace time */
    BY_CALLBACK,
    EPOCH_ENDINGS
};

static const char *const ending_names[] = {"drained",   "graceful",    "abrupt",
                                           "by signal", "by a second", "by callback"};

/* Scarcity last: the others begin with what they need. */
static const struct part *const parts[PARTS] = {&streams_part, &mail_part,     &posts_part,
                                                &timers_part,  &children_part, &signals_part,
                                                &watches_part, &scarcity_part};

struct epoch epoch;
uint64_t soak_seed;

static uint64_t start_ns, epoch_start_ns;
static const char *_Atomic phase = "start"; /* what the main thread is at */
static _Atomic unsigned log_lines;
static uint64_t accept_pauses, stalls;

/* --- failure ---------------------------------------------------------------------------------- */

static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool has_failed;

bool soak_has_failed(void) {
    return has_failed;
}

void soak_fail(const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&failure_lock);
    if (!has_failed)
        printf("FAIL in epoch %u (%s), WTEST_SEED=%ju: %s\n", epoch.number, phase,
               (uintmax_t)soak_seed, text);
    fflush(stdout);
    has_failed = true;
    pthread_mutex_unlock(&failure_lock);
}

/* What the support code's checks call. */
_Noreturn void wtest_fail(const char *file, int line, const char *format, ...);
_Noreturn void wtest_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    failure_say(file, line, format, arguments);
    va_end(arguments);
    _exit(1);
}

/* --- books ------------------------------------------------------------------------------------ */

/* The outs first: what is counted out was counted in by then. */
uint64_t account_open(const struct account *a) {
    uint64_t out = 0;
    for (unsigned i = 0; i < MAX_OUTS && a->out[0].name; i++)
        out += tallied(&a->out[i]);
    return a->out[0].name ? tallied(&a->in) - out : 0;
}

static void print_books(void) {
    for (unsigned i = 0; i < PARTS; i++)
        for (unsigned j = 0; j < parts[i]->account_count; j++) {
            const struct account *a = &parts[i]->accounts[j];
            printf("%-9s %-28s %10ju", parts[i]->name, a->in.name, (uintmax_t)tallied(&a->in));
            for (unsigned k = 0; k < MAX_OUTS && a->out[k].name; k++)
                printf("%s %ju %s", k ? " +" : " =", (uintmax_t)tallied(&a->out[k]),
                       a->out[k].name);
            uint64_t open = account_open(a);
            if (open)
                printf("  OPEN: %jd", (intmax_t)open);
            putchar('\n');
        }
}

static bool are_balanced(void) {
    bool balanced = true;
    for (unsigned i = 0; i < PARTS; i++)
        for (unsigned j = 0; j < parts[i]->account_count; j++)
            balanced &= account_open(&parts[i]->accounts[j]) == 0;
    return balanced;
}

/* --- what the parts share --------------------------------------------------------------------- */

weft_worker *worker_at(unsigned index) {
    return weft_runtime_worker(epoch.rt, index % epoch.workers);
}

weft_worker *next_worker(weft_worker *w) {
    return worker_at(weft_worker_index(w) + 1);
}

uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t roll(uint64_t *state, uint64_t limit) {
    *state = mix(*state);
    return *state % limit;
}

void fill(uint64_t key, uint64_t from, uint8_t *buffer, size_t length) {
    uint64_t word = mix(key + from / 8);
    for (size_t i = 0; i < length; i++) {
        if ((from + i) % 8 == 0)
            word = mix(key + (from + i) / 8);
        buffer[i] = (uint8_t)(word >> 8 * ((from + i) % 8));
    }
}

bool is_filled(uint64_t key, uint64_t from, const uint8_t *data, size_t length) {
    uint8_t expected[4096];
    for (size_t i = 0, part; i < length; i += part) {
        part = length - i < sizeof expected ? length - i : sizeof expected;
        fill(key, from + i, expected, part);
        if (memcmp(expected, data + i, part) != 0)
            return false;
    }
    return true;
}

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void pause_us(unsigned us) {
    const struct timespec length = {us / 1000000, us % 1000000 * 1000L};
    nanosleep(&length, NULL);
}

pthread_t thread_begin(void *(*fn)(void *arg), void *arg) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, fn, arg) != 0)
        abort();
    return thread;
}

void thread_end(pthread_t thread) {
    pthread_join(thread, NULL);
}

void on_each_worker(void (*fn)(void *arg), void *arg) {
    for (unsigned i = 0; i < epoch.workers; i++)
        if (weft_call(worker_at(i), fn, arg) != 0)
            soak_fail("a call on worker %u is refused", i);
}

/* --- whoever watches the main thread ---------------------------------------------------------- */

static _Atomic uint64_t phase_since_ns;

static void enter(const char *name) {
    phase = name;
    phase_since_ns = now_ns();
}

static void *watchdog_run(void *arg) {
    (void)arg;
    for (;;) {
        unsigned patience_s = soak_has_failed() ? PATIENCE_AFTER_FAILURE_S : PATIENCE_S;
        pause_us(100000);
        if (now_ns() < phase_since_ns + WEFT_SEC(patience_s))
            continue;
        printf("%s: no end of it for %u s\n", phase, patience_s);
        print_books();
        fflush(stdout);
        abort();
    }
    return NULL;
}

/* --- an epoch --------------------------------------------------------------------------------- */

static void epoch_create(uint64_t *random, enum ending_of_epoch ending) {
    const int signals[] = {soak_signal(0), soak_signal(1), 0};
    weft_runtime_options options = {.workers = 1 + (unsigned)roll(random, MAX_WORKERS),
                                    .signals = signals};
    options.grace_ns = ending == ABRUPT ? 1 : WEFT_MSEC(200 + roll(random, 1000));
    options.flags = roll(random, 4) == 0 ? WEFT_PIN_WORKERS : 0;
    int r = weft_runtime_create(&options, &epoch.rt);
    if (r == 0)
        r = weft_runtime_set_spin(epoch.rt, (uint32_t)roll(random, 3));
    if (r == 0)
        r = weft_runtime_stop_on(epoch.rt, SOAK_STOP_SIGNAL);
    if (r == 0)
        r = weft_runtime_start(epoch.rt);
    if (r != 0) {
        soak_fail("making a runtime gets %d", r);
        print_books();
        exit(1);
    }
    epoch.workers = options.workers;
    weft_runtime_ref(epoch.rt);
}

static void work_until(uint64_t end_ns) {
    enter("at work");
    while (now_ns() < end_ns && !soak_has_failed()) {
        phase_since_ns = now_ns();
        pause_us(10000);
    }
}

static void drain(void) {
    enter("draining");
    epoch.draining = true;
    for (unsigned i = 0; i < PARTS; i++)
        while (parts[i]->is_drained && !parts[i]->is_drained() && !soak_has_failed())
            pause_us(1000);
}

static void stop_here(void *arg) {
    weft_runtime_stop(arg);
}

static void stop(enum ending_of_epoch ending) {
    const struct timespec at_once = {0, 0};
    sigset_t set;
    enter("stopping");
    epoch.stopping = true;
    if (ending == BY_SIGNAL || ending == BY_TWO)
        kill(getpid(), SOAK_STOP_SIGNAL);
    else if (ending != BY_CALLBACK || weft_post_fn(worker_at(0), stop_here, epoch.rt) != 0)
        weft_runtime_stop(epoch.rt);
    pause_us(ending == BY_TWO ? 20000 : 0);
    if (ending == BY_TWO)
        kill(getpid(), SOAK_STOP_SIGNAL);
    if (weft_runtime_join(epoch.rt) != 0)
        soak_fail("join fails");
    sigemptyset(&set); /* a second one may have come too late */
    sigaddset(&set, SOAK_STOP_SIGNAL);
    while (sigtimedwait(&set, NULL, &at_once) > 0)
        ;
}

/* The runtime has ended, but is still there. */
static void read_statistics(void) {
    uint64_t pauses = 0;
    for (unsigned i = 0; i < epoch.workers; i++) {
        weft_stats stats;
        if (weft_worker_stats(worker_at(i), &stats, sizeof stats) != 0 || stats.streams_open ||
            stats.bytes_held)
            soak_fail("worker %u has ended with %ju streams and %ju bytes", i,
                      (uintmax_t)stats.streams_open, (uintmax_t)stats.bytes_held);
        pauses += stats.accept_pauses;
        stalls += stats.stalls;
    }
    uint64_t ms = (now_ns() - epoch_start_ns) / WEFT_MSEC(1);
    if (pauses > PAUSES_PER_S * WAYS * epoch.workers * ms / 1000)
        soak_fail("accepting paused %ju times in %ju ms", (uintmax_t)pauses, (uintmax_t)ms);
    accept_pauses += pauses;
}

static void epoch_run(enum ending_of_epoch ending, uint64_t end_ns) {
    uint64_t random = mix(soak_seed + epoch.number);
    epoch.draining = epoch.stopping = epoch.over = false;
    epoch.number++;
    epoch_start_ns = now_ns();
    enter("beginning");
    epoch_create(&random, ending);
    for (unsigned i = 0; i < PARTS; i++)
        parts[i]->begin();
    work_until(end_ns);
    if (ending == DRAINED)
        drain();
    stop(ending);
    read_statistics();
    enter("destroying");
    weft_runtime_destroy(epoch.rt);
    epoch.over = true;
    for (unsigned i = 0; i < PARTS; i++) {
        enter(parts[i]->name);
        parts[i]->end();
    }
    weft_runtime_unref(epoch.rt);
}

/* --- after it --------------------------------------------------------------------------------- */

/* What was retired runs on; a thread that was joined leaves the kernel's list a little later. */
static void settle(const struct world *before) {
    enter("waiting for the books to balance");
    uint64_t end_ns = now_ns() + WEFT_SEC(20);
    while (now_ns() < end_ns &&
           (!are_balanced() || (before && world_now().threads > before->threads)))
        pause_us(1000);
    if (!are_balanced())
        soak_fail("the books do not balance");
}

static uint64_t of_part(const struct part *p) {
    return tallied(&p->accounts[0].in);
}

static void check_world(const struct world *before, enum ending_of_epoch ending) {
    struct world now = world_now();
    printf("[%5.1f s] epoch %3u %-11s: %ju dials, %ju sends, %ju posts, %ju timers, %ju children, "
           "%ju signals; %u fds, %u threads, %zu KB, RSS %zu KB\n",
           (double)(now_ns() - start_ns) / 1e9, epoch.number, ending_names[ending],
           (uintmax_t)of_part(&streams_part), (uintmax_t)of_part(&mail_part),
           (uintmax_t)of_part(&posts_part), (uintmax_t)of_part(&timers_part),
           (uintmax_t)of_part(&children_part), (uintmax_t)of_part(&signals_part), now.fds,
           now.threads, now.allocated_kb, now.rss_kb);
    fflush(stdout);
    world_note(&now);
    if (now.fds != before->fds)
        soak_fail("%u fds are open, before it were %u", now.fds, before->fds);
    if (now.threads > before->threads)
        soak_fail("%u threads are left, there were %u", now.threads, before->threads);
    if (world_has_zombies())
        soak_fail("there is a zombie");
}

/* --- the soak --------------------------------------------------------------------------------- */

/* Warnings are of fds that ran out; an error would mean that something was given up. */
static void take_line(int level, const char *message, void *arg) {
    (void)arg;
    log_lines++;
    if (level <= WEFT_LOG_ERROR)
        soak_fail("logged: %s", message);
}

static bool read_option(const char *argument, const char *name, double unit, double *ret_seconds) {
    size_t length = strlen(name);
    char *end;
    if (strncmp(argument, name, length) != 0)
        return false;
    *ret_seconds = strtod(argument + length, &end) * unit;
    return *end == 0 && *ret_seconds > 0;
}

static void block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SOAK_STOP_SIGNAL);
    sigaddset(&set, soak_signal(0));
    sigaddset(&set, soak_signal(1));
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Threads as of the first epoch's end: the reclaimer stays. */
static void run_epochs(uint64_t end_ns, uint64_t epoch_ns) {
    struct world before = world_now();
    while (now_ns() < end_ns && !soak_has_failed()) {
        enum ending_of_epoch ending = epoch.number % EPOCH_ENDINGS;
        uint64_t next_ns = now_ns() + epoch_ns;
        epoch_run(ending, next_ns < end_ns ? next_ns : end_ns);
        settle(epoch.number > 1 ? &before : NULL);
        if (epoch.number == 1)
            before.threads = world_now().threads;
        check_world(&before, ending);
    }
}

/* One line for the ledger. */
static void print_summary(void) {
    char date[16];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%d", &utc);
    printf("soak %s: %.1f minutes, %u epochs, seed %ju: %ju dials, %ju sends by id, %ju posts, "
           "%ju timers, %ju children, %ju signals, %ju pauses of accepting: %s\n",
           date, (double)(now_ns() - start_ns) / 60e9, epoch.number, (uintmax_t)soak_seed,
           (uintmax_t)of_part(&streams_part), (uintmax_t)of_part(&mail_part),
           (uintmax_t)of_part(&posts_part), (uintmax_t)of_part(&timers_part),
           (uintmax_t)of_part(&children_part), (uintmax_t)of_part(&signals_part),
           (uintmax_t)accept_pauses, soak_has_failed() ? "FAILED" : "all came out");
}

int main(int argc, char **argv) {
    double seconds = 20 * 60, epoch_seconds = 7;
    const char *asked = getenv("WTEST_SEED");
    for (int i = 1; i < argc; i++)
        if (!read_option(argv[i], "--minutes=", 60, &seconds) &&
            !read_option(argv[i], "--seconds=", 1, &seconds) &&
            !read_option(argv[i], "--epoch=", 1, &epoch_seconds)) {
            fprintf(stderr, "usage: %s [--minutes=N | --seconds=N] [--epoch=SECONDS]\n", argv[0]);
            return 2;
        }
    soak_seed = asked ? strtoull(asked, NULL, 0) : (uint64_t)time(NULL);
    printf("seed %ju: %.0f s in epochs of %.1f s\n", (uintmax_t)soak_seed, seconds, epoch_seconds);
    fflush(stdout); /* the network's process has a copy of what is left here */
    start_ns = now_ns();
    network_begin();
    block_signals();
    weft_set_log(take_line, NULL);
    enter("start");
    thread_begin(watchdog_run, NULL);
    run_epochs(start_ns + (uint64_t)(seconds * 1e9), (uint64_t)(epoch_seconds * 1e9));
    network_end();
    print_books();
    printf("%ju pauses of accepting, %ju stalls, %u lines logged\n", (uintmax_t)accept_pauses,
           (uintmax_t)stalls, log_lines);
    if (!world_memory_is_flat())
        soak_fail("memory grows");
    print_summary();
    return soak_has_failed();
}
