#!/usr/bin/env python3
"""Drives the examples: examples.py EXAMPLES_DIR [TEST ...]

Servers listen on a port of their own choosing and are waited for by what they print; a program that
does not come to its point within PATIENCE_S has failed. What a program says on stderr when all is
well (a sanitizer's report, say) is a failure too.
"""

import contextlib
import email.utils
import http.client
import importlib
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE_S = 60
TESTS = []

# The watchdog's word on a callback that ran long. On a busy machine any can seem to, since its
# thread had to wait for a CPU; what these tests ask is whether a program does the right thing, not
# when. So it is no failure.
STALL = re.compile(r"^weft: worker \d+ has been in one callback for .*\n", re.MULTILINE)


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

    def __init__(self, name, *arguments, stdin=subprocess.PIPE, before=None):
        path = os.path.join(sys.argv[1], name)
        self.process = subprocess.Popen([path, *arguments], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=before)
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

    def signal(self, signo):
        self.process.send_signal(signo)

    def end(self, status, said="", signo=None):
        """Its output to the end; stderr must say `said`, or nothing."""
        if signo:
            self.signal(signo)
        try:
            out, err = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as expired:
            raise Failure("did not end") from expired
        err = STALL.sub("", err.decode())
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


class Daemon(Program):
    """signals, with a configuration file of its own."""

    def __init__(self, greeting, before=None):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "config")
        self.configure(f"# a comment\n\ngreeting {greeting}\n")
        super().__init__("signals", self.path, before=before)

    def __exit__(self, *_):
        super().__exit__()
        self.folder.cleanup()

    def configure(self, text):
        """At once, as seen by whoever reads the file meanwhile."""
        fresh = self.path + ".new"
        with open(fresh, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(fresh, self.path)

    def greets(self, greeting):
        said = self.line()
        check(said == f"reloaded for pid {os.getpid()}: {greeting}", said)

    def table(self):
        """The rows of a fresh table, and the lines before it."""
        self.signal(signal.SIGUSR1)
        before = []
        while not (said := self.line()).startswith("worker "):
            before.append(said)
        rows = [list(map(int, self.line().split())) for _ in os.sched_getaffinity(0)]
        check([row[0] for row in rows] == list(range(len(rows))), str(rows))
        return rows, before


def ask(connection, question):
    """What comes before the question in the answer."""
    connection.sendall(question.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        piece = connection.recv(4096)
        check(piece, "the connection ended early")
        answer += piece
    answer = answer.decode()
    check(answer.endswith(f" {question}\n"), f"asked {question!r}, answered {answer!r}")
    return answer[:-len(question) - 2]


class Asker(threading.Thread):
    """A client that asks all the time. The greeting is a number that only grows, and is never less
    than one that was announced before the question."""

    def __init__(self, address):
        super().__init__()
        self.address = address
        self.announced = 0
        self.is_stopping = False
        self.asked = 0
        self.failure = None

    def run(self):
        try:
            with connect(self.address) as connection:
                least = 0
                while not self.is_stopping:
                    least = max(least, self.announced)
                    greeting = int(ask(connection, f"question {self.asked}"))
                    check(greeting >= least, f"greeted with {greeting} after {least}")
                    least = greeting
                    self.asked += 1
        except (Failure, OSError, ValueError) as failure:
            self.failure = failure


@test
def signals_reload_while_clients_ask():
    with Daemon("0") as daemon:
        address = daemon.address()
        askers = [Asker(address) for _ in range(8)]
        for asker in askers:
            asker.start()
        try:
            # A long one now and then: old ones are freed under whoever still reads them, or not.
            for greeting in range(1, 301):
                daemon.configure(f"greeting {greeting:0{400 if greeting % 2 else 1}}\n")
                daemon.signal(signal.SIGHUP)
                check(int(daemon.line().rsplit(" ", 1)[1]) == greeting, "another greeting")
                for asker in askers:
                    asker.announced = greeting
        finally:
            for asker in askers:
                asker.is_stopping = True
            for asker in askers:
                asker.join()
        for asker in askers:
            check(not asker.failure, str(asker.failure))
            check(asker.asked > 0, "a client that was never answered")
        check(daemon.end(0, signo=signal.SIGTERM) == [], "more output")


@test
def signals_coalesce():
    with Daemon("first") as daemon:
        with connect(daemon.address()) as connection:
            check(ask(connection, "x") == "first", "another greeting")
            daemon.configure("greeting second\n")
            for _ in range(100):
                daemon.signal(signal.SIGHUP)
            # Of two that are pending, the lower number is delivered first.
            _, said = daemon.table()
            check(1 <= len(said) <= 100, str(said))
            check(set(said) == {f"reloaded for pid {os.getpid()}: second"}, str(said))
            check(ask(connection, "x") == "second", "another greeting")
        daemon.end(0, signo=signal.SIGINT)


@test
def signals_pending_from_before():
    def pend():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        os.kill(os.getpid(), signal.SIGHUP)

    with Daemon("hello", before=pend) as daemon:
        daemon.address()
        said = daemon.line()
        check(said == f"reloaded for pid {daemon.process.pid}: hello", said)
        daemon.end(0, signo=signal.SIGTERM)


@test
def signals_bad_file_keeps_the_old():
    with Daemon("kept") as daemon:
        bad = {"": "no greeting", "greeting \n": "no greeting", "# greeting x\n": "no greeting",
               "greetings x\n": "a line is not", "greeting x\nnonsense\n": "a line is not",
               f"greeting {'x' * 1000}\n": "a line is too long"}
        with connect(daemon.address()) as connection:
            for text in bad:
                daemon.configure(text)
                daemon.signal(signal.SIGHUP)
                _, said = daemon.table()
                check(said == [], f"{text!r}: {said}")
                check(ask(connection, "x") == "kept", f"{text!r} is used")
            os.remove(daemon.path)
            daemon.signal(signal.SIGHUP)
            check(daemon.table()[1] == [], "reloaded what is not there")
            check(ask(connection, "x") == "kept", "the greeting went with its file")
            daemon.configure("greeting again\n")
            daemon.signal(signal.SIGHUP)
            daemon.greets("again")
            check(ask(connection, "x") == "again", "another greeting")
        complaints = "".join(f"signals: {daemon.path}: {why}; the old configuration stays\n"
                             for why in (*bad.values(), "no such file or directory"))
        daemon.end(0, complaints.replace("line is not;", 'line is not "greeting TEXT";'),
                   signo=signal.SIGTERM)


@test
def signals_table():
    with Daemon("hello") as daemon:
        address = daemon.address()
        connections = [connect(address) for _ in range(10)]
        for connection in connections:
            ask(connection, "12345")
        # What a worker has counted is seen when its iteration ends, and this may be during it.
        totals, looks = [], 0
        while totals[:3] != [10, 10, 60] and looks < 1000:
            rows, _ = daemon.table()
            totals = [sum(row[column] for row in rows) for column in (1, 2, 6)]
            looks += 1
        check(totals == [10, 10, 60], f"streams, accepted, bytes in: {totals}")
        close_all(connections)
        daemon.end(0, signo=signal.SIGTERM)


@test
def signals_bad_arguments():
    for arguments in [], ["a", "b", "c"]:
        with Program("signals", *arguments) as program:
            check(program.end(1, "usage: ") == [], str(arguments))
    with Program("signals", "/nonexistent") as program:
        check(program.end(1, "signals: /nonexistent: no such file or directory") == [], "it runs")
    with Program("signals", "/") as program:
        check(program.end(1, "signals: /: ") == [], "it runs")
    with Daemon("hello") as daemon:
        daemon.address()
        with Program("signals", daemon.path, "nonsense") as program:
            check(program.end(1, "invalid argument") == [], "it says that it listens")
        daemon.end(0, signo=signal.SIGTERM)


class Supervisor(Program):
    """supervise. Keeps a handle of each process that it says it has started, to see them go."""

    def __init__(self, *commands, before=None):
        super().__init__("supervise", *commands, before=before)
        self.pids = {}  # the latest of each command
        self.handles = []

    def __exit__(self, *_):
        # Of a test that fails it is still running, and knows best what is to be ended with it.
        for _ in range(3):
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.communicate(timeout=5)
        super().__exit__()
        for handle in self.handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)

    def hold(self, pid):
        with contextlib.suppress(ProcessLookupError):  # gone already, which is fine
            self.handles.append(os.pidfd_open(pid))

    def line(self):
        said = super().line()
        match = re.fullmatch(r"\[(\d+)\] started pid (\d+)", said)
        if match:
            self.pids[int(match[1])] = int(match[2])
            self.hold(int(match[2]))
        return said

    def expect(self, *patterns):
        """The next lines, in this order; {} is the pid of command 0."""
        for pattern in patterns:
            said = self.line()
            pattern = pattern.replace("{}", str(self.pids.get(0)))
            match = re.fullmatch(pattern, said)
            check(match, f"said {said!r}, not {pattern!r}")
        return match

    def start(self):
        self.expect(r"\[0\] started pid \d+")
        return self.pids[0]

    def check_all_gone(self):
        for handle in self.handles:
            check(select.select([handle], [], [], PATIENCE_S)[0], "a process is left")


@test
def supervise_collects_output():
    with Supervisor("echo out; echo err >&2; printf 'last words'; exec sleep 1000") as supervisor:
        pid = supervisor.start()
        said = {supervisor.line(), supervisor.line()}
        check(said == {f"[0 {pid}] out", f"[0 {pid}] err"}, str(said))
        said = supervisor.end(0, signo=signal.SIGTERM)
        expected = [f"[0] stopping pid {pid}", f"[0 {pid}] last words",
                    f"[0] pid {pid} was killed by SIGTERM"]
        check(said == expected, f"said {said}, not {expected}")
        supervisor.check_all_gone()


@test
def supervise_loses_no_output():
    with Supervisor("seq 100000; head -c 10000 /dev/zero | tr '\\0' x; exit 7") as supervisor:
        pid = supervisor.start()
        for i in range(1, 100001):
            said = supervisor.line()
            check(said == f"[0 {pid}] {i}", f"said {said!r}, not {i}")
        xs = ""
        while (said := supervisor.line()).startswith(f"[0 {pid}] "):
            xs += said.removeprefix(f"[0 {pid}] ")
        check(xs == "x" * 10000, f"{len(xs)} bytes of 10000")
        check(said == f"[0] pid {pid} exited with 7; again in 100 ms", said)
        supervisor.end(0, signo=signal.SIGTERM)


@test
def supervise_backs_off():
    with Supervisor("exit 3") as supervisor:
        pids = set()
        for delay in 100, 200, 400, 800, 1600:
            pids.add(supervisor.start())
            supervisor.expect(rf"\[0\] pid {{}} exited with 3; again in {delay} ms")
        check(len(pids) == 5, str(pids))
        check(supervisor.end(0, signo=signal.SIGTERM) == [], "more output")


@test
def supervise_command_not_found():
    with Supervisor("nonsense-that-is-no-command") as supervisor:
        supervisor.start()
        supervisor.expect(r"\[0 {}\] .*not found", r"\[0\] pid {} exited with 127; again in 100 ms")
        supervisor.end(0, signo=signal.SIGTERM)


@test
def supervise_names_the_signal():
    with Supervisor("kill -SEGV $$", before=lambda: resource.setrlimit(
            resource.RLIMIT_CORE, (0, 0))) as supervisor:
        supervisor.start()
        supervisor.expect(r"\[0\] pid {} was killed by SIGSEGV; again in 100 ms")
        supervisor.end(0, signo=signal.SIGTERM)


@test
def supervise_survives_a_massacre():
    commands, kills = 24, 5
    killer = random.Random(1)
    with Supervisor(*["exec sleep 1000"] * commands) as supervisor:
        victims, killed, running, started = [], {}, {}, 0
        left = [kills] * commands
        while started < commands * (1 + kills):
            said = supervisor.line()
            if match := re.fullmatch(r"\[(\d+)\] started pid (\d+)", said):
                index, pid = int(match[1]), int(match[2])
                check(index not in running, f"command {index} runs twice")
                running[index] = pid
                started += 1
                if left[index] > 0:
                    victims.append(index)
            else:
                match = re.fullmatch(r"\[(\d+)\] pid (\d+) was killed by SIGKILL; again in \d+ ms",
                                     said)
                check(match, said)
                index, pid = int(match[1]), int(match[2])
                check(killed.pop(pid, None) == index, f"nobody killed {pid}")
                check(running.pop(index) == pid, f"{pid} does not run")
            # At once or together with later ones, and in any order.
            while victims and (not killed or killer.random() < 0.5):
                index = victims.pop(killer.randrange(len(victims)))
                os.kill(running[index], signal.SIGKILL)
                killed[running[index]] = index
                left[index] -= 1
        check(not killed and left == [0] * commands, f"{killed} {left}")
        said = supervisor.end(0, signo=signal.SIGTERM)
        expected = {f"[{index}] {what}" for index, pid in running.items() for what in
                    (f"stopping pid {pid}", f"pid {pid} was killed by SIGTERM")}
        check(set(said) == expected and len(said) == len(expected), str(said))
        supervisor.check_all_gone()


@test
def supervise_stops_between_two_runs():
    with Supervisor("exit 0", "exec sleep 1000") as supervisor:
        while "again in 1600 ms" not in supervisor.line():
            pass
        said = supervisor.end(0, signo=signal.SIGINT)
        pid = supervisor.pids[1]
        expected = [f"[1] stopping pid {pid}", f"[1] pid {pid} was killed by SIGTERM"]
        check(said == expected, str(said))
        supervisor.check_all_gone()


@test
def supervise_kills_who_ignores_sigterm():
    with Supervisor("trap '' TERM; sleep 1000 & echo $!; wait") as supervisor:
        supervisor.start()
        supervisor.hold(int(supervisor.expect(r"\[0 {}\] (\d+)")[1]))
        supervisor.signal(signal.SIGTERM)
        supervisor.expect(r"\[0\] stopping pid {}")
        supervisor.signal(signal.SIGINT)
        supervisor.expect(r"\[0\] killing pid {}", r"\[0\] pid {} was killed by SIGKILL")
        check(supervisor.end(0) == [], "more output")
        supervisor.check_all_gone()


@test
def supervise_lets_them_clean_up():
    # Not a shell with a trap: what it starts has that, too, for a moment, and would survive.
    child = """from signal import *
pthread_sigmask(SIG_BLOCK, [SIGTERM])
print("ready", flush=True)
sigwait([SIGTERM])
print("bye")
exit(5)"""
    with Supervisor(f"exec {sys.executable} -c '{child}'") as supervisor:
        supervisor.start()
        supervisor.expect(r"\[0 {}\] ready")
        supervisor.signal(signal.SIGTERM)
        supervisor.expect(r"\[0\] stopping pid {}", r"\[0 {}\] bye", r"\[0\] pid {} exited with 5")
        check(supervisor.end(0) == [], "more output")
        supervisor.check_all_gone()


@test
def supervise_ends_what_a_child_leaves():
    with Supervisor("sleep 1000 & sleep 1000 >/dev/null 2>&1 & echo $!; exit 3") as supervisor:
        supervisor.start()
        supervisor.hold(int(supervisor.expect(r"\[0 {}\] (\d+)")[1]))
        supervisor.expect(r"\[0\] pid {} exited with 3; again in 100 ms")
        supervisor.end(0, signo=signal.SIGTERM)
        supervisor.check_all_gone()


@test
def supervise_waits_not_for_ever():
    """For one that has left its group and keeps the pipe open."""
    with Supervisor("setsid sh -c 'echo $$; exec sleep 1000' & wait") as supervisor:
        supervisor.start()
        escaped = os.pidfd_open(int(supervisor.expect(r"\[0 {}\] (\d+)")[1]))
        try:
            supervisor.signal(signal.SIGTERM)
            supervisor.expect(r"\[0\] stopping pid {}")
            said = supervisor.end(0, signo=signal.SIGTERM)
            check(said[0].startswith("[0] killing pid"), str(said))
            supervisor.check_all_gone()
            check(not select.select([escaped], [], [], 0)[0], "it was to be left alone")
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(escaped, signal.SIGKILL)
            os.close(escaped)


@test
def supervise_without_descriptors():
    with Supervisor("exec sleep 1000") as supervisor:
        first = supervisor.start()
        limits = resource.prlimit(supervisor.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(supervisor.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        os.kill(first, signal.SIGKILL)
        supervisor.expect(r"\[0\] pid {} was killed by SIGKILL; again in 100 ms",
                          r"\[0\] cannot start: too many open files; again in 200 ms",
                          r"\[0\] cannot start: too many open files; again in 400 ms")
        resource.prlimit(supervisor.process.pid, resource.RLIMIT_NOFILE, limits)
        check(supervisor.start() != first, "the same pid")
        supervisor.end(0, signo=signal.SIGTERM)
        supervisor.check_all_gone()


@test
def supervise_with_sigchld_ignored():
    with Supervisor("exit 0", before=lambda: signal.signal(
            signal.SIGCHLD, signal.SIG_IGN)) as supervisor:
        supervisor.start()
        supervisor.expect(r"\[0\] pid {} exited with 0; again in 100 ms")
        supervisor.end(0, signo=signal.SIGTERM)


@test
def supervise_bad_arguments():
    with Supervisor() as supervisor:
        check(supervisor.end(1, "usage: ") == [], "it runs")


@test
def proxy_passes_on_what_an_echo_server_says():
    with Program("echo", "127.0.0.1:0") as server:
        host, port = server.address()
        with Program("proxy", "127.0.0.1:0", f"{host}:{port}") as proxy:
            connections, _ = exercise(proxy.address())
            check(proxy.end(0, signo=signal.SIGTERM) == [], "more output")
            close_all(connections)
        server.end(0, signo=signal.SIGTERM)


@test
def proxy_between_unix_sockets():
    with tempfile.TemporaryDirectory() as directory:
        front, back = directory + "/front", directory + "/back"
        with Program("echo", "unix:" + back) as server, \
                Program("proxy", "unix:" + front, "unix:" + back) as proxy:
            check(server.line().startswith(f"listening on unix:{back} "), "where?")
            check(proxy.line() == f"listening on unix:{front}", "where?")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE_S)
                connection.connect(front)
                echo_greedily(connection, random.Random(2).randbytes(4 << 20))
                connection.shutdown(socket.SHUT_WR)
                check(connection.recv(1) == b"", "no end after the end")
            proxy.end(0, signo=signal.SIGTERM)
            server.end(0, signo=signal.SIGTERM)
        check(os.listdir(directory) == [], "paths are left")


def proxied(listening):
    """A proxy to a server of ours, the client's connection to it, and the server's end of that."""
    host, port = listening.getsockname()
    proxy = Program("proxy", "127.0.0.1:0", f"{host}:{port}")
    client = connect(proxy.address())
    server, _ = listening.accept()
    server.settimeout(PATIENCE_S)
    return proxy, client, server


def listen_here():
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(PATIENCE_S)
    return listening


@test
def proxy_keeps_a_half_close():
    data = random.Random(3).randbytes(1 << 20)
    with listen_here() as listening:
        proxy, client, server = proxied(listening)
        with proxy, client, server:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            check(receive(server, 8) == b"question", "not passed on")
            check(server.recv(1) == b"", "its end was not passed on")
            server.sendall(data)
            server.close()
            check(receive(client, len(data)) == data, "the way back is closed or wrong")
            check(client.recv(1) == b"", "no end")
            proxy.end(0, signo=signal.SIGTERM)


@test
def proxy_slows_the_sender_of_a_slow_reader():
    data = random.Random(4).randbytes(64 << 20)
    with listen_here() as listening:
        proxy, client, server = proxied(listening)
        with proxy, client, server:
            server.setblocking(False)
            sent = 0
            while select.select([], [server], [], 1)[1]: # until it has been full for a second
                sent += server.send(data[sent:sent + (1 << 20)])
                check(sent < len(data), "it takes everything that nobody reads")
            client.sendall(b"the other way is open")
            server.settimeout(PATIENCE_S)
            check(receive(server, 21) == b"the other way is open", "one direction stops the other")
            received = bytearray()
            server.setblocking(False)
            while len(received) < len(data):
                readable, writable, _ = select.select(
                    [client], [server] if sent < len(data) else [], [], PATIENCE_S)
                check(readable or writable, "no progress")
                if writable:
                    sent += server.send(data[sent:sent + (1 << 20)])
                if readable:
                    received += client.recv(1 << 20)
            check(bytes(received) == data, "other bytes")
            proxy.end(0, signo=signal.SIGTERM)


@test
def proxy_passes_a_reset_on():
    with listen_here() as listening:
        proxy, client, server = proxied(listening)
        with proxy, client:
            client.sendall(b"x")
            check(receive(server, 1) == b"x", "not passed on")
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
            try:
                check(client.recv(1) != b"", "a reset became an end")
            except ConnectionResetError:
                pass
            proxy.end(0, signo=signal.SIGTERM)


@test
def proxy_without_target():
    with listen_here() as listening:
        host, port = listening.getsockname()
    with Program("proxy", "127.0.0.1:0", f"{host}:{port}") as proxy:
        with connect(proxy.address()) as client:
            try:
                client.sendall(b"x")
                check(client.recv(1) == b"", "bytes from nowhere")
            except ConnectionError:
                pass
        # Said where it is known at once, and else not: nothing but that, in either case.
        proxy.process.send_signal(signal.SIGTERM)
        _, err = proxy.process.communicate(timeout=PATIENCE_S)
        check(proxy.process.returncode == 0, err)
    for arguments in [], ["127.0.0.1:0"], ["127.0.0.1:0", "x", "y"], ["nonsense", "x"]:
        with Program("proxy", *arguments) as proxy:
            check(proxy.end(1, ":") == [], str(arguments))


def web(*options):
    return Program("http", "-w", "2", *options, "127.0.0.1:0")


def request(first_line, *headers, body=b""):
    lines = [first_line + " HTTP/1.1", "Host: here", *headers]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + body


def posted(body, *headers):
    return request("POST /echo", f"Content-Length: {len(body)}", *headers, body=body)


def chunked(*chunks, trailers=b""):
    pieces = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return request("POST /echo", "Transfer-Encoding: chunked",
                   body=b"".join(pieces) + b"0\r\n" + trailers + b"\r\n")


GET = request("GET /")
HELLO = b"hello from weft\n"


class Answers:
    """What comes over a connection, taken apart."""

    def __init__(self, connection):
        self.file = connection.makefile("rb")

    def next(self, is_to_head=False):
        """Status, headers and body."""
        line = self.file.readline().decode()
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) \w[\w -]*\r\n", line)
        check(match, f"no status line: {line!r}")
        status, headers = int(match[1]), http.client.parse_headers(self.file)
        if status == 100:
            check(not headers.keys(), f"100 with headers: {headers.keys()}")
            return status, headers, b""
        check("Date" in headers and "Content-Type" in headers, f"{headers.keys()}")
        length = 0 if is_to_head else int(headers["Content-Length"])
        body = self.file.read(length)
        check(len(body) == length, "the connection ended early")
        return status, headers, body

    def expect(self, *expected, is_last=False):
        """The next one's status, and its body if that is given."""
        status, headers, body = self.next()
        check((status, body)[:len(expected)] == expected, f"{status} {body[:80]!r}, not {expected}")
        check((headers["Connection"] == "close") == is_last, f"Connection: {headers['Connection']}")
        if is_last:
            self.expect_end()
        return headers

    def expect_end(self):
        check((more := self.file.read(100)) == b"", f"no end, but {more!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@contextlib.contextmanager
def web_client(address):
    with connect(address) as connection, Answers(connection) as answers:
        yield connection, answers


@test
def http_client_keeps_its_connection():
    with web() as server:
        host, port = server.address()
        client = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
        client.connect()
        first = client.sock
        for method, url, body, status, expected, allow in (
                ("GET", "/", None, 200, HELLO, None),
                ("HEAD", "/", None, 200, b"", None),
                ("GET", "/?a=b&c", None, 200, HELLO, None),
                ("GET", "http://elsewhere/", None, 200, HELLO, None),
                ("GET", "http://elsewhere", None, 200, HELLO, None),
                ("POST", "/echo", b"posted", 200, b"posted", None),
                ("POST", "/echo?x", b"", 200, b"", None),
                ("POST", "/echo", iter([b"in ", b"pieces"]), 200, b"in pieces", None),
                ("GET", "/", b"with a body", 200, HELLO, None),
                ("GET", "/nowhere", None, 404, b"Not Found\n", None),
                ("HEAD", "/nowhere", None, 404, b"", None),
                ("POST", "/nowhere", b"unread", 404, b"Not Found\n", None),
                ("GET", "*", None, 404, b"Not Found\n", None),
                ("POST", "/", b"x", 405, b"Method Not Allowed\n", "GET, HEAD"),
                ("DELETE", "/", None, 405, b"Method Not Allowed\n", "GET, HEAD"),
                ("GET", "/echo", None, 405, b"Method Not Allowed\n", "POST"),
                ("GET", "/", None, 200, HELLO, None)):
            client.request(method, url, body)
            answer = client.getresponse()
            said = answer.read()
            check((answer.status, said) == (status, expected), f"{method} {url}: {said!r}")
            check(answer.headers["Allow"] == allow, f"{method} {url}: {answer.headers['Allow']}")
            length = int(answer.headers["Content-Length"])
            check(length == len(said) or (method == "HEAD" and length > 0), f"{method}: {length}")
            check(client.sock is first, f"{method} {url}: the connection was closed")
        client.close()
        check(server.end(0, signo=signal.SIGTERM) == [], "more output")


@test
def http_pipelined():
    """In one piece, and byte by byte, which is every place where a request can be cut."""
    requests = [(GET, HELLO), (posted(b"first"), b"first"),
                (chunked(b"a", b"bc" * 20, trailers=b"Host: trailer\r\n"), b"a" + b"bc" * 20),
                (request("GET /", "Expect: ", "X-Other: 100-continue"), HELLO),
                (posted(b"", "Host-Of: mine"), b""), (b"\r\n" + GET, HELLO)]
    data = b"".join(bytes_sent for bytes_sent, _ in requests) * 5
    with web() as server:
        address = server.address()
        for size in len(data), 1, 7:
            with web_client(address) as (connection, answers):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for i in range(0, len(data), size):
                    connection.sendall(data[i:i + size])
                for _, body in requests * 5:
                    answers.expect(200, body)
                connection.shutdown(socket.SHUT_WR)
                answers.expect_end()
        server.end(0, signo=signal.SIGTERM)


@test
def http_head_has_no_body():
    with web() as server:
        with web_client(server.address()) as (connection, answers):
            connection.sendall(request("HEAD /") + request("HEAD /nowhere") + GET)
            check(answers.next(is_to_head=True)[0] == 200, "HEAD /")
            check(answers.next(is_to_head=True)[0] == 404, "HEAD /nowhere")
            answers.expect(200, HELLO)
        server.end(0, signo=signal.SIGTERM)


@test
def http_bodies():
    chance = random.Random(5)
    most = 1 << 20
    with web() as server:
        with web_client(server.address()) as (connection, answers):
            for length in 0, 1, 1000, 65536, 100000, most:
                body = chance.randbytes(length)
                connection.sendall(posted(body))
                answers.expect(200, body)
                cuts = sorted({0, length, *(chance.randrange(length + 1) for _ in range(100))})
                connection.sendall(chunked(*(body[a:b] for a, b in zip(cuts, cuts[1:]))))
                answers.expect(200, body)
            connection.sendall(chunked(*[b"x"] * 100000))
            answers.expect(200, b"x" * 100000)
        server.end(0, signo=signal.SIGTERM)


@test
def http_too_long_a_body():
    """The answer arrives, although the client goes on sending for a while."""
    most = 1 << 20
    with web() as server:
        address = server.address()
        with web_client(address) as (connection, answers):
            connection.sendall(request("POST /echo", f"Content-Length: {most + 1}"))
            answers.expect(413, is_last=True)
        with web_client(address) as (connection, answers):
            connection.sendall(chunked(b"x" * most, b"x" * 10000))
            answers.expect(413, is_last=True)
        server.end(0, signo=signal.SIGTERM)


@test
def http_bad_requests():
    bad = [
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (400, b"what is this?\r\n\r\n"),
        (400, b"GET / HTTP/1.1 \r\n\r\n"),
        (400, b"GET / HTTP/x\r\nHost: here\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, request("GET /", "Host: there")),
        (400, request("GET /", "no colon")),
        (400, request("GET /", "Blank : x")),
        (400, request("GET /", "Bad: x\x01")),
        (400, request("POST /echo", "Content-Length: -1")),
        (400, request("POST /echo", "Content-Length: 1x")),
        (400, request("POST /echo", "Content-Length: 99999999999999999999999")),
        (400, request("POST /echo", "Content-Length: 1", "Content-Length: 2", body=b"x")),
        (400, request("POST /echo", "Content-Length: 1", "Transfer-Encoding: chunked", body=b"x")),
        (400, request("POST /echo", "Transfer-Encoding: chunked", "Content-Length: 1", body=b"x")),
        (400, request("POST /echo", "Transfer-Encoding: chunked", body=b"x\r\n")),
        (400, b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (414, request("GET /" + 300 * "x")),
        (417, request("POST /echo", "Content-Length: 1", "Expect: the-unexpected")),
        (431, request("GET /", "Huge: " + 100000 * "x")),
        (431, request("GET /", *(f"Many-{i}: x" for i in range(5000)))),
        (431, request("GET /" + 100000 * "x")),
        (501, request("CONNECT here:80")),
        (501, request("POST /echo", "Transfer-Encoding: identity", body=b"x")),
        (501, request("POST /echo", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
        (501, request("POST /echo", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
                      body=b"0\r\n\r\n")),
        (505, b"GET / HTTP/2.0\r\nHost: here\r\n\r\n"),
        (505, b"GET /\r\n\r\n"),
    ]
    with web() as server:
        address = server.address()
        for status, data in bad:
            for before in [], [GET], [request("HEAD /nowhere")]:
                with web_client(address) as (connection, answers):
                    # What follows is not a request any more, whatever it looks like.
                    connection.sendall(b"".join(before) + data + GET)
                    for _ in before:
                        answers.next(is_to_head=before != [GET])
                    try:
                        answers.expect(status, is_last=True)
                    except Failure as failure:
                        raise Failure(f"{data[:80]!r}: {failure}") from failure
        server.end(0, signo=signal.SIGTERM)


@test
def http_closes_when_asked():
    old = b"GET / HTTP/1.0\r\n\r\n"
    old_keep = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with web() as server:
        address = server.address()
        for last in old, request("GET /", "Connection: close"):
            with web_client(address) as (connection, answers):
                connection.sendall(old_keep + GET + last + GET)
                check(answers.expect(200, HELLO)["Connection"] == "keep-alive", "not kept")
                answers.expect(200, HELLO)
                answers.expect(200, HELLO, is_last=True)
        server.end(0, signo=signal.SIGTERM)


@test
def http_continue():
    with web() as server:
        address = server.address()
        with web_client(address) as (connection, answers):
            data = posted(b"expected", "Expect: 100-Continue")
            connection.sendall(data[:-8])
            check(answers.next()[0] == 100, "not to be continued")
            connection.sendall(data[-8:])
            answers.expect(200, b"expected")
            connection.sendall(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\n"
                               b"Content-Length: 1\r\n\r\nx")
            answers.expect(200, b"x", is_last=True)
        with web_client(address) as (connection, answers):
            connection.sendall(request("POST /echo", "Expect: 100-continue",
                                       f"Content-Length: {2 << 20}"))
            answers.expect(413, is_last=True)
        server.end(0, signo=signal.SIGTERM)


@test
def http_upgrades_are_not_taken_up():
    with web() as server:
        with web_client(server.address()) as (connection, answers):
            upgrade = "Connection: Upgrade", "Upgrade: websocket"
            connection.sendall(request("GET /", *upgrade) + GET + posted(b"body", *upgrade)
                               + request("HEAD /", *upgrade) + GET)
            answers.expect(200, HELLO)
            answers.expect(200, HELLO)
            answers.expect(200, b"body")
            check(answers.next(is_to_head=True)[0] == 200, "HEAD")
            answers.expect(200, HELLO)
        server.end(0, signo=signal.SIGTERM)


@test
def http_half_close():
    body = random.Random(6).randbytes(1 << 20)
    with web() as server:
        address = server.address()
        with web_client(address) as (connection, answers):
            connection.sendall(posted(body) + GET)
            connection.shutdown(socket.SHUT_WR)
            answers.expect(200, body)
            answers.expect(200, HELLO)
            answers.expect_end()
        server.end(0, signo=signal.SIGTERM)


@test
def http_clients_that_go_away():
    data = GET + chunked(b"x" * 1000, trailers=b"Name: value\r\n")
    with web() as server:
        address = server.address()
        for i in range(0, len(data), 5):
            for is_reset in False, True:
                connection = connect(address)
                connection.sendall(data[:i])
                if is_reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
                connection.close()
        with web_client(address) as (connection, answers):
            connection.sendall(GET)
            answers.expect(200, HELLO)
        server.end(0, signo=signal.SIGTERM)


@test
def http_many_clients():
    with web() as server:
        address = server.address()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(web_client(address)) for _ in range(50)]
            for turn in range(20):
                for i, (connection, _) in enumerate(clients):
                    connection.sendall(posted(f"{turn} {i}".encode()))
                for i, (_, answers) in enumerate(clients):
                    answers.expect(200, f"{turn} {i}".encode())
        server.end(0, signo=signal.SIGTERM)


@test
def http_who_does_not_read_is_not_read():
    with web() as server:
        with web_client(server.address()) as (connection, answers):
            data = posted(b"x" * 1000)
            sent, most = 0, 64 << 20
            connection.setblocking(False)
            while select.select([], [connection], [], 1)[1]:  # until it has been full for a second
                sent += connection.send((data * 100)[sent % len(data):])
                check(sent < most, "it takes everything, and nobody reads")
            connection.settimeout(PATIENCE_S)
            for _ in range(sent // len(data)):
                answers.expect(200, b"x" * 1000)
            connection.sendall((data + GET)[sent % len(data):])
            answers.expect(200, b"x" * 1000)
            answers.expect(200, HELLO)
        server.end(0, signo=signal.SIGTERM)


@test
def http_date():
    def seconds():
        connection.sendall(GET)
        text = answers.expect(200)["Date"]
        date = email.utils.parsedate_to_datetime(text)
        check(email.utils.format_datetime(date, usegmt=True) == text, text)
        return date.timestamp()

    with web() as server:
        with web_client(server.address()) as (connection, answers):
            before = time.time()
            first = seconds()
            check(before - 2 < first <= time.time(), f"{first} at {before}")
            while (later := seconds()) == first:
                check(time.time() < before + PATIENCE_S, "the clock stands still")
            check(first < later <= time.time(), f"{later} after {first}")
        server.end(0, signo=signal.SIGTERM)


@test
def http_slow_clients():
    with web("-t", "1") as server:
        address = server.address()
        with web_client(address) as (_, answers):
            answers.expect_end()
        with web_client(address) as (connection, answers):
            connection.sendall(GET)
            answers.expect(200, HELLO)
            answers.expect_end()
        for part in b"G", GET[:-1], posted(b"xyz")[:-1]:
            with web_client(address) as (connection, answers):
                connection.sendall(part)
                answers.expect(408, is_last=True)
        with web_client(address) as (connection, answers):  # one that is never silent
            connection.sendall(GET[:-2])
            begin = time.monotonic()
            while not select.select([connection], [], [], 0.1)[0]:
                check(time.monotonic() < begin + PATIENCE_S, "it may go on for ever")
                connection.sendall(b"x:\r\n")
            answers.expect(408, is_last=True)
        with connect(address) as connection:  # one that does not read
            with contextlib.suppress(ConnectionError):
                while True:
                    connection.sendall(GET * 1000)
        server.end(0, signo=signal.SIGTERM)


class Steps:
    """A client's steps, 50 ms or more apart, and the longest of them."""

    def __init__(self):
        self.longest = 0
        self.last = time.monotonic()

    def next(self):
        time.sleep(0.05)
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now


def check_in_time(attempt, address, patience_s):
    """On a machine so busy that a step takes that long the client was slow indeed: once more."""
    for _ in range(20):
        steps = Steps()
        try:
            attempt(address, steps)
            return
        except (Failure, OSError) as failure:
            steps.next()
            if steps.longest < patience_s / 2:
                raise Failure(f"{failure}, in steps of {steps.longest:.2f} s at most") from failure
    raise Failure("it is too busy here to tell")


def always_within_a_request(address, steps):
    with web_client(address) as (connection, answers):
        connection.sendall(GET[:10])
        begin = steps.last
        while steps.last < begin + 2:
            steps.next()
            connection.sendall(GET[10:] + GET[:10])
            answers.expect(200, HELLO)


def reads_for_longer_than_a_request(path, steps):
    body, received = b"x" * (1 << 20), b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(path)
        connection.sendall(posted(body) + GET[:10])
        while not received.endswith(body):
            steps.next()
            check(piece := connection.recv(20000), "the connection ended early")
            received += piece
        connection.sendall(GET[10:])
        with Answers(connection) as answers:
            answers.expect(200, HELLO)


@test
def http_time_counts_for_each_request():
    """Many requests together may take longer than one."""
    with web("-t", "1") as server:
        check_in_time(always_within_a_request, server.address(), 1)
        server.end(0, signo=signal.SIGTERM)


@test
def http_time_does_not_count_while_answers_leave():
    with tempfile.TemporaryDirectory() as directory:
        path = directory + "/http"
        with Program("http", "-t", "1", "unix:" + path) as server:
            check(server.line().startswith(f"listening on unix:{path} "), "where?")
            check_in_time(reads_for_longer_than_a_request, path, 1)
            server.end(0, signo=signal.SIGTERM)


@test
def http_stop_with_open_connections():
    for signo in signal.SIGTERM, signal.SIGINT:
        with web() as server, contextlib.ExitStack() as stack:
            address = server.address()
            clients = [stack.enter_context(web_client(address)) for _ in range(30)]
            for connection, answers in clients:
                connection.sendall(GET)
                answers.expect(200, HELLO)
            for i, (connection, _) in enumerate(clients):
                connection.sendall([b"", GET[:10], posted(b"unfinished")[:-1]][i % 3])
            server.end(0, signo=signo)


@test
def http_bad_arguments():
    for arguments in (["-w"], ["-w", "0"], ["-w", "1025"], ["-t", "0"], ["-t", "x"], ["-x"],
                      [":0", ":0"]):
        with Program("http", *arguments) as program:
            check(program.end(1, "usage: ") == [], str(arguments))
    with Program("http", "nonsense") as program:
        check(program.end(1, "http: invalid argument") == [], "it runs")


class Talker:
    """A user of chat."""

    def __init__(self, address, name=None):
        self.connection = connect(address)
        self.unread = b""
        self.name = name
        if name:
            self.say(f"NAME {name}")
            self.hears(f"* welcome, {name}", f"* {name} is here")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def say(self, *lines):
        self.connection.sendall("".join(line + "\n" for line in lines).encode())

    def line(self):
        """The next line; None at the end."""
        while b"\n" not in self.unread:
            piece = self.connection.recv(65536)
            if not piece:
                check(not self.unread, f"the end in the middle of {self.unread!r}")
                return None
            self.unread += piece
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    def hears(self, *lines):
        for line in lines:
            said = self.line()
            check(said == line, f"{self.name} heard {said!r}, not {line!r}")

    def hears_the_end(self):
        said = self.line()
        check(said is None, f"{self.name} heard {said!r}, not the end")

    def leave(self):
        self.say("QUIT")
        while self.line() is not None:
            pass
        self.connection.close()


def chat(workers):
    return Program("chat", "-w", str(workers), "127.0.0.1:0")


def introduce(*talkers):
    """Each has heard who came after it."""
    for i, talker in enumerate(talkers):
        talker.hears(*(f"* {later.name} is here" for later in talkers[i + 1:]))


def until(talker, wanted, allowed):
    """Skips lines that match `allowed`, until one is `wanted`: how many."""
    skipped = 0
    while (said := talker.line()) != wanted:
        check(said is not None and re.fullmatch(allowed, said), f"heard {said!r}")
        skipped += 1
    return skipped


def wait_until_free(talker, name, allowed=r"nothing else"):
    """Until nobody has that name: it is given back a moment after its user has left."""
    while True:
        talker.say(f"TO {name} are you there?", f"TO {talker.name} no")
        said = talker.line()
        while said not in (f"* {name}: no such user", f"{talker.name} to you: no"):
            check(re.fullmatch(allowed, said), said)
            said = talker.line()
        if said == f"* {name}: no such user":
            return until(talker, f"{talker.name} to you: no", allowed)


@test
def chat_private_and_public():
    for workers in 1, 2, 3:
        with chat(workers) as server:
            where = server.address()
            # Placed in turn: with two workers, on one each.
            with Talker(where, "alice") as alice, Talker(where, "bob") as bob:
                introduce(alice, bob)
                alice.say("TO bob for you alone")
                bob.hears("alice to you: for you alone")
                bob.say("TO alice  two  spaces", "TO bob myself")
                alice.hears("bob to you:  two  spaces")
                bob.hears("bob to you: myself")
                alice.say("ALL for everybody", "TO carol anybody?", "ALL ", "WHO")
                bob.hears("alice: for everybody", "alice: ")
                alice.hears("alice: for everybody", "* carol: no such user", "alice: ")
                said = alice.line()
                check(said in ("* 2 here: alice bob", "* 2 here: bob alice"), said)
                bob.say("QUIT", "ALL too late")
                bob.hears_the_end()
                alice.hears("* bob has left")
                check(server.end(0, signo=signal.SIGTERM) == [], "more output")


@test
def chat_without_a_name():
    with chat(2) as server:
        where = server.address()
        with Talker(where) as nobody, Talker(where, "alice") as alice:
            alice.say("ALL not for those without a name")
            alice.hears("alice: not for those without a name")
            nobody.say("ALL hello", "TO alice hello", "WHO", "", "name x", "NAME", "NAME a b",
                       "NAME \xe4", "NAME " + 25 * "x", "NAME *")
            nobody.hears("* NAME, WHO or QUIT", "* NAME, WHO or QUIT", "* 1 here: alice",
                         "* NAME, WHO or QUIT", "* NAME, WHO or QUIT", *5 * ["* that is no name"])
            nobody.say("NAME " + 24 * "x")
            nobody.hears(f"* welcome, {24 * 'x'}", f"* {24 * 'x'} is here")
            nobody.say("NAME another")
            nobody.hears("* TO, ALL, WHO or QUIT")
            nobody.connection.shutdown(socket.SHUT_WR)
            nobody.hears_the_end()
            alice.hears(f"* {24 * 'x'} is here", f"* {24 * 'x'} has left")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_operator():
    with chat(2) as server:
        where = server.address()
        with Talker(where, "alice") as alice, Talker(where, "bob") as bob:
            introduce(alice, bob)
            server.process.stdin.write(b"bob hello, bob\ncarol hello\n* hello, all\n\n" +
                                       1025 * b"x" + b"\nbob bye\nbob no")
            server.process.stdin.close() # what has no end of line is none
            server.process.stdin = None
            alice.hears("[operator]: hello, all")
            said = sorted([bob.line(), bob.line(), bob.line()])
            check(said == ["[operator] to you: bye", "[operator] to you: hello, bob",
                           "[operator]: hello, all"], str(said))
            check(server.line() == "carol: no such user", "carol is here")
            for _ in "an empty line", "what is left of one that is too long":
                check(server.line() == ": no such user", "that is somebody")
            alice.say("TO bob without the operator")
            bob.hears("alice to you: without the operator")
            check(server.end(0, signo=signal.SIGINT) == [], "more output")


@test
def chat_operator_says_much():
    lines = 20000
    with chat(2) as server:
        where = server.address()
        with Talker(where, "alice") as alice, Talker(where, "bob") as bob:
            introduce(alice, bob)
            def speak():
                for i in range(lines):
                    server.process.stdin.write(b"* %d\nalice %d\n" % (i, i))
                server.process.stdin.flush()
            speaker = threading.Thread(target=speak)
            speaker.start()
            public = private = 0
            while public < lines or private < lines:
                said = alice.line()
                if said == f"[operator]: {public}":
                    public += 1
                else:
                    check(said == f"[operator] to you: {private}", said)
                    private += 1
            bob.hears(*(f"[operator]: {i}" for i in range(lines)))
            speaker.join()
            check(server.end(0, signo=signal.SIGTERM) == [], "more output")


@test
def chat_one_of_many_gets_a_name():
    with chat(3) as server:
        where = server.address()
        with Talker(where, "witness") as witness:
            for _ in range(10):
                rivals = [Talker(where) for _ in range(30)]
                for rival in rivals:
                    rival.say("NAME highlander")
                answers = [rival.line() for rival in rivals]
                won = [rival for rival, said in zip(rivals, answers)
                       if said == "* welcome, highlander"]
                check(len(won) == 1 and answers.count("* highlander is taken") == len(rivals) - 1,
                      str(answers))
                for rival in rivals:
                    rival.connection.close()
                witness.hears("* highlander is here", "* highlander has left")
                wait_until_free(witness, "highlander")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_names_of_those_who_leave_at_once():
    """Before they have heard of it, too: no name stays behind."""
    names = [f"n{i}" for i in range(200)]
    with chat(3) as server:
        where = server.address()
        with Talker(where) as witness:
            hasty = [Talker(where) for _ in names]
            for name, talker in zip(names, hasty):
                talker.say(f"NAME {name}")
                talker.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
                talker.connection.close()
            witness.say("NAME witness")
            witness.hears("* welcome, witness")
            for name in names:
                witness.say(f"TO {name} gone?")
                until(witness, f"* {name}: no such user", r"\* \w+ (is here|has left)")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_user_who_comes_and_goes():
    with chat(2) as server:
        where = server.address()
        with Talker(where, "alice") as alice:
            done = threading.Event()
            def come_and_go():
                try:
                    for i in range(200):
                        bob = Talker(where)
                        bob.say("NAME bob")
                        while (said := bob.line()) == "* bob is taken":
                            bob.say("NAME bob")
                        check(said == "* welcome, bob", said)
                        if i % 2:
                            bob.connection.close() # with what it has not read: a reset
                        else:
                            bob.leave()
                finally:
                    done.set()
            visitor = threading.Thread(target=come_and_go)
            visitor.start()
            sent = refused = arrived = left = 0
            while not done.is_set():
                alice.say(*20 * ["TO bob quick"], "TO alice that was it")
                sent += 20
                while (said := alice.line()) != "alice to you: that was it":
                    refused += said == "* bob: no such user"
                    arrived += said == "* bob is here"
                    left += said == "* bob has left"
                    check(said in ("* bob: no such user", "* bob is here", "* bob has left"), said)
            visitor.join()
            wait_until_free(alice, "bob", r"\* bob (is here|has left)")
            check(0 < refused < sent, f"{refused} of {sent} refused")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_hundred_users():
    users, lines = 100, 10
    with chat(3) as server:
        where = server.address()
        talkers = [Talker(where) for _ in range(users)]
        for i, talker in enumerate(talkers):
            talker.name = f"u{i}"
            talker.say(f"NAME u{i}")
            talker.hears(f"* welcome, u{i}")
        talkers[0].say("ALL all are here")
        for talker in talkers:
            until(talker, "u0: all are here", r"\* u\d+ is here")
        for talker in talkers: # each says all at once
            talker.say(*(f"ALL {i}" for i in range(lines)))
        heard = [[talker.line() for _ in range(users * lines)] for talker in talkers]
        for talker in talkers:
            said = [line for line in heard[0] if line.startswith(talker.name + ":")]
            check(said == [f"{talker.name}: {i}" for i in range(lines)], f"{said}")
        check(all(order == heard[0] for order in heard), "they heard it in different orders")
        talkers[7].say("WHO")
        said = talkers[7].line()
        check(said.startswith("* 100 here: u") and len(set(said.split()[3:])) == 100, said)
        for talker in talkers:
            talker.connection.close()
        server.end(0, signo=signal.SIGTERM)


@test
def chat_byte_by_byte():
    with chat(2) as server:
        where = server.address()
        with Talker(where) as alice, Talker(where) as bob:
            alice.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"NAME alice\r\nTO alice byte by byte\r\nALL and now all\nTO alice x":
                alice.connection.send(bytes([byte]))
            alice.hears("* welcome, alice")
            said = sorted([alice.line(), alice.line(), alice.line()])
            check(said == ["* alice is here", "alice to you: byte by byte", "alice: and now all"],
                  str(said))
            bob.say("NAME bob")
            bob.hears("* welcome, bob", "* bob is here")
            alice.hears("* bob is here")
            alice.say("yz")
            alice.hears("alice to you: xyz")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_lines_that_are_too_long():
    with chat(2) as server:
        where = server.address()
        with Talker(where, "witness") as witness:
            longest = "x" * (1024 - len("ALL "))
            for i, after in enumerate(["", "x", "x\n", 100000 * "x", 100000 * "x" + "\nQUIT\n"]):
                with Talker(where, f"u{i}") as talker:
                    talker.say("ALL " + longest)
                    talker.hears(f"u{i}: {longest}")
                    talker.connection.sendall(f"ALL {longest}{after}".encode())
                    if after:
                        talker.hears("* a line has at most 1024 bytes")
                        talker.hears_the_end()
                witness.hears(f"* u{i} is here", f"u{i}: {longest}", f"* u{i} has left")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_sent_ahead():
    """While NAME, ALL and WHO are under way, what comes after them waits, and nothing is lost."""
    with chat(2) as server:
        with Talker(server.address()) as alice:
            alice.name = "alice"
            alice.connection.sendall(b"NAME alice\n" + b"".join(
                b"TO alice %d\nALL %d\nWHO\n" % (i, i) for i in range(5000)) + b"QUIT\n")
            alice.hears("* welcome, alice")
            public = private = counted = here = 0
            while said := alice.line():
                if said == f"alice: {public}":
                    public += 1
                elif said == "* 1 here: alice":
                    counted += 1
                elif said == "* alice is here":
                    here += 1
                else:
                    check(said == f"alice to you: {private}", said)
                    private += 1
            check((public, private, counted, here) == (5000, 5000, 5000, 1),
                  f"{public} {private} {counted} {here}")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_who_does_not_read():
    """Is refused more words, then closed; nobody else waits for it."""
    with chat(2) as server:
        where = server.address()
        with Talker(where, "alice") as alice, Talker(where, "sleeper") as sleeper:
            introduce(alice, sleeper)
            words = 1000 * "z"
            said, sent = None, 0
            while said != "* sleeper: does not keep up":
                alice.say(*100 * [f"TO sleeper {words}"], "TO alice ready?")
                sent += 100 * len(words)
                said = alice.line()
                if said != "alice to you: ready?":
                    until(alice, "alice to you: ready?", r"\* sleeper: does not keep up")
                check(sent < 1 << 30, "it is never too much")
            said = None
            while said != "* sleeper has left":
                alice.say("ALL " + words)
                said = alice.line()
                check(said in (f"alice: {words}", "* sleeper has left"), said)
            wait_until_free(alice, "sleeper", f"alice: {words}")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_stops_while_they_talk():
    with chat(3) as server:
        where = server.address()
        talkers = [Talker(where) for _ in range(20)]
        for i, talker in enumerate(talkers):
            talker.say(f"NAME u{i}", *(f"ALL {j}" for j in range(50)))
        for talker in talkers:
            check(talker.line().startswith("* welcome, "), "not welcome")
        server.signal(signal.SIGTERM)
        for talker in talkers:
            until(talker, "* the server stops", r"\* u\d+ is here|u\d+: \d+")
            talker.hears_the_end()
            talker.connection.close()
        server.end(0)


@test
def chat_bad_arguments():
    for arguments in ["x", "y"], ["-x"], ["-w"], ["-w", "1", "x", "y"]:
        with Program("chat", *arguments) as server:
            check(server.end(1, "usage: ") == [], str(arguments))
    with Program("chat", "nonsense") as server:
        check(server.end(1, "invalid argument") == [], "it runs")


def main():
    # Those of a larger example have a file of their own, which finds what it needs here.
    sys.modules["examples"] = sys.modules[__name__]
    importlib.import_module("examples_kv")
    chosen = [t for t in TESTS if t.__name__ in sys.argv[2:] or not sys.argv[2:]]
    failed = 0
    wanted = sys.argv[2:]
    tests = [function for function in TESTS if not wanted or function.__name__ in wanted]
    for function in tests:
    for function in chosen:
        try:
            function()
            print(f"ok   {function.__name__}", flush=True)
        except (Failure, OSError, ValueError) as failure:
            failed += 1
            print(f"FAIL {function.__name__}: {failure}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
