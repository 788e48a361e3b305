"""Counts, which no noise touches: user instructions and allocations per request (callgrind), system
calls per request (strace). Each is the difference of two runs of the same server, so that starting,
accepting and stopping cancel out."""

import collections
import os
import select
import signal
import subprocess
import tempfile

from load import connections_text
from measurement import Failure, Measurement
from servers import SERVERS, command_of, is_built, program

COUNTED = ["weft", "epoll_idle", "ev", "uv_try", "uv_write"]
CONNECTIONS = [1, 50]
SOCKET_CALLS = {"recvfrom", "sendto", "read", "write", "readv", "writev", "recvmsg", "sendmsg",
                "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "futex", "poll",
                "io_uring_enter"}
ALLOCATORS = {"malloc", "calloc", "realloc", "mallocx", "rallocx", "aligned_alloc",
              "posix_memalign"}


def address_of(process, output):
    """From the server's first line; the tool that it runs under may print before."""
    while select.select([process.stdout], [], [], 60)[0]:
        line = process.stdout.readline()
        if line.startswith("listening on "):
            return line.split()[2]
        if not line:
            break
    with open(output, encoding="utf-8", errors="replace") as file:
        raise Failure("the server did not start under its tool:\n" + file.read())


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def drive(m, tool, name, connections, requests, directory):
    """Requests through a server that runs under a tool."""
    errors = os.path.join(directory, "errors")
    command = tool + command_of(m.budget.build_dir, name)
    with open(errors, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        address = address_of(process, errors)
        load = [program(m.budget.build_dir, "weft-load"), "--address", address, "--connections",
                str(connections), "--requests", str(requests), "--quiet"]
        done = subprocess.run(load, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Failure(f"{name}: {done.stderr}")
        m.ran(command, **{"dir": directory})
        m.ran(load, address=address)
    finally:
        # strace's child is the server; valgrind is the server itself
        children = children_of(process.pid) if tool[0] == "strace" else []
        for pid in children or [process.pid]:
            os.kill(pid, signal.SIGTERM)
        process.stdout.close()
        process.wait(60)


def read_callgrind(path):
    """Instructions and calls of allocators of a whole run: callgrind's file format, "totals:",
    "cfn=(id) name" and the "calls=count" that follows it."""
    names, allocations, callee = {}, 0, ""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(("fn=", "cfn=")):
                word = line.split("=", 1)[1]
                number, _, text = word.strip().partition(" ")
                if text:
                    names[number] = text
                if line.startswith("cfn="):
                    callee = names.get(number, "").split("'")[0].split("@")[0]
            elif line.startswith("calls=") and callee in ALLOCATORS:
                allocations += int(line[6:].split()[0])
            elif line.startswith("totals:"):
                instructions = int(line.split()[1])
    return {"instructions": instructions, "allocations": allocations}


def differences(m, tool, read, few, many):
    """(case, who, connections, counts) of each server: what `many` requests under the tool count
    more than `few`. The tool writes to {out}, which `read` turns into counts by their names."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "counts")
        command = [word.format(out=out) for word in tool]
        for _ in m.rounds():
            for connections in CONNECTIONS:
                for name in filter(lambda n: is_built(m.budget.build_dir, n), COUNTED):
                    m.budget.show(f"{m.name}: {name}, {connections}")
                    counts = collections.Counter()
                    for requests, add in (few, counts.subtract), (many, counts.update):
                        drive(m, command, name, connections, requests, directory)
                        add(read(out))
                    yield connections_text(connections), SERVERS[name][2], connections, counts


def instructions(budget):
    m = Measurement(budget, "instructions", "User instructions and allocations per request",
                    "raw epoll", most=1)
    few, many = (1000, 3500) if budget.scale < 1 else (4000, 14000)
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file={out}"]
    for case, who, x, counts in differences(m, tool, read_callgrind, few, many):
        for metric, count in counts.items():
            m.add(case, who, metric, max(count, 0) / (many - few), x)
    return m.result()


def read_strace(path):
    """{call: count} from strace -c's table."""
    found = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if len(words) >= 5 and words[-1] in SOCKET_CALLS:
                found[words[-1]] = int(words[3])
    return found


def syscalls(budget):
    m = Measurement(budget, "syscalls", "System calls per request", "raw epoll", most=1)
    few, many = (500, 3500) if budget.scale < 1 else (1000, 11000)
    tool = ["strace", "-f", "-c", "-o", "{out}"]
    for case, who, x, calls in differences(m, tool, read_strace, few, many):
        m.add(case, who, "system calls", sum(calls.values()) / (many - few), x)
        m.notes.append(f"{who}, {case}: " + calls_text(calls, many - few))
    return m.result()


def calls_text(calls, requests):
    """Those that come at least once in a hundred requests."""
    return ", ".join(f"{call} {count / requests:.2f}" for call, count in sorted(calls.items())
                     if count * 100 >= requests)
