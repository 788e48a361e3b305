#!/usr/bin/env python3
"""Echo servers of your choice side by side, in interleaved slices.

exit: 0 measured and every byte came back; 1 a byte mismatch, a failed connection or a server that
died; 2 usage, or a program that is not built.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import load  # noqa: E402 (beside us, not installed)
from measurement import Budget, Measurement, exit_status  # noqa: E402
import terminal  # noqa: E402 (in ../report, as measurement says)
from servers import SERVERS, program  # noqa: E402


def numbers(text):
    values = [int(value) for value in text.split(",")]
    if min(values) < 1:
        raise ValueError
    return values


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0],
        epilog="servers: " + "; ".join(f"{name}: {s[2]}" for name, s in SERVERS.items()))
    parser.add_argument("--servers", default="epoll_idle,weft,uv_try,uv_write",
                        help="names, comma-separated; ratios are to the first (%(default)s)")
    parser.add_argument("--connections", type=numbers, default=[1, 50], metavar="N[,N]")
    parser.add_argument("--pipeline", type=int, default=1, help="messages per batch (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="bytes per message (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--slice", type=float, default=0.3, metavar="SEC", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of each server (%(default)s)")
    parser.add_argument("--load-threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--pin", choices=["auto", "apart", "together", "none"], default="auto",
                        help="servers on the first CPUs, the generator on the others (apart) or on "
                             "the same (together); auto: together for 1 connection (%(default)s)")
    parser.add_argument("--build-dir", default="build/release")
    parser.add_argument("--json", metavar="FILE", help="write the records there too")
    args = parser.parse_args()
    args.servers = args.servers.split(",")
    unknown = [name for name in args.servers if name not in SERVERS]
    if unknown:
        parser.error(f"no server named {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    if len(set(args.servers)) != len(args.servers):
        parser.error("a server is named twice")
    if min(args.rounds, args.pipeline, args.size, args.workers, args.load_threads) < 1:
        parser.error("counts start at 1")
    if args.slice <= 0:
        parser.error("--slice must be positive")
    if min(args.connections) < args.load_threads:
        parser.error("--load-threads exceeds --connections")
    return args


def run(args):
    for name in args.servers:
        program(args.build_dir, SERVERS[name][0])
    budget = Budget(args.build_dir, progress=sys.stderr.isatty())
    m = Measurement(budget, "compare", f"Echo of {args.size} bytes, {args.pipeline} per batch, "
                    f"{args.workers} worker(s)", SERVERS[args.servers[0]][2],
                    seconds=float("inf"), most=args.rounds)
    load.closed_loop(m, args.servers, args.connections, args.workers, args.slice, args.size,
                     args.pin, ("--pipeline", args.pipeline, "--threads", args.load_threads))
    figure = m.result()
    figure["command"] = "bench/suite/compare.py"
    print(terminal.table(figure))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(figure, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(exit_status("compare.py", lambda: run(parse_arguments())))
