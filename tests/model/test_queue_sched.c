/* The shipped queue and inbox under the deterministic scheduler: two or three posters and one
 * owner, every atomic access and every system call a point where another may go on. A failing
 * schedule prints its seed; WEFT_SEED replays it, WEFT_SCHEDULES asks for more of them. */
#include "queue/queue.h"

#include "scheduler.h"
#include "wtest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { POSTERS_MAX = 3, EACH_MAX = 3, SCHEDULES = 10000 };

struct item {
    struct queue_node node; /* first: an item is its node */
    unsigned poster, number;
    int result; /* of the push */
    unsigned runs;
};

/* Every thread is scheduled, so plain memory will do. */
static struct {
    struct inbox inbox;
    int inbox_fd, epoll;
    unsigned posters, each;
    struct item items[POSTERS_MAX][EACH_MAX];
    unsigned next[POSTERS_MAX]; /* the number that is to run next */
    unsigned runs, accepted, writes, sleeps;
    bool destroyed;
    int successor; /* an eventfd made after the inbox was destroyed: probably the same number */
} s;

static const char *const names[POSTERS_MAX] = {"poster-0", "poster-1", "poster-2"};

/* What a node's link is set to after it ran: a poster that still writes there would be seen. */
static struct queue_node poison;

/* What it is before the push, and again when the push is refused. */
static struct queue_node unposted;

static int on_call(enum os_call call) {
    if (call == OS_WRITE) {
        s.writes++;
        if (s.destroyed || fcntl(s.inbox_fd, F_GETFD) < 0)
            sched_fail("the eventfd is written after it was closed");
    }
    return 0;
}

static void run_item(struct queue_node *node) {
    struct item *item = (struct item *)(void *)node;
    item->runs++;
    s.runs++;
    SCHED_CHECK(item->runs == 1);
    SCHED_CHECK(item->number == s.next[item->poster]); /* in posting order, nothing skipped */
    s.next[item->poster]++;
}

static void run_batch(struct queue_node *node) {
    while (node) {
        struct queue_node *next = node->next;
        run_item(node);
        node->next = &poison;
        node = next;
    }
}

static void post(void *arg) {
    struct item *items = arg;
    for (unsigned i = 0; i < s.each; i++) {
        items[i].result = inbox_push(&s.inbox, &items[i].node);
        if (items[i].result == 0)
            s.accepted++;
        SCHED_CHECK(items[i].result == 0 || items[i].result == -ESHUTDOWN);
        /* Closed is closed for ever. */
        SCHED_CHECK(i == 0 || items[i - 1].result == 0 || items[i].result == -ESHUTDOWN);
    }
}

static void set_up(uint64_t seed, void (*owner)(void *arg)) {
    int epoll = s.epoll;
    memset(&s, 0, sizeof s);
    s.epoll = epoll > 0 ? epoll : epoll_create1(EPOLL_CLOEXEC);
    s.successor = -1;
    if (inbox_create(&s.inbox) < 0)
        abort();
    s.inbox_fd = s.inbox.fd;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.inbox_fd, &event) < 0)
        abort();
    s.posters = 2 + (unsigned)(seed & 1);
    s.each = 1 + (unsigned)(seed >> 1) % EACH_MAX;
    sched_on_call(on_call);
    sched_spawn("owner", owner, NULL);
    for (unsigned p = 0; p < s.posters; p++) {
        for (unsigned i = 0; i < s.each; i++) {
            s.items[p][i].poster = p;
            s.items[p][i].number = i;
            s.items[p][i].node.next = &unposted;
        }
        sched_spawn(names[p], post, s.items[p]);
    }
}

/* One sleep of the owner, as a worker does it. */
static void sleep_once(void) {
    struct epoll_event event;
    if (!inbox_arm(&s.inbox))
        return;
    s.sleeps++;
    (void)os_epoll_wait(s.epoll, &event, 1, UINT64_MAX);
}

static const char *verdict_of_items(void) {
    for (unsigned p = 0; p < s.posters; p++)
        for (unsigned i = 0; i < s.each; i++) {
            const struct item *item = &s.items[p][i];
            if (item->runs != (item->result == 0 ? 1u : 0u))
                return item->runs ? "a refused task ran" : "an accepted task was lost";
            if (item->runs && item->node.next != &poison)
                return "a node was written after it ran";
            if (!item->runs && item->node.next != &unposted)
                return "a refused node was touched";
        }
    return s.runs == s.accepted ? NULL : "accepted is not run";
}

/* Destroys the inbox outside of the schedule: all posters have ended, so nothing is outstanding. */
static const char *clean_up(void) {
    const char *wrong = verdict_of_items();
    if (!wrong && s.writes != s.inbox.wakes_owed)
        wrong = "the owner's account of writes is wrong";
    if (!wrong && s.writes > s.sleeps)
        wrong = "more than one write for a sleep";
    sched_on_call(NULL);
    if (!wrong)
        inbox_destroy(&s.inbox);
    return wrong;
}

/* --- post and sleep: no wake-up is lost ------------------------------------------------------- */

static void owner_sleeps(void *arg) {
    (void)arg;
    unsigned total = s.posters * s.each;
    for (;;) {
        bool has_slept = s.inbox.armed;
        if (has_slept || !queue_looks_empty(&s.inbox.queue))
            run_batch(inbox_take(&s.inbox));
        if (s.runs == total)
            break;
        sleep_once();
    }
    SCHED_CHECK(inbox_close(&s.inbox) == NULL);
}

static void set_up_sleep(uint64_t seed) {
    set_up(seed, owner_sleeps);
}

WTEST(queue_sched, post_wakes_sleeper) {
    static const struct sched_test test = {"post and sleep", set_up_sleep, clean_up};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- post and close: accepted means run, refused means the caller's --------------------------- */

static void owner_closes(void *arg) {
    (void)arg;
    for (uint64_t rounds = sched_random(4); rounds > 0; rounds--) {
        run_batch(inbox_take(&s.inbox));
        if (sched_random(2) && inbox_arm(&s.inbox))
            s.sleeps++; /* and is woken by something else at once */
    }
    run_batch(inbox_close(&s.inbox));
    SCHED_CHECK(queue_is_closed(&s.inbox.queue));
    SCHED_CHECK(inbox_take(&s.inbox) == NULL);
}

static void set_up_close(uint64_t seed) {
    set_up(seed, owner_closes);
}

WTEST(queue_sched, close_leaves_no_third_case) {
    static const struct sched_test test = {"post and close", set_up_close, clean_up};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- destroy: no write into an fd that was closed and reused ---------------------------------- */

static void owner_destroys(void *arg) {
    (void)arg;
    unsigned total = s.posters * s.each;
    unsigned enough = (unsigned)sched_random(total + 1); /* close while some still post, or after */
    while (s.runs < enough) {
        if (sched_random(4) != 0)
            sleep_once();
        run_batch(inbox_take(&s.inbox));
    }
    if (sched_random(2) && inbox_arm(&s.inbox))
        s.sleeps++;
    run_batch(inbox_close(&s.inbox));
    inbox_destroy(&s.inbox);
    s.destroyed = true;
    s.successor = os_eventfd();
    SCHED_CHECK(s.successor >= 0);
}

static void set_up_destroy(uint64_t seed) {
    set_up(seed, owner_destroys);
}

static const char *verdict_of_destroy(void) {
    const char *wrong = verdict_of_items();
    uint64_t strays = 0;
    if (read(s.successor, &strays, sizeof strays) > 0)
        wrong = "somebody else's eventfd was written";
    close(s.successor);
    sched_on_call(NULL);
    return wrong;
}

WTEST(queue_sched, destroy_waits_for_the_last_write) {
    static const struct sched_test test = {"destroy", set_up_destroy, verdict_of_destroy};
    CHECK(sched_explore(&test, SCHEDULES));
}

/* --- two owners that post to each other: both sleep, neither for ever --------------------------
 */

enum { ROUNDS = 4 };

static struct {
    struct inbox inbox;
    int epoll;
    struct queue_node ball;
    unsigned seen;
} side[2];

static void play(void *arg) {
    unsigned me = (unsigned)(uintptr_t)arg;
    struct epoll_event event;
    while (side[me].seen < ROUNDS) {
        struct queue_node *batch = inbox_take(&side[me].inbox);
        if (!batch && inbox_arm(&side[me].inbox))
            (void)os_epoll_wait(side[me].epoll, &event, 1, UINT64_MAX);
        if (!batch)
            continue;
        SCHED_CHECK(batch->next == NULL);
        side[me].seen++;
        SCHED_CHECK(inbox_push(&side[1 - me].inbox, batch) == 0 || side[1 - me].seen == ROUNDS);
    }
}

static void set_up_play(uint64_t seed) {
    for (unsigned i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLET};
        int epoll = side[i].epoll > 0 ? side[i].epoll : epoll_create1(EPOLL_CLOEXEC);
        memset(&side[i], 0, sizeof side[i]);
        side[i].epoll = epoll;
        if (inbox_create(&side[i].inbox) < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, side[i].inbox.fd, &event) < 0)
            abort();
        sched_spawn(i ? "right" : "left", play, (void *)(uintptr_t)i);
    }
    (void)inbox_push(&side[seed & 1].inbox, &side[0].ball);
}

static const char *verdict_of_play(void) {
    for (unsigned i = 0; i < 2; i++) {
        (void)inbox_close(&side[i].inbox);
        inbox_destroy(&side[i].inbox);
    }
    return NULL;
}

WTEST(queue_sched, two_sleepers_wake_each_other) {
    static const struct sched_test test = {"ping-pong", set_up_play, verdict_of_play};
    CHECK(sched_explore(&test, SCHEDULES));
}
