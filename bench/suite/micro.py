"""Figures of weft-micro: a process per round, in which every contender runs once, in shuffled order.

Each benchmark is named family/case/who (or family/case/part/who), reports its figure as a counter of that name, and says in
its label what unit that has and which is better."""

import json
import re
import subprocess

from measurement import Failure, Measurement
from servers import program

# figure: (title, seconds, {family of weft-micro: what its figure is}, what ratios refer to)
FAMILIES = {
    "post": ("Tasks posted from foreign threads", 25, {"post": "posts"}, "libuv"),
    "wakeup": ("Two threads that wake each other", 15, {"wakeup": "round trip"}, "raw epoll"),
    "call": ("A call that waits for its answer", 6, {"call": "round trip"}, "raw epoll"),
    "timers": ("Timers", 25, {"timers": "per timer"}, "libuv"),
    "libuv_names": ("libuv's own benchmarks", 30, {
        "async_pummel_1": "callbacks", "async_pummel_2": "callbacks",
        "async_pummel_4": "callbacks", "million_async": "callbacks",
        "million_timers": "per timer", "ping_pongs": "round trip",
        "tcp_write_batch": "writes"}, "libuv"),
    "stream_write": ("Ways of writing", 10, {"stream_write": "per write"}, "raw epoll"),
    "transfer": ("16 MiB at a time: copied, lent, from a file", 12, {"transfer": "transfer"},
                 "raw epoll"),
    "sends": ("Messages from foreign threads to one connection", 15, {"sends": "messages"},
              "libuv"),
    "moves": ("Streams that go to another worker and back", 5, {"moves": "journey"}, "weft"),
    "selector": ("The selector by itself", 10, {"selector": "per fd"}, "raw epoll"),
    "directory": ("Look-ups by key", 15, {"directory": "look-ups"}, "mutex table"),
    "signal": ("100 000 queued signals", 12, {"signal": "signals"}, "raw epoll"),
    "spawn": ("Children one after the other", 15, {"spawn": "spawns"}, "raw epoll"),
    "exits": ("Children that end", 20, {"exits": "per child"}, "raw epoll"),
    "queue": ("The cross-thread queue by itself", 12, {"queue": "pushes"}, "mutex list"),
}

# What is left out but for --full: libuv takes ten seconds for 3 000 children, one after the other.
SHORTER = {"exits": "^exits/(10+_at_once|1000_one_by_one)/"}

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


def command_of(m, *options):
    only = m.only or f"^({'|'.join(m.families)})/"
    return [program(m.budget.build_dir, "weft-micro"), f"--benchmark_filter={only}", *options]


def output_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failure(f"weft-micro exited with {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def run_round(m):
    """Benchmarks by name; their order was another one."""
    command = command_of(m, "--benchmark_repetitions=1", "--benchmark_report_aggregates_only=false",
                         "--benchmark_enable_random_interleaving=true", "--benchmark_format=json")
    m.ran(command)
    return {b["name"].split("/iterations")[0]: b for b in json.loads(output_of(command))["benchmarks"]}


def add_benchmark(m, b):
    family, *cases, who = b["name"].split("/iterations")[0].split("/")
    case = words(", ".join(cases))
    if len(m.families) > 1:  # whose names are to be found
        case = family if len(cases) == 1 and not cases[0][0].isdigit() else f"{family}, {case}"
    unit, _, better = b.get("label", "").rpartition(" ")
    found = LEADING_NUMBER.match(case)
    value = None if b.get("error_occurred") else b["figure"]
    m.add(case, who_of(who), m.families[family], value, x=int(found[0]) if found else None,
          unit=unit, better=better)
    if "lost" in b:
        m.add(case, who_of(who), "lost", b["lost"], unit="signals", better="lower")


def family(name):
    title, seconds, families, reference = FAMILIES[name]

    def measure(budget):
        m = Measurement(budget, name, title, reference, seconds)
        fill(m, families, None if budget.scale > 1 else SHORTER.get(name))
        return m.result()
    return measure


def fill(m, families, only=None):
    """The records of these families, or of what matches the regular expression among them."""
    m.families, m.only = families, only
    listed = output_of(command_of(m, "--benchmark_list_tests")).split()
    names = [text.split("/iterations")[0] for text in listed]
    for _ in m.rounds():
        benchmarks = run_round(m)
        for each in names:
            if each in benchmarks:
                add_benchmark(m, benchmarks[each])
    give_labels(m.records)


def give_labels(records):
    """One that could not run has said nothing: it has its neighbours' unit."""
    for record in records.values():
        for other in records.values():
            same = (other["case"], other["metric"]) == (record["case"], record["metric"])
            if same and other["unit"] and not record["unit"]:
                record.update(unit=other["unit"], better=other["better"])
