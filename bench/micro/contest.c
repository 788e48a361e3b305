#include "micro/contest.h"

#include "micro/shim.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *label;
    double ns; /* that a figure of 1 is, for one operation or byte */
    bool per_second;
} units[] = {
    [MILLIONS_PER_S] = {"M/s higher", 1e3, true},
    [THOUSANDS_PER_S] = {"k/s higher", 1e6, true},
    [PER_S] = {"1/s higher", 1e9, true},
    [US] = {"us lower", 1e3, false},
    [NS] = {"ns lower", 1, false},
    [GB_PER_S] = {"GB/s higher", 1, true},
    [MS_PER_GB] = {"ms/GB lower", 1e-3, false},
};

/* The last run of a contender. Each of its figures is told once; then it takes a new run. */
static struct pass {
    struct pass *next;
    struct contest contest;
    const struct contender *contender;
    double figures[APART_FIGURES];
    struct benchmark {
        struct pass *pass;
        bool is_told;
    } benchmarks[APART_FIGURES];
} * passes;

static void tell(struct bench_state *s, const struct pass *p, unsigned number) {
    enum unit unit = p->contest.cases[number].unit;
    double figure = p->figures[number];
    bench_took(s,
               (units[unit].per_second ? units[unit].ns / figure : units[unit].ns * figure) / 1e9);
    bench_counter(s, "figure", figure);
    bench_label(s, units[unit].label);
    for (unsigned i = 1; number == 0 && i < APART_FIGURES; i++)
        if (p->contest.cases[i].name && p->contest.cases[i].unit == COUNTER &&
            !isnan(p->figures[i]))
            bench_counter(s, p->contest.cases[i].name, p->figures[i]);
}

static void measure(struct bench_state *s, void *arg) {
    struct benchmark *b = arg;
    struct pass *p = b->pass;
    unsigned number = (unsigned)(b - p->benchmarks);
    if (b->is_told) {
        apart_run(p->contender->run, p->contest.arg, p->figures);
        for (unsigned i = 0; i < APART_FIGURES; i++)
            p->benchmarks[i].is_told = false;
    }
    b->is_told = true;
    if (p->figures[0] > 0 && p->figures[number] > 0)
        tell(s, p, number);
    else
        bench_give_up(s, "cannot be run here");
}

static void register_contender(const struct contest *c, const struct contender *contender) {
    struct pass *p = malloc(sizeof *p);
    must_call("malloc", p ? 0 : -1);
    *p = (struct pass){.next = passes, .contest = *c, .contender = contender};
    passes = p;
    for (unsigned i = 0; i < APART_FIGURES; i++) {
        char name[96];
        if (!c->cases[i].name || c->cases[i].unit == COUNTER)
            continue;
        p->benchmarks[i] = (struct benchmark){.pass = p, .is_told = true};
        snprintf(name, sizeof name, "%s/%s/%s", c->family, c->cases[i].name, contender->name);
        bench_register(name, measure, &p->benchmarks[i]);
    }
}

void contest_register(const struct contest *contest) {
    for (unsigned i = 0; i < contest->count; i++)
        register_contender(contest, &contest->contenders[i]);
}
