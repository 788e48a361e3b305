/* Watches of pipes and eventfds that pause, stop and begin again; and an event that workers trigger
 * and a foreign thread's own selector takes. */
#include "soak.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BYTES, COUNTS, EVENTS };

static struct account accounts[] = {
    [BYTES] = {{"numbers into pipes", 0}, {{"read by watches", 0}, {"left at the end", 0}}},
    [COUNTS] = {{"added to eventfds", 0}, {{"read by watches", 0}, {"left at the end", 0}}},
    [EVENTS] = {{"triggers", 0}, {{"selected", 0}}},
};

struct watched {
    int fd;
    bool is_pipe;
    weft_watch *watch; /* NULL: stopped */
    bool is_paused;
    weft_timer again;
    uint64_t random, next;
    struct watched *other; /* on the same worker */
};

/* A worker's. */
struct place {
    struct watched pipe, counter;
    int pipe_in;
    uint64_t sent;
};

static struct place places[MAX_WORKERS];
static weft_event *event;
static weft_selector *selector;
static pthread_t writer, selecting;

/* --- on the workers --------------------------------------------------------------------------- */

/* All that is there, for one of the outs. */
static void take(struct watched *w, unsigned out) {
    uint64_t values[64];
    ssize_t n;
    while ((n = read(w->fd, values, w->is_pipe ? sizeof values : sizeof values[0])) > 0) {
        if (!w->is_pipe) {
            tally_many(&accounts[COUNTS].out[out], values[0]);
            continue;
        }
        for (unsigned i = 0; i < (size_t)n / sizeof values[0]; i++) {
            if (values[i] != w->next)
                soak_fail("watches: number %ju in a pipe, expected %ju", (uintmax_t)values[i],
                          (uintmax_t)w->next);
            w->next++;
            tally(&accounts[BYTES].out[out]);
        }
    }
}

static void watch_begin(struct watched *w);

/* A first pause takes an fd. */
static void update(struct watched *w, uint32_t events) {
    int r = weft_watch_update(w->watch, events);
    if (r != 0 && !(r == -EMFILE && events == 0))
        soak_fail("watches: an update to %#x gets %d", events, r);
    w->is_paused = r == 0 && events == 0;
}

/* Now and then pauses or stops it, for a while; an event may be on its way to it. */
static void disturb(struct watched *w, uint64_t *random) {
    uint64_t die = roll(random, 40);
    if (die > 1 || !w->watch || w->is_paused)
        return;
    weft_timer_start(weft_worker_current(), &w->again, roll(random, WEFT_MSEC(5)), 0);
    if (die == 1) {
        update(w, 0);
        return;
    }
    weft_watch_stop(w->watch);
    w->watch = NULL;
}

static void readable(weft_watch *watch, uint32_t events, void *arg) {
    struct watched *w = arg;
    if (watch != w->watch || !(events & WEFT_READ) || w->is_paused)
        soak_fail("watches: a watch that is paused or stopped is called with %#x", events);
    take(w, 0);
    if (weft_event_trigger(event) == 0)
        tally(&accounts[EVENTS].in);
    disturb(roll(&w->random, 2) == 0 ? w : w->other, &w->random);
}

static void go_on(weft_timer *timer) {
    struct watched *w = WEFT_CONTAINER_OF(timer, struct watched, again);
    if (!w->watch)
        watch_begin(w);
    else
        update(w, WEFT_READ);
}

static void watch_begin(struct watched *w) {
    int r = weft_watch_start(weft_worker_current(), w->fd, WEFT_READ, readable, w, &w->watch);
    if (r != 0)
        soak_fail("watches: a start gets %d", r);
}

static void begin_here(void *arg) {
    (void)arg;
    struct place *p = &places[weft_worker_index(weft_worker_current())];
    watch_begin(&p->pipe);
    watch_begin(&p->counter);
}

/* --- foreign threads -------------------------------------------------------------------------- */

static void write_some(struct place *p, uint64_t value) {
    if (write(p->pipe_in, &p->sent, sizeof p->sent) == sizeof p->sent) { /* else it is full */
        p->sent++;
        tally(&accounts[BYTES].in);
    }
    if (write(p->counter.fd, &value, sizeof value) == sizeof value)
        tally_many(&accounts[COUNTS].in, value);
}

static void *writer_run(void *arg) {
    (void)arg;
    uint64_t random = mix(~soak_seed - epoch.number);
    while (!epoch.over) {
        for (uint64_t n = roll(&random, 40); n > 0; n--)
            write_some(&places[roll(&random, epoch.workers)], 1 + roll(&random, 9));
        pause_us((unsigned)roll(&random, 3000));
    }
    return NULL;
}

/* Returns whether anything was there. */
static bool select_once(uint64_t timeout_ns) {
    weft_ready ready[4];
    int n = weft_selector_select(selector, timeout_ns, ready, 4);
    if (n < 0)
        soak_fail("watches: select gets %d", n);
    for (int i = 0; i < n; i++) {
        if (ready[i].events != WEFT_USER || ready[i].data != &event)
            soak_fail("watches: select shows %#x", ready[i].events);
        tally_many(&accounts[EVENTS].out[0], ready[i].value);
    }
    return n > 0;
}

static void *selecting_run(void *arg) {
    (void)arg;
    while (!epoch.over)
        (void)select_once(WEFT_MSEC(20));
    return NULL;
}

/* --- the part --------------------------------------------------------------------------------- */

static void place_open(struct place *p, unsigned index) {
    int fds[2];
    *p = (struct place){.sent = 0};
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        abort();
    p->pipe_in = fds[1];
    p->pipe = (struct watched){.fd = fds[0], .is_pipe = true, .again.fn = go_on};
    p->counter = (struct watched){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .again.fn = go_on};
    p->pipe.random = mix(soak_seed + 3 * epoch.number + index);
    p->counter.random = mix(p->pipe.random);
    p->counter.other = &p->pipe;
    p->pipe.other = &p->counter;
}

static void begin(void) {
    if (weft_event_create(&event) != 0 || weft_selector_create(&selector) != 0 ||
        weft_selector_register_event(selector, event, &event) != 0)
        abort();
    for (unsigned i = 0; i < epoch.workers; i++)
        place_open(&places[i], i);
    on_each_worker(begin_here, NULL);
    writer = thread_begin(writer_run, NULL);
    selecting = thread_begin(selecting_run, NULL);
}

static void end(void) {
    thread_end(writer);
    thread_end(selecting);
    while (select_once(0))
        ;
    for (unsigned i = 0; i < epoch.workers; i++) {
        struct place *p = &places[i];
        take(&p->pipe, 1);
        take(&p->counter, 1);
        if (p->pipe.next != p->sent)
            soak_fail("watches: %ju numbers of %ju came out of a pipe", (uintmax_t)p->pipe.next,
                      (uintmax_t)p->sent);
        close(p->pipe.fd);
        close(p->pipe_in);
        close(p->counter.fd);
    }
    weft_selector_destroy(selector);
    weft_event_destroy(event);
}

const struct part watches_part = {"watches", accounts, sizeof accounts / sizeof accounts[0],
                                  begin,     NULL,     end};
