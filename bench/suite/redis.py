"""examples/kv beside redis-server, both driven by redis-benchmark.

Who runs on which CPU is left to the kernel: redis-benchmark takes one, and a server with more
workers than there are others shares it."""

import csv
import os
import select
import shutil
import socket
import subprocess
import time

from measurement import Failure, Measurement, Usage, rotated
from servers import Group, Server

CONNECTIONS, KEYS = 50, 100000
REQUESTS = {1: 12000, 16: 120000}  # per slice, by pipelined requests
CASES = [(test, pipeline) for pipeline in REQUESTS for test in ("set", "get")]


class Listening(Server):
    """A server that says nothing when it listens: it is asked."""

    def __init__(self, name, command, port):
        self.port = port
        super().__init__(name, command)

    def read_address(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return f"127.0.0.1:{self.port}"
            except OSError:
                select.select([], [], [], 0.02)
        raise Failure(f"{self.name} did not start listening")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def start_servers(budget, group):
    kv = os.path.normpath(os.path.join(budget.build_dir, "examples", "kv"))
    if not os.access(kv, os.X_OK):
        raise Usage(f"{kv} is not built")
    for name in "redis-server", "redis-benchmark":
        if not shutil.which(name):
            raise Usage(f"no {name} (Debian: redis-server, redis-tools)")
    port = free_port()
    # What it prints is nobody's: it would fill the pipe and wait.
    group.start("redis-server", [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly",
        "no", "--daemonize", "no", "--logfile", "/dev/null"], port, kind=Listening)
    for workers in (1, 2):
        port = free_port()
        name = "weft" if workers == 1 else f"weft, {workers} workers"
        group.start(name, [kv, "-w", str(workers), f"127.0.0.1:{port}"], port, kind=Listening)


def run_slice(m, server, test, pipeline):
    """Requests per second, and microseconds of the server's CPU per request."""
    requests = REQUESTS[pipeline]
    before = server.cpu_s()
    command = ["redis-benchmark", "-p", str(server.port), "-t", test, "-n", str(requests), "-c",
               str(CONNECTIONS), "-P", str(pipeline), "-r", str(KEYS), "--csv"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    used = server.cpu_s() - before
    rows = list(csv.reader(done.stdout.splitlines()))
    if done.returncode or len(rows) != 2 or rows[1][0].lower() != test:
        raise Failure(f"{server.name}: redis-benchmark: {done.stdout.strip()}")
    m.ran(server.command, port=server.port)
    m.ran(command, port=server.port)
    return float(rows[1][1]), used / requests * 1e6


def redis(budget):
    m = Measurement(budget, "redis", f"A key-value server under redis-benchmark, {CONNECTIONS} "
                    "connections", "redis-server", 30)
    with Group() as group:
        start_servers(budget, group)
        for number in m.rounds():
            for test, pipeline in CASES:
                case = f"{test.upper()}, {pipeline} per batch"
                for server in rotated(group.servers, number):
                    rate, cost = run_slice(m, server, test, pipeline)
                    m.add(case, server.name, "requests", rate)
                    m.add(case, server.name, "server CPU", cost)
    m.notes.append("examples/kv knows strings and a tenth of Redis' commands, and saves nothing: the "
                   "comparison flatters it.")
    return m.result()
