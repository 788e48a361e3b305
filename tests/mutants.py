#!/usr/bin/env python3
"""Each seeded bug against the test that is there for it.

    mutants.py BUILD_DIR TSAN_BUILD_DIR [--budget SECONDS [--seed TEXT]] [ID_REGEX ...]

A test counts as evidence only when it passes on the library as it is and fails with the bug alive:
by a failed check, a crash, or not coming to an end. The table is mutants.txt; a bug in the sources
that it does not list, or one listed that is not in the sources, is an error. An id behind "tsan:"
is a bug that only ThreadSanitizer can see.

--budget is for when all tests have just passed: without the bug it runs those alone that did not
end with it, and leaves undecided who takes long. It begins none after that many seconds; the seed
decides who comes first, so that none is left out for ever.
"""

import argparse
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
HEALTHY_S = 300
QUICK_S, QUICK_HEALTHY_S = 2, 0.5


class Mutant:
    def __init__(self, row):
        self.id, self.bug, self.test = (field.strip() for field in row.split("|"))
        self.under_tsan = self.id.startswith("tsan:")
        self.id = self.id.removeprefix("tsan:")
        self.program = None


def read_table():
    with open(os.path.join(HERE, "mutants.txt"), encoding="ascii") as file:
        rows = [line.split("#")[0].strip() for line in file]
    return [Mutant(row) for row in rows if row]


def seeded_ids():
    ids = set()
    for folder, _, files in os.walk(os.path.join(HERE, "..", "lib")):
        for name in files:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                ids.update(re.findall(r'MUTANT\("([^"]+)"\)', file.read()))
    return ids


def differences(mutants):
    """Between the table and the sources."""
    listed = [mutant.id for mutant in mutants]
    seeded = seeded_ids()
    return ([f"in lib, but not in mutants.txt: {id}" for id in sorted(seeded - set(listed))] +
            [f"in mutants.txt, but not in lib: {id}" for id in sorted(set(listed) - seeded)] +
            [f"twice in mutants.txt: {id}" for id in sorted({i for i in listed if listed.count(i) > 1})])


def programs_of(build):
    """Which program has a test."""
    folder, programs = os.path.join(build, "tests"), {}
    for name in os.listdir(folder):
        if name.endswith("-plain"):
            path = os.path.join(folder, name)
            listed = subprocess.run([path, "--list"], stdout=subprocess.PIPE, text=True, check=True)
            programs.update(dict.fromkeys(listed.stdout.split(), path))
    return programs


def run(mutant, limit, alive):
    """The exit status, or None when it does not end; what it said; the seconds that it took."""
    environment = dict(os.environ, WEFT_MUTANT=mutant.id if alive else "")
    start = time.monotonic()
    # A session of its own: what a test leaves behind ends with it.
    process = subprocess.Popen([mutant.program, mutant.test], env=environment, text=True,
                               errors="replace", start_new_session=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    status, said = None, ""
    try:
        said, _ = process.communicate(timeout=limit)
        status = process.returncode
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()
    return status, said, time.monotonic() - start


class Trial:
    def __init__(self, budget):
        self.ends = None if budget is None else time.monotonic() + budget
        self.lock, self.locks, self.healthy_s = threading.Lock(), {}, {}

    def healthy(self, mutant):
        """The seconds that the test takes without the bug, measured once; None when it fails."""
        key = mutant.program, mutant.test
        with self.lock:
            lock = self.locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self.healthy_s:
                status, said, seconds = run(mutant, HEALTHY_S, alive=False)
                self.healthy_s[key] = seconds if status == 0 else None
                if status != 0:
                    print(said, end="", flush=True)
            return self.healthy_s[key]

    def quick(self, mutant):
        if time.monotonic() > self.ends:
            return "undecided", 0
        status, _, seconds = run(mutant, QUICK_S, alive=True)
        if status is not None:
            return "caught" if status else "SURVIVED", seconds
        status, _, _ = run(mutant, QUICK_HEALTHY_S, alive=False)
        return "caught (no end)" if status == 0 else "undecided", seconds

    def whole(self, mutant):
        healthy_s = self.healthy(mutant)
        if healthy_s is None:
            return "ERROR: fails without the bug", 0
        status, _, seconds = run(mutant, 5 + 8 * healthy_s, alive=True)
        return {None: "caught (no end)", 0: "SURVIVED"}.get(status, "caught"), seconds

    def verdict(self, mutant):
        """A word and perhaps more, and the seconds that the test took with the bug."""
        if not mutant.program:
            return "ERROR: no such test", 0
        return self.whole(mutant) if self.ends is None else self.quick(mutant)


def read_arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build")
    parser.add_argument("tsan_build")
    parser.add_argument("--budget", type=float)
    parser.add_argument("--seed", default="")
    parser.add_argument("ids", nargs="*")
    return parser.parse_args()


def main():
    arguments = read_arguments()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mutants = read_table()
    errors = differences(mutants)
    programs, tsan_programs = programs_of(arguments.build), programs_of(arguments.tsan_build)
    for mutant in mutants:
        mutant.program = (tsan_programs if mutant.under_tsan else programs).get(mutant.test)
    if arguments.ids:
        mutants = [m for m in mutants if any(re.fullmatch(i, m.id) for i in arguments.ids)]
    terse = arguments.budget is not None
    if terse:
        mutants.sort(key=lambda m: hashlib.sha256((arguments.seed + m.id).encode()).digest())

    trial = Trial(arguments.budget)
    counts = dict.fromkeys(("caught", "SURVIVED", "ERROR", "undecided"), 0)
    # More than there are CPUs, since those that come to no end mostly sleep.
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        for mutant, (verdict, seconds) in zip(mutants, pool.map(trial.verdict, mutants)):
            word = re.match(r"\w+", verdict)[0]
            counts[word] += 1
            if not terse or word in ("SURVIVED", "ERROR"):
                print(f"{mutant.id:28} {mutant.bug:52} {mutant.test:44} {seconds:5.1f} s  {verdict}",
                      flush=True)
    for error in errors:
        print("ERROR", error)
    caught, failed = counts["caught"], counts["SURVIVED"] + counts["ERROR"] + len(errors)
    print(f"mutants: {len(mutants) - counts['undecided']} of {len(mutants)} checked, {caught} caught")
    print(f"{caught} passed, {failed} failed")
    return failed > 0 or caught == 0


if __name__ == "__main__":
    sys.exit(main())
