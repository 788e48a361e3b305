/* The directory: liburcu's lock-free hash table, with weft's readers, reclaimer and growth.
 *
 * Readers. A worker runs its callbacks inside a read-side section of the memb flavour as it is, and
 * needs nothing more. Any other thread takes one of the bp flavour, which makes a thread known by
 * itself: the memb flavour would have to be told, and aborts if the program has told it already
 * (docs/decisions/003). So an entry that was taken out of the table is free after a grace period of
 * both flavours that began later.
 *
 * Victims are what was taken out. They go on a list, whose head is one word:
 *
 *     IDLE --first victim--> a list --by who pushed that--> BUSY <-----+
 *       ^                                                    | victims |
 *       |                                                    v         |
 *       +---- the batch is freed, nothing came ---- BUSY or a list ----+ the next batch
 *
 * Whoever finds IDLE takes the list as a batch and retires it: weft_retire() calls drain() after a
 * grace period of memb, on the reclaimer's thread, which then waits for one of bp, frees the batch,
 * and sees to what was pushed meanwhile. The batch is what was there *before* weft_retire(): its
 * grace period may already be under way when a later victim comes, and some callback that began
 * since be looking at that. The directory, too, lives until drain() is through with it: each
 * function on its way to the reclaimer holds a reference, the owner another, and who drops the last
 * one frees.
 *
 * Growth. Not liburcu's own, whose thread takes the program's signals and whose end may wait for
 * itself (0.13.2). Once there are two entries to a bucket the reclaimer makes the table larger. It
 * comes to that only when all callbacks have ended, and one of them may be filling the directory:
 * when there are eight, whoever adds an entry makes the table larger itself. That needs no grace
 * period; only a table that shrinks would, and none does. */
#include "net/directory.h"

#include <string.h>
#include <urcu/urcu-bp.h>
#include <urcu/rculfhash.h>

enum {
    FIRST_BUCKETS = 64,
    FULL = 2,             /* entries per bucket, on average: the reclaimer sees to it */
    CROWDED = 8,          /* whoever adds one more does */
    LFHT_OVERHEAD = 4096, /* what liburcu allocates besides the buckets, at most */
};

struct entry {
    struct cds_lfht_node link;
    struct entry *next_victim;
    weft_stream_id id; /* immutable, as all that follows: a put makes a new entry */
    size_t len;
    uint8_t key[];
};

struct weft_directory {
    /* Immutable. */
    struct cds_lfht *table;
    struct hash_key hash_key;

    /* Whoever puts or removes. */
    WEFT_CACHE_ALIGNED struct entry *_Atomic victims; /* IDLE, BUSY, or the latest one */
    _Atomic uint32_t batch_left;    /* it could not be retired for lack of memory */
    struct entry *batch;            /* of who found IDLE; then drain()'s; then of who finds
                                       batch_left */
    _Atomic uint32_t references;    /* the owner, and each function on its way to the reclaimer */
    _Atomic int64_t count;          /* entries in the table; for a moment fewer than there are */
    _Atomic int64_t buckets;        /* the table's size */
    _Atomic size_t victim_count;    /* in the list and in the batch */
    _Atomic uint32_t growth_posted; /* grow_later() is on its way */
    _Atomic uint32_t growing;       /* somebody is at it */
};

#define IDLE ((struct entry *)NULL)
#define BUSY (&busy)
static struct entry busy;

struct key {
    const void *bytes;
    size_t len;
};

/* The order that a grace period of bp makes. */
static char grace_period;

static inline void section_enter(void) {
    if (!worker_in_section)
        urcu_bp_read_lock();
}

static inline void section_leave(void) {
    if (worker_in_section)
        return;
    ORDER_RELEASE(&grace_period);
    urcu_bp_read_unlock();
}

static inline struct entry *entry_of(struct cds_lfht_node *node) {
    return container_of(node, struct entry, link);
}

static size_t entry_size(size_t len) {
    return sizeof(struct entry) + len;
}

static struct entry *entry_create(const struct key *key, weft_stream_id id) {
    if (key->len > SIZE_MAX / 2)
        return NULL;
    struct entry *e = mem_alloc(entry_size(key->len));
    if (!e)
        return NULL;
    cds_lfht_node_init(&e->link);
    e->id = id;
    e->len = key->len;
    memcpy(e->key, key->bytes, key->len);
    return e;
}

static void entry_free(struct entry *e) {
    mem_free(e, entry_size(e->len));
}

/* liburcu's comparison of two that have the same hash: is it the key? */
static int entry_matches(struct cds_lfht_node *node, const void *arg) {
    const struct entry *e = entry_of(node);
    const struct key *key = arg;
    ORDER_ACQUIRE(node);
    if (MUTANT("directory-hash-only"))
        return 1;
    return e->len == key->len && memcmp(e->key, key->bytes, key->len) == 0;
}

static inline uint64_t hash_of(const weft_directory *d, const struct key *key) {
    return hash_bytes(&d->hash_key, key->bytes, key->len);
}

/* Inside a section, as the entry is only there until its end. */
static inline struct entry *entry_find(weft_directory *d, const struct key *key) {
    struct cds_lfht_iter at;
    cds_lfht_lookup(d->table, (unsigned long)hash_of(d, key), entry_matches, key, &at);
    struct cds_lfht_node *node = cds_lfht_iter_get_node(&at);
    return node ? entry_of(node) : NULL;
}

/* 0, and the key as one that is never NULL; or the answer to a wrong call. */
static inline int arguments_check(const weft_directory *d, struct key *key) {
    if (unlikely(!d || (!key->bytes && key->len > 0)))
        return -EINVAL;
    if (!key->bytes)
        key->bytes = "";
    return unlikely(process_is_forked()) ? -EPERM : 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void free_victims(weft_directory *d, struct entry *list) {
    while (list != IDLE && list != BUSY) {
        struct entry *e = list;
        list = e->next_victim;
        entry_free(e);
        atom_sub(&d->victim_count, 1, relaxed);
    }
}

/* Nobody else is there: what is taken out of the table can be freed at once. */
static void free_entries(weft_directory *d) {
    struct cds_lfht_iter at;
    struct cds_lfht_node *node;
    cds_lfht_first(d->table, &at);
    while ((node = cds_lfht_iter_get_node(&at)) != NULL) {
        cds_lfht_next(d->table, &at);
        (void)cds_lfht_del(d->table, node);
        ORDER_ACQUIRE(node);
        entry_free(entry_of(node));
    }
}

static void directory_free(weft_directory *d) {
    free_victims(d, d->batch);
    free_victims(d, atom_load(&d->victims, acquire));
    free_entries(d);
    (void)cds_lfht_destroy(d->table, NULL);
    mem_free_aligned(d, 128, sizeof *d);
}

static void directory_unref(weft_directory *d) {
    /* Release and acquire: what the others did with it comes before its end. */
    if (atom_sub(&d->references, 1, acq_rel) == 1)
        directory_free(d);
}

static int send_to_reclaimer(weft_directory *d, void (*fn)(void *directory)) {
    atom_add(&d->references, 1, relaxed); /* the caller's stands */
    int r = weft_retire(fn, d);
    if (r < 0)
        atom_sub(&d->references, 1, relaxed);
    return r;
}

/* --- victims ---------------------------------------------------------------------------------- */

static void drain(void *directory);

static void batch_retire(weft_directory *d) {
    if (send_to_reclaimer(d, drain) < 0)
        atom_store(&d->batch_left, 1, release);
}

/* The one that has the batch: what was pushed until now becomes the next. */
static void batch_take(weft_directory *d) {
    d->batch = atom_xchg(&d->victims, BUSY, acquire);
}

static void drain(void *directory) {
    weft_directory *d = directory;
    if (MUTANT("directory-batch-too-late")) {
        struct entry *late = atom_xchg(&d->victims, BUSY, acquire);
        free_victims(d, late);
    }
    if (!MUTANT("directory-foreign-unwaited"))
        urcu_bp_synchronize_rcu();
    ORDER_ACQUIRE(&grace_period);
    free_victims(d, d->batch);
    d->batch = NULL;
    struct entry *expected = BUSY;
    /* Release: pairs with the push that finds IDLE, whose thread has the batch then. */
    if (!atom_cas(&d->victims, &expected, IDLE, release, relaxed)) {
        batch_take(d);
        batch_retire(d);
    }
    directory_unref(d);
}

/* What could not be retired before has another chance with each put and remove. */
static inline void batch_retry(weft_directory *d) {
    if (unlikely(atom_load(&d->batch_left, relaxed)) && atom_xchg(&d->batch_left, 0, acquire))
        batch_retire(d);
}

/* e was taken out of the table, by the caller. */
static void victim_push(weft_directory *d, struct entry *e) {
    atom_add(&d->victim_count, 1, relaxed);
    if (MUTANT("directory-freed-at-once")) {
        e->next_victim = NULL;
        free_victims(d, e);
        return;
    }
    struct entry *head = atom_load(&d->victims, relaxed);
    do {
        e->next_victim = head;
        /* Release: pairs with the acquire in batch_take(). Acquire: with the release in drain(),
         * where it was IDLE. */
    } while (!atom_cas_weak(&d->victims, &head, e, acq_rel, relaxed));
    if (head == IDLE) {
        batch_take(d);
        batch_retire(d);
    }
}

/* --- growth ----------------------------------------------------------------------------------- */

/* As many as there are entries, in powers of two; 0: there are enough. */
static int64_t buckets_wanted(weft_directory *d) {
    int64_t count = atom_load(&d->count, relaxed), buckets = atom_load(&d->buckets, relaxed);
    if (count <= buckets * FULL)
        return 0;
    while (buckets < count)
        buckets *= 2;
    return buckets;
}

/* liburcu ends the process where it gets no memory. Asked for beforehand, the lack of it is found
 * out in time, but for what somebody else takes in between. */
static bool is_memory_for(int64_t buckets) {
    size_t size = (size_t)buckets * sizeof(struct cds_lfht_node) + LFHT_OVERHEAD;
    void *memory = mem_alloc(size);
    mem_free(memory, size);
    return memory != NULL;
}

/* Outside of any bp section. One at a time, so that the size only ever rises: a table that is made
 * smaller waits for a grace period. */
static void grow(weft_directory *d) {
    if (atom_xchg(&d->growing, 1, acquire))
        return;
    int64_t wanted;
    while ((wanted = buckets_wanted(d)) > 0 && is_memory_for(wanted)) {
        cds_lfht_resize(d->table, (unsigned long)wanted);
        atom_store(&d->buckets, wanted, relaxed);
    }
    atom_store(&d->growing, 0, release);
}

static void grow_later(void *directory) {
    weft_directory *d = directory;
    atom_store(&d->growth_posted, 0, relaxed);
    grow(d);
    directory_unref(d);
}

/* With signals blocked, as liburcu starts threads for a large table. */
static void grow_here(weft_directory *d) {
    sigset_t all, old;
    if (atom_load(&d->growing, relaxed)) /* somebody is at it, and needs no system calls of ours */
        return;
    signal_mask_of_own_threads(&all);
    if (os_sigmask(SIG_SETMASK, &all, &old) < 0)
        return;
    grow(d);
    (void)os_sigmask(SIG_SETMASK, &old, NULL);
}

OUT_OF_LINE static void ask_for_growth(weft_directory *d, int64_t entries_per_bucket) {
    if (entries_per_bucket >= CROWDED && !MUTANT("directory-grows-later-only"))
        grow_here(d);
    else if (!atom_load(&d->growth_posted, relaxed) && !atom_xchg(&d->growth_posted, 1, relaxed) &&
             send_to_reclaimer(d, grow_later) < 0)
        atom_store(&d->growth_posted, 0, relaxed); /* the next put tries again */
}

static inline void entry_added(weft_directory *d) {
    int64_t count = atom_add(&d->count, 1, relaxed) + 1;
    int64_t buckets = atom_load(&d->buckets, relaxed);
    if (unlikely(count > buckets * FULL) && !MUTANT("directory-never-grows"))
        ask_for_growth(d, count / buckets);
}

/* --- the calls -------------------------------------------------------------------------------- */

int weft_directory_create(weft_directory **ret_directory) {
    if (!ret_directory)
        return -EINVAL;
    int r = process_prepare();
    if (r < 0)
        return r;
    weft_directory *d = mem_zalloc_aligned(128, sizeof *d);
    if (!d)
        return -ENOMEM;
    r = os_getrandom(&d->hash_key, sizeof d->hash_key);
    if (r < 0)
        goto failed;
    r = -ENOMEM;
    if (!is_memory_for(FIRST_BUCKETS))
        goto failed;
    d->table = cds_lfht_new_flavor(FIRST_BUCKETS, FIRST_BUCKETS, 0, 0, &urcu_bp_flavor, NULL);
    if (!d->table)
        goto failed;
    atom_store(&d->buckets, FIRST_BUCKETS, relaxed);
    atom_store(&d->references, 1, relaxed);
    *ret_directory = d;
    return 0;

failed:
    mem_free_aligned(d, 128, sizeof *d);
    return r;
}

void weft_directory_destroy(weft_directory *d) {
    if (d && !process_is_forked())
        directory_unref(d);
}

/* Seeded: for a moment the key has no id. */
static struct cds_lfht_node *replace_in_two_steps(weft_directory *d, const struct key *key,
                                                  struct entry *e) {
    struct entry *old = entry_find(d, key);
    if (old && cds_lfht_del(d->table, &old->link) != 0)
        old = NULL;
    cds_lfht_add(d->table, (unsigned long)hash_of(d, key), &e->link);
    return old ? &old->link : NULL;
}

int weft_directory_put(weft_directory *d, const void *bytes, size_t len, weft_stream_id id) {
    struct key key = {bytes, len};
    int r = arguments_check(d, &key);
    if (r < 0)
        return r;
    struct entry *e = entry_create(&key, id);
    if (!e)
        return -ENOMEM;
    unsigned long hash = (unsigned long)hash_of(d, &key);
    ORDER_RELEASE(&e->link);
    section_enter();
    struct cds_lfht_node *old =
        MUTANT("directory-replaced-in-two-steps")
            ? replace_in_two_steps(d, &key, e)
            : cds_lfht_add_replace(d->table, hash, entry_matches, &key, &e->link);
    section_leave();
    if (old)
        victim_push(d, entry_of(old));
    else
        entry_added(d);
    batch_retry(d);
    return 0;
}

int weft_directory_get(weft_directory *d, const void *bytes, size_t len, weft_stream_id *ret_id) {
    struct key key = {bytes, len};
    int r = arguments_check(d, &key);
    if (r < 0)
        return r;
    section_enter();
    const struct entry *e = entry_find(d, &key);
    if (e && ret_id)
        *ret_id = e->id;
    section_leave();
    return e ? 0 : -ENOENT;
}

/* NULL: it has no entry. One that somebody else takes out first was replaced, or removed: the next
 * look tells. */
static struct entry *entry_take_out(weft_directory *d, const struct key *key) {
    struct entry *e;
    while ((e = entry_find(d, key)) != NULL) {
        YIELD_POINT();
        if (cds_lfht_del(d->table, &e->link) == 0)
            return e;
        if (MUTANT("directory-remove-gives-up"))
            break;
    }
    return NULL;
}

int weft_directory_remove(weft_directory *d, const void *bytes, size_t len) {
    struct key key = {bytes, len};
    int r = arguments_check(d, &key);
    if (r < 0)
        return r;
    section_enter();
    struct entry *e = entry_take_out(d, &key);
    section_leave();
    if (e) {
        atom_sub(&d->count, 1, relaxed);
        victim_push(d, e);
    }
    batch_retry(d);
    return e ? 0 : -ENOENT;
}

/* --- for tests -------------------------------------------------------------------------------- */

size_t directory_buckets(weft_directory *d) {
    return (size_t)atom_load(&d->buckets, relaxed);
}

size_t directory_victims(weft_directory *d) {
    return atom_load(&d->victim_count, relaxed);
}
