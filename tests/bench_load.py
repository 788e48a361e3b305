#!/usr/bin/env python3
"""Drives the load generator against echo servers of its own: bench_load.py WEFT_LOAD [TEST ...]

What is tested is that it counts right, that it sees bytes that are wrong, and that it shows a stall
for what it is. Of times only those are looked at that a test itself brings about.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from examples import PATIENCE_S, Failure, check

TESTS = []
MODES = {"closed": [], "open": ["--rate", "2000"], "churn": ["--churn"]}


def test(function):
    TESTS.append(function)
    return function


class Server(threading.Thread):
    """An echo server. It stalls once, or changes a byte once, before it echoes the byte with that
    number; with lag_s it takes its time over every read."""

    def __init__(self, stall_at=None, stall_s=0, corrupt_at=None, lag_s=0, surplus=b""):
        super().__init__(daemon=True)
        self.stall_at, self.stall_s, self.corrupt_at = stall_at, stall_s, corrupt_at
        self.lag_s, self.surplus = lag_s, surplus
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.accepted = self.ended = self.bytes = 0
        self.streams, self.clients = {}, set()
        self.stop_r, self.stop_w = os.pipe()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        os.write(self.stop_w, b"x")
        self.join(PATIENCE_S)
        self.listening.close()
        os.close(self.stop_r)
        os.close(self.stop_w)

    @property
    def address(self):
        return "%s:%d" % self.listening.getsockname()

    def is_due(self, at, length):
        return at is not None and self.bytes <= at < self.bytes + length

    def echo(self, connection):
        data = connection.recv(1 << 20)
        if not data:
            connection.sendall(self.surplus)
            self.ended += 1
            return False
        self.streams[connection] += data
        time.sleep(self.lag_s)
        if self.is_due(self.stall_at, len(data)):
            time.sleep(self.stall_s)
        if self.is_due(self.corrupt_at, len(data)):
            at = self.corrupt_at - self.bytes
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        self.bytes += len(data)
        connection.sendall(data)
        return True

    def accept(self, selector):
        connection, peer = self.listening.accept()
        selector.register(connection, selectors.EVENT_READ)
        self.streams[connection] = bytearray()
        self.clients.add(peer[0])
        self.accepted += 1

    def run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.listening, selectors.EVENT_READ)
            selector.register(self.stop_r, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj == self.stop_r:
                        return
                    if key.fileobj == self.listening:
                        self.accept(selector)
                    elif not self.echo(key.fileobj):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()


def run(*arguments):
    """Exit status, stdout, stderr."""
    done = subprocess.run([sys.argv[1], *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def load(server, *arguments, status=0):
    """What a run against the server reports."""
    began = time.monotonic()
    ended, out, err = run("--address", server.address, "--json", *arguments)
    took_us = (time.monotonic() - began) * 1e6
    check(ended == status, f"{arguments}: ended with {ended}, not {status}: {out}{err}")
    report = json.loads(out)
    for of in report["latency_us"], report.get("lateness_us", {"max": 0}):
        check(0 <= of["max"] <= took_us, f"{of} in {took_us} us")
    return report


def equal(what, got, expected):
    check(got == expected, f"{what}: {got}, not {expected}")


def stalled(requests, *arguments):
    """Some requests, before the hundredth of which the server stalls for 200 ms."""
    with Server(stall_at=100 * 64, stall_s=0.2) as server:
        report = load(server, "--requests", requests, *arguments)
    equal("requests", report["requests"], requests)
    check(report["latency_us"]["max"] >= 200e3, "the stall has gone by unseen")
    return report


@test
def a_stall_hides_from_a_closed_loop():
    # It is the latency of one request, and there is room for four that a busy machine held up.
    check(stalled(5000)["latency_us"]["p99.9"] < 200e3, "it is not hidden")


@test
def a_stall_shows_in_an_open_loop():
    # At 1000/s, 200 requests fall due in it: one that does t ms after its begin takes 200 - t ms.
    report = stalled(1000, "--rate", 1000)
    latency = report["latency_us"]
    for percentile, least_ms in ("p90", 99), ("p99", 188), ("p99.9", 198):
        check(latency[percentile] >= least_ms * 1000, f"{percentile} is {latency[percentile]} us")
    check(latency["mean"] >= 20e3, f"on average {latency['mean']} us")
    check(report["waited"] >= 190, f"only {report['waited']} waited")


@test
def requests_under_way_do_not_wait_for_one_another():
    report = stalled(1000, "--rate", 1000, "--pipeline", 1000)
    equal("waited", report["waited"], 0)
    check(report["latency_us"]["p90"] >= 99e3, "those sent during the stall were not delayed")


@test
def what_is_planned_is_sent():
    # Measured: due from 0.1 s on, within 0.3 s. 7 connections of 2 threads, and a rate that makes
    # intervals of no whole number of nanoseconds.
    for threads in 1, 2:
        for pipeline in 1, 4:
            with Server() as server:
                report = load(server, "--rate", 1700, "--warmup", 0.1, "--duration", 0.3,
                              "--threads", threads, "--connections", 7, "--pipeline", pipeline,
                              "--size", 8)
                equal("planned", report["planned"], 510)
                equal("sent", report["sent"], 510)
                equal("requests", report["requests"], 510)
                equal("bytes", server.bytes, 680 * 8)
                equal("in turn", sorted(len(s) // 8 for s in server.streams.values()),
                      [97] * 6 + [98])


@test
def the_plan_keeps_its_time():
    with Server() as server:
        began = time.monotonic()
        report = load(server, "--rate", 100, "--requests", 50, "--connections", 3)
        check(time.monotonic() - began >= 0.49, "50 requests at 100/s took less than 0.49 s")
    check(report["seconds"] >= 0.5, f"{report['seconds']} s")
    check(report["requests_per_s"] <= 100.1, f"{report['requests_per_s']} is more than planned")
    check(0 <= report["lateness_us"]["p50"] <= report["lateness_us"]["p99"], "lateness")


@test
def a_plan_of_fewer_requests_than_connections():
    with Server() as server:
        report = load(server, "--rate", 1000, "--requests", 3, "--connections", 8, "--threads", 3)
    equal("requests", report["requests"], 3)
    equal("streams", sorted(map(len, server.streams.values())), [0] * 5 + [64] * 3)


@test
def a_connection_may_have_nothing_to_do_for_long():
    with Server() as server:
        report = load(server, "--rate", 1, "--requests", 7, "--connections", 7, "--threads", 7)
    equal("requests", report["requests"], 7)


@test
def a_plan_beyond_the_server_is_given_up():
    with Server(lag_s=0.05) as server:
        report = load(server, "--rate", 1000, "--requests", 500, status=1)
    check(0 < report["sent"] < report["planned"] == 500, f"{report['sent']} sent")
    equal("requests", report["requests"], report["sent"])


@test
def churn_counts_what_the_server_accepts():
    for threads in 1, 2:
        with Server() as server:
            report = load(server, "--churn", "--connections", 5, "--threads", threads,
                          "--pipeline", 3, "--size", 10, "--warmup", 0.05, "--duration", 0.3)
            equal("connections", report["connections_made"], server.accepted)
            equal("ends", server.ended, server.accepted)
            equal("bytes", server.bytes, server.accepted * 30)
            check(0 < report["connections_measured"] <= server.accepted, "measured")
            equal("requests", report["requests"], 3 * report["connections_measured"])
            check(len(server.clients) > 1, "all from one address, whose ports run out")


@test
def churn_by_number():
    with Server() as server:
        report = load(server, "--churn", "--requests", 200, "--connections", 7, "--threads", 2)
        equal("connections", report["connections_made"], 200)
        equal("accepted", server.accepted, 200)
        equal("measured", report["connections_measured"], 200)


@test
def churn_without_a_server():
    with Server() as server:
        address = server.address
    status, _, err = run("--address", address, "--churn", "--requests", 10)
    check(status == 1 and "Connection refused" in err, f"{status}: {err}")


@test
def mixed_sizes_come_back_and_are_the_same_again():
    # A connection for each thread: else it is chance which of its connections does more.
    mixed = ["--sizes", "1:3,100:2,70000:1", "--connections", 2, "--threads", 2, "--requests", 600]
    for mode, arguments in MODES.items():
        streams = []
        for _ in range(2):
            with Server() as server:
                report = load(server, *mixed, *arguments, "--pipeline", 3)
                equal(f"{mode}: bytes", server.bytes, report["bytes_sent"])
                streams.append(sorted(map(bytes, server.streams.values())))
            messages = report["requests"]
            equal(f"{mode}: messages", messages, 1800 if mode == "churn" else 600)
            # A sixth of them are of 70000 bytes, give or take a half of that.
            large = report["bytes_sent"] / 70000 / messages
            check(1 / 12 < large < 1 / 4, f"{mode}: {large} of the messages are large")
        check(streams[0] == streams[1], f"{mode}: other bytes in the second run")


@test
def a_wrong_byte_is_seen():
    sizes = ["--size", 64], ["--sizes", "1:1,1000:1"]
    for mode, arguments in MODES.items():
        for size in sizes:
            with Server(corrupt_at=5000) as server:
                report = load(server, *arguments, *size, "--requests", 300, "--connections", 2,
                              status=1)
            equal(f"{mode}: bytes that differ", report["bytes_mismatched"], 1)
            equal(f"{mode}: clean", report["clean"], False)


@test
def a_surplus_is_seen():
    for mode, arguments in MODES.items():
        with Server(surplus=b"and more") as server:
            report = load(server, *arguments, "--requests", 10, status=1)
        equal(f"{mode}: failures", report["failures"], 1)


@test
def the_server_is_accounted_for():
    for mode, arguments in MODES.items():
        with Server() as server:
            report = load(server, *arguments, "--requests", 300, "--server-pid", os.getpid())
        check(report["context_switches"] > 0, f"{mode}: no context switch in 300 requests")
        check(report["server_cpu_s"] > 0, f"{mode}: no CPU time")
        equal("per connection", "server_cpu_us_per_connection" in report, mode == "churn")


@test
def nonsense_is_refused():
    for arguments, hint in (
            (["--rate", "0"], "from 1 to"),
            (["--rate", "x"], "from 1 to"),
            (["--rate", "10", "--churn"], "one of them"),
            (["--rate", "1", "--duration", "0.5", "--warmup", "0.1"], "raise it"),
            (["--rate", "1", "--requests", "100000000000"], "fewer"),
            (["--sizes", "1:1", "--size", "1"], "exclude"),
            (["--sizes", "1:1", "--burst-writes"], "--size"),
            *((["--sizes", sizes], "BYTES:WEIGHT") for sizes in (
                "", "1", "1:", "1:0", "0:1", ":1", "1:1,", ",1:1", "1:1;2:1", "-1:1", "1:-1",
                "1:1000001", "67108865:1", "99999999999999999999:1", ",".join(["1:1"] * 17)))):
        status, out, err = run("--address", "127.0.0.1:1", *arguments)
        check((status, out) == (2, "") and hint in err, f"{arguments}: {status}, {out!r}, {err!r}")


def fails(function):
    try:
        function()
        print(f"ok   {function.__name__}", flush=True)
        return False
    except (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError) as failure:
        print(f"FAIL {function.__name__}: {failure!r}", flush=True)
        return True


def main():
    wanted = sys.argv[2:]
    tests = [function for function in TESTS if not wanted or function.__name__ in wanted]
    with ThreadPoolExecutor(4) as pool: # most of the time they wait
        failed = sum(pool.map(fails, tests))
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
