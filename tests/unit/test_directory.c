/* The directory: what its calls answer, and from where they may be called. */
#include "directory_fixture.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <urcu/urcu-memb.h>

static weft_directory *directory;
static _Atomic unsigned runs, failed, in_section;

WTEST(directory, finds_what_was_put_replaced_and_removed) {
    weft_directory *d = directory_make();
    CHECK(get_number(d, 1) == UINT64_MAX);
    CHECK_EQ(put_number(d, 1, 10), 0);
    CHECK_EQ(put_number(d, 2, 20), 0);
    CHECK(get_number(d, 1) == 10);
    CHECK_EQ(put_number(d, 1, 11), 0);
    CHECK(get_number(d, 1) == 11);
    CHECK_EQ(remove_number(d, 1), 0);
    CHECK_EQ(remove_number(d, 1), -ENOENT);
    CHECK(get_number(d, 1) == UINT64_MAX);
    CHECK(get_number(d, 2) == 20);
    CHECK_EQ(put_number(d, 1, 12), 0);
    CHECK(get_number(d, 1) == 12);
    weft_directory_destroy(d);
}

WTEST(directory, keys_are_bytes_of_any_length) {
    static char large[2][100000];
    static const struct {
        const void *bytes;
        size_t len;
    } keys[] = {{NULL, 0},      {"", 1},           {"\0", 2},
                {"name", 4},    {"name", 5},       {"Name", 4},
                {"name\nx", 6}, {large[0], 99999}, {large[1], sizeof large[1]}};
    weft_directory *d = directory_make();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        CHECK_EQ(weft_directory_put(d, keys[i].bytes, keys[i].len, id_make(i)), 0);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        weft_stream_id id = {{0, 0}};
        CHECK_EQ(weft_directory_get(d, keys[i].bytes, keys[i].len, &id), 0);
        CHECK_EQ(id.value[0], i);
        CHECK(id_is_whole(id));
    }
    CHECK_EQ(weft_directory_get(d, "x", 0, NULL), 0); /* the empty key, wherever it points */
    CHECK_EQ(weft_directory_remove(d, NULL, 0), 0);
    CHECK_EQ(weft_directory_get(d, "", 0, NULL), -ENOENT);
    large[1][50000] = 1;
    CHECK_EQ(weft_directory_get(d, large[1], sizeof large[1], NULL), -ENOENT);
    weft_directory_destroy(d);
}

WTEST(directory, copies_the_key) {
    char key[] = "anna";
    weft_directory *d = directory_make();
    CHECK_EQ(weft_directory_put(d, key, 4, id_make(1)), 0);
    key[0] = 'x';
    CHECK_EQ(weft_directory_get(d, "anna", 4, NULL), 0);
    CHECK_EQ(weft_directory_get(d, key, 4, NULL), -ENOENT);
    weft_directory_destroy(d);
}

WTEST(directory, keys_that_collide_are_told_apart) {
    static const uint64_t masks[] = {0, 1, UINT64_C(1) << 63};
    for (size_t m = 0; m < sizeof masks / sizeof masks[0]; m++) {
        seam_hash_mask = masks[m];
        weft_directory *d = directory_make();
        for (uint64_t i = 0; i < 200; i++)
            CHECK_EQ(put_number(d, i, i), 0);
        for (uint64_t i = 0; i < 200; i += 2)
            CHECK_EQ(put_number(d, i, i + 1000), 0);
        for (uint64_t i = 0; i < 200; i += 5)
            CHECK_EQ(remove_number(d, i), 0);
        for (uint64_t i = 0; i < 200; i++)
            CHECK(get_number(d, i) == (i % 5 == 0 ? UINT64_MAX : i % 2 == 0 ? i + 1000 : i));
        weft_directory_destroy(d);
    }
}

WTEST(directory, wrong_calls_are_answered) {
    weft_directory *d = directory_make();
    weft_stream_id id = {{7, 8}};
    CHECK_EQ(weft_directory_create(NULL), -EINVAL);
    CHECK_EQ(weft_directory_put(NULL, "k", 1, id), -EINVAL);
    CHECK_EQ(weft_directory_put(d, NULL, 1, id), -EINVAL);
    CHECK_EQ(weft_directory_put(d, "k", SIZE_MAX, id), -ENOMEM);
    CHECK_EQ(weft_directory_get(NULL, "k", 1, &id), -EINVAL);
    CHECK_EQ(weft_directory_get(d, NULL, 1, &id), -EINVAL);
    CHECK_EQ(weft_directory_get(d, "k", 1, &id), -ENOENT);
    CHECK_EQ(weft_directory_remove(NULL, "k", 1), -EINVAL);
    CHECK_EQ(weft_directory_remove(d, NULL, 1), -EINVAL);
    CHECK_EQ(weft_directory_remove(d, "k", 1), -ENOENT);
    CHECK(id.value[0] == 7 && id.value[1] == 8);
    weft_directory_destroy(NULL);
    weft_directory_destroy(d);
}

/* --- two at one key --------------------------------------------------------------------------- */

/* Once, at the next yield point: between a remove's look and its taking out. */
static void replace_meanwhile(void) {
    seam_yield_fn = NULL;
    failed += put_number(directory, 1, 2) != 0;
}

static void remove_meanwhile(void) {
    seam_yield_fn = NULL;
    failed += remove_number(directory, 1) != 0;
}

static int remove_meeting(void (*another)(void)) {
    directory = directory_make();
    CHECK_EQ(put_number(directory, 1, 1), 0);
    seam_yield_fn = another;
    int r = remove_number(directory, 1);
    CHECK(!seam_yield_fn);
    CHECK_EQ(failed, 0);
    CHECK(get_number(directory, 1) == UINT64_MAX);
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
    return r;
}

WTEST(directory, remove_takes_whichever_id_the_key_has) {
    CHECK_EQ(remove_meeting(replace_meanwhile), 0);
}

WTEST(directory, of_two_removes_one_finds_it) {
    CHECK_EQ(remove_meeting(remove_meanwhile), -ENOENT);
}

/* --- from everywhere -------------------------------------------------------------------------- */

/* All calls once; `arg` is the key. */
static void use(void *arg) {
    uint64_t key = (uintptr_t)arg;
    in_section += worker_in_section;
    failed += put_number(directory, key, 1) != 0;
    failed += get_number(directory, key) != 1;
    failed += put_number(directory, key, 2) != 0;
    failed += get_number(directory, key) != 2;
    failed += remove_number(directory, key) != 0;
    failed += get_number(directory, key) != UINT64_MAX;
    runs++;
}

static void use_at_the_start_or_end(weft_worker *w, void *arg) {
    (void)arg;
    use((void *)(uintptr_t)weft_worker_index(w));
}

WTEST(directory, is_used_in_callbacks_which_are_sections) {
    const weft_runtime_options options = {.workers = 2,
                                          .on_worker_start = use_at_the_start_or_end,
                                          .on_worker_stop = use_at_the_start_or_end};
    directory = directory_make();
    weft_runtime *rt = rt_start_with(&options);
    for (unsigned i = 0; i < 2; i++)
        rt_call(weft_runtime_worker(rt, i), use, (void *)(uintptr_t)(100 + i));
    rt_end(rt);
    CHECK_EQ(runs, 6);
    CHECK_EQ(in_section, runs);
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
    CHECK_EQ(failed, 0);
}

WTEST(directory, is_used_by_the_tasks_of_a_runtime_that_never_ran) {
    directory = directory_make();
    weft_runtime *rt = rt_create(1);
    CHECK_EQ(weft_post_fn(weft_runtime_worker(rt, 0), use, NULL), 0);
    weft_runtime_destroy(rt);
    CHECK_EQ(runs, 1);
    CHECK_EQ(in_section, 0); /* worker or not, this thread is none */
    weft_directory_destroy(directory);
    CHECK_EQ(failed, 0);
}

WTEST(directory, is_used_in_a_retired_function) {
    directory = directory_make();
    CHECK_EQ(weft_retire(use, NULL), 0);
    rt_await(&runs, 1);
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
    CHECK_EQ(failed, 0);
}

static void *use_on_thread(void *registers) {
    if (registers)
        urcu_memb_register_thread();
    use((void *)(uintptr_t)pthread_self());
    if (registers)
        urcu_memb_unregister_thread();
    return NULL;
}

WTEST(directory, is_used_by_threads_that_come_and_go) {
    pthread_t threads[8];
    const unsigned rounds = 400 / wtest_slowdown();
    directory = directory_make();
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned n = 0; n < 8; n++) /* half of them known to liburcu by the program */
            threads[n] = thread_begin(use_on_thread, n % 2 ? directory : NULL);
        for (unsigned n = 0; n < 8; n++)
            thread_end(threads[n]);
    }
    CHECK_EQ(runs, 8 * rounds);
    CHECK_EQ(failed, 0);
    directory_await_victims(directory, 0);
    weft_directory_destroy(directory);
}

/* In the child: 0, or the number of the first wrong answer. */
static int wrong_answer_in_child(void) {
    weft_directory *created = NULL;
    weft_stream_id id = {{7, 8}};
    if (weft_directory_create(&created) != -EPERM || created)
        return 1;
    if (weft_directory_put(directory, "k", 1, id) != -EPERM)
        return 2;
    if (weft_directory_get(directory, "k", 1, &id) != -EPERM || id.value[0] != 7)
        return 3;
    if (weft_directory_remove(directory, "k", 1) != -EPERM)
        return 4;
    weft_directory_destroy(directory);
    return 0;
}

WTEST(directory, child_is_refused_and_parent_goes_on) {
    int status = 0;
    directory = directory_make();
    CHECK_EQ(weft_directory_put(directory, "k", 1, id_make(1)), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(wrong_answer_in_child());
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK(WIFEXITED(status));
    CHECK_EQ(weft_directory_get(directory, "k", 1, NULL), 0);
    weft_directory_destroy(directory);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void destroy_in_use(void *arg) {
    use(arg); /* victims that wait for this callback to end */
    failed += directory_victims(directory) == 0;
    weft_directory_destroy(directory);
}

WTEST(directory, destroy_waits_for_nothing_and_leaves_nothing) {
    weft_runtime *rt = rt_start(1);
    for (unsigned i = 1; i <= 20; i++) {
        directory = directory_make();
        for (uint64_t key = 0; key < 100; key++)
            CHECK_EQ(put_number(directory, key, key), 0);
        if (i % 2)
            rt_call(weft_runtime_worker(rt, 0), destroy_in_use, (void *)1000);
        else
            destroy_in_use((void *)1000);
        CHECK_EQ(runs, i);
    }
    rt_end(rt); /* by now the reclaimer has freed the last; AddressSanitizer counts */
    CHECK_EQ(failed, 0);
}

static void destroy_retired(void *arg) {
    weft_directory_destroy(arg);
    runs++;
}

WTEST(directory, destroy_may_be_retired) {
    weft_directory *d = directory_make();
    CHECK_EQ(put_number(d, 1, 1), 0);
    CHECK_EQ(weft_retire(destroy_retired, d), 0);
    rt_await(&runs, 1);
}

/* --- without memory --------------------------------------------------------------------------- */

WTEST(directory, failed_create_leaves_nothing) {
    weft_directory *d = NULL;
    fault_begin();
    for (unsigned n = 1; n <= 2; n++) {
        fault_arm_call(OS_ALLOC, n);
        CHECK_EQ(weft_directory_create(&d), -ENOMEM);
        CHECK_EQ(fault_disarm(), -ENOMEM);
        CHECK(!d);
    }
    fault_arm_call(OS_GETRANDOM, 1);
    CHECK_EQ(weft_directory_create(&d), -ENOSYS);
    CHECK_EQ(fault_disarm(), -ENOSYS);
    CHECK(!d);
    fault_arm_call(OS_ALLOC, 3);
    CHECK_EQ(weft_directory_create(&d), 0);
    CHECK_EQ(fault_disarm(), 0);
    weft_directory_destroy(d);
}

WTEST(directory, failed_put_keeps_the_old_id) {
    weft_directory *d = directory_make();
    fault_begin();
    for (uint64_t key = 1; key <= 2; key++) {
        fault_arm_call(OS_ALLOC, 1);
        CHECK_EQ(put_number(d, 1, key), -ENOMEM);
        CHECK_EQ(fault_disarm(), -ENOMEM);
        CHECK(get_number(d, 1) == (key == 1 ? UINT64_MAX : 1));
        CHECK_EQ(put_number(d, 1, key), 0);
    }
    weft_directory_destroy(d);
}

WTEST(directory, what_cannot_be_retired_is_retired_with_a_later_call) {
    weft_directory *d = directory_make();
    fault_begin();
    for (uint64_t key = 0; key < 6; key++)
        CHECK_EQ(put_number(d, key, key), 0);
    for (uint64_t key = 0; key < 3; key++) { /* the record, and the next try of the same call */
        fault_arm_call(OS_ALLOC, 1);
        CHECK_EQ(remove_number(d, key), 0);
        CHECK_EQ(fault_disarm(), -ENOMEM);
        directory_await_victims(d, 0); /* the call itself tried again */
    }
    for (uint64_t key = 3; key < 5; key++) {
        fault_arm(1, true);
        CHECK_EQ(remove_number(d, key), 0);
        CHECK_EQ(remove_number(d, key), -ENOENT);
        CHECK_EQ(fault_disarm(), -ENOMEM);
        let_others_run();
        CHECK_EQ(directory_victims(d), 1);
        if (key == 3)
            CHECK_EQ(remove_number(d, key), -ENOENT);
        else
            CHECK_EQ(put_number(d, 1000, 1), 0);
        directory_await_victims(d, 0);
    }
    fault_arm(1, true);
    CHECK_EQ(remove_number(d, 5), 0);
    CHECK_EQ(fault_disarm(), -ENOMEM);
    weft_directory_destroy(d); /* with what is left */
}

/* --- growth ----------------------------------------------------------------------------------- */

WTEST(directory, without_memory_it_grows_later) {
    static struct hold hold;
    fault_begin();
    weft_runtime *rt = rt_start(1);
    weft_directory *d = directory_make();
    const size_t first = directory_buckets(d);
    uint64_t key = 0;
    hold_begin(&hold, weft_runtime_worker(rt, 0)); /* the reclaimer does not come to it */
    for (; key < first * 8 - 1; key++)
        CHECK_EQ(put_number(d, key, key), 0);
    CHECK_EQ(directory_buckets(d), first);
    fault_arm_call(OS_ALLOC, 2);
    CHECK_EQ(put_number(d, key++, 0), 0);
    CHECK_EQ(fault_disarm(), -ENOMEM);
    CHECK_EQ(directory_buckets(d), first);
    CHECK_EQ(put_number(d, key++, 0), 0);
    CHECK(directory_buckets(d) >= key);
    CHECK(!is_blocked(SIGTERM));
    hold_end(&hold, weft_runtime_worker(rt, 0));
    rt_end(rt);
    for (uint64_t k = 0; k < key; k++)
        CHECK(get_number(d, k) != UINT64_MAX);
    weft_directory_destroy(d);
}

static void fill(void *arg) {
    const uint64_t count = (uintptr_t)arg;
    for (uint64_t key = 0; key < count; key++)
        failed += put_number(directory, key, key) != 0;
    failed += directory_buckets(directory) * 8 < count;
}

WTEST(directory, grows_under_a_callback_that_fills_it) {
    weft_runtime *rt = rt_start(1);
    directory = directory_make();
    rt_call(weft_runtime_worker(rt, 0), fill, (void *)20000);
    CHECK_EQ(failed, 0);
    rt_end(rt);
    weft_directory_destroy(directory);
}

/* Until `enough`, or a while in which that should have come about. */
static bool grows_to(weft_directory *d, size_t enough) {
    for (int i = 0; i < 200 && directory_buckets(d) < enough; i++)
        let_others_run();
    return directory_buckets(d) >= enough;
}

WTEST(directory, is_made_larger_by_the_reclaimer) {
    weft_directory *d = directory_make();
    const size_t first = directory_buckets(d);
    for (uint64_t key = 0; key <= first * 2; key++)
        CHECK_EQ(put_number(d, key, key), 0);
    CHECK(grows_to(d, first * 2));
    weft_directory_destroy(d);
}
