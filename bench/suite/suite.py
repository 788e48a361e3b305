#!/usr/bin/env python3
"""Measures what weft promises, beside libuv and the bare system calls, and reports it: ./run bench.

Without names every figure is measured, in about ten minutes (--quick: two, --full: forty), and the
report is written. With names, only those, as tables.

exit: 0 measured; 1 bytes differ, a server died, a program failed; 2 usage, or not built.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import counts  # noqa: E402 (beside us, not installed)
import environment  # noqa: E402
import goals  # noqa: E402
import load  # noqa: E402
import memory  # noqa: E402
import micro  # noqa: E402
import pages  # noqa: E402
import redis  # noqa: E402
from measurement import Budget, Failure, Usage, exit_status  # noqa: E402
from servers import program  # noqa: E402
import charts  # noqa: E402 (in ../report, as measurement says)
import render  # noqa: E402
import terminal  # noqa: E402

BUDGETS = {"quick": 0.15, "standard": 1.0, "full": 4.0}

# In the order of the report: what cannot be noise, then what users see, then the parts.
FIGURES = {
    "instructions": counts.instructions, "syscalls": counts.syscalls, "memory": memory.memory,
    "echo": load.echo, "two_workers": load.two_workers, "pipeline": load.pipeline,
    "mixed": load.mixed, "churn": load.churn, "latency": load.latency, "scaling": load.scaling,
    **{name: micro.family(name) for name in micro.FAMILIES},
    "http": pages.http_pages, "redis": redis.redis,
}

QUICK = ["instructions", "syscalls", "memory", "echo", "pipeline", "churn", "latency", "scaling",
         "post", "wakeup", "timers", "signal", "spawn"]
BY_NAME_ONLY = {"spinning": load.spinning, "ablations": load.ablations}
ALL = {**FIGURES, **BY_NAME_ONLY}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0],
        epilog=f"figures: {', '.join([*ALL, 'accept'])}")
    parser.add_argument("names", nargs="*", metavar="FIGURE", help="only these, as tables")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="budget", action="store_const", const="quick",
                      help="about two minutes")
    size.add_argument("--full", dest="budget", action="store_const", const="full",
                      help="about forty minutes")
    parser.add_argument("--build-dir", default="build/release")
    parser.add_argument("--out", default="build/bench", metavar="DIR",
                        help="where the report goes (%(default)s)")
    parser.add_argument("--keep", metavar="NAME",
                        help="keep the report, and README's chart, in docs/benchmarks/NAME")
    args = parser.parse_args()
    if args.keep and args.names:
        parser.error("--keep keeps a whole report: it takes no figures")
    if args.keep:
        args.out = os.path.join("docs", "benchmarks", args.keep)
    args.budget = args.budget or "standard"
    unknown = [n for n in args.names if n not in (*ALL, "accept")]
    if unknown:
        parser.error(f"no figure named {', '.join(unknown)}; there are {', '.join(FIGURES)}, and by "
                     f"name alone {', '.join(BY_NAME_ONLY)}, accept")
    return args


def say(text):
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def measure(budget, names):
    """One that cannot be measured here is named, and the rest goes on."""
    found = []
    for name in names:
        say(name)
        try:
            found.append(ALL[name](budget))
        except Usage as problem:
            say(f"{name} is left out: {problem}")
    return found


def results_of(args, figures):
    return {
        "weft": {"version": environment.weft_version(args.build_dir),
                 "commit": environment.commit()},
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": "./run bench" + ("" if args.budget == "standard" else f" --{args.budget}"),
        "budget": args.budget, "seconds": round(time.monotonic() - STARTED),
        "machine": args.machine, "figures": figures, "goals": goals.judge(figures)}


def report(args, figures):
    os.makedirs(args.out, exist_ok=True)
    results = results_of(args, figures)
    path = os.path.join(args.out, "results.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, separators=(",", ":"))
        file.write("\n")
    where = render.report(results, path, args.out)
    if args.keep:
        render.write(os.path.join(args.out, "echo.svg"), charts.readme_svg(results))
    print(terminal.summary(results, where))


def show_by_name(args, budget):
    for name in args.names:
        if name == "accept":  # distributions, not a comparison: a table of its own
            if subprocess.run([program(args.build_dir, "weft-accept")], check=False).returncode:
                raise Failure("weft-accept did not end well")
            continue
        for figure in measure(budget, [name]):
            print(terminal.table(figure))
            for goal in goals.judge([figure]):
                print(f"goal, {goal['verdict']}: {goal['goal']}: {goal['measured']}")


def run(args):
    budget = Budget(args.build_dir, BUDGETS[args.budget], sys.stderr.isatty())
    args.machine = environment.machine(args.build_dir)
    if args.names:
        show_by_name(args, budget)
    else:
        report(args, measure(budget, QUICK if args.budget == "quick" else FIGURES))


STARTED = time.monotonic()
if __name__ == "__main__":
    sys.exit(exit_status("bench", lambda: run(parse_arguments())))
