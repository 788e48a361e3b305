#!/usr/bin/env python3
"""examples/kv beside redis-server, both driven by redis-benchmark, in interleaved slices.

All servers are started once; each round gives every server one slice of each test, in an order that
rotates from round to round. Ratios are formed within a round, to redis-server, and then the median
over rounds is taken. Who runs on which CPU is left to the kernel: redis-benchmark takes one, and a
server with more workers than there are others shares it.

exit: 0 measured; 1 a server that died, an error or a warning of redis-benchmark; 2 usage, or a
program that is not there.
"""

import argparse
import csv
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402 (beside us, not installed)

TESTS = "set", "get"


class Server:
    """A running server; ended by its process id and nothing else."""

    def __init__(self, name, command, port):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.wait_until_it_listens()

    def wait_until_it_listens(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                select.select([], [], [], 0.02)
        raise compare.Failure(f"{self.name} did not start listening")

    def cpu_s(self):
        """What all of its threads have used so far: clock_getcpuclockid(3), written out."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def end(self):
        """False if it died before or did not end well by itself."""
        alive = self.process.poll() is None
        if alive:
            self.process.terminate()
        self.process.wait(20)
        return alive and self.process.returncode == 0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def start_servers(args, servers):
    kv = os.path.join(args.build_dir, "examples", "kv")
    if not os.access(kv, os.X_OK):
        raise compare.Usage(f"{os.path.normpath(kv)} is not built")
    for program in "redis-server", "redis-benchmark":
        if not shutil.which(program):
            raise compare.Usage(f"no {program} (Debian: redis-server, redis-tools)")
    port = free_port()
    servers.append(Server("redis-server", [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
        "no", "--daemonize", "no"], port))
    for workers in args.workers:
        port = free_port()
        name = f"kv, {workers} worker{'s' if workers > 1 else ''}"
        servers.append(Server(name, [kv, "-w", str(workers), f"127.0.0.1:{port}"], port))


def run_slice(args, server, test, pipeline):
    """Requests per second, and microseconds of the server's CPU per request."""
    requests = args.requests * (args.more if pipeline > 1 else 1)
    before = server.cpu_s()
    done = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-t", test, "-n", str(requests), "-c",
         str(args.connections), "-P", str(pipeline), "-r", str(args.keys), "--csv"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    cpu_s = server.cpu_s() - before
    rows = list(csv.reader(done.stdout.splitlines()))
    if done.returncode or len(rows) != 2 or rows[1][0].lower() != test:
        raise compare.Failure(f"{server.name}: redis-benchmark: {done.stdout.strip()}")
    return float(rows[1][1]), cpu_s / requests * 1e6


def measure(args, servers, pipeline):
    """For each test and server: the slices of all rounds."""
    slices = {test: {server.name: [] for server in servers} for test in TESTS}
    for number in range(args.rounds):
        for server in compare.rotated(servers, number):
            for test in TESTS:
                slices[test][server.name].append(run_slice(args, server, test, pipeline))
    return slices


def ratio_text(own, reference):
    figures = compare.spread([a / b for a, b in zip(own, reference)])
    return f"{figures['median']:.2f} [{figures['q1']:.2f}-{figures['q3']:.2f}]"


def print_cell(test, pipeline, slices):
    reference = list(slices)[0]
    for name, own in slices.items():
        rates, cpus = zip(*own)
        reference_rates, reference_cpus = zip(*slices[reference])
        print(f"{test:<4} {pipeline:>3}  {name:<15} {compare.spread(rates)['median']:>9.0f}  "
              f"{ratio_text(rates, reference_rates):<17} {compare.spread(cpus)['median']:>10.2f}  "
              f"{ratio_text(cpus, reference_cpus)}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=compare.numbers, default=[1, 2], metavar="N[,N]",
                        help="of kv (1,2)")
    parser.add_argument("--pipeline", type=compare.numbers, default=[1, 16], metavar="N[,N]",
                        help="requests per batch (1,16)")
    parser.add_argument("--connections", type=int, default=50, help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=20000, help="per slice (%(default)s)")
    parser.add_argument("--more", type=int, default=10, metavar="TIMES",
                        help="so many times as many requests when pipelined (%(default)s)")
    parser.add_argument("--keys", type=int, default=100000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="(%(default)s)")
    parser.add_argument("--build-dir",
                        default=os.path.join(compare.HERE, "../../build/release"))
    args = parser.parse_args()
    if min(args.connections, args.requests, args.more, args.keys, args.rounds) < 1:
        parser.error("counts start at 1")
    return args


def run(args):
    servers = []
    try:
        start_servers(args, servers)
        print(f"redis-benchmark, {args.connections} connections, {args.keys} keys, medians of "
              f"{args.rounds} rounds; ratios [quartiles] to redis-server")
        print(f"{'':<4} {'-P':>3}  {'server':<15} {'req/s':>9}  {'ratio':<17} {'CPU us/req':>10}  "
              "ratio")
        for pipeline in args.pipeline:
            for test, slices in measure(args, servers, pipeline).items():
                print_cell(test, pipeline, slices)
    finally:
        died = [server.name for server in servers if not server.end()]
    if died:
        raise compare.Failure(f"{', '.join(died)} did not live until the end, or ended with an "
                              "error")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args = parse_arguments()
    try:
        run(args)
    except compare.Failure as failure:
        print(f"redis.py: {failure}", file=sys.stderr)
        return 1
    except (compare.Usage, OSError) as problem:
        print(f"redis.py: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
