/* The timing wheel under a simulated clock, property by property. */
#include "wheel/wheel.h"

#include "random.h"
#include "wtest.h"

#include <inttypes.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)
#define YEAR (365 * 24 * HOUR)
#define TICK WHEEL_TICK_NS
#define NEVER UINT64_MAX

static struct wheel wheel; /* 12 KiB: not on a test's stack */

/* Rounded up to a tick, by division: nothing shared with the wheel's arithmetic. */
static uint64_t tick_up(uint64_t ns) {
    return ns / TICK + (ns % TICK != 0);
}

static void check_valid(void) {
    const char *wrong = wheel_check(&wheel);
    CHECK_MSG(wrong == NULL, "wheel_check: %s", wrong);
}

/* Pops one and compares; NULL: nothing may be due. */
static void check_pops(const struct wheel_node *expected) {
    struct wheel_node *node = wheel_pop_due(&wheel);
    CHECK(node == expected);
    CHECK(node == NULL || !wheel_is_pending(node));
}

/* Advances as its own wake-up times say until something is due; returns that time. */
static uint64_t advance_to_expiry(void) {
    for (;;) {
        uint64_t next_ns = wheel_next_ns(&wheel);
        if (next_ns == 0 || next_ns == NEVER)
            return next_ns;
        wheel_advance(&wheel, next_ns);
        check_valid();
        if (wheel_next_ns(&wheel) == 0)
            return next_ns;
    }
}

WTEST(wheel, start_and_stop_change_pending_and_count) {
    struct wheel_node a = {0}, b = {0};
    wheel_init(&wheel, 5 * SECOND);
    CHECK(wheel_is_empty(&wheel));
    CHECK(!wheel_is_pending(&a));
    CHECK(!wheel_stop(&wheel, &a));
    wheel_start(&wheel, &a, 6 * SECOND);
    wheel_start(&wheel, &b, SECOND); /* past */
    wheel_start(&wheel, &a, 7 * SECOND);
    CHECK(wheel_is_pending(&a) && wheel_is_pending(&b));
    CHECK_EQ(wheel_count(&wheel), 2);
    check_valid();
    CHECK(wheel_stop(&wheel, &a));
    CHECK(wheel_stop(&wheel, &b));
    CHECK(!wheel_stop(&wheel, &a));
    CHECK(!wheel_is_pending(&a));
    CHECK(wheel_is_empty(&wheel));
    check_valid();
    wheel_advance(&wheel, 8 * SECOND);
    check_pops(NULL);
}

WTEST(wheel, never_early_and_at_most_one_tick_late) {
    enum { NODES = 2000 };
    static struct wheel_node nodes[NODES];
    uint64_t seed = random_seed(11), now_ns = 3 * HOUR + 12345;
    wheel_init(&wheel, now_ns);
    for (unsigned i = 0; i < NODES; i++) /* nanoseconds to a century, all magnitudes alike */
        wheel_start(&wheel, &nodes[i], now_ns + 1 + random_u64() % (UINT64_C(1) << (1 + i % 62)));
    unsigned popped = 0, advances = 0;
    while (!wheel_is_empty(&wheel)) {
        uint64_t next_ns = wheel_next_ns(&wheel);
        CHECK_MSG(next_ns > now_ns, "seed %" PRIu64 ": a wake-up at once, with nothing due", seed);
        now_ns = next_ns;
        wheel_advance(&wheel, now_ns);
        advances++;
        for (struct wheel_node *node; (node = wheel_pop_due(&wheel)) != NULL; popped++) {
            CHECK_MSG(node->deadline_ns <= now_ns, "seed %" PRIu64 ": early", seed);
            CHECK_MSG(now_ns - node->deadline_ns < TICK, "seed %" PRIu64 ": late", seed);
        }
    }
    CHECK_EQ(popped, NODES);
    CHECK(advances <= NODES * WHEEL_LEVELS); /* one wake-up per node and level at worst */
}

/* The wake-up times for one far timer: a cascade per level, no more. */
WTEST(wheel, far_deadline_wakes_once_per_level_at_most) {
    struct wheel_node node = {0};
    wheel_init(&wheel, 777);
    wheel_start(&wheel, &node, 100 * YEAR + 777);
    unsigned wakes = 0;
    while (wheel_next_ns(&wheel) != 0) {
        wheel_advance(&wheel, wheel_next_ns(&wheel));
        wakes++;
    }
    CHECK(wakes <= WHEEL_LEVELS);
    check_pops(&node);
}

WTEST(wheel, equal_deadlines_in_start_order_across_cascades) {
    enum { NODES = 64 };
    static struct wheel_node nodes[NODES];
    static const uint64_t distances[] = {TICK / 2, 3 * MS,    SECOND, 90 * SECOND,
                                         HOUR,     50 * HOUR, YEAR,   90 * YEAR};
    for (unsigned d = 0; d < sizeof distances / sizeof distances[0]; d++) {
        uint64_t start_ns = 41 * SECOND + 7, now_ns = start_ns;
        uint64_t deadline_ns = start_ns + distances[d];
        wheel_init(&wheel, start_ns);
        /* Started while time closes in by halves, so from every level that lies on the way. */
        for (unsigned i = 0; i < NODES; i++) {
            wheel_start(&wheel, &nodes[i], deadline_ns);
            if (i % 2 == 0)
                now_ns += (deadline_ns - now_ns) / 2;
            wheel_advance(&wheel, now_ns);
            check_valid();
        }
        wheel_start(&wheel, &nodes[5], deadline_ns); /* a restart goes behind its equals */
        advance_to_expiry();
        wheel_advance(&wheel, tick_up(deadline_ns) * TICK);
        for (unsigned i = 0; i < NODES; i++)
            if (i != 5)
                check_pops(&nodes[i]);
        check_pops(&nodes[5]);
        check_pops(NULL);
    }
}

/* The deadline passes within its tick: the node started in time waits for the tick's end, one with
 * the same deadline started now is past already, and still must not overtake. At 63 ticks the
 * coming tick lies in a slot of level 1, with others that have to stay. */
WTEST(wheel, equal_deadline_started_late_does_not_overtake) {
    static const uint64_t bases[] = {10 * TICK, 63 * TICK, 4095 * TICK};
    for (unsigned b = 0; b < sizeof bases / sizeof bases[0]; b++) {
        uint64_t base_ns = bases[b], deadline_ns = base_ns + 1000;
        struct wheel_node first = {0}, second = {0}, third = {0}, fourth = {0};
        struct wheel_node later = {0}, far = {0};
        wheel_init(&wheel, base_ns);
        wheel_start(&wheel, &first, deadline_ns);
        wheel_start(&wheel, &later, deadline_ns + 5000);
        wheel_start(&wheel, &far, deadline_ns + 3 * TICK);
        wheel_start(&wheel, &second, deadline_ns);
        wheel_advance(&wheel, base_ns + 2000);
        check_pops(NULL);
        wheel_start(&wheel, &third, deadline_ns);
        wheel_start(&wheel, &fourth, deadline_ns);
        check_valid();
        wheel_advance(&wheel, base_ns + 2001);
        check_pops(&first);
        check_pops(&second);
        check_pops(&third);
        check_pops(&fourth);
        check_pops(NULL);
        CHECK_EQ(wheel_count(&wheel), 2);
        wheel_advance(&wheel, base_ns + TICK);
        check_pops(&later);
        check_pops(NULL);
        check_valid();
    }
}

WTEST(wheel, one_tick_comes_out_in_start_order) {
    struct wheel_node a = {0}, b = {0};
    wheel_init(&wheel, 0);
    wheel_start(&wheel, &a, 5 * TICK);
    wheel_start(&wheel, &b, 4 * TICK + 1);
    wheel_advance(&wheel, 5 * TICK);
    check_pops(&a);
    check_pops(&b);
}

/* A wheel that walked its ticks would not come back from this. */
WTEST(wheel, jumps_of_years) {
    enum { NODES = 2000 };
    static struct wheel_node nodes[NODES];
    uint64_t seed = random_seed(12);
    wheel_init(&wheel, 99);
    for (uint64_t year = 1; year <= 500; year++) {
        wheel_advance(&wheel, year * YEAR);
        check_pops(NULL);
    }
    for (unsigned round = 0; round < 20; round++) { /* all of them in one jump, still in order */
        wheel_init(&wheel, round * YEAR + 3);
        for (unsigned i = 0; i < NODES; i++)
            wheel_start(&wheel, &nodes[i], round * YEAR + 4 + random_below(200 * YEAR));
        wheel_advance(&wheel, 250 * YEAR);
        check_valid();
        uint64_t last = 0;
        for (unsigned i = 0; i < NODES; i++) {
            struct wheel_node *node = wheel_pop_due(&wheel);
            CHECK(node != NULL);
            CHECK_MSG(tick_up(node->deadline_ns) >= last, "seed %" PRIu64 ": out of order", seed);
            last = tick_up(node->deadline_ns);
        }
        CHECK(wheel_is_empty(&wheel));
        CHECK(wheel_next_ns(&wheel) == NEVER);
    }
}

/* One node alone: nothing the nanosecond before, out at its tick and not before. */
static void check_fires_at(uint64_t start_ns, uint64_t deadline_ns) {
    struct wheel_node node = {0};
    uint64_t due_ns = tick_up(deadline_ns) * TICK;
    wheel_init(&wheel, start_ns);
    wheel_start(&wheel, &node, deadline_ns);
    check_valid();
    CHECK(wheel_next_ns(&wheel) > start_ns);
    CHECK(wheel_next_ns(&wheel) <= due_ns);
    if (deadline_ns - 1 > start_ns) { /* in one jump */
        wheel_advance(&wheel, deadline_ns - 1);
        check_valid();
        check_pops(NULL);
    }
    CHECK(advance_to_expiry() == due_ns);
    check_pops(&node);
    wheel_init(&wheel, start_ns);
    wheel_start(&wheel, &node, deadline_ns);
    CHECK(advance_to_expiry() == due_ns); /* in the wheel's own steps */
    check_pops(&node);
    CHECK(wheel_next_ns(&wheel) == NEVER);
}

WTEST(wheel, huge_deadlines_do_not_wrap) {
    static const uint64_t powers_ms[] = {UINT64_C(1) << 31, UINT64_C(1) << 32};
    static const uint64_t starts[] = {0, 12345678, 20 * YEAR / 365};
    for (unsigned s = 0; s < 3; s++) {
        for (unsigned p = 0; p < 2; p++)
            for (int off = -1; off <= 1; off++)
                check_fires_at(starts[s], (powers_ms[p] + (uint64_t)(int64_t)off) * MS);
        for (int off = -1; off <= 1; off++)
            check_fires_at(starts[s], (UINT64_C(1) << 63) + (uint64_t)(int64_t)off);
    }
    check_fires_at(NEVER - 5 * TICK, NEVER - 2 * TICK);
}

WTEST(wheel, uint64_max_never_fires) {
    struct wheel_node node = {0}, other = {0};
    static const uint64_t starts[] = {0, 300 * YEAR, NEVER - 1, NEVER};
    for (unsigned s = 0; s < 4; s++) {
        wheel_init(&wheel, starts[s]);
        wheel_start(&wheel, &node, NEVER);
        CHECK(wheel_next_ns(&wheel) == NEVER);
        wheel_start(&wheel, &other, 1);
        wheel_advance(&wheel, 400 * YEAR);
        check_pops(&other);
        wheel_advance(&wheel, NEVER - 1);
        wheel_advance(&wheel, NEVER);
        check_pops(NULL);
        wheel_start(&wheel, &other, NEVER - 2); /* past by now; must not sweep "never" along */
        wheel_advance(&wheel, NEVER);
        check_pops(&other);
        check_pops(NULL);
        CHECK(wheel_next_ns(&wheel) == NEVER);
        check_valid();
        CHECK(wheel_stop(&wheel, &node));
    }
}

WTEST(wheel, deadlines_at_the_borders_of_each_level) {
    for (unsigned level = 0; level < 7; level++) {
        uint64_t block = UINT64_C(1) << (WHEEL_DIGIT_BITS * level);
        for (uint64_t digit = 1; digit <= 64; digit += 21) { /* 1, 22, 43, 64 */
            uint64_t border = digit * block;
            for (int off = -1; off <= 1; off++) {
                uint64_t tick = border + (uint64_t)(int64_t)off;
                if (tick == 0)
                    continue;
                check_fires_at(0, tick * TICK);
                check_fires_at(0, tick * TICK - 1);
                check_fires_at(0, tick * TICK + 1);
                check_fires_at(tick * TICK - 1, tick * TICK);
                check_fires_at(tick * TICK, tick * TICK + 1);
                check_fires_at(border / 2 * TICK + 17, border * TICK + TICK);
            }
        }
    }
}

WTEST(wheel, stop_and_restart_of_due_nodes_between_pops) {
    struct wheel_node nodes[6] = {{0}}, bystander = {0};
    wheel_init(&wheel, 0);
    for (unsigned i = 0; i < 6; i++)
        wheel_start(&wheel, &nodes[i], (i + 1) * TICK);
    wheel_advance(&wheel, 10 * TICK);
    wheel_start(&wheel, &bystander, 11 * TICK); /* the slot of a tick ago, under the same numbers */
    check_pops(&nodes[0]);
    CHECK(wheel_stop(&wheel, &nodes[1]));      /* the next one */
    CHECK(wheel_stop(&wheel, &nodes[5]));      /* the last one */
    wheel_start(&wheel, &nodes[2], 12 * TICK); /* no longer due */
    wheel_start(&wheel, &nodes[3], 5 * TICK);  /* past: due again, but not in this round */
    check_valid();
    check_pops(&nodes[4]);
    check_pops(NULL);
    check_valid();
    CHECK_EQ(wheel_count(&wheel), 3);
    wheel_advance(&wheel, 10 * TICK);
    check_pops(&nodes[3]);
    check_pops(NULL);
    wheel_advance(&wheel, 12 * TICK);
    check_pops(&bystander);
    CHECK(wheel_stop(&wheel, &nodes[2])); /* the only due one */
    check_pops(NULL);
    CHECK(wheel_next_ns(&wheel) == NEVER);
    check_valid();
}

WTEST(wheel, unpopped_nodes_stay_ahead_of_later_ones) {
    struct wheel_node a = {0}, b = {0}, c = {0};
    wheel_init(&wheel, 0);
    wheel_start(&wheel, &b, 2 * TICK);
    wheel_start(&wheel, &a, TICK);
    wheel_advance(&wheel, 2 * TICK);
    check_pops(&a);
    wheel_start(&wheel, &c, 0);
    wheel_advance(&wheel, 3 * TICK);
    CHECK(wheel_next_ns(&wheel) == 0);
    check_pops(&b);
    check_pops(&c);
}

WTEST(wheel, next_follows_the_earliest) {
    struct wheel_node near = {0}, twin = {0}, far = {0}, past = {0};
    wheel_init(&wheel, 100 * TICK);
    CHECK(wheel_next_ns(&wheel) == NEVER);
    wheel_start(&wheel, &far, 100 * TICK + HOUR);
    uint64_t far_next_ns = wheel_next_ns(&wheel);
    CHECK(far_next_ns > 100 * TICK && far_next_ns <= 100 * TICK + HOUR);
    wheel_start(&wheel, &near, 103 * TICK);
    CHECK_EQ(wheel_next_ns(&wheel), 103 * TICK);
    wheel_start(&wheel, &twin, 103 * TICK);
    CHECK(wheel_stop(&wheel, &near));
    CHECK_EQ(wheel_next_ns(&wheel), 103 * TICK); /* its twin is still there */
    wheel_start(&wheel, &near, 102 * TICK);
    CHECK_EQ(wheel_next_ns(&wheel), 102 * TICK);
    wheel_start(&wheel, &near, 104 * TICK - 1);
    CHECK_EQ(wheel_next_ns(&wheel), 103 * TICK);
    CHECK(wheel_stop(&wheel, &twin));
    CHECK_EQ(wheel_next_ns(&wheel), 104 * TICK);
    CHECK(wheel_stop(&wheel, &near));
    CHECK_EQ(wheel_next_ns(&wheel), far_next_ns);
    wheel_start(&wheel, &past, 1);
    CHECK_EQ(wheel_next_ns(&wheel), 0);
    CHECK(wheel_stop(&wheel, &past));
    CHECK_EQ(wheel_next_ns(&wheel), far_next_ns);
    CHECK(wheel_stop(&wheel, &far));
    CHECK(wheel_next_ns(&wheel) == NEVER);
}

/* Whatever now is within its tick, and whether or not time moves between the advances. */
WTEST(wheel, restart_without_delay_comes_out_once_per_advance) {
    struct wheel_node node = {0}, neighbour = {0};
    uint64_t now_ns = 7 * TICK + 123;
    wheel_init(&wheel, now_ns);
    wheel_start(&wheel, &neighbour, now_ns + 10 * SECOND);
    wheel_start(&wheel, &node, now_ns);
    for (unsigned round = 0; round < 10000; round++) {
        unsigned popped = 0;
        CHECK_EQ(wheel_next_ns(&wheel), 0);
        wheel_advance(&wheel, now_ns);
        for (struct wheel_node *due; popped < 5 && (due = wheel_pop_due(&wheel)) != NULL; popped++)
            wheel_start(&wheel, due, round % 3 ? now_ns : now_ns - 1);
        CHECK_EQ(popped, 1);
        now_ns += round % 2 ? 333 : 0;
    }
    check_valid();
}

WTEST(wheel, time_never_goes_backwards) {
    struct wheel_node a = {0}, b = {0};
    wheel_init(&wheel, 50 * TICK);
    wheel_start(&wheel, &a, 60 * TICK);
    wheel_advance(&wheel, 55 * TICK);
    wheel_advance(&wheel, 3 * TICK);
    check_valid();
    wheel_start(&wheel, &b, 54 * TICK); /* past, though not by the clock that went back */
    wheel_advance(&wheel, 3 * TICK);
    check_pops(&b);
    check_pops(NULL);
    CHECK_EQ(wheel_next_ns(&wheel), 60 * TICK);
}

/* A validator that finds nothing is no validator. */
/* Its owner looks at what comes out, and starts it again: never late for the later deadline. */
WTEST(wheel, a_deadline_raised_in_place_comes_out_no_later) {
    struct wheel_node near = {0}, far = {0};
    wheel_init(&wheel, 0);
    wheel_start(&wheel, &near, 3 * TICK);
    wheel_start(&wheel, &far, 5000 * TICK);
    near.deadline_ns = NEVER;
    far.deadline_ns = 5003 * TICK; /* seen where its slot is distributed */
    wheel_advance(&wheel, 3 * TICK);
    check_pops(&near);
    wheel_start(&wheel, &near, near.deadline_ns);
    wheel_advance(&wheel, 5002 * TICK);
    check_pops(NULL);
    wheel_advance(&wheel, 5003 * TICK);
    check_pops(&far);
    CHECK_EQ(wheel_next_ns(&wheel), NEVER);
    CHECK(wheel_stop(&wheel, &near));
}

WTEST(wheel, every_pending_node_is_met_once) {
    enum { NODES = 100 };
    static struct wheel_node nodes[NODES];
    bool met[NODES] = {0};
    wheel_init(&wheel, 0);
    CHECK(wheel_after(&wheel, NULL) == NULL);
    for (unsigned i = 0; i < NODES; i++)
        wheel_start(&wheel, &nodes[i], i % 3 ? i * i * i * TICK : NEVER);
    wheel_advance(&wheel, 1000 * TICK); /* some are due */
    unsigned count = 0;
    for (struct wheel_node *node = NULL; (node = wheel_after(&wheel, node)) != NULL; count++) {
        CHECK(!met[node - nodes]);
        met[node - nodes] = true;
    }
    CHECK_EQ(count, NODES);
}

WTEST(wheel, check_finds_damage) {
    struct wheel_node a = {0}, b = {0};
    wheel_init(&wheel, 50 * TICK);
    wheel_start(&wheel, &a, 60 * TICK);
    wheel_start(&wheel, &b, 60 * TICK);
    check_valid();
    static struct wheel saved;
    struct wheel_node saved_a = a;
    memcpy(&saved, &wheel, sizeof saved);
#define CHECK_FINDS(damage)                                                                        \
    do {                                                                                           \
        damage;                                                                                    \
        CHECK_MSG(wheel_check(&wheel) != NULL, "not found: %s", #damage);                          \
        memcpy(&wheel, &saved, sizeof saved);                                                      \
        a = saved_a;                                                                               \
        check_valid();                                                                             \
    } while (0)
    CHECK_FINDS(wheel.count++);
    CHECK_FINDS(wheel.count--);
    CHECK_FINDS(wheel.occupied[0] = 0);
    CHECK_FINDS(wheel.occupied[3] = 1);
    CHECK_FINDS(wheel.occupied[WHEEL_LEVELS] = 4);
    CHECK_FINDS(a.deadline_ns += TICK);
    CHECK_FINDS(a.deadline_ns = TICK);
    CHECK_FINDS(a.next = &a);
    CHECK_FINDS(a.next = NULL);
    CHECK_FINDS(wheel.now_ns += 64 * TICK);
    CHECK_FINDS(wheel.now_ns = NEVER);
    wheel_advance(&wheel, 60 * TICK);
    memcpy(&saved, &wheel, sizeof saved);
    saved_a = a;
    CHECK_FINDS(a.deadline_ns += 1);
#undef CHECK_FINDS
}
