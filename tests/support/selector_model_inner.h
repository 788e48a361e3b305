/* What the files of the model share.
 *
 *   selector_model.c        select, timers, events and signals, the choice of what is done
 *   selector_model_slots.c  files and their registrations, calls that are made to fail */
#ifndef WEFT_TESTS_SELECTOR_MODEL_INNER_H
#define WEFT_TESTS_SELECTOR_MODEL_INNER_H

#include "selector_model.h"
#include "test_selector.h"

enum {
    SETS = SELECTOR_MODEL_SETS,
    SLOTS = 8,
    TIMERS = 3,
    FIRST_FD = 100,
    FIRST_PEER = 200,
    NULL_FD = 300,
    READY_MAX = 32,
    SIGNO = SIGWINCH, /* ignored where it is not blocked */
};

enum kind { SOCKET, READ_END, WRITE_END, COUNTER, FILE_ALWAYS_READY, KINDS };

/* One number of the program's, and the other end of its file. */
struct slot {
    int fd, peer;
    enum kind kind;
    bool is_open, peer_open;
};

/* What one selector should know of a slot. */
struct entry {
    bool registered;
    bool gone;  /* registered for a file that has not got the number any more */
    bool lost;  /* and found so by a rebuild */
    bool fired; /* its ONESHOT */
    uint32_t interest;
    unsigned life; /* changes with every registration and its end */
    void *data;
};

struct timer {
    int fd; /* -1: none */
    bool is_due, fired;
    void *data;
};

struct set {
    weft_selector *s;
    int fdinfo;
    struct entry entries[SLOTS];
    struct timer timers[TIMERS];
    bool has_event;
    int signal_fd; /* -1: none */
    /* The last batch, of slots, and which lives it told of. */
    weft_ready batch[SLOTS];
    unsigned lives[SLOTS];
    int batch_count;
};

struct model {
    unsigned (*below)(unsigned limit);
    const char *label;
    unsigned long step;
    uintptr_t next_tag;
    struct slot slots[SLOTS];
    struct set sets[SETS];
    weft_event *ev;
    int ev_fd;
    uint64_t triggers;
    bool is_signal_pending;
};

extern struct model model;

#define SAY(condition) CHECK_MSG(condition, "%s step %lu: %s", model.label, model.step, #condition)
#define SAY_EQ(actual, expected)                                                                   \
    do {                                                                                           \
        int64_t a_ = (int64_t)(actual), e_ = (int64_t)(expected);                                  \
        CHECK_MSG(a_ == e_, "%s step %lu: %s is %lld, expected %s = %lld", model.label,            \
                  model.step, #actual, (long long)a_, #expected, (long long)e_);                   \
    } while (0)

static inline void *next_tag(void) {
    return tag(++model.next_tag);
}

/* The next call into the library may have one of its system calls fail. Did it? Then that is the
 * result, and no fd was left open. */
void fault_maybe(void);
bool fault_was(int result);

bool is_in_kernel(const struct entry *e);
bool is_counted(const struct entry *e);
uint32_t bits_of(const struct entry *entry); /* of the kernel's */
uint32_t choose_interest(void);
void entry_register(struct set *set, int i, uint32_t events);
void entry_update(struct set *set, int i, uint32_t events);
void entry_unregister(struct set *set, int i);
void entry_data(struct set *set, int i);

/* Behind the selectors' backs. */
void slot_open(int i, enum kind kind);
void slot_close(int i);
void slot_traffic(struct slot *p);
void put(int fd);

#endif
