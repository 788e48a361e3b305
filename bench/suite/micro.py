"""Figures of weft-micro: a process per round, in which every contender runs once, in shuffled order.

Each benchmark is named family/case/who (or family/case/part/who), reports its figure as a counter of that name, and says in
its label what unit that has and which is better."""

import json
import re
import subprocess

from measurement import Failure, Measurement
from servers import program

# figure: (title, what is measured, seconds, family or families of weft-micro)
FAMILIES = {
    "post": ("Tasks posted from foreign threads", "posts", 30, ["post"]),
    "queue": ("The cross-thread queue by itself", "pushes", 25, ["queue"]),
    "wakeup": ("Two threads that wake each other", "round trip", 15, ["wakeup"]),
    "call": ("A call that waits for its answer", "round trip", 6, ["call"]),
    "timers": ("Timers", "per timer", 25, ["timers"]),
    "selector": ("The selector by itself", "per fd", 10, ["selector"]),
    "directory": ("Look-ups by key", "look-ups", 15, ["directory"]),
    "stream_write": ("Ways of writing", "per write", 10, ["stream_write"]),
    "transfer": ("16 MiB at a time: copied, lent, from a file", "CPU", 12, ["transfer"]),
    "sends": ("Messages from foreign threads to one connection", "messages", 15, ["sends"]),
    "moves": ("Streams that go to another worker and back", "journey", 5, ["moves"]),
    "signal": ("100 000 queued signals", "signals", 15, ["signal"]),
    "spawn": ("Children one after the other", "spawns", 20, ["spawn"]),
    "exits": ("Children that end at once", "per child", 20, ["exits"]),
    "libuv_names": ("libuv's own benchmarks", "callbacks", 30,
                    ["async_pummel_.*", "million_async", "million_timers", "ping_pongs",
                     "tcp_write_batch"]),
}

LEADING_NUMBER = re.compile(r"\d+")
NAMES = {"raw": "raw epoll", "libuv": "libuv"}


def words(text):
    return text.replace("_", " ")


def who_of(text):
    """weft-micro's names, as the servers are called elsewhere: "libuv_gathered" is a libuv."""
    name = NAMES.get(text, words(text))
    for family in "libuv", "libev", "weft":
        if name.startswith(family + " "):
            return f"{family}, {name[len(family) + 1:]}"
    return name


def run_round(m, families):
    command = [program(m.budget.build_dir, "weft-micro"),
               f"--benchmark_filter=^({'|'.join(families)})/", "--benchmark_repetitions=1",
               "--benchmark_enable_random_interleaving=true", "--benchmark_format=json",
               "--benchmark_report_aggregates_only=false"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failure(f"weft-micro exited with {done.returncode}\n{done.stderr.strip()}")
    m.ran(command)
    return json.loads(done.stdout)["benchmarks"]


def add_benchmark(m, metric, b):
    name = b["name"].split("/iterations")[0]
    family, *cases, who = name.split("/")
    case = words(", ".join(cases))
    if len(m.families) > 1:
        case = f"{family}: {case}"
    unit, _, better = b.get("label", "").rpartition(" ")
    found = LEADING_NUMBER.match(case)
    value = None if b.get("error_occurred") else b["figure"]
    m.add(case, who_of(who), metric, value, x=int(found[0]) if found else None, unit=unit,
          better=better)


def family(name):
    title, metric, seconds, families = FAMILIES[name]

    def measure(budget):
        m = Measurement(budget, name, title, None, seconds)
        m.families = families
        for _ in m.rounds():
            for b in run_round(m, families):
                add_benchmark(m, metric, b)
        for record in m.records.values(): # one that cannot run says so without a label
            others = [r for r in m.records.values() if r["case"] == record["case"] and r["unit"]]
            if not record["unit"] and others:
                record.update(unit=others[0]["unit"], better=others[0]["better"])
        return m.result()
    return measure
