#!/usr/bin/env python3
"""Fuzzes, and tells what came of it.

    run.py [MINUTES] [TARGET ...]     each target for so long (default: 5), one per CPU at a time
    run.py --keep [TARGET ...]        what was found becomes the corpus that the tests replay

Starts from tests/fuzz/corpus/TARGET and what earlier runs found, in build/fuzz/corpus/TARGET.
Exit status 1 when there was a finding."""
import datetime
import os
import pathlib
import re
import resource
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "fuzz"
KEPT = HERE / "corpus"
FOUND = BUILD / "corpus"

LENGTH = {"http": 2048, "kv": 2048, "resp": 2048, "address": 200}  # -max_len; others 512
ENVIRONMENT = dict(
    os.environ,
    ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:handle_abort=0",
    UBSAN_OPTIONS="print_stacktrace=1",
)


def targets():
    names = (path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.c"))
    return sorted(name for name in names if "_" not in name)


def arguments(target):
    """Of libFuzzer, whatever is done with the target."""
    dictionary = HERE / f"{target}.dict"
    return [
        str(BUILD / "tests" / f"fuzz-{target}"),
        f"-max_len={LENGTH.get(target, 512)}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={BUILD}/{target}-",
    ] + ([f"-dict={dictionary}"] if dictionary.exists() else [])


class Run:
    """One target, run once."""

    def __init__(self, target, seconds):
        self.target = target
        self.log = BUILD / f"{target}.log"
        (FOUND / target).mkdir(parents=True, exist_ok=True)
        command = arguments(target) + [
            f"-max_total_time={seconds}",
            "-print_final_stats=1",
            str(FOUND / target),
        ]
        if (KEPT / target).exists():
            command.append(str(KEPT / target))
        began = time.monotonic()
        with open(self.log, "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT, cwd=BUILD)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.failed = process.returncode != 0
        self.seconds = time.monotonic() - began
        self.cpu_minutes = (usage.ru_utime + usage.ru_stime) / 60
        text = self.log.read_text(errors="replace")
        self.executions = int((re.findall(r"number_of_executed_units: *(\d+)", text) or ["0"])[-1])
        self.coverage = (re.findall(r" cov: (\d+)", text) or ["0"])[-1]
        self.artifacts = re.findall(r"Test unit written to (\S+)", text)
        # A busy machine makes inputs slow; what never ends is a timeout, and counts.
        self.artifacts = [path for path in self.artifacts if "slow-unit-" not in path]

    def tell(self):
        print(
            f"{self.target:10} {self.executions:10} executions  "
            f"{self.executions / self.seconds:8.0f}/s  coverage {self.coverage:>5}  "
            f"corpus {len(list((FOUND / self.target).iterdir())):5}  "
            + ("FAIL" if self.failed else "ok"),
            flush=True,
        )
        if self.failed:
            print("".join(self.log.read_text(errors="replace").splitlines(True)[-40:]))
            for artifact in self.artifacts:
                print(f"replay: {arguments(self.target)[0]} {artifact}")

    def ledger(self):
        day = datetime.date.today().isoformat()
        findings = len(self.artifacts) or int(self.failed)
        minutes = f"{self.seconds / 60:.1f} | {self.cpu_minutes:.1f}"
        return f"| {day} | {self.target} | {minutes} | {self.executions} | {findings} |"


def fuzz(chosen, minutes):
    waiting, done, lock = list(chosen), [], threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                target = waiting.pop(0)
            run = Run(target, max(1, round(minutes * 60)))
            with lock:
                run.tell()
                done.append(run)

    workers = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("\n| Date | Target | Minutes | CPU minutes | Executions | Findings |")
    for run in sorted(done, key=lambda run: run.target):
        print(run.ledger())
    return any(run.failed for run in done)


def keep(chosen):
    """The fewest and smallest inputs that cover what all of them do. Those with a telling name, as
    findings have, stay."""
    for target in chosen:
        fresh = BUILD / "merge" / target
        fresh.mkdir(parents=True, exist_ok=True)
        for path in fresh.iterdir():
            path.unlink()
        sources = [str(path) for path in (KEPT / target, FOUND / target) if path.exists()]
        subprocess.run(
            arguments(target) + ["-set_cover_merge=1", str(fresh)] + sources,
            check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        (KEPT / target).mkdir(parents=True, exist_ok=True)
        for path in (KEPT / target).iterdir():
            if re.fullmatch(r"[0-9a-f]{40}", path.name):
                path.unlink()
        for path in fresh.iterdir():
            path.rename(KEPT / target / path.name)
        kept = list((KEPT / target).iterdir())
        print(f"{target:10} {len(kept)} inputs, {sum(path.stat().st_size for path in kept)} bytes")


def main():
    words = sys.argv[1:]
    is_keep = words[:1] == ["--keep"]
    minutes = 5.0
    if is_keep:
        words.pop(0)
    elif words and re.fullmatch(r"[0-9.]+", words[0]):
        minutes = float(words.pop(0))
    unknown = set(words) - set(targets())
    if unknown:
        sys.exit(f"fuzz: no target {', '.join(sorted(unknown))}; there are {', '.join(targets())}")
    # A core of ASan's shadow is 20 TiB.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    chosen = words or targets()
    if is_keep:
        keep(chosen)
        return 0
    return int(fuzz(chosen, minutes))


if __name__ == "__main__":
    sys.exit(main())
