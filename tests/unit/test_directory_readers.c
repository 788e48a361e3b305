/* The directory under those who look things up: what they see, and what is freed when. */
#include "directory_fixture.h"

#include <urcu/urcu-bp.h>

static weft_directory *directory;
static _Atomic unsigned looks, failed;
static _Atomic bool over;
static _Atomic uint64_t known; /* keys below are there */

/* One round of a reader. */
static void (*look)(void);

static void *look_on_thread(void *arg) {
    (void)arg;
    while (!over)
        look();
    return NULL;
}

static void look_in_task(weft_task *task) {
    for (unsigned i = 0; i < 20; i++)
        look();
    if (!over && weft_post(weft_worker_current(), task) != 0)
        abort();
}

/* Readers on a foreign thread and on a worker, while work() runs here. */
static void under_readers(void (*reader)(void), void (*work)(void)) {
    static weft_task task = {.run = look_in_task};
    look = reader;
    directory = directory_make();
    weft_runtime *rt = rt_start(1);
    pthread_t thread = thread_begin(look_on_thread, NULL);
    CHECK_EQ(weft_post(weft_runtime_worker(rt, 0), &task), 0);
    rt_await(&looks, 100);
    work();
    rt_await(&looks, looks + 100);
    over = true;
    thread_end(thread);
    rt_end(rt);
    CHECK_EQ(failed, 0);
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
}

/* --- growth ----------------------------------------------------------------------------------- */

static void look_for_a_known_key(void) {
    static _Thread_local uint64_t next;
    uint64_t count = known;
    if (count > 0) {
        uint64_t key = (next += 7919) % count;
        failed += get_number(directory, key) != key + 1;
    }
    failed += get_number(directory, UINT64_MAX - next) != UINT64_MAX;
    looks++;
}

static void put_a_hundred_thousand(void) {
    const uint64_t count = 100000 / wtest_slowdown();
    for (uint64_t key = 0; key < count; key++) {
        CHECK_EQ(put_number(directory, key, key + 1), 0);
        known = key + 1;
    }
    CHECK(directory_buckets(directory) * 8 >= count);
}

WTEST(directory_readers, see_every_key_while_the_table_grows) {
    under_readers(look_for_a_known_key, put_a_hundred_thousand);
}

/* --- replacing -------------------------------------------------------------------------------- */

static void look_for_the_one_key(void) {
    static _Thread_local uint64_t last;
    const bool is_there = known > 0; /* before the look */
    uint64_t id = get_number(directory, 1);
    if (is_there) {
        failed += id == UINT64_MAX || id < last; /* never none, never an older one again */
        last = id;
    }
    looks++;
}

static void replace_the_one_key(void) {
    const uint64_t count = 200000 / wtest_slowdown();
    CHECK_EQ(put_number(directory, 1, 1), 0);
    known = 1;
    for (uint64_t id = 2; id < count; id++)
        CHECK_EQ(put_number(directory, 1, id), 0);
}

WTEST(directory_readers, see_the_old_id_or_the_new_one) {
    under_readers(look_for_the_one_key, replace_the_one_key);
}

/* --- freed only when unseen ------------------------------------------------------------------- */

/* Gives the reclaimer time to do what it should not, or should, until few victims are left. */
static void let_drain(size_t few) {
    for (int i = 0; i < 20 && directory_victims(directory) > few; i++)
        let_others_run();
}

static void put_one_and_take_it_out(bool replace) {
    CHECK_EQ(put_number(directory, 1, 1), 0);
    if (replace)
        CHECK_EQ(put_number(directory, 1, 2), 0);
    else
        CHECK_EQ(remove_number(directory, 1), 0);
}

WTEST(directory_readers, callbacks_keep_what_is_taken_out) {
    static struct hold holds[2];
    weft_runtime *rt = rt_start(2);
    weft_worker *a = weft_runtime_worker(rt, 0), *b = weft_runtime_worker(rt, 1);
    for (int replace = 0; replace < 2; replace++) {
        directory = directory_make();
        hold_begin(&holds[0], a);
        hold_begin(&holds[1], b);
        put_one_and_take_it_out(replace);
        let_drain(0);
        CHECK_EQ(directory_victims(directory), 1);
        hold_end(&holds[0], a);
        let_drain(0);
        CHECK_EQ(directory_victims(directory), 1);
        hold_end(&holds[1], b);
        directory_await_victims(directory, 0);
        weft_directory_destroy(directory);
    }
    rt_end(rt);
}

WTEST(directory_readers, foreign_ones_keep_what_is_taken_out) {
    directory = directory_make();
    urcu_bp_read_lock(); /* as in the midst of a look-up */
    put_one_and_take_it_out(false);
    let_drain(0);
    CHECK_EQ(directory_victims(directory), 1);
    urcu_bp_read_unlock();
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
}

/* The first victim waits for one callback. While it does, another begins, which may look at the
 * second victim, and which the first need not wait for. */
WTEST(directory_readers, that_begin_later_keep_later_ones) {
    static struct hold holds[2];
    weft_runtime *rt = rt_start(2);
    weft_worker *a = weft_runtime_worker(rt, 0), *b = weft_runtime_worker(rt, 1);
    directory = directory_make();
    CHECK_EQ(put_number(directory, 2, 1), 0);
    hold_begin(&holds[0], a);
    put_one_and_take_it_out(false);
    let_drain(0); /* its grace period has begun by now */
    hold_begin(&holds[1], b);
    CHECK_EQ(remove_number(directory, 2), 0);
    CHECK_EQ(directory_victims(directory), 2);
    hold_end(&holds[0], a);
    let_drain(0);
    CHECK(directory_victims(directory) >= 1);
    hold_end(&holds[1], b);
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
    rt_end(rt);
}
