#!/usr/bin/env python3
"""Echo servers side by side, in interleaved slices.

All servers are started once and stay idle but for their slices; each round gives every server one
slice of weft-load, in an order that rotates from round to round. The machine's speed drifts by far
more than servers differ, so a ratio is formed within a round (server / reference) and only then the
median over rounds is taken.

exit: 0 measured and every byte came back; 1 a byte mismatch, a failed connection or a server that
died; 2 usage, or a program that is not built.
"""

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# name: (program, arguments, what it is)
SERVERS = {
    "epoll": ("echo_epoll", [], "raw epoll, level-triggered, coalesced"),
    "epoll_idle": ("echo_epoll", ["--idle-thread"], "the same beside an idle thread"),
    "epoll_edge": ("echo_epoll", ["--edge"], "raw epoll, edge-triggered"),
    "epoll_each": ("echo_epoll", ["--per-message", "{size}"], "raw epoll, a send per message"),
    "uv_write": ("echo_uv", [], "libuv, uv_write and malloc"),
    "uv_write_je": ("echo_uv_jemalloc", [], "the same, linked with jemalloc"),
    "uv_try": ("echo_uv", ["--try-write"], "libuv, uv_try_write"),
    "uv_each": ("echo_uv", ["--try-write", "--per-message", "{size}"],
                "libuv, uv_try_write per message"),
    "weft": ("echo_weft", [], "weft"),
    "weft_each": ("echo_weft", ["--per-message", "{size}"], "weft, a write per message"),
    "weft_spin": ("echo_weft", ["--with", "spin"], "weft, looking for work before it sleeps"),
    "weft_ids": ("echo_weft", ["--with", "ids"], "weft, the id of every stream asked for"),
    "weft_timeouts": ("echo_weft", ["--with", "timeouts"], "weft, an idle timeout on every stream"),
    "weft_both": ("echo_weft", ["--with", "ids", "--with", "timeouts"], "both"),
    "example": ("../examples/echo", None, "examples/echo, one worker per CPU"),
}

METRICS = {  # key in the report: where weft-load says it
    "requests_per_s": lambda r: r["requests_per_s"],
    "server_cpu_us": lambda r: r["server_cpu_us_per_request"],
    "p99_us": lambda r: r["latency_us"]["p99"],
}


class Failure(Exception):
    """What was measured is wrong; exit status 1."""


class Usage(Exception):
    """Nothing can be measured; exit status 2."""


class Server:
    """A running server; ended by its process id and nothing else."""

    def __init__(self, name, command, cpus):
        self.name = name
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=pin_to(cpus))
        try:
            self.address = self.read_address()
        except BaseException:
            self.end()
            raise

    def read_address(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 10)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("listening on "):
            raise Failure(f"{self.name} did not start listening")
        return line.split()[2]

    def end(self):
        """Ends it; False if it died before or did not end well by itself."""
        alive = self.process.poll() is None
        if alive:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return alive and self.process.returncode == 0


def pin_to(cpus):
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


def choose_cpus(workers):
    """CPUs for the servers and for the generator; None (anywhere) where they cannot have their
    own."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) <= workers:
        return None, None
    return set(cpus[:workers]), set(cpus[workers:])


def cpus_of_load(args, connections):
    """With one connection, client and server alternate: two CPUs would only take turns at sleeping,
    and in a virtual machine waking a CPU costs several times the request."""
    together = args.pin == "together" or (args.pin == "auto" and connections == 1)
    return args.server_cpus if together else args.load_cpus


def numbers(text):
    values = [int(value) for value in text.split(",")]
    if min(values) < 1:
        raise ValueError
    return values


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="servers: " + "; ".join(f"{name}: {s[2]}" for name, s in SERVERS.items()))
    parser.add_argument("--servers", default="epoll,uv_write,uv_try,weft",
                        help="names, comma-separated (%(default)s)")
    parser.add_argument("--reference", help="what ratios refer to (the first server)")
    parser.add_argument("--connections", type=numbers, default=[1, 50], metavar="N[,N]")
    parser.add_argument("--pipeline", type=int, default=1, help="messages per batch (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="bytes per message (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--slice", type=float, default=0.3, metavar="SEC", help="(%(default)s)")
    parser.add_argument("--warmup", type=float, default=0.05, metavar="SEC", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of each server (%(default)s)")
    parser.add_argument("--load-threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--pin", choices=["auto", "apart", "together", "none"], default="auto",
                        help="servers on the first CPUs, the generator on the others (apart) or on "
                             "the same (together); auto: together for 1 connection (%(default)s)")
    parser.add_argument("--build-dir", default=os.path.join(HERE, "../../build/release"))
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--quiet", action="store_true", help="no table")
    parser.add_argument("--progress", action="store_true", default=sys.stderr.isatty(),
                        help="what is running, on stderr (default on a terminal)")
    args = parser.parse_args()
    args.servers = args.servers.split(",")
    args.reference = args.reference or args.servers[0]
    unknown = [name for name in args.servers if name not in SERVERS]
    if unknown:
        parser.error(f"no server named {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    if len(set(args.servers)) != len(args.servers):
        parser.error("a server is named twice")
    if args.reference not in args.servers:
        parser.error("--reference is not among --servers")
    if min(args.rounds, args.pipeline, args.size, args.workers, args.load_threads) < 1:
        parser.error("counts start at 1")
    if not (args.slice > 0 and args.warmup >= 0):
        parser.error("--slice must be positive, --warmup must not be negative")
    if min(args.connections) < args.load_threads:
        parser.error("--load-threads exceeds --connections")
    args.server_cpus, args.load_cpus = (None, None) if args.pin == "none" \
        else choose_cpus(args.workers)
    return args


def program(args, name):
    path = os.path.join(args.build_dir, "bench", name)
    if not os.access(path, os.X_OK):
        raise Usage(f"{os.path.normpath(path)} is not built (configure with -DWEFT_BENCH=ON, or "
                    "name another --build-dir)")
    return path


def server_command(args, name):
    binary, extra, _ = SERVERS[name]
    if extra is None: # an example: its address is all that can be said
        return [program(args, binary), "127.0.0.1:0"]
    return ([program(args, binary), "--address", "127.0.0.1:0", "--workers", str(args.workers)]
            + [word.format(size=args.size) for word in extra])


def run_slice(args, server, connections):
    command = [program(args, "weft-load"), "--address", server.address, "--json",
               "--connections", str(connections), "--pipeline", str(args.pipeline),
               "--size", str(args.size), "--duration", str(args.slice),
               "--warmup", str(args.warmup), "--threads", str(args.load_threads),
               "--server-pid", str(server.process.pid)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=pin_to(cpus_of_load(args, connections)))
    if done.returncode != 0:
        raise Failure(f"{server.name}, {connections} connections: weft-load exited with "
                      f"{done.returncode}\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


def show_progress(args, text):
    if args.progress:
        end = "" if sys.stderr.isatty() else "\n"
        start = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def measure(args, servers, connections):
    """The reports of every server's slices, in the order of the rounds."""
    slices = {server.name: [] for server in servers}
    for number in range(args.rounds):
        for server in rotated(servers, number):
            show_progress(args, f"echo, {connections} connections, round {number + 1} of "
                                f"{args.rounds}: {server.name}")
            slices[server.name].append(run_slice(args, server, connections))
    return slices


def spread(values):
    """Median and quartiles."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def summarize(args, slices):
    """Per server: each metric's spread, and the spread of its ratio to the reference."""
    summary = {}
    for name, own in slices.items():
        figures = {}
        for metric, value in METRICS.items():
            pairs = [(value(a), value(b)) for a, b in zip(own, slices[args.reference])]
            figures[metric] = spread([a for a, _ in pairs])
            ratios = [a / b for a, b in pairs if b > 0]
            figures[metric]["ratio"] = spread(ratios) if ratios else None
        figures["requests"] = sum(r["requests"] for r in own)
        figures["bytes_sent"] = sum(r["bytes_sent"] for r in own)
        figures["bytes_received"] = sum(r["bytes_received"] for r in own)
        summary[name] = figures
    return summary


def ratio_text(figures):
    ratio = figures["ratio"]
    if ratio is None:
        return "-"
    return f"{ratio['median']:.2f} [{ratio['q1']:.2f}-{ratio['q3']:.2f}]"


def print_table(args, cells):
    print(f"echo of {args.size} bytes, {args.pipeline} per batch, {args.workers} worker(s), "
          f"medians of {args.rounds} rounds of {args.slice} s; ratios [quartiles] to "
          f"{args.reference}")
    together = [str(cell["connections"]) for cell in cells
                if args.server_cpus and set(cell["load_cpus"]) == args.server_cpus]
    if together:
        print(f"(client and server share a CPU at {', '.join(together)} connection(s))")
    print(f"{'conns':>5}  {'server':<11} {'req/s':>9}  {'ratio':<17} {'CPU us/req':>10}  "
          f"{'ratio':<17} {'p99 us':>8}  {'ratio':<17}".rstrip())
    for cell in cells:
        for name, figures in cell["servers"].items():
            rate, cpu, p99 = (figures[metric] for metric in METRICS)
            print(f"{cell['connections']:>5}  {name:<11} {rate['median']:>9.0f}  "
                  f"{ratio_text(rate):<17} {cpu['median']:>10.3f}  {ratio_text(cpu):<17} "
                  f"{p99['median']:>8.0f}  {ratio_text(p99):<17}".rstrip())
    sent = sum(f["bytes_sent"] for cell in cells for f in cell["servers"].values())
    received = sum(f["bytes_received"] for cell in cells for f in cell["servers"].values())
    print(f"{sent} bytes sent, {received} received, each compared: 0 differ")


def write_json(args, cells):
    report = {
        "size": args.size, "pipeline": args.pipeline, "rounds": args.rounds,
        "slice_s": args.slice, "workers": args.workers, "reference": args.reference,
        "pin": args.pin, "server_cpus": sorted(args.server_cpus or []), "cells": cells,
    }
    with open(args.json, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
        file.write("\n")


def run(args):
    commands = {name: server_command(args, name) for name in args.servers}
    servers = []
    try:
        for name, command in commands.items():
            servers.append(Server(name, command, args.server_cpus))
        cells = [{"connections": count,
                  "load_cpus": sorted(cpus_of_load(args, count) or []),
                  "servers": summarize(args, measure(args, servers, count))}
                 for count in args.connections]
    finally:
        died = [server.name for server in servers if not server.end()]
        if args.progress and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    if died:
        raise Failure(f"{', '.join(died)} did not live until the end, or ended with an error")
    if args.json:
        write_json(args, cells)
    if not args.quiet:
        print_table(args, cells)


def main():
    # A SIGTERM unwinds like ^C, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args = parse_arguments()
    try:
        run(args)
    except Failure as failure:
        print(f"compare.py: {failure}", file=sys.stderr)
        return 1
    except (Usage, OSError) as problem:
        print(f"compare.py: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
