"""What weft promises, as ratios within rounds and as counts, and whether a run held it.

A ratio is held when its median keeps the bound; unclear when only the median breaks it and its
quartiles do not both; missed when the whole of the quartiles lies beyond. A count is exact: it is
held or missed. Why a goal is missed, and what was tried, stands in docs/performance.md."""

from measurement import ratio_text, ratios, spread  # which knows the way to
from records import find, number

WEFT, RAW, EDGE = "weft", "raw epoll", "raw epoll, edge"
TRY, WRITE, EV, UV = "libuv, uv_try_write", "libuv, uv_write", "libev", "libuv"


def within(rule, found, touches=False):
    """The verdict on a ratio's (median, lower, upper quartile)."""
    if not found:
        return "not measured", "-"
    median, q1, q3 = found
    best, worst = (q3, q1) if rule.upwards else (q1, q3)

    def keeps(value):
        return value >= rule.bound if rule.upwards else value <= rule.bound
    if keeps(median) or (touches and keeps(best)):
        return "held", ratio_text(found)
    return "unclear" if keeps(best) and best != worst else "missed", ratio_text(found)


class Ratio:
    """`who` / `other` by one metric in one case, against a bound."""

    def __init__(self, case, metric, other, at_most=None, at_least=None, who=WEFT, touches=False):
        self.case, self.metric, self.who, self.other = case, metric, who, other
        self.bound = at_most if at_least is None else at_least
        self.upwards = at_least is not None
        self.touches = touches  # it is enough that a quartile keeps the bound

    def text(self):
        word = "at least" if self.upwards else "at most"
        reach = " (a quartile is enough)" if self.touches else ""
        return (f"{self.metric}, {self.case}: {self.who} ÷ {self.other} {word} {self.bound:g}"
                f"{reach}")

    def judge(self, figure):
        own, other = (find(figure, self.case, self.metric, who) for who in (self.who, self.other))
        return within(self, spread(ratios(own, other)) if own and other else None, self.touches)


class Growth:
    """One contender in one case / the same in another."""

    def __init__(self, case, other_case, metric, at_most=None, at_least=None, who=WEFT):
        self.case, self.other_case, self.metric, self.who = case, other_case, metric, who
        self.bound = at_most if at_least is None else at_least
        self.upwards = at_least is not None

    def text(self):
        word = "at least" if self.upwards else "at most"
        return (f"{self.metric} of {self.who}: {self.case} ÷ {self.other_case} {word} "
                f"{self.bound:g}")

    def judge(self, figure):
        if self.case in figure.get("shared", []):
            return "not measured", "needs CPUs of its own for the generator"
        own, other = (find(figure, case, self.metric, self.who)
                      for case in (self.case, self.other_case))
        return within(self, spread(ratios(own, other)) if own and other else None)


class Count:
    """A figure by itself, against a bound."""

    def __init__(self, case, metric, at_most=None, at_least=None, who=WEFT):
        self.case, self.metric, self.who = case, metric, who
        self.bound = at_most if at_least is None else at_least
        self.upwards = at_least is not None

    def text(self):
        word = "at least" if self.upwards else "at most"
        return f"{self.metric}, {self.case}: {self.who} {word} {number(self.bound)}"

    def judge(self, figure):
        record = find(figure, self.case, self.metric, self.who)
        found = spread(record["values"]) if record else None
        if not found:
            return "not measured", "-"
        held = found[0] >= self.bound if self.upwards else found[0] <= self.bound
        return ("held" if held else "missed"), f"{number(found[0])} {record['unit']}"


def echo_goals():
    for case in "1 connection", "50 connections", "1 000 connections":
        yield Ratio(case, "server CPU", RAW, at_most=1.0, touches=True)
        for peer in EV, TRY, WRITE:
            yield Ratio(case, "server CPU", peer, at_most=1.0)
        if case != "1 connection":
            yield Ratio(case, "requests", WRITE, at_least=1.5)


def two_worker_goals():
    for case in "1 connection", "50 connections", "1 000 connections":
        yield Ratio(case, "server CPU", RAW, at_most=1.0, touches=True)
        for peer in EV, TRY:
            yield Ratio(case, "server CPU", peer, at_most=1.0)


GOALS = {
    "echo": list(echo_goals()),
    "two_workers": list(two_worker_goals()),
    "pipeline": [
        Ratio("16 per batch", "requests", RAW, at_least=0.95, who="weft, a write per message"),
        Ratio("16 per batch", "requests", "raw epoll, a send per message", at_least=6,
              who="weft, a write per message")],
    "instructions": [Count("1 connection", "instructions", at_most=220),
                     Count("50 connections", "instructions", at_most=120)],
    # 2 + 1/B: what raw epoll needs has the same B
    "syscalls": [Ratio(case, "system calls", RAW, at_most=1.01)
                 for case in ("1 connection", "50 connections")],
    "churn": [Ratio("50 at a time", "CPU per connection", RAW, at_most=1.0),
              Ratio("50 at a time", "CPU per connection", TRY, at_most=0.95)],
    "latency": [Ratio("70 % of capacity", "p99.9", RAW, at_most=1.05),
                Ratio("70 % of capacity", "p99.9", TRY, at_most=1.0),
                Ratio("70 % of capacity", "p99.9", WRITE, at_most=1.0)],
    "memory": [Count("10 000 idle streams", "memory", at_most=160),
               Count("10 000 idle streams", "memory", at_most=160, who="weft, with both")],
    "scaling": [Growth(f"{n} workers", "1 worker", "requests", at_least=0.9 * n if n > 2 else 1.9)
                for n in (2, 4, 8)],
    "post": [
        *(Ratio(f"{n} threads", "posts", "raw weft queue", at_least=0.9) for n in (1, 2, 4, 8)),
        Ratio("1 threads", "posts", "wfcqueue", at_least=0.9),
        *(Ratio(f"{n} threads", "posts", UV, at_least=2) for n in (2, 4, 8))],
    "libuv_names": [Ratio(f"async_pummel_{n}", "callbacks", UV, at_least=50)
                    for n in (1, 2, 4)],
    "wakeup": [Ratio("two cpus", "round trip", RAW, at_most=1.05),
               Count("two cpus", "round trip", at_most=1.0, who="weft, spinning")],
    "timers": [
        *(Ratio(f"1M, {phase}", "per timer", UV, at_most=0.1, who=who)
          for phase, who in (("start", "weft, start at"), ("restart", "weft, start at"),
                             ("stop", WEFT))),
        *(Ratio(f"1M, {phase}", "per timer", UV, at_most=0.2) for phase in ("start", "expire"))],
    "signal": [Count("100k queued", "lost", at_most=0),
               Ratio("100k queued", "signals", RAW, at_least=0.7)],
    "spawn": [Ratio(f"{case} parent", "spawns", RAW, at_least=0.95) for case in ("small", "1 GiB")],
    # Linear in the children; where it is quadratic, a child among a hundred times as many costs a
    # hundred times as much.
    "exits": [Growth("10000 at once", "100 at once", "per child", at_most=2)],
    "redis": [Ratio(case, "requests", "redis-server", at_least=1.0)
              for case in ("SET, 1 per batch", "GET, 1 per batch", "SET, 16 per batch",
                           "GET, 16 per batch")],
}


def goal(figure, rule, verdict, measured):
    return {"figure": figure, "goal": rule.text(), "verdict": verdict, "measured": measured,
            "why": WHY.get((figure, rule.metric), "") if verdict == "missed" else ""}


# In a sentence or two; docs/performance.md has the rest. By figure and metric.
WHY = {
    ("instructions", "instructions"):
        "78 of them at one connection are liburcu's read-side section, entered for each iteration: "
        "two functions in a shared library, three look-ups of thread-local storage. The same program "
        "linked with liburcu-memb.a needs 199.",
    ("memory", "memory"):
        "Of the bytes, 64 are the mailbox of a stream whose id was asked for: one cache line, in "
        "which foreign threads leave messages while the stream's own memory may go.",
    ("post", "posts"):
        "The raw queue has no runtime above it, and its push is compiled into the loop that posts. "
        "weft_post is a call that looks at its arguments and asks whether the process was forked; "
        "the worker counts each task and notes it for the watchdog.",
    ("timers", "per timer"):
        "A weft_timer has 64 bytes, fixed by the interface; a million of them do not fit into a "
        "cache into which the wheel's bare nodes of 24 bytes do. The wheel by itself needs a "
        "fifteenth of libuv.",
    ("churn", "CPU per connection"):
        "A connection costs one system call more than by hand: EPOLL_CTL_DEL before close(), since a "
        "child between fork and exec may hold a copy of the fd.",
    ("spawn", "spawns"):
        "A spawn wakes two threads, the sentinel and the worker, where a raw loop has one.",
}


def judge(figures):
    """Every goal of these figures, in their order."""
    found = []
    for figure in figures:
        for rule in GOALS.get(figure["name"], []):
            found.append(goal(figure["name"], rule, *rule.judge(figure)))
    return found
