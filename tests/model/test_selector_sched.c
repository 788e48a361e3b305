/* The shipped selector under the deterministic scheduler: one thread selects while others
 * unregister, close, reuse the number, arm a ONESHOT again, trigger and destroy events. The files
 * are the kernel's, but who writes them is scheduled, so that a seed says all. */
#include "base/os.h"

#include "scheduler.h"
#include "wtest.h"

#include <weft.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LIVES = 4, ARMINGS = 4, TRIGGERS = 5, TAKERS = 2, CAPACITY = 8, SCHEDULES = 4000 };

/* One registration. What is not yet true of it may not be shown; what no longer is, neither. */
struct life {
    bool written, unregistered;
    unsigned unregistered_at; /* in ends */
    unsigned shown;
};

static struct {
    weft_selector *selector;
    struct life lives[LIVES], stays, again, edge, event;
    int fds[LIVES], stays_fd, again_fd, edge_fd, successor;
    unsigned ends; /* unregister calls that have returned */
    bool changed, rearmed, registered,
        triggered;                 /* whether the thread that does it is through with it */
    bool last_written, last_shown; /* of the ONESHOT that is armed again and again */
    weft_event *ev;
    uint64_t triggers;
} s;

static void write_to(int fd, struct life *life) {
    static const uint64_t one = 1;
    if (life)
        life->written = true;
    SCHED_CHECK(os_write(fd, &one, sizeof one) == sizeof one);
}

static void unregistered(struct life *life) {
    life->unregistered = true;
    life->unregistered_at = ++s.ends;
}

/* --- one selects, others change the table ---------------------------------------------------- */

static void see(const weft_ready *r, unsigned ends_before) {
    struct life *life = r->data;
    life->shown++;
    SCHED_CHECK(life->written);
    SCHED_CHECK(!life->unregistered || life->unregistered_at > ends_before);
    bool was_unregistered = life->unregistered;
    bool is_live = weft_selector_is_live(s.selector, r);
    SCHED_CHECK(!(was_unregistered && is_live));
    if (life == &s.event)
        s.triggers += r->value;
    s.last_shown |= life == &s.again && s.last_written;
}

static void look(uint64_t timeout_ns, size_t capacity) {
    weft_ready ready[CAPACITY];
    unsigned ends = s.ends;
    int n = weft_selector_select(s.selector, timeout_ns, ready, capacity);
    SCHED_CHECK(n >= 0);
    for (int i = 0; i < n; i++)
        see(&ready[i], ends);
}

/* What stays is readable for ever, so there is always something. */
static void run_selecting(void *arg) {
    (void)arg;
    while (!s.changed || !s.rearmed || !s.registered || !s.triggered || s.stays.shown == 0)
        look(sched_random(2) ? WEFT_FOREVER : 0, 1 + sched_random(CAPACITY));
    look(0, CAPACITY); /* and with room for all that is left */
}

/* Each life has the number of the one before. The odd ones are never written: an event shown for
 * them was another's. */
static void run_changing(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < LIVES; i++) {
        if (i > 0)
            s.fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        uint32_t interest = WEFT_READ | (sched_random(4) == 0 ? WEFT_ONESHOT : 0u);
        SCHED_CHECK(weft_selector_register(s.selector, s.fds[i], interest, &s.lives[i]) == 0);
        if (i % 2 == 0)
            write_to(s.fds[i], &s.lives[i]);
        for (uint64_t pause = sched_random(12); pause > 0; pause--)
            sched_step();
        bool closed_first = sched_random(8) == 0;
        if (closed_first)
            close(s.fds[i]);
        SCHED_CHECK(weft_selector_unregister(s.selector, s.fds[i]) == 0);
        unregistered(&s.lives[i]);
        if (!closed_first)
            close(s.fds[i]);
    }
    s.changed = true;
}

/* What was there is taken before it is armed again, so that the one event of each arming is due to
 * a write after it. The last one's may not be lost. */
static void run_rearming(void *arg) {
    uint64_t value;
    (void)arg;
    for (unsigned i = 1; i < ARMINGS; i++) {
        write_to(s.again_fd, &s.again);
        for (uint64_t pause = sched_random(8); pause > 0; pause--)
            sched_step();
        SCHED_CHECK(os_read(s.again_fd, &value, sizeof value) == sizeof value);
        SCHED_CHECK(weft_selector_update(s.selector, s.again_fd, WEFT_READ | WEFT_ONESHOT) == 0);
    }
    for (uint64_t pause = sched_random(32); pause > 0; pause--)
        sched_step();
    s.last_written = true;
    write_to(s.again_fd, &s.again);
    s.rearmed = true;
}

/* Readable already, so that its edge may be there before the table knows it. */
static void run_registering(void *arg) {
    (void)arg;
    write_to(s.edge_fd, &s.edge);
    SCHED_CHECK(weft_selector_register(s.selector, s.edge_fd, WEFT_READ | WEFT_EDGE, &s.edge) == 0);
    s.registered = true;
}

/* The number of an event that was destroyed goes to a file that is none of the selector's. */
static void run_triggering(void *arg) {
    uint64_t pause = sched_random(12);
    (void)arg;
    for (unsigned i = 0; i < TRIGGERS; i++) {
        s.event.written = true;
        SCHED_CHECK(weft_event_trigger(s.ev) == 0);
    }
    while (pause-- > 0)
        sched_step();
    SCHED_CHECK(weft_selector_unregister_event(s.selector, s.ev) == 0);
    unregistered(&s.event);
    weft_event_destroy(s.ev);
    s.successor = eventfd(TRIGGERS, EFD_NONBLOCK | EFD_CLOEXEC);
    s.triggered = true;
}

static int make_fd(struct life *life, uint32_t interest) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0 || (interest && weft_selector_register(s.selector, fd, interest, life) < 0))
        abort();
    return fd;
}

static void setup_changes(uint64_t seed) {
    (void)seed;
    memset(&s, 0, sizeof s);
    if (weft_selector_create(&s.selector) < 0 || weft_event_create(&s.ev) < 0 ||
        weft_selector_register_event(s.selector, s.ev, &s.event) < 0)
        abort();
    s.stays_fd = make_fd(&s.stays, WEFT_READ);
    s.again_fd = make_fd(&s.again, WEFT_READ | WEFT_ONESHOT);
    s.edge_fd = make_fd(NULL, 0);
    s.fds[0] = make_fd(NULL, 0);
    write_to(s.stays_fd, &s.stays);
    sched_spawn("selecting", run_selecting, NULL);
    sched_spawn("changing", run_changing, NULL);
    sched_spawn("rearming", run_rearming, NULL);
    sched_spawn("registering", run_registering, NULL);
    sched_spawn("triggering", run_triggering, NULL);
}

static const char *verdict_changes(void) {
    const char *wrong = NULL;
    uint64_t value = 0;
    if (read(s.successor, &value, sizeof value) != sizeof value || value != TRIGGERS)
        wrong = "a file that has the number of a destroyed event was read";
    if (s.triggers > TRIGGERS)
        wrong = "a trigger was counted twice";
    if (!s.last_shown)
        wrong = "the event of a ONESHOT that was armed again was lost";
    if (s.again.shown > ARMINGS)
        wrong = "a ONESHOT was shown twice";
    if (s.edge.shown == 0) /* more where the set was made anew */
        wrong = "an edge was lost";
    if (weft_selector_count(s.selector) != 2)
        wrong = "what is registered was miscounted";
    close(s.successor);
    close(s.stays_fd);
    close(s.again_fd);
    close(s.edge_fd);
    weft_selector_destroy(s.selector);
    return wrong;
}

WTEST(selector_sched, nothing_unregistered_is_shown_and_nothing_else_is_lost) {
    static const struct sched_test test = {"unregister and event", setup_changes, verdict_changes};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- one event in two selectors -------------------------------------------------------------- */

static struct {
    weft_selector *selectors[TAKERS];
    weft_event *shared, *ends[TAKERS];
    uint64_t taken;
    unsigned shown;
} two;

static void run_taker(void *arg) {
    unsigned me = (unsigned)(uintptr_t)arg;
    weft_ready r;
    while (two.taken < TRIGGERS) {
        SCHED_CHECK(weft_selector_select(two.selectors[me], WEFT_FOREVER, &r, 1) == 1);
        if (r.data != &two)
            break; /* the other has the last */
        SCHED_CHECK(r.events == WEFT_USER && r.value > 0);
        two.shown++;
        two.taken += r.value;
    }
    (void)weft_event_trigger(two.ends[1 - me]);
}

static void run_trigger(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < TRIGGERS; i++)
        SCHED_CHECK(weft_event_trigger(two.shared) == 0);
}

static void setup_takers(uint64_t seed) {
    static const char *const names[TAKERS] = {"taker-0", "taker-1"};
    (void)seed;
    memset(&two, 0, sizeof two);
    if (weft_event_create(&two.shared) < 0)
        abort();
    for (uintptr_t i = 0; i < TAKERS; i++) {
        if (weft_selector_create(&two.selectors[i]) < 0 || weft_event_create(&two.ends[i]) < 0 ||
            weft_selector_register_event(two.selectors[i], two.shared, &two) < 0 ||
            weft_selector_register_event(two.selectors[i], two.ends[i], &two.ends[i]) < 0)
            abort();
        sched_spawn(names[i], run_taker, (void *)i);
    }
    sched_spawn("trigger", run_trigger, NULL);
}

static const char *verdict_takers(void) {
    for (unsigned i = 0; i < TAKERS; i++) {
        weft_selector_destroy(two.selectors[i]);
        weft_event_destroy(two.ends[i]);
    }
    weft_event_destroy(two.shared);
    return two.taken == TRIGGERS ? NULL : "a trigger was lost, or taken twice";
}

WTEST(selector_sched, each_trigger_of_an_event_in_two_selectors_has_one_taker) {
    static const struct sched_test test = {"event and takers", setup_takers, verdict_takers};
    CHECK(sched_explore(&test, SCHEDULES));
}
