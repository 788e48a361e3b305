/* weft/selector.h and weft/event.h: each call that fails while a source is made, changed or given
 * up. Not here, as they make no call: is_live, signal_info, get_data, set_data, data, contains,
 * count, is_empty, fd. select is in test_fault_select.c. */
#include "selector_scene.h"

/* --- fds of the program's -------------------------------------------------------------------- */

static int op_register(struct scene *c) {
    return weft_selector_register(c->s, c->fresh[0], WEFT_READ, tag(9));
}

static int op_register_far(struct scene *c) {
    return weft_selector_register(c->s, c->far, WEFT_READ, tag(9));
}

static int op_register_paused(struct scene *c) {
    return weft_selector_register(c->s, c->fresh[0], 0, tag(9));
}

static void park(struct scene *c) {
    CHECK_EQ(weft_selector_register(c->s, c->paused[0], 0, tag(2)), 0);
}

WTEST(fault_selector, fds_are_registered) {
    static const struct scene_sweep sweeps[] = {
        {"register", NULL, op_register, answer_of_add, 1},
        {"register far", NULL, op_register_far, answer_of_add, 3},
        {"register paused", NULL, op_register_paused, answer_of_add, 2},
        {"register paused again", park, op_register_paused, answer_of_add, 1},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

/* The entry of `active` is stale: its number passes to another file. */
static void make_stale(struct scene *c) {
    c->is_stale = true;
    CHECK_EQ(dup2(c->fresh[1], c->active[0]), c->active[0]);
}

static void make_stale_paused(struct scene *c) {
    park(c);
    c->is_stale = true;
    CHECK_EQ(dup2(c->fresh[1], c->paused[0]), c->paused[0]);
}

static int op_supersede(struct scene *c) {
    return weft_selector_register(c->s, c->active[0], WEFT_READ, tag(9));
}

static int op_supersede_paused(struct scene *c) {
    return weft_selector_register(c->s, c->paused[0], WEFT_READ, tag(9));
}

/* Where only the tidying up fails, there is nothing to tell: the entry works. */
static bool answer_of_supersede(struct scene *c, const struct sweep_fault *fault, int r) {
    if (r < 0) {
        CHECK(data_of(c->s, c->paused[0]) == tag(2));
        return answer_of_add(c, fault, r);
    }
    CHECK(data_of(c->s, c->paused[0]) == tag(9));
    CHECK_EQ(weft_selector_update(c->s, c->paused[0], 0), 0);
    CHECK_EQ(weft_selector_update(c->s, c->paused[0], WEFT_WRITE), 0);
    CHECK_EQ(expect_one(c->s).fd, c->paused[0]);
    scene_check_table(c);
    return fault->call == OS_EPOLL_CTL && fault->n == 2;
}

WTEST(fault_selector, stale_entries_are_superseded) {
    static const struct scene_sweep sweeps[] = {
        {"supersede", make_stale, op_supersede, NULL, 1},
        {"supersede paused", make_stale_paused, op_supersede_paused, answer_of_supersede, 3},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

static int op_modify(struct scene *c) {
    return weft_selector_update(c->s, c->active[0], WEFT_READ | WEFT_WRITE);
}

static int op_pause(struct scene *c) {
    return weft_selector_update(c->s, c->active[0], 0);
}

static int op_resume(struct scene *c) {
    return weft_selector_update(c->s, c->paused[0], WEFT_READ);
}

static int op_rearm(struct scene *c) {
    return weft_selector_update(c->s, c->fired[0], WEFT_READ | WEFT_ONESHOT);
}

static int op_make_exclusive(struct scene *c) {
    return weft_selector_update(c->s, c->active[0], WEFT_READ | WEFT_EXCLUSIVE);
}

static int op_make_inclusive(struct scene *c) {
    return weft_selector_update(c->s, c->exclusive[0], WEFT_READ);
}

WTEST(fault_selector, fds_are_updated) {
    static const struct scene_sweep sweeps[] = {
        {"modify", NULL, op_modify, answer_of_update, 1},
        {"pause", NULL, op_pause, answer_of_update, 3},
        {"pause again", park, op_pause, answer_of_update, 2},
        {"resume", park, op_resume, answer_of_update, 2},
        {"rearm", NULL, op_rearm, answer_of_update, 1},
        {"exclusive", NULL, op_make_exclusive, answer_of_update, 2},
        {"no longer exclusive", NULL, op_make_inclusive, answer_of_update, 2},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

/* --- sources --------------------------------------------------------------------------------- */

static int op_timer(struct scene *c) {
    return weft_selector_register_timer(c->s, WEFT_SEC(1), 0, tag(9));
}

static int op_signal(struct scene *c) {
    return weft_selector_register_signal(c->s, SIGUSR1, tag(9));
}

static int op_process(struct scene *c) {
    return weft_selector_register_process(c->s, getpid(), tag(9));
}

static int op_event(struct scene *c) {
    return weft_selector_register_event(c->s, c->ev, tag(9));
}

WTEST(fault_selector, sources_are_registered) {
    static const struct scene_sweep sweeps[] = {
        {"timer", NULL, op_timer, answer_of_add, 4},
        {"signal", NULL, op_signal, answer_of_add, 4},
        {"process", NULL, op_process, answer_of_add, 4},
        {"event", NULL, op_event, answer_of_add, 1},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

static int op_create(struct scene *c) {
    weft_selector *s = NULL;
    (void)c;
    int r = weft_selector_create(&s);
    CHECK((r == 0) == (s != NULL));
    weft_selector_destroy(s);
    return r;
}

static int op_create_event(struct scene *c) {
    weft_event *ev = NULL;
    (void)c;
    int r = weft_event_create(&ev);
    CHECK((r == 0) == (ev != NULL));
    weft_event_destroy(ev);
    return r;
}

static int op_trigger(struct scene *c) {
    errno = 7;
    int r = weft_event_trigger(c->ev);
    CHECK_EQ(errno, 7);
    return r;
}

static bool answer_of_trigger(struct scene *c, const struct sweep_fault *fault, int r) {
    (void)c;
    return fault->error == -EAGAIN ? r == 0 : r == fault->error; /* saturated: as good as can be */
}

WTEST(fault_selector, constructors_and_trigger) {
    static const struct scene_sweep sweeps[] = {
        {"selector create", NULL, op_create, NULL, 2},
        {"event create", NULL, op_create_event, NULL, 2},
        {"trigger", NULL, op_trigger, answer_of_trigger, 1},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

/* --- the end --------------------------------------------------------------------------------- */

static int op_unregister(struct scene *c) {
    return weft_selector_unregister(c->s, c->active[0]);
}

static int op_unregister_paused(struct scene *c) {
    return weft_selector_unregister(c->s, c->paused[0]);
}

static int op_unregister_timer(struct scene *c) {
    return weft_selector_unregister(c->s, c->timer);
}

static int op_unregister_signal(struct scene *c) {
    return weft_selector_unregister(c->s, c->signal);
}

static int op_unregister_event(struct scene *c) {
    return weft_selector_unregister_event(c->s, c->ev_in);
}

static bool says_gone(int error) {
    return error == -EBADF || error == -ENOENT || error == -EPERM || error == -EINVAL;
}

/* "0, also when fd was closed before": what the kernel then still reports is not shown, and goes
 * with the next look. What comes after the entry's end (the mask) has nobody to be told to. */
static bool answer_of_unregister(struct scene *c, const struct sweep_fault *fault, int r) {
    if (fault->call == OS_EPOLL_CTL && !says_gone(fault->error))
        return r == fault->error;
    c->may_leave = true;
    put_byte(c->active[1]);
    for (int n; (n = look(c->s, &(weft_ready){0}, 1)) != 0;)
        if (n < 0 || weft_selector_unregister(c->s, c->active[0]) < 0)
            return false;
    return r == 0;
}

WTEST(fault_selector, sources_are_unregistered) {
    static const struct scene_sweep sweeps[] = {
        {"unregister", NULL, op_unregister, answer_of_unregister, 1},
        {"unregister paused", park, op_unregister_paused, answer_of_unregister, 1},
        {"unregister timer", NULL, op_unregister_timer, answer_of_unregister, 1},
        {"unregister signal", NULL, op_unregister_signal, answer_of_unregister, 3},
        {"unregister event", NULL, op_unregister_event, answer_of_unregister, 1},
    };
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        scene_sweep(&sweeps[i]);
}

static int op_destroy(struct scene *c) {
    weft_selector_destroy(c->s);
    c->s = NULL;
    return 0;
}

/* It has nobody to tell: what the kernel does not own up to stays open. */
static bool answer_of_destroy(struct scene *c, const struct sweep_fault *fault, int r) {
    c->may_leave = fault->call == OS_EPOLL_CTL;
    return r == 0;
}

WTEST(fault_selector, destroyed) {
    static const struct scene_sweep sweep = {"destroy", NULL, op_destroy, answer_of_destroy, 4};
    scene_sweep(&sweep);
}

/* A selector of its own, so that the sweep sees the thread's first signal. */
static void *open_bare(void) {
    return make_selector();
}

static int register_first(void *world) {
    return weft_selector_register_signal(world, SIGUSR1, NULL);
}

static void close_bare(void *world) {
    weft_selector_destroy(world);
}

static bool bare_is_answer(void *world, const struct sweep_fault *fault, int r) {
    (void)world;
    return is_answer_of_add(fault, r);
}

WTEST(fault_selector, first_signal_of_a_thread) {
    static const struct sweep sweep = {.name = "first signal of a thread",
                                       .least = 7,
                                       .open = open_bare,
                                       .operate = register_first,
                                       .close = close_bare,
                                       .is_answer = bare_is_answer,
                                       .keeps_memory = true};
    sweep_run(&sweep);
}
