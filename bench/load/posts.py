#!/usr/bin/env python3
"""Tasks posted from foreign threads to one worker: weft beside mutex + list + uv_async_send, pair by
pair, with 1, 2 and 4 posting threads. Millions of posts a second, median [min-max]; every task is
counted."""

import argparse
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402 (beside us, not installed)

# name: (program, arguments)
POSTERS = {
    "weft_post": ("post_weft", []),
    "weft_post_fn": ("post_weft", ["--via", "fn"]),
    "mutex + uv_async_send": ("post_uv", []),
}


def post(build_dir, name, threads, tasks, pin=True):
    """Posts a second; every task must have been accepted and run."""
    binary, extra = POSTERS[name]
    command = [os.path.join(build_dir, "bench", binary), "--posters", str(threads), "--tasks",
               str(tasks)] + extra + (["--pin"] if pin else [])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise compare.Failure(f"{binary} exited with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    if report["ran"] != tasks or report["posted"] != tasks:
        raise compare.Failure(f"{name}: {report['posted']} posted, {report['ran']} ran of {tasks}")
    return report["posts_per_s"]


def rates(build_dir, names, threads, tasks, rounds):
    found = {name: [] for name in names}
    for number in range(rounds):
        for name in compare.rotated(list(names), number):
            found[name].append(post(build_dir, name, threads, tasks))
    return found


def span(values, scale=1.0, digits=1):
    return (f"{statistics.median(values) / scale:.{digits}f} "
            f"[{min(values) / scale:.{digits}f}-{max(values) / scale:.{digits}f}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=compare.numbers, default=[1, 2, 4], metavar="N[,N]")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--build-dir", default=os.path.join(compare.HERE, "../../build/release"))
    args = parser.parse_args()
    print(f"{args.tasks} tasks, {args.rounds} rounds; M posts/s, median [min-max]; ratio to libuv")
    for threads in args.threads:
        found = rates(args.build_dir, list(POSTERS), threads, args.tasks, args.rounds)
        base = found["mutex + uv_async_send"]
        for name, values in found.items():
            ratio = [a / b for a, b in zip(values, base)]
            print(f"  {threads} threads  {name:<24}{span(values, 1e6):<22}{span(ratio, 1, 2)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except compare.Failure as failure:
        print(f"posts.py: {failure}", file=sys.stderr)
        sys.exit(1)
