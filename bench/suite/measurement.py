"""A figure while it is measured: rounds within a budget of time, and the records they fill.

    m = Measurement("echo", "Echo of 64 bytes", reference="raw epoll")
    for number in m.rounds():
        for server in rotated(servers, number):
            m.add("50 connections", server.name, "server CPU", cost, x=50)
"""

import os
import shlex
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "report"))
from records import ratios, spread, spread_text, ratio_text  # noqa: E402,F401

METRICS = {  # name: (unit, which is better)
    "requests": ("requests/s", "higher"),
    "connections": ("connections/s", "higher"),
    "server CPU": ("us/request", "lower"),
    "CPU per connection": ("us", "lower"),
    "p50": ("us", "lower"), "p99": ("us", "lower"), "p99.9": ("us", "lower"),
    "context switches": ("per request", "neither"),  # more come with idle time, too
    "system calls": ("per request", "lower"),
    "instructions": ("per request", "lower"),
    "allocations": ("per request", "lower"),
    "memory": ("bytes/stream", "lower"),
}


class Failure(Exception):
    """What was measured is wrong; exit status 1."""


class Usage(Exception):
    """Nothing can be measured; exit status 2."""


def exit_status(name, run):
    """Runs a program's run(): 0, or what its failure is worth, said on stderr.

    A SIGTERM unwinds like ^C, so that no server is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        run()
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        return 1
    except (Usage, OSError) as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def rotated(items, by):
    """The same in another order each round, so that nobody always comes first."""
    by %= len(items)
    return items[by:] + items[:by]


class Budget:
    """How long a figure may take, and how the rest of the suite is told what goes on."""

    def __init__(self, build_dir, scale=1.0, progress=False):
        self.build_dir, self.scale, self.progress = build_dir, scale, progress
        self.slice_s = 0.3 if scale >= 1 else 0.15  # of load on one server

    def show(self, text):
        if self.progress:
            print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)


class Measurement:
    """Collects the records of one figure."""

    def __init__(self, budget, name, title, reference=None, seconds=30.0, least=4, most=1000):
        self.budget, self.name, self.title, self.reference = budget, name, title, reference
        self.seconds, self.most = seconds * budget.scale, most
        self.least = least if budget.scale >= 1 else 3
        self.begun = time.monotonic()
        self.done_rounds = 0
        self.records, self.programs, self.notes = {}, {}, []

    def rounds(self):
        """Numbers, until the time is used up: a round more only if it would fit."""
        begun = time.monotonic()
        for number in range(self.most):
            now = time.monotonic()
            longest = (now - begun) / number if number else 0
            if number >= self.least and now - begun + longest > self.seconds:
                break
            self.budget.show(f"{self.name}: round {number + 1}")
            yield number
            self.done_rounds = number + 1
        self.budget.show("")

    def ran(self, command, **replaced):
        """Remembers a command line for whoever wants to run it; `replaced` names what changes from
        run to run, like the port."""
        words = [str(word) for word in command]
        for name, value in replaced.items():
            words = [word.replace(str(value), name.upper()) for word in words]
        self.programs[shlex.join(words)] = True

    def add(self, case, who, metric, value, x=None, unit=None, better=None):
        known = METRICS.get(metric, (unit, better))
        record = self.records.setdefault((case, who, metric), {
            "case": case, "x": x, "who": who, "metric": metric, "unit": unit or known[0],
            "better": better or known[1], "values": []})
        record["values"].append(value)

    def result(self):
        """As results.json has it (report/records.py)."""
        return {
            "name": self.name, "title": self.title, "command": f"./run bench {self.name}",
            "programs": list(self.programs), "rounds": self.done_rounds,
            "seconds": round(time.monotonic() - self.begun, 1), "reference": self.reference,
            "notes": self.notes, "records": list(self.records.values())}
