#include "selector_scene.h"

#include "base/process.h"
#include "selector/internal.h"

static const struct scene_sweep *current;

/* --- the scene ------------------------------------------------------------------------------- */

struct scene *scene_make(void (*prepare)(struct scene *c)) {
    static struct scene scene;
    struct scene *c = &scene;
    memset(c, 0, sizeof *c);
    c->extra = -1;
    sigprocmask(SIG_SETMASK, NULL, &c->mask);
    make_pair(c->active), make_pair(c->paused), make_pair(c->fired), make_pair(c->exclusive),
        make_pair(c->fresh);
    c->far = fcntl(c->fresh[0], F_DUPFD_CLOEXEC, 1030); /* in a segment of its own */
    CHECK(c->far >= 1030);
    c->s = make_selector();
    CHECK_EQ(weft_event_create(&c->ev), 0);
    CHECK_EQ(weft_event_create(&c->ev_in), 0);
    CHECK_EQ(weft_selector_register_event(c->s, c->ev_in, tag(5)), 0);
    CHECK_EQ(weft_selector_register(c->s, c->active[0], WEFT_READ, tag(1)), 0);
    CHECK_EQ(weft_selector_register(c->s, c->fired[0], WEFT_READ | WEFT_ONESHOT, tag(3)), 0);
    put_byte(c->fired[1]);
    CHECK(expect_one(c->s).data == tag(3));
    CHECK_EQ(weft_selector_register(c->s, c->exclusive[0], WEFT_READ | WEFT_EXCLUSIVE, tag(4)), 0);
    c->timer = weft_selector_register_timer(c->s, WEFT_SEC(1000), 0, tag(6));
    c->signal = weft_selector_register_signal(c->s, SIGUSR2, tag(7));
    CHECK(c->timer >= 0 && c->signal >= 0);
    if (prepare)
        prepare(c);
    return c;
}

/* Never one of the program's: what the kernel did not own up to stays open. */
static void close_left(int fd, bool may_be_left) {
    if (fcntl(fd, F_GETFD) < 0)
        return;
    CHECK(may_be_left);
    close(fd);
}

void scene_end(struct scene *c) {
    weft_selector_destroy(c->s);
    close_left(c->timer, c->may_leave);
    close_left(c->signal, c->may_leave);
    weft_event_destroy(c->ev);
    weft_event_destroy(c->ev_in);
    close_both(c->active), close_both(c->paused), close_both(c->fired), close_both(c->exclusive);
    close_both(c->fresh);
    close(c->far);
    if (c->extra >= 0)
        close(c->extra);
    if (c->child > 0)
        CHECK_EQ(waitpid(c->child, NULL, 0), c->child);
    sigprocmask(SIG_SETMASK, &c->mask, NULL);
}

/* --- the table and the kernel ---------------------------------------------------------------- */

enum { TFDS_MAX = 64 };

struct kernel {
    struct tfd active[TFDS_MAX], parked[TFDS_MAX];
    int active_count, parked_count;
};

/* As the table has it and as the kernel has it. */
struct line {
    int fd;
    uint32_t flags, generation;
    void *data;
    struct tfd active, parked; /* all zero: not there */
};

struct lines {
    struct kernel kernel;
    bool is_stale;
    int count;
    size_t counted;
    struct line line[TFDS_MAX];
};

static int set_read(int epoll_fd, struct tfd *list) {
    if (epoll_fd < 0)
        return 0;
    int fdinfo = tfd_open(epoll_fd);
    int count = tfd_read(fdinfo, list, TFDS_MAX);
    close(fdinfo);
    return count;
}

static struct tfd find_in(const struct tfd *list, int count, int fd, uint64_t cookie) {
    for (int i = 0; i < count; i++)
        if (list[i].fd == fd && list[i].cookie == cookie)
            return list[i];
    return (struct tfd){0};
}

static int line_add(struct weft_selector *s, int fd, struct selector_entry *e, void *arg) {
    struct lines *l = arg;
    uint64_t meta = atomic_load(&e->meta), cookie = cookie_of(meta, fd);
    struct line *line = &l->line[l->count++];
    (void)s;
    line->fd = fd;
    line->flags = (uint32_t)meta;
    line->generation = meta_generation(meta);
    line->data = atomic_load(&e->data);
    line->active = find_in(l->kernel.active, l->kernel.active_count, fd, cookie);
    line->parked = find_in(l->kernel.parked, l->kernel.parked_count, fd, cookie);
    if (l->is_stale)
        return 0;
    CHECK_EQ(line->active.cookie != 0, (meta & META_ACTIVE) != 0);
    CHECK_EQ(line->parked.cookie != 0, (meta & META_PARKED) != 0);
    if (meta & META_ACTIVE)
        CHECK_EQ(line->active.events, entry_bits(e) & ~(uint32_t)(EPOLLERR | EPOLLHUP));
    CHECK_EQ(line->parked.events, 0);
    return 0;
}

static void lines_take(struct lines *l, struct weft_selector *s, bool is_stale) {
    memset(l, 0, sizeof *l);
    l->is_stale = is_stale;
    l->kernel.active_count = set_read(s->epoll_fd, l->kernel.active);
    l->kernel.parked_count = set_read(s->parking_fd, l->kernel.parked);
    table_each(s, line_add, l);
    l->counted = weft_selector_count(s);
}

static size_t snapshot(weft_selector *s, bool is_stale, void *buffer, size_t size) {
    static struct lines l;
    lines_take(&l, s, is_stale);
    size_t length = offsetof(struct lines, line) - offsetof(struct lines, count) +
                    (size_t)l.count * sizeof l.line[0];
    CHECK(length <= size);
    memcpy(buffer, &l.count, length);
    return length;
}

size_t selector_snapshot(weft_selector *s, void *buffer, size_t size) {
    return snapshot(s, false, buffer, size);
}

static size_t scene_snapshot(void *world, void *buffer, size_t size) {
    const struct scene *c = world;
    return c->s ? snapshot(c->s, c->is_stale, buffer, size) : 0;
}

void scene_check_table(const struct scene *c) {
    static struct lines l;
    lines_take(&l, c->s, false);
    const char *difference = sweep_selector_differs(c->s);
    CHECK_MSG(!difference, "%s", difference);
}

/* --- the sweep ------------------------------------------------------------------------------- */

bool is_answer_of_add(const struct sweep_fault *fault, int r) {
    return r == fault->error || (is_fault(fault, OS_EPOLL_CTL, -EEXIST) && r == -ENOENT);
}

bool is_answer_of_update(const struct sweep_fault *fault, int r) {
    if (fault->call == OS_EPOLL_CTL && r == -EBADF)
        return fault->error == -ENOENT || fault->error == -EEXIST || fault->error == -EBADF;
    return r != -ENOENT && is_answer_of_add(fault, r);
}

bool answer_of_add(struct scene *c, const struct sweep_fault *fault, int r) {
    (void)c;
    return is_answer_of_add(fault, r);
}

bool answer_of_update(struct scene *c, const struct sweep_fault *fault, int r) {
    (void)c;
    return is_answer_of_update(fault, r);
}

static void *scene_open(void) {
    return scene_make(current->prepare);
}

static void scene_close(void *world) {
    scene_end(world);
}

static int scene_operate(void *world) {
    return current->operate(world);
}

static bool scene_is_answer(void *world, const struct sweep_fault *fault, int r) {
    return current->is_answer ? current->is_answer(world, fault, r) : r == fault->error;
}

void scene_sweep(const struct scene_sweep *sweep) {
    const struct sweep all = {.name = sweep->name,
                              .least = sweep->least,
                              .open = scene_open,
                              .operate = scene_operate,
                              .close = scene_close,
                              .is_answer = scene_is_answer,
                              .snapshot = scene_snapshot,
                              .keeps_memory = true};
    current = sweep;
    sweep_run(&all);
}
