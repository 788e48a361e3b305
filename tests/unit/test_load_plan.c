/* What the load generator computes rather than keeps: when a request is due and whose it is, and
 * how long each message is. */
#include "wtest.h"

/* As in test_histogram.c. */
#include "load/schedule.h"
#include "load/sizes.c"

static const schedule plan = {
    .start_ns = 5, .rate = 3, .turns = 7, .measured = 11, .end = UINT64_C(3) * 86400 * 365};

WTEST(load_plan, due_without_drift) {
    CHECK_EQ(schedule_due_ns(&plan, 0), 5);
    CHECK_EQ(schedule_due_ns(&plan, 1), 5 + 333333333);
    CHECK_EQ(schedule_due_ns(&plan, 2), 5 + 666666666);
    CHECK_EQ(schedule_due_ns(&plan, plan.end), 5 + 86400 * 365 * CLI_NS_PER_SEC);
    schedule fast = {.rate = CLI_NS_PER_SEC, .turns = 1};
    CHECK_EQ(schedule_due_ns(&fast, UINT64_MAX), UINT64_MAX);
}

WTEST(load_plan, requests_of_a_time_are_those_due_in_it) {
    static const uint64_t rates[] = {1, 3, 1700, 999999937, CLI_NS_PER_SEC};
    static const uint64_t times[] = {0, 1, 333333333, 333333334, CLI_NS_PER_SEC, 86399999999999};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        for (size_t j = 0; j < sizeof times / sizeof *times; j++) {
            schedule s = {.rate = rates[i], .turns = 1};
            uint64_t n = schedule_requests_in(s.rate, times[j]);
            CHECK(n == 0 || schedule_due_ns(&s, n - 1) < times[j]);
            CHECK(schedule_due_ns(&s, n) >= times[j]);
        }
    }
}

WTEST(load_plan, shares_are_those_of_the_requests_counted) {
    schedule s = {.rate = 1, .turns = 7};
    for (s.measured = 0; s.measured < 30; s.measured++) {
        for (s.end = s.measured; s.end < 40; s.end++) {
            uint64_t shares[7] = {0};
            for (uint64_t request = s.measured; request < s.end; request++)
                shares[request % s.turns]++;
            for (uint64_t turn = 0; turn < s.turns; turn++)
                CHECK_EQ(schedule_share(&s, turn), shares[turn]);
        }
    }
}

WTEST(load_plan, sizes_by_weight_and_alike_in_every_run) {
    sizes s;
    CHECK_EQ(sizes_parse("10:1,20:2,30:5", &s), 0);
    CHECK(sizes_mean(&s) == 25);
    unsigned counts[4] = {0};
    sizes_cursor first, again, other;
    sizes_rewind(&first, 3);
    sizes_rewind(&again, 3);
    sizes_rewind(&other, 4);
    bool differ = false;
    for (uint64_t i = 1, end = 0; i <= 80000; i++) {
        sizes_step(&s, &first);
        sizes_step(&s, &again);
        sizes_step(&s, &other);
        CHECK_EQ(first.number, i);
        CHECK_EQ(first.end, again.end);
        differ |= first.end != other.end;
        counts[(first.end - end) / 10]++;
        end = first.end;
    }
    CHECK(differ);
    for (unsigned i = 0; i < 3; i++) {
        unsigned expected = (s.upto[i] - (i > 0 ? s.upto[i - 1] : 0)) * 10000;
        CHECK(counts[i + 1] > expected / 10 * 9 && counts[i + 1] < expected / 10 * 11);
    }
}
