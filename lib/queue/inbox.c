#include "queue/queue.h"

enum { WAKE_TRIES = 3 };

int inbox_create(struct inbox *inbox) {
    int fd = os_eventfd();
    if (fd < 0)
        return MUTANT("fault-eventfd-told-otherwise") ? -ENOMEM : fd;
    queue_init(&inbox->queue);
    inbox->armed = false;
    inbox->wakes_owed = inbox->wakes_read = 0;
    inbox->fd = fd;
    return 0;
}

void inbox_destroy(struct inbox *inbox) {
    /* A poster that replaced ARMED may still stand before its write: its task can have run long
     * ago, because something else woke the owner. Its write is the last thing it does here. */
    while (!MUTANT("inbox-close-early") && inbox->wakes_read < inbox->wakes_owed) {
        os_wait_readable(inbox->fd);
        inbox_acknowledge(inbox);
    }
    os_close(inbox->fd);
    inbox->fd = -1;
}

int inbox_push(struct inbox *inbox, struct queue_node *node) {
    int r = queue_push(&inbox->queue, node);
    if (r <= 0 || MUTANT("inbox-no-wake"))
        return r < 0 ? r : 0;
    int saved = errno;
    static const uint64_t one = 1;
    /* Has no reason to fail: the counter holds 2^64 - 2, and each sleep of the owner adds one. If
     * it does, it is made again: the owner would sleep on, and everybody believe it awake. */
    for (int tries = MUTANT("fault-wake-once") ? 1 : WAKE_TRIES; tries > 0; tries--)
        if (os_write(inbox->fd, &one, sizeof one) == (ssize_t)sizeof one)
            break;
    if (!MUTANT("inbox-errno"))
        errno = saved;
    return 0;
}

/* Accounts for the one write that replacing ARMED costs its poster. */
static void inbox_settle(struct inbox *inbox, bool disturbed) {
    if ((inbox->armed || MUTANT("inbox-owe-always")) && disturbed)
        inbox->wakes_owed++;
    inbox->armed = false;
}

struct queue_node *inbox_take_batch(struct inbox *inbox) {
    bool disturbed = false;
    struct queue_node *batch = queue_take(&inbox->queue, &disturbed);
    inbox_settle(inbox, disturbed);
    return batch;
}

struct queue_node *inbox_close(struct inbox *inbox) {
    bool disturbed = false;
    struct queue_node *batch = queue_close(&inbox->queue, &disturbed);
    if (!MUTANT("inbox-close-unsettled"))
        inbox_settle(inbox, disturbed);
    return batch;
}

void inbox_acknowledge(struct inbox *inbox) {
    uint64_t writes = 0;
    if (os_read(inbox->fd, &writes, sizeof writes) == (ssize_t)sizeof writes)
        inbox->wakes_read += writes;
}
