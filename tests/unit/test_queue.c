/* The one-word queue and the inbox around it, as one thread sees them and under real concurrency.
 * The interleavings are explored in tests/model/test_queue_sched.c. */
#include "queue/queue.h"

#include "wtest.h"

#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct item {
    struct queue_node node; /* first: an item is its node */
    unsigned poster, number;
};

static struct item *item_of(struct queue_node *node) {
    return (struct item *)(void *)node;
}

/* --- queue: one thread ----------------------------------------------------------------------- */

WTEST(queue, takes_in_posting_order) {
    struct queue q;
    struct item items[100];
    memset(items, 0, sizeof items);
    queue_init(&q);
    for (unsigned i = 0; i < 100; i++) {
        items[i].number = i;
        CHECK_EQ(queue_push(&q, &items[i].node), 0);
    }
    struct queue_node *node = queue_take(&q, NULL);
    for (unsigned i = 0; i < 100; i++, node = node->next) {
        CHECK(node != NULL);
        CHECK_EQ(item_of(node)->number, i);
    }
    CHECK(node == NULL);
    CHECK(queue_take(&q, NULL) == NULL);
}

WTEST(queue, word_goes_through_its_states) {
    struct queue q;
    struct queue_node a = {0}, b = {0};
    bool disturbed = false;
    queue_init(&q);
    CHECK(queue_looks_empty(&q));
    CHECK(queue_arm(&q));
    CHECK(queue_looks_empty(&q));
    CHECK(queue_take(&q, &disturbed) == NULL); /* ARMED becomes EMPTY */
    CHECK(!disturbed);
    CHECK_EQ(queue_push(&q, &a), 0);
    CHECK(!queue_looks_empty(&q));
    CHECK(!queue_arm(&q)); /* there is work */
    CHECK(queue_take(&q, &disturbed) == &a);
    CHECK(disturbed);
    CHECK(queue_arm(&q));
    CHECK_EQ(queue_push(&q, &a), 1); /* this one owes the wake-up, the next does not */
    CHECK_EQ(queue_push(&q, &b), 0);
    CHECK(queue_take(&q, &disturbed) == &a);
    CHECK(disturbed);
    CHECK(a.next == &b);
    CHECK(b.next == NULL);
}

WTEST(queue, close_returns_what_was_accepted) {
    struct queue q;
    struct queue_node a = {0}, b = {0};
    bool disturbed = false;
    queue_init(&q);
    CHECK_EQ(queue_push(&q, &a), 0);
    CHECK_EQ(queue_push(&q, &b), 0);
    CHECK(!queue_is_closed(&q));
    CHECK(queue_close(&q, &disturbed) == &a);
    CHECK(disturbed);
    CHECK(a.next == &b);
    CHECK(b.next == NULL);
    CHECK(queue_is_closed(&q));
    CHECK(queue_looks_empty(&q));
    CHECK(!queue_arm(&q));
    CHECK(queue_take(&q, &disturbed) == NULL);
    CHECK(queue_close(&q, &disturbed) == NULL); /* again: nothing more */
    CHECK(!disturbed);
    CHECK(queue_is_closed(&q));
}

WTEST(queue, close_of_an_armed_queue_was_not_disturbed) {
    struct queue q;
    bool disturbed = true;
    queue_init(&q);
    CHECK(queue_arm(&q));
    CHECK(queue_close(&q, &disturbed) == NULL);
    CHECK(!disturbed);
}

WTEST(queue, refused_node_is_untouched) {
    struct queue q;
    struct item item, before;
    memset(&item, 0x5a, sizeof item);
    before = item;
    queue_init(&q);
    CHECK(queue_close(&q, NULL) == NULL);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(queue_push(&q, &item.node), -ESHUTDOWN);
    CHECK(memcmp(&item, &before, sizeof item) == 0);
    CHECK(queue_is_closed(&q));
}

/* --- inbox: one thread ----------------------------------------------------------------------- */

static uint64_t writes_to(const struct inbox *inbox) {
    uint64_t count = 0;
    return read(inbox->fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

WTEST(inbox, one_write_per_sleep) {
    struct inbox inbox;
    struct queue_node nodes[3];
    memset(nodes, 0, sizeof nodes);
    CHECK_EQ(inbox_create(&inbox), 0);
    CHECK_EQ(inbox_push(&inbox, &nodes[0]), 0);
    CHECK_EQ(writes_to(&inbox), 0); /* nobody sleeps */
    CHECK(!inbox_arm(&inbox));
    CHECK(inbox_take(&inbox) == &nodes[0]);
    for (unsigned sleep = 1; sleep <= 3; sleep++) {
        CHECK(inbox_arm(&inbox));
        for (unsigned i = 0; i < 3; i++)
            CHECK_EQ(inbox_push(&inbox, &nodes[i]), 0);
        CHECK(inbox_take(&inbox) == &nodes[0]);
        CHECK_EQ(inbox.wakes_owed, sleep);
        CHECK_EQ(writes_to(&inbox), 1);
        inbox.wakes_read++; /* the test has read it */
    }
    CHECK(inbox_arm(&inbox));
    CHECK(inbox_take(&inbox) == NULL); /* woken by something else: no write is owed */
    CHECK_EQ(inbox.wakes_owed, 3);
    CHECK_EQ(writes_to(&inbox), 0);
    CHECK(inbox_close(&inbox) == NULL);
    inbox_destroy(&inbox);
    CHECK_EQ(inbox.fd, -1);
}

WTEST(inbox, close_counts_the_write_of_the_last_sleep) {
    struct inbox inbox;
    struct queue_node node = {0};
    CHECK_EQ(inbox_create(&inbox), 0);
    CHECK(inbox_arm(&inbox));
    CHECK_EQ(inbox_push(&inbox, &node), 0);
    CHECK(inbox_close(&inbox) == &node);
    CHECK_EQ(inbox.wakes_owed, 1);
    inbox_acknowledge(&inbox);
    CHECK_EQ(inbox.wakes_read, 1);
    inbox_acknowledge(&inbox); /* nothing there: nothing counted */
    CHECK_EQ(inbox.wakes_read, 1);
    CHECK_EQ(inbox_push(&inbox, &node), -ESHUTDOWN);
    inbox_destroy(&inbox);
}

/* What a system call may do to errno, also one that succeeds; those that the library makes without
 * the C library's wrapper would leave it alone, and the test would show nothing. */
static int clobber_errno(enum os_call call) {
    (void)call;
    errno = EIO;
    return 0;
}

WTEST(inbox, push_keeps_errno) {
    struct inbox inbox;
    struct queue_node nodes[2] = {{0}, {0}};
    CHECK_EQ(inbox_create(&inbox), 0);
    CHECK(inbox_arm(&inbox));
    seam_call_fn = clobber_errno;
    errno = ENOTTY;
    CHECK_EQ(inbox_push(&inbox, &nodes[0]), 0); /* writes */
    CHECK_EQ(errno, ENOTTY);
    CHECK_EQ(inbox_push(&inbox, &nodes[1]), 0); /* does not */
    CHECK_EQ(errno, ENOTTY);
    seam_call_fn = NULL;
    CHECK(inbox_close(&inbox) == &nodes[0]);
    errno = ENOTTY;
    CHECK_EQ(inbox_push(&inbox, &nodes[0]), -ESHUTDOWN);
    CHECK_EQ(errno, ENOTTY);
    inbox_destroy(&inbox);
}

/* The counter is full, so the write fails: the owner is awake all the same (the fd is readable),
 * the push succeeds, and errno is kept. */
WTEST(inbox, full_eventfd_is_success) {
    struct inbox inbox;
    struct queue_node node = {0};
    CHECK_EQ(inbox_create(&inbox), 0);
    static const uint64_t full = UINT64_MAX - 1;
    CHECK_EQ(write(inbox.fd, &full, sizeof full), (ssize_t)sizeof full);
    CHECK(inbox_arm(&inbox));
    errno = ENOTTY;
    CHECK_EQ(inbox_push(&inbox, &node), 0);
    CHECK_EQ(errno, ENOTTY);
    CHECK(inbox_close(&inbox) == &node);
    inbox_destroy(&inbox);
}

static int refuse_eventfd(enum os_call call) {
    return call == OS_EVENTFD ? -EMFILE : 0;
}

WTEST(inbox, create_reports_a_missing_eventfd) {
    struct inbox inbox, before;
    memset(&inbox, 0x5a, sizeof inbox);
    before = inbox;
    seam_call_fn = refuse_eventfd;
    CHECK_EQ(inbox_create(&inbox), -EMFILE);
    seam_call_fn = NULL;
    CHECK(memcmp(&inbox, &before, sizeof inbox) == 0);
    CHECK_EQ(inbox_create(&inbox), 0);
    inbox_destroy(&inbox);
}

/* --- threads --------------------------------------------------------------------------------- */

enum { POSTERS = 3, POSTS_EACH = 20000 };

struct posting {
    struct inbox *inbox;
    struct item *items;
    unsigned poster;
};

static void *post_all(void *arg) {
    const struct posting *p = arg;
    for (unsigned i = 0; i < POSTS_EACH; i++) {
        p->items[i].poster = p->poster; /* plain: published by the push alone */
        p->items[i].number = i;
        inbox_push(p->inbox, &p->items[i].node);
    }
    return NULL;
}

static int watch_inbox(const struct inbox *inbox) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0);
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, inbox->fd, &event), 0);
    return epoll;
}

/* The owner's sleep as a worker does it: arm, wait without a timeout, never read the eventfd. */
static struct queue_node *sleep_and_take(struct inbox *inbox, int epoll) {
    struct epoll_event event;
    struct queue_node *batch;
    while (!(batch = inbox_take(inbox)))
        if (inbox_arm(inbox))
            (void)epoll_wait(epoll, &event, 1, -1);
    return batch;
}

/* Also the one that ThreadSanitizer needs: the items' fields are plain memory. */
WTEST(inbox, posters_wake_a_sleeping_owner) {
    static struct item items[POSTERS][POSTS_EACH];
    struct posting postings[POSTERS];
    pthread_t threads[POSTERS];
    unsigned next[POSTERS] = {0};
    struct inbox inbox;
    CHECK_EQ(inbox_create(&inbox), 0);
    int epoll = watch_inbox(&inbox);
    for (unsigned p = 0; p < POSTERS; p++) {
        postings[p] = (struct posting){&inbox, items[p], p};
        CHECK_EQ(pthread_create(&threads[p], NULL, post_all, &postings[p]), 0);
    }
    for (unsigned taken = 0; taken < POSTERS * POSTS_EACH;) {
        for (struct queue_node *node = sleep_and_take(&inbox, epoll); node;
             node = node->next, taken++) {
            const struct item *item = item_of(node);
            CHECK(item->poster < POSTERS);
            CHECK_EQ(item->number, next[item->poster]);
            next[item->poster]++;
        }
    }
    CHECK(inbox_close(&inbox) == NULL);
    for (unsigned p = 0; p < POSTERS; p++)
        pthread_join(threads[p], NULL);
    CHECK_EQ(writes_to(&inbox), inbox.wakes_owed);
    inbox.wakes_read = inbox.wakes_owed;
    inbox_destroy(&inbox);
    close(epoll);
}

/* --- a signal handler posts while the thread it interrupts posts too -------------------------- */

enum { SIGNAL_POSTS = 5000, MAIN_POSTS = 200000 };

static struct {
    struct inbox inbox;
    struct item from_handler[SIGNAL_POSTS], from_main[MAIN_POSTS];
    volatile sig_atomic_t handled;
    int errors_in_handler;
    _Atomic bool posted_all;
    pthread_t main;
} sig;

static void post_in_handler(int signo) {
    (void)signo;
    int number = sig.handled, saved = errno;
    if (number == SIGNAL_POSTS)
        return;
    sig.from_handler[number].poster = 1;
    sig.from_handler[number].number = (unsigned)number;
    errno = ENOTTY;
    sig.errors_in_handler +=
        inbox_push(&sig.inbox, &sig.from_handler[number].node) != 0 || errno != ENOTTY;
    errno = saved;
    sig.handled = number + 1;
}

static void *send_signals(void *arg) {
    (void)arg;
    while (!atomic_load(&sig.posted_all)) {
        pthread_kill(sig.main, SIGUSR1);
        usleep(20);
    }
    return NULL;
}

static void *take_all(void *arg) {
    unsigned *taken = arg; /* [0] of main, [1] of the handler, [2] out of order */
    int epoll = watch_inbox(&sig.inbox);
    bool last = false;
    while (!last) {
        struct queue_node *node = sleep_and_take(&sig.inbox, epoll);
        for (; node; node = node->next) {
            const struct item *item = item_of(node);
            last |= item->poster == 2;
            if (item->poster < 2)
                taken[2] += item->number != taken[item->poster]++;
        }
    }
    close(epoll);
    return NULL;
}

WTEST(inbox, signal_handler_posts_while_main_posts) {
    unsigned taken[3] = {0};
    static struct item end = {.poster = 2};
    pthread_t taker, sender;
    CHECK_EQ(inbox_create(&sig.inbox), 0);
    sig.main = pthread_self();
    struct sigaction action = {.sa_handler = post_in_handler, .sa_flags = SA_RESTART};
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL); /* the two threads inherit it */
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(pthread_create(&taker, NULL, take_all, taken), 0);
    CHECK_EQ(pthread_create(&sender, NULL, send_signals, NULL), 0);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    unsigned refused = 0;
    for (unsigned i = 0; i < MAIN_POSTS; i++) {
        sig.from_main[i].number = i;
        refused += inbox_push(&sig.inbox, &sig.from_main[i].node) != 0;
    }
    while (sig.handled < 100)
        ;
    atomic_store(&sig.posted_all, true);
    pthread_join(sender, NULL);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    CHECK_EQ(inbox_push(&sig.inbox, &end.node), 0);
    pthread_join(taker, NULL);
    CHECK_EQ(refused, 0);
    CHECK_EQ(sig.errors_in_handler, 0);
    CHECK_EQ(taken[0], MAIN_POSTS);
    CHECK_EQ(taken[1], sig.handled);
    CHECK_EQ(taken[2], 0);
    CHECK(inbox_close(&sig.inbox) == NULL);
    inbox_destroy(&sig.inbox);
}
