#!/usr/bin/env python3
"""Drives the examples: examples.py EXAMPLES_DIR

Servers listen on a port of their own choosing and are waited for by what they print; a program that
does not come to its point within PATIENCE_S has failed. What a program says on stderr when all is
well (a sanitizer's report, say) is a failure too.
"""

import os
import random
import re
import select
import signal
import socket
import subprocess
import sys

PATIENCE_S = 60
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Failure(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failure(what)


class Program:
    """A running example. Ended, if need be, by its process id and nothing else."""

    def __init__(self, name, *arguments, stdin=subprocess.PIPE):
        path = os.path.join(sys.argv[1], name)
        self.process = subprocess.Popen([path, *arguments], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self):
        """The next line of its output."""
        fd = self.process.stdout.fileno()
        while b"\n" not in self.unread:
            ready, _, _ = select.select([fd], [], [], PATIENCE_S)
            piece = os.read(fd, 4096) if ready else b""
            if not piece:
                raise Failure(f"said nothing more after {self.unread!r}")
            self.unread += piece
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def address(self):
        """Where it listens, as one may connect to it."""
        said = self.line()
        match = re.match(r"listening on (\S+):(\d+)\b", said)
        check(match, f"no address in {said!r}")
        host = "127.0.0.1" if match[1] == "[::]" else match[1]
        check(int(match[2]) > 0, said)
        return host, int(match[2])

    def end(self, status, said="", signo=None):
        """Its output to the end; stderr must say `said`, or nothing."""
        if signo:
            self.process.send_signal(signo)
        try:
            out, err = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as expired:
            raise Failure("did not end") from expired
        err = err.decode()
        check(self.process.returncode == status, f"ended with {self.process.returncode}: {err}")
        check(said in err if said else err == "", f"said {err!r}")
        return (self.unread + out).decode().splitlines()


def connect(address):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    connection.settimeout(PATIENCE_S)
    connection.connect(address)
    return connection


def receive(connection, length):
    pieces = []
    while length > 0:
        piece = connection.recv(length)
        check(piece, "the connection ended early")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def echo_greedily(connection, data):
    """Reads only when it cannot write: every buffer on the way is full most of the time, and the
    server, which cannot send either, has to wait in the middle of its output."""
    sent, received = 0, bytearray()
    connection.setblocking(False)
    while len(received) < len(data):
        readable, writable, _ = select.select(
            [connection], [connection] if sent < len(data) else [], [], PATIENCE_S)
        check(readable or writable, f"no progress after {len(received)} of {len(data)} bytes")
        if writable:
            sent += connection.send(data[sent:sent + 100000])
        else:
            piece = connection.recv(10000)
            check(piece, "the connection ended early")
            received += piece
    connection.settimeout(PATIENCE_S)
    check(bytes(received) == data, "the bytes that came back are not those that were sent")


def exercise(address):
    """Small and large, one and many. Returns the open connections and the bytes echoed."""
    data = random.Random(1).randbytes(16 << 20)
    connections = [connect(address) for _ in range(8)]
    for i, connection in enumerate(connections):
        connection.sendall(bytes([i]) * 10)
    for i, connection in enumerate(connections):
        check(receive(connection, 10) == bytes([i]) * 10, "somebody else's bytes")
    echo_greedily(connections[0], data)
    connections[1].sendall(b"last words")
    connections[1].shutdown(socket.SHUT_WR)
    check(receive(connections[1], 10) == b"last words", "the last words were lost")
    check(connections[1].recv(1) == b"", "no end after the end")
    connections.pop(1).close()
    return connections, 8 * 10 + len(data) + 10


def close_all(connections):
    for connection in connections:
        connection.close()


@test
def echo_bytes_and_sigterm():
    with Program("echo", "127.0.0.1:0") as server:
        connections, _ = exercise(server.address())
        check(server.end(0, signo=signal.SIGTERM) == [], "more output")
        for connection in connections:
            check(connection.recv(1) == b"", "bytes from nowhere")
        close_all(connections)


@test
def echo_sigint():
    with Program("echo", "127.0.0.1:0") as server:
        server.address()
        server.end(0, signo=signal.SIGINT)


@test
def echo_all_addresses():
    with Program("echo", ":0") as server:
        with connect(server.address()) as connection:
            connection.sendall(b"all")
            check(receive(connection, 3) == b"all", "not echoed")
        server.end(0, signo=signal.SIGTERM)


@test
def echo_twice():
    with Program("echo", "127.0.0.1:0") as server:
        host, port = server.address()
        with Program("echo", f"{host}:{port}") as second:
            check(second.end(1, "address already in use") == [], "it says that it listens")
        with connect((host, port)) as connection:
            connection.sendall(b"still here")
            check(receive(connection, 10) == b"still here", "the first one is gone")
        server.end(0, signo=signal.SIGTERM)


@test
def echo_bad_addresses():
    for address in "nonsense", "localhost:7000", "127.0.0.1:65536", "127.0.0.1", ":", "":
        with Program("echo", address) as server:
            check(server.end(1, "invalid argument") == [], address)


@test
def selector_bytes_console_and_sigterm():
    with Program("selector", "0") as server:
        connections, echoed = exercise(server.address())
        server.process.stdin.write(b"how are things?\n")
        server.process.stdin.flush()
        said = server.line()
        # The one that has closed may or may not have been seen to.
        expected = [f"{n} open, 8 accepted, {echoed} bytes echoed" for n in (7, 8)]
        check(said in expected, f"said {said!r}, not {expected}")
        check(server.end(0, signo=signal.SIGTERM) == [], "more output")
        close_all(connections)


@test
def selector_sigint_without_console():
    with Program("selector", "0", stdin=subprocess.DEVNULL) as server:
        with connect(server.address()) as connection:
            connection.sendall(b"x")
            check(receive(connection, 1) == b"x", "not echoed")
            server.end(0, signo=signal.SIGINT)


@test
def selector_silent_client():
    with Program("selector", "0", "0") as server:
        with connect(server.address()) as connection:
            check(connection.recv(1) == b"", "bytes from nowhere")
        server.end(0, signo=signal.SIGTERM)


@test
def selector_twice():
    with Program("selector", "0") as server:
        _, port = server.address()
        with Program("selector", str(port)) as second:
            check(second.end(1, "address already in use") == [], "it says that it listens")
        server.end(0, signo=signal.SIGTERM)


@test
def selector_bad_arguments():
    for arguments in (["nonsense"], ["65536"], ["-1"], [""], ["0", "x"], ["0", "1", "2"]):
        with Program("selector", *arguments) as server:
            check(server.end(1, "usage: ") == [], str(arguments))


@test
def timer_order():
    with Program("timer") as timer:
        said = timer.end(0)
    late = r"\d+\.\d{3}"
    expected = [rf"one-shot, 10 ms: {late} ms late", "stopped, 20 ms: did not fire",
                rf"periodic, 5 ms: 20 calls, {late} to {late} ms late",
                rf"timeout, 40 ms: restarted 20 times, {late} ms late"]
    check(len(said) == len(expected) and all(map(re.fullmatch, expected, said)), str(said))


@test
def post_from_thread_counts():
    for jobs in 0, 1, 20000:
        with Program("post_from_thread", str(jobs)) as program:
            said = program.end(0)
        check(len(said) == 5, str(said))
        total = 0
        for worker, line in enumerate(said[:4]):
            match = re.fullmatch(rf"worker {worker}: (\d+) posted = (\d+) ran, 0 out of order", line)
            check(match and match[1] == match[2], line)
            total += int(match[1])
        check(said[4] == f"all: {total} posted = {total} ran; 4 refused", said[4])
        check(total >= 4 * jobs, f"{total} of {4 * jobs}")


def main():
    failed = 0
    for function in TESTS:
        try:
            function()
            print(f"ok   {function.__name__}", flush=True)
        except (Failure, OSError) as failure:
            failed += 1
            print(f"FAIL {function.__name__}: {failure}", flush=True)
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
