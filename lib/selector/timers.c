#include "selector/internal.h"

struct timer_source {
    struct source source;
    bool is_oneshot;
};

static int timer_take(struct weft_selector *s, int fd, struct source *source, weft_ready *ready) {
    (void)s;
    const struct timer_source *timer = container_of(source, struct timer_source, source);
    uint64_t expirations = 0;
    ssize_t n = os_read(fd, &expirations, sizeof expirations);
    if (n < 0)
        return (int)n;
    ready->events = WEFT_TIMER | (timer->is_oneshot ? WEFT_ONESHOT | WEFT_FINISHED : 0u);
    ready->value = expirations;
    return 0;
}

static void timer_release(struct weft_selector *s, int fd, struct source *source) {
    (void)s;
    struct timer_source *timer = container_of(source, struct timer_source, source);
    if (fd >= 0)
        os_close(fd);
    mem_free(timer, sizeof *timer);
}

static const struct source_kind timer_kind = {timer_take, timer_release};

/* timerfd_settime(2) counts signed nanoseconds; 146 years are as good as 292, and leave room for
 * the clock to be added. 0 would disarm the timer instead of letting it expire at once. */
static uint64_t timeout_for_kernel(uint64_t timeout_ns) {
    const uint64_t longest = INT64_MAX / 2;
    if (timeout_ns == 0)
        return MUTANT("selector-timer-zero") ? 0 : 1;
    return timeout_ns > longest ? longest : timeout_ns;
}

static int timer_open(uint64_t timeout_ns, bool is_oneshot) {
    int fd = os_timerfd();
    if (fd < 0)
        return fd;
    uint64_t delay_ns = timeout_for_kernel(timeout_ns);
    int r = os_timerfd_set(fd, delay_ns, is_oneshot ? 0 : delay_ns);
    if (r < 0 && MUTANT("fault-settime-swallowed"))
        return fd;
    if (r < 0)
        os_close(fd);
    return r < 0 ? r : fd;
}

int weft_selector_register_timer(weft_selector *s, uint64_t timeout_ns, uint32_t flags,
                                 void *data) {
    int r = selector_check_own(s);
    if (r < 0)
        return r;
    bool is_oneshot = flags == WEFT_ONESHOT;
    if (!is_oneshot && (flags != 0 || timeout_ns == 0))
        return -EINVAL;

    struct timer_source *timer = mem_zalloc(sizeof *timer);
    if (!timer)
        return -ENOMEM;
    timer->source.kind = &timer_kind;
    timer->is_oneshot = is_oneshot;
    int fd = timer_open(timeout_ns, is_oneshot);
    if (fd < 0) {
        r = fd;
        goto fail_open;
    }
    /* Level-triggered and without EPOLLONESHOT: once read, a timer that expires only once is never
     * readable again, and it needs no re-arming where a spurious event finds nothing to read. */
    r = source_attach(s, fd, &timer->source, EPOLLIN, data);
    if (r < 0)
        goto fail_attach;
    return fd;

fail_attach:
    os_close(fd);
fail_open:
    mem_free(timer, sizeof *timer);
    return r;
}
