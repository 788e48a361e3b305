#!/usr/bin/env python3
"""Drives the examples: examples.py EXAMPLES_DIR [TEST ...]

Servers listen on a port of their own choosing and are waited for by what they print; a program that
does not come to its point within PATIENCE_S has failed. What a program says on stderr when all is
well (a sanitizer's report, say) is a failure too. WTEST_WRAPPER: what runs the programs, such as
valgrind with its options.
"""

import contextlib
import importlib
import os
import random
import re
import resource
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

WRAPPER = shlex.split(os.environ.get("WTEST_WRAPPER", ""))
PATIENCE_S = 600 if WRAPPER else 60
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
        self.process = subprocess.Popen([*WRAPPER, path, *arguments], stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=before)
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
    with Supervisor("echo err >&2; printf 'last words' >&2; echo out; exec sleep 1000") as supervisor:
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
        with contextlib.suppress(ConnectionError), connect(proxy.address()) as client:
            client.sendall(b"x")
            check(client.recv(1) == b"", "bytes from nowhere")
        # Said where it is known at once, and else not: nothing but that, in either case.
        proxy.process.send_signal(signal.SIGTERM)
        _, err = proxy.process.communicate(timeout=PATIENCE_S)
        check(proxy.process.returncode == 0, err)
    for arguments in [], ["127.0.0.1:0"], ["127.0.0.1:0", "x", "y"], ["nonsense", "x"]:
        with Program("proxy", *arguments) as proxy:
            check(proxy.end(1, ":") == [], str(arguments))


def main():
    # Those of the larger examples have files of their own, which find what they need here.
    sys.modules["examples"] = sys.modules[__name__]
    for name in "http", "chat", "kv":
        importlib.import_module("examples_" + name)
    wanted = sys.argv[2:]
    # valgrind cannot follow weft_spawn(), of which supervise is made.
    able = [test for test in TESTS if not WRAPPER or "supervise" not in test.__name__]
    tests = [function for function in able if not wanted or function.__name__ in wanted]
    failed = 0
    for function in tests:
        try:
            function()
            print(f"ok   {function.__name__}", flush=True)
        except (Failure, OSError, ValueError) as failure:
            failed += 1
            print(f"FAIL {function.__name__}: {failure}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
