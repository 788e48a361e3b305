"""Slices of load on echo servers: closed loop, pipelined, connection churn, open loop, workers.

All servers of a figure are started once and stay idle but for their slices. A round gives each of
them one slice in each case, in an order that rotates.
"""

import contextlib
import json
import os
import shlex
import statistics
import subprocess

from measurement import Failure, Measurement, rotated
from servers import choose_cpus, echo_group, pin_to, pinned, program

WARMUP_S = 0.05
STALLS = 3  # slices in a row in which the machine stood still and nothing came back


def connections_text(count):
    return "1 connection" if count == 1 else f"{count:,} connections".replace(",", " ")


def cpus_for(connections, server_cpus, load_cpus, pin="auto"):
    """With one connection, client and server alternate: two CPUs would only take turns at sleeping,
    and in a virtual machine waking a CPU costs several times the request."""
    together = pin == "together" or (pin == "auto" and connections == 1)
    return server_cpus if together else load_cpus


def run_slice(m, server, cpus, *options):
    """weft-load's report of one slice, every byte compared."""
    command = [program(m.budget.build_dir, "weft-load"), "--address", server.address, "--json",
               "--server-pid", str(server.process.pid), "--warmup", str(WARMUP_S)]
    command += [str(word) for word in options]
    m.ran(pinned(server.command, server.cpus))
    m.ran(pinned(command, cpus), address=server.address, pid=server.process.pid)
    for _ in range(STALLS):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              preexec_fn=pin_to(cpus), check=False)
        report = json.loads(done.stdout) if done.stdout else {}
        if done.returncode == 0:
            return report
        if report.get("requests", 1) > 0 or report["failures"] or report["bytes_mismatched"]:
            break
    raise Failure(f"{server.name}: {shlex.join(command)} exited with {done.returncode}\n"
                  f"{done.stderr.strip()}")


def add_slice(m, case, who, report, x):
    m.add(case, who, "requests", report["requests_per_s"], x)
    m.add(case, who, "server CPU", report["server_cpu_us_per_request"], x)
    m.add(case, who, "p99", report["latency_us"]["p99"], x)
    if "context_switches" in report:
        m.add(case, who, "context switches",
              report["context_switches"] / max(report["requests"], 1), x)


def closed_loop(m, names, connections, workers=1, slice_s=None, size=64, pin="auto", extra=(),
                case_of=connections_text):
    """Every server at each number of connections, round by round."""
    server_cpus, load_cpus = (None, None) if pin == "none" else choose_cpus(workers)
    slice_s = slice_s or m.budget.slice_s
    sizes = () if "--sizes" in extra else ("--size", size)
    with echo_group(m.budget, names, workers, size) as group:
        for number in m.rounds():
            for count in connections:
                cpus = cpus_for(count, server_cpus, load_cpus, pin)
                for server in rotated(group.servers, number):
                    report = run_slice(m, server, cpus, "--connections", count, "--duration",
                                       slice_s, *sizes, *extra)
                    add_slice(m, case_of(count), server.name, report, count)
    if server_cpus and 1 in connections and pin == "auto":
        m.notes.append("At 1 connection client and server share a CPU.")
    if not server_cpus:
        m.notes.append("Servers and generator share all CPUs.")


def echo(budget):
    m = Measurement(budget, "echo", "Echo of 64 bytes, one worker", "raw epoll", 65)
    names = ["epoll_idle", "epoll_edge", "weft", "ev", "uv_try", "uv_write"]
    if budget.scale > 1:
        names += ["epoll", "event", "bufferevent", "uv_write_je"]
    closed_loop(m, names, [1, 50, 1000])
    m.notes.append("Raw epoll runs beside an idle second thread, as weft's worker does: a process "
                   "with two threads pays for its shared fd table.")
    return m.result()


def two_workers(budget):
    m = Measurement(budget, "two_workers", "Echo of 64 bytes, two workers", "raw epoll", 35)
    closed_loop(m, ["epoll_idle", "weft", "ev", "uv_try", "uv_write"], [1, 50, 1000], workers=2)
    return m.result()


def mixed(budget):
    m = Measurement(budget, "mixed", "Echo of mixed sizes, 50 connections", "raw epoll", 15)
    closed_loop(m, ["epoll_idle", "weft", "ev", "uv_try", "uv_write"], [50],
                extra=("--sizes", "64:70,1024:20,16384:9,262144:1"))
    m.notes.append("70 % of the messages have 64 bytes, 20 % 1 KiB, 9 % 16 KiB, 1 % 256 KiB.")
    return m.result()


def pipeline(budget):
    m = Measurement(budget, "pipeline", "16 pipelined messages of 64 bytes, 50 connections",
                    "raw epoll", 20)
    closed_loop(m, ["epoll_idle", "epoll_each", "weft_each", "weft", "uv_try", "uv_each"], [50],
                extra=("--pipeline", 16), case_of=lambda _: "16 per batch")
    m.notes.append("weft, a write per message: 16 calls of weft_stream_write, which leave as one "
                   "send. The others with \"per message\" send each by itself.")
    return m.result()


def churn(budget):
    m = Measurement(budget, "churn", "Connections that are accepted, echo once and close",
                    "raw epoll", 20)
    server_cpus, load_cpus = choose_cpus(1)
    with echo_group(budget, ["epoll_idle", "weft", "ev", "uv_try"]) as group:
        for number in m.rounds():
            for server in rotated(group.servers, number):
                report = run_slice(m, server, load_cpus, "--churn", "--connections", 50,
                                   "--duration", budget.slice_s)
                case = "50 at a time"
                m.add(case, server.name, "connections", report["connections_per_s"])
                m.add(case, server.name, "CPU per connection",
                      report["server_cpu_us_per_connection"])
    if not server_cpus:
        m.notes.append("Servers and generator share all CPUs.")
    return m.result()


def capacity_of(m, server, cpus, connections):
    """Closed-loop requests per second: the median of three slices."""
    return statistics.median(
        run_slice(m, server, cpus, "--connections", connections, "--duration", m.budget.slice_s)
        ["requests_per_s"] for _ in range(3))


def latency(budget):
    """Open loop: the plan does not wait for a slow server, and a request's latency runs from when
    it was meant to be sent."""
    m = Measurement(budget, "latency", "Latency at a planned rate, 50 connections", "raw epoll", 60)
    _, load_cpus = choose_cpus(1)
    with echo_group(budget, ["epoll_idle", "weft", "ev", "uv_try", "uv_write"]) as group:
        for number in m.rounds():
            # Anew in each round: the machine's speed drifts, and a rate that was 70 % may be 140.
            capacity = capacity_of(m, group.servers[0], load_cpus, 50)
            for percent in (30, 50, 70, 90):
                for server in rotated(group.servers, number):
                    rate = int(capacity * percent / 100)
                    report = run_slice(m, server, load_cpus, "--connections", 50, "--rate", rate,
                                       "--duration", 1.5 * budget.slice_s)
                    for metric in ("p50", "p99", "p99.9"):
                        m.add(f"{percent} % of capacity", server.name, metric,
                              report["latency_us"][metric], percent)
    m.notes.append("Capacity is raw epoll's closed-loop rate, measured anew in each round.")
    return m.result()


def worker_counts():
    """1, 2, 4 … and all CPUs; some stay the generator's where there are more than two."""
    cpus = len(os.sched_getaffinity(0))
    return [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= max(cpus - 1, 2)]


def workers_text(count):
    return "1 worker" if count == 1 else f"{count} workers"


def scaling(budget):
    m = Measurement(budget, "scaling", "Echo of 64 bytes by workers", "raw epoll", 25)
    cpus = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        groups = {n: stack.enter_context(
            echo_group(budget, ["epoll_idle", "weft", "ev", "uv_try"], n)) for n in worker_counts()}
        for number in m.rounds():
            for workers, group in groups.items():
                _, load_cpus = choose_cpus(workers)
                threads = len(load_cpus or range(cpus))
                for server in rotated(group.servers, number):
                    report = run_slice(m, server, load_cpus, "--connections", 64 * threads,
                                       "--threads", threads, "--duration", budget.slice_s)
                    add_slice(m, workers_text(workers), server.name, report, workers)
    shared = [workers_text(n) for n in worker_counts() if cpus <= n]
    if shared:
        m.notes.append(f"With {', '.join(shared)} the generator has no CPU of its own: requests per "
                       "second say nothing about scaling there, CPU per request does.")
    return {**m.result(), "shared": shared}


def spinning(budget):
    m = Measurement(budget, "spinning", "Echo at one connection, client on another CPU", "raw epoll",
                    15)
    closed_loop(m, ["epoll_idle", "weft", "weft_spin", "uv_try"], [1], pin="apart")
    return m.result()


def ablations(budget):
    """What raw epoll gains by the things that weft could do and does not, or does."""
    m = Measurement(budget, "ablations", "Raw epoll with one thing changed", "raw epoll", 40)
    closed_loop(m, ["epoll_idle", "epoll", "epoll_edge", "epoll_own_fds", "epoll_bare",
                    "epoll_bare_own"],
                [1, 50, 1000])
    return m.result()

