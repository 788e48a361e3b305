"""The tests of examples/kv; examples.py runs them with the others."""

import contextlib
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from examples import PATIENCE_S, Failure, Program, check, close_all, connect, test

WORKERS = 4
BULK_MAX = 16 << 20
ARGUMENTS_MAX = 16 << 10


class Error(str):
    """A reply of "-...". """


class Status(str):
    """A reply of "+...". """


OK = Status("OK")


def encode(*arguments):
    pieces = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if not isinstance(argument, bytes):
            argument = str(argument).encode()
        pieces.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(pieces)


class Client:
    """One connection: what is sent, and the replies, one by one."""

    def __init__(self, address):
        self.socket = connect(address)
        self.unread = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        piece = self.socket.recv(1 << 20)
        check(piece, f"the connection ended early, after {bytes(self.unread[-100:])!r}")
        self.unread += piece

    def line(self):
        while (end := self.unread.find(b"\r\n")) < 0:
            self.more()
        line = bytes(self.unread[:end])
        del self.unread[:end + 2]
        return line

    def bulk(self, length):
        while len(self.unread) < length + 2:
            self.more()
        value = bytes(self.unread[:length])
        check(self.unread[length:length + 2] == b"\r\n", "a bulk string without its end")
        del self.unread[:length + 2]
        return value

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:].decode()
        if kind == b"$":
            return None if rest == "-1" else self.bulk(int(rest))
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        check(kind in (b"+", b"-", b":"), f"no reply: {line!r}")
        return {b"+": Status, b"-": Error, b":": int}[kind](rest)

    def ask(self, *arguments):
        self.send(encode(*arguments))
        return self.reply()

    def expect(self, expected, *arguments):
        said = self.ask(*arguments)
        check(type(said) is type(expected) and said == expected,
              f"{str(arguments)[:200]}: {str(said)[:200]!r}, not {str(expected)[:200]!r}")

    def ended(self):
        try:
            check(self.socket.recv(1) == b"" and not self.unread, "bytes from nowhere")
        except ConnectionResetError:
            pass

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@contextlib.contextmanager
def serving(workers=WORKERS):
    """A server, and where it is; all must be well with it at the end."""
    with Program("kv", "-w", str(workers), "127.0.0.1:0") as server:
        said = server.line()
        match = re.fullmatch(rf"listening on 127\.0\.0\.1:(\d+) with {workers} workers", said)
        check(match, said)
        yield ("127.0.0.1", int(match[1])), server
        check(server.end(0, signo=signal.SIGTERM) == [], "more output")


NOT_A_NUMBER = Error("ERR value is not an integer or out of range")
SYNTAX = Error("ERR syntax error")
OVERFLOW = Error("ERR increment or decrement would overflow")
LEAST, MOST = -2 ** 63, 2 ** 63 - 1


def wrong_number(name):
    return Error(f"ERR wrong number of arguments for '{name}' command")


def bad_time(name):
    return Error(f"ERR invalid expire time in '{name}' command")


# What is asked, and answered, in this order.
DIALOGUE = [
    (Status("PONG"), "PING"), (b"", "PING", ""), (b"hi", "ping", "hi"),
    (b"\0\r\n", "ECHO", b"\0\r\n"),
    (None, "GET", "a"), (OK, "SET", "a", "1"), (b"1", "GET", "a"), (OK, "SET", "a", ""),
    (b"", "GET", "a"), (OK, "SET", "", b"\r\n\0"), (b"\r\n\0", "GET", ""), (3, "STRLEN", ""),
    (0, "STRLEN", "none"), (2, "DBSIZE"), (1, "DEL", ""), (0, "DEL", ""), (1, "DBSIZE"),
    # options of SET
    (None, "SET", "a", "2", "NX"), (b"", "GET", "a"), (OK, "SET", "a", "2", "xx"),
    (None, "SET", "n", "2", "XX"), (None, "GET", "n"), (OK, "SET", "n", "3", "nx"),
    (b"3", "GET", "n"), (SYNTAX, "SET", "n", "4", "NX", "XX"), (SYNTAX, "SET", "n", "4", "EX"),
    (SYNTAX, "SET", "n", "4", "EX", "1", "KEEPTTL"), (SYNTAX, "SET", "n", "4", "XYZ"),
    (SYNTAX, "SET", "n", "4", "EX", "1", "PX", "1"), (NOT_A_NUMBER, "SET", "n", "4", "EX", "x"),
    (bad_time("set"), "SET", "n", "4", "EX", "0"), (bad_time("set"), "SET", "n", "4", "PX", "-1"),
    (bad_time("set"), "SET", "n", "4", "EX", MOST), (b"3", "GET", "n"),
    # numbers
    (1, "INCR", "i"), (2, "INCR", "i"), (1, "DECR", "i"), (11, "INCRBY", "i", 10),
    (-9, "DECRBY", "i", 20), (b"-9", "GET", "i"), (NOT_A_NUMBER, "INCRBY", "i", "x"),
    (NOT_A_NUMBER, "DECRBY", "i", "1.5"), (OK, "SET", "i", MOST), (OVERFLOW, "INCR", "i"),
    (MOST - 1, "DECR", "i"), (OK, "SET", "i", LEAST), (OVERFLOW, "DECR", "i"),
    (OVERFLOW, "INCRBY", "i", -1), (Error("ERR decrement would overflow"), "DECRBY", "i", LEAST),
    (str(LEAST).encode(), "GET", "i"), (-1, "INCRBY", "i", MOST),
    *((NOT_A_NUMBER, *request) for text in ("", "-", "01", "-0", "+1", " 1", "1 ", "1x", MOST + 1,
                                            LEAST - 1, "9" * 40)
      for request in (("INCRBY", "i", text), ("EXPIRE", "i", text))),
    (OK, "SET", "i", "x"), (NOT_A_NUMBER, "INCR", "i"), (b"x", "GET", "i"),
    # several keys
    (OK, "MSET", "a", "1", "b", "2", "c", "3", "a", "4"),
    ([b"4", None, b"2", b"3", b"4"], "MGET", "a", "no", "b", "c", "a"), ([None], "MGET", "no"),
    (4, "EXISTS", "a", "a", "b", "no", "c"), (2, "UNLINK", "a", "b", "a"),
    (3, "DEL", "c", "i", "n", "no"), (0, "DBSIZE"), (0, "EXISTS", "a"),
    # time; it has not gone by yet
    (-2, "TTL", "t"), (-2, "PTTL", "t"), (0, "EXPIRE", "t", 100), (OK, "SET", "t", 1),
    (-1, "TTL", "t"), (0, "PERSIST", "t"), (1, "EXPIRE", "t", 100000), (100000, "TTL", "t"),
    (2, "INCR", "t"), (100000, "TTL", "t"), (1, "PERSIST", "t"), (-1, "PTTL", "t"),
    (OK, "SET", "t", 1, "EX", 100000), (100000, "TTL", "t"), (OK, "SET", "t", 2, "KEEPTTL"),
    (100000, "TTL", "t"), (OK, "SET", "t", 3), (-1, "TTL", "t"), (1, "PEXPIRE", "t", 100000000),
    (100000, "TTL", "t"), (1, "PERSIST", "t"), (bad_time("expire"), "EXPIRE", "t", MOST),
    (bad_time("pexpire"), "PEXPIRE", "t", MOST), (1, "EXPIRE", "t", 100), (0, "PERSIST", "no"),
    (OK, "MSET", "t", 4), (-1, "TTL", "t"), (1, "EXPIRE", "t", 0), (None, "GET", "t"),
    (OK, "SET", "t", 1), (1, "PEXPIRE", "t", -5), (0, "EXISTS", "t"),
    # everything
    (OK, "MSET", *range(40)), (20, "DBSIZE"), (OK, "FLUSHALL"), (0, "DBSIZE"),
    (OK, "SET", 1, 1, "EX", 100000), (OK, "FLUSHDB", "ASYNC"), ([None], "MGET", 1),
    # what clients ask by themselves
    ([b"save", b""], "CONFIG", "GET", "save"),
    ([b"appendonly", b"no"], "config", "get", "appendonly"),
    ([b"save", b"", b"appendonly", b"no"], "CONFIG", "GET", "*"), ([], "CONFIG", "GET", "x"),
    (Error("ERR only CONFIG GET name is supported"), "CONFIG", "SET", "save", ""),
    ([], "COMMAND", "DOCS"), ([], "COMMAND"), (OK, "SELECT", 0), (OK, "CLIENT", "SETNAME", "x"),
    (Error("ERR unknown subcommand of CLIENT"), "CLIENT", "x"),
    (Error("ERR DB index is out of range"), "SELECT", 1),
    (Error("NOPROTO unsupported protocol version"), "HELLO", 3),
    # what is wrong
    (Error("ERR unknown command 'NOPE'"), "NOPE"), (Error("ERR unknown command ''"), ""),
    (Error("ERR unknown command 'GETX'"), "GETX", "a"), (Error("ERR unknown command 'ge'"), "ge"),
    (Error("ERR unknown command 'a  b'"), b"a\r\nb"),
    (Error("ERR unknown command 'GET'"), b"GET\0"),
    (Error(f"ERR unknown command '{'x' * 64}'"), "x" * 1000),
    *((wrong_number(request[0].lower()), *request) for request in (
        ("GET",), ("GET", "a", "b"), ("SET", "a"), ("DEL",), ("MGET",), ("MSET", "a"), ("MSET",),
        ("MSET", "a", "b", "c"), ("INCR",), ("INCRBY", "a"), ("EXPIRE", "a"), ("TTL",), ("ECHO",),
        ("PING", "a", "b"), ("EXISTS",), ("SELECT",), ("Config",), ("DBSIZE", "x"))),
    (0, "DBSIZE"),
]


@test
def kv_commands():
    for workers in 1, WORKERS:
        with serving(workers) as (address, _), Client(address) as client:
            for expected, *request in DIALOGUE:
                client.expect(expected, *request)
            said = client.ask("HELLO", 2)
            check(said[:2] == [b"server", b"weft-kv"] and said[4:6] == [b"proto", 2], str(said))
            said = client.ask("INFO").decode()
            check(f"workers:{workers}\r\n" in said and "connected_clients:" in said, said)


@test
def kv_commands_pipelined():
    """The same, without waiting for a reply, in one piece and in single bytes."""
    data = b"".join(encode(*request) for _, *request in DIALOGUE)
    with serving() as (address, _):
        for length in len(data), 1, 7:
            with Client(address) as client:
                sender = threading.Thread(target=lambda: [
                    client.send(data[i:i + length]) for i in range(0, len(data), length)])
                sender.start()
                for expected, *request in DIALOGUE:
                    said = client.reply()
                    check(said == expected, f"{request}: {said!r}, not {expected!r}")
                sender.join()


@test
def kv_inline_commands():
    data = b"\r\n\n  \r\nPING\r\n  set  a\t b \nGET a\r\n*0\r\n*-1\r\nget  a  b\r\n"
    with serving() as (address, _), Client(address) as client:
        for length in len(data), 1:
            for i in range(0, len(data), length):
                client.send(data[i:i + length])
            for expected in Status("PONG"), OK, b"b", wrong_number("get"):
                said = client.reply()
                check(said == expected, f"{said!r}, not {expected!r}")
        client.send(b"MGET" + b" a" * 10000 + b"\r\n")
        check(client.reply() == [b"b"] * 10000, "another array")


@test
def kv_protocol_errors():
    """Said after everything that was asked before; then the connection ends."""
    multi, bulk = "invalid multibulk length", "invalid bulk length"
    wrong = {
        b"*x\r\n": multi, b"*\r\n": multi, b"*-\r\n": multi, b"*1": None, b"*1 \r\n": multi,
        b"*1\n": multi, b"*1\rx": multi, b"*%d\r\n" % (ARGUMENTS_MAX + 1): multi,
        b"*99999999999999999999999999\r\n": multi, b"*" + b"0" * 100: multi,
        b"*1\r\n:1\r\n": "expected '$'", b"*1\r\nPING\r\n": "expected '$'",
        b"*1\r\n$x\r\n": bulk, b"*1\r\n$\r\n": bulk, b"*1\r\n$-1\r\n": bulk,
        b"*1\r\n$%d\r\n" % (BULK_MAX + 1): bulk, b"*1\r\n$18446744073709551617\r\n": bulk,
        b"*1\r\n$4294967297\r\n": bulk, b"*1\r\n$1\r\nxyz": "expected CRLF after a bulk string",
        b"*1\r\n$4\r\nPING\n\r": "expected CRLF after a bulk string",
        b"*2\r\n$4\r\nPING\r\n$-5\r\n": bulk, b"x" * 70000: "too big inline request",
    }
    before = b"".join(encode("INCR", key) for key in range(100))
    with serving() as (address, _):
        for data, error in wrong.items():
            with Client(address) as client:
                client.send(encode("FLUSHALL") + before + data)
                for expected in [OK] + [1] * 100:
                    check(client.reply() == expected, "another reply")
                if error:
                    said = client.reply()
                    check(said == Error(f"ERR Protocol error: {error}"), f"{data[:50]}: {said}")
                else:
                    client.socket.shutdown(socket.SHUT_WR)
                client.ended()


@test
def kv_too_large():
    """The largest value, and one that is too large; a request that is, by many of them."""
    value = random.Random(1).randbytes(BULK_MAX)
    with serving() as (address, _):
        with Client(address) as client:
            client.expect(OK, "MSET", "large", value, 1, 1)
            client.expect([b"1", value, None], "MGET", 1, "large", 2)
            client.send(b"*3\r\n$4\r\nMSET\r\n$%d\r\n" % BULK_MAX)
            client.send(value + b"\r\n$%d\r\n" % BULK_MAX)
            check(client.reply() == Error("ERR Protocol error: too big request"), "taken")
            client.ended()
        with Client(address) as client:
            client.expect(len(value), "STRLEN", "large")


class Model:
    """What the server should say, one request at a time."""

    def __init__(self):
        self.keys = {}

    def ask(self, name, *arguments):
        return getattr(self, name.lower())(*arguments)

    def get(self, key):
        return self.keys.get(key)

    def set(self, key, value):
        self.keys[key] = value
        return OK

    def mset(self, *arguments):
        self.keys.update(zip(arguments[::2], arguments[1::2]))
        return OK

    def mget(self, *keys):
        return [self.keys.get(key) for key in keys]

    def delete(self, *keys):
        return sum(self.keys.pop(key, None) is not None for key in keys)

    def exists(self, *keys):
        return sum(key in self.keys for key in keys)

    def incr(self, key):
        try:
            number = int(self.keys.get(key, b"0")) + 1
        except ValueError:
            return NOT_A_NUMBER
        self.keys[key] = b"%d" % number
        return number

    def dbsize(self):
        return len(self.keys)

    def flushall(self):
        self.keys.clear()
        return OK

    def echo(self, text):
        return text


def random_request(rand, keys, values):
    def some(of, most):
        return rand.choices(of, k=rand.randint(1, most))
    return rand.choices([
        lambda: ("GET", rand.choice(keys)),
        lambda: ("SET", rand.choice(keys), rand.choice(values)),
        lambda: ("INCR", rand.choice(keys)),
        lambda: ("MGET", *some(keys, 10)),
        lambda: ("MSET", *(x for key in some(keys, 6) for x in (key, rand.choice(values)))),
        lambda: ("DELETE", *some(keys, 6)),
        lambda: ("EXISTS", *some(keys, 6)),
        lambda: ("ECHO", rand.choice(values)),
        lambda: ("DBSIZE",),
        lambda: ("FLUSHALL",),
    ], weights=[20, 20, 20, 10, 10, 10, 10, 10, 2, 1])[0]()


def converse(address, requests, expected, rand):
    """Sends the requests in pieces that end anywhere; the replies must be these, in order."""
    data = b"".join(encode("DEL" if request[0] == "DELETE" else request[0], *request[1:])
                    for request in requests)
    with Client(address) as client:
        def send():
            sent = 0
            with contextlib.suppress(OSError):
                while sent < len(data):
                    length = rand.choice((1, 10, 100, 5000, 70000, 1000000))
                    client.send(data[sent:sent + length])
                    sent += length
        sender = threading.Thread(target=send)
        sender.start()
        try:
            for request, right in zip(requests, expected):
                said = client.reply()
                check(said == right, f"{str(request)[:200]}: {str(said)[:200]}, not "
                                     f"{str(right)[:200]}")
        finally:
            client.socket.shutdown(socket.SHUT_RDWR)
            sender.join()


@test
def kv_order_of_replies():
    """Commands on all shards, pipelined: replies come in order, and each key sees its own requests
    in theirs. Two connections, each with keys of its own, at the same time."""
    values = [b"", b"1", b"41", b"x" * 100] * 10 + [b"y" * 20000, b"z" * 100000]
    for workers, count in (WORKERS, 10000), (1, 2000):
        with serving(workers) as (address, _):
            failures = []

            def one(seed):
                rand, model = random.Random(seed), Model()
                keys = [b"%d key %d" % (seed, i) for i in range(40)]
                requests = [random_request(rand, keys, values) for _ in range(count)]
                if seed > 0: # of all keys only one may know
                    requests = [r for r in requests if r[0] not in ("DBSIZE", "FLUSHALL")]
                expected = [model.ask(*request) for request in requests]
                try:
                    converse(address, requests, expected, rand)
                except (Failure, OSError) as failure:
                    failures.append(failure)

            one(0)
            threads = [threading.Thread(target=one, args=(seed,)) for seed in (1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            check(not failures, str(failures))


@test
def kv_increments_add_up():
    """50 connections on four workers, each adding one to the same ten keys."""
    connections, rounds = 50, 40
    data = b"".join(encode("INCR", f"counter {key}") for key in range(10)) * rounds
    with serving() as (address, _):
        clients = [Client(address) for _ in range(connections)]
        for client in clients:
            client.send(data)
        for client in clients:
            latest = [0] * 10
            for i in range(10 * rounds):
                said = client.reply()
                check(said > latest[i % 10], f"{said} after {latest[i % 10]}")
                latest[i % 10] = said
        for key in range(10):
            clients[0].expect(b"%d" % (connections * rounds), "GET", f"counter {key}")
        close_all(client.socket for client in clients)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        check(time.monotonic() < deadline, what)
        select.select([], [], [], 0.01)


@test
def kv_expiry():
    with serving() as (address, _), Client(address) as client:
        # Nobody looks at these: they go by themselves.
        client.send(b"".join(encode("SET", key, "x", "PX", 1 + key % 200) for key in range(2000)))
        check([client.reply() for _ in range(2000)] == [OK] * 2000, "refused")
        client.expect(OK, "SET", "stays", "x")
        wait_until(lambda: client.ask("DBSIZE") == 1, "keys are left")
        # These are looked at all the time, and are never gone early.
        for make, name in (("SET", "k", "x", "PX", 300), "set"), (("PEXPIRE", "k", 300), "pexpire"):
            client.ask("SET", "k", "x")
            start = time.monotonic()
            client.ask(*make)
            wait_until(lambda: client.ask("GET", "k") is None, "it does not go")
            check(time.monotonic() - start >= 0.3, f"{name}: gone early")
            client.expect(-2, "PTTL", "k")
        # One that was given more time, or all of it, does not go by the time it had before.
        client.expect(OK, "SET", "a", "x", "PX", 100)
        client.expect(1, "PEXPIRE", "a", 10000000)
        client.expect(OK, "SET", "b", "x", "PX", 100)
        client.expect(1, "PERSIST", "b")
        client.expect(OK, "SET", "c", "x", "PX", 100)
        client.expect(OK, "SET", "c", "y")
        client.expect(OK, "SET", "d", "x", "PX", 100)
        client.expect(1, "DEL", "d")
        client.expect(OK, "SET", "d", "y")
        client.expect(OK, "SET", "e", "x", "PX", 150)
        wait_until(lambda: client.ask("EXISTS", "e") == 0, "it does not go")
        client.expect([b"x", b"x", b"y", b"y"], "MGET", "a", "b", "c", "d")
        check(0 < client.ask("PTTL", "a") <= 10000000, "another time")
        client.expect(OK, "FLUSHALL")


@test
def kv_gone_with_requests_under_way():
    """Clients that ask all workers for a lot and go without a word, at any moment."""
    rand = random.Random(1)
    data = b"".join(encode(*random_request(rand, list(range(100)), [b"x", b"y" * 30000]))
                    .replace(b"$6\r\nDELETE", b"$3\r\nDEL") for _ in range(2000))
    with serving() as (address, _):
        for i in range(100):
            client = Client(address)
            client.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.socket.send(data[:rand.randint(1, len(data))])
            if i % 3 == 0:
                select.select([client.socket], [], [], PATIENCE_S)
            client.reset() if i % 2 else client.socket.close()
        # What they have sent is still read, and carried out.
        with Client(address) as client:
            wait_until(lambda: b"connected_clients:1\r\n" in client.ask("INFO"), "they stay")
            wait_until(lambda: client.ask("FLUSHALL") == OK and client.ask("DBSIZE") == 0, "keys")


@test
def kv_end_of_input():
    """Who says that no more will come still gets all replies; so does who quits."""
    requests = b"".join(encode("INCR", key) for key in range(5000))
    for farewell in b"", encode("QUIT") + encode("PING"), b"quit\r\n":
        with serving() as (address, _), Client(address) as client:
            client.send(requests + farewell)
            if not farewell:
                client.socket.shutdown(socket.SHUT_WR)
            for _ in range(5000):
                check(client.reply() == 1, "another reply")
            if farewell:
                check(client.reply() == OK, "no farewell")
            client.ended()


def send_until_stuck(client, data):
    """Sends it over and over until nothing was taken for a second; how many whole ones that is,
    and what of the last one is still to be sent."""
    client.socket.setblocking(False)
    sent = 0
    while select.select([], [client.socket], [], 1)[1]:
        sent += client.socket.send(data[sent % len(data):])
        check(sent < 256 << 20, "it takes everything and says nothing")
    client.socket.settimeout(PATIENCE_S)
    rest = -sent % len(data)
    return (sent + rest) // len(data), data[len(data) - rest:]


@test
def kv_slow_reader():
    """Who does not read is not read, whatever the worker of the value; others are served, and
    nothing is lost."""
    values = {b"key %d" % i: bytes([i]) * (100000 if i % 2 else 3000) for i in range(8)}
    data = encode("MGET", *values) + b"".join(encode("GET", key) for key in values)
    data += encode("SET", "something", b"to fill the buffers on the way" * 3000)
    for workers in 1, WORKERS:
        with serving(workers) as (address, server), Client(address) as slow, \
                Client(address) as other:
            for key, value in values.items():
                slow.expect(OK, "SET", key, value)
            count, rest = send_until_stuck(slow, data)
            for key, value in values.items():
                other.expect(value, "GET", key)
                other.expect(OK, "SET", key, b"*" * len(value)) # not in what is on its way
            sender = threading.Thread(target=slow.send, args=(rest,))
            sender.start()
            for _ in range(count):
                said = slow.reply() + [slow.reply() for _ in values]
                check(slow.reply() == OK, "another reply")
                for i, value in enumerate([*values.values()] * 2):
                    check(said[i] in (value, b"*" * len(value)), "another value")
            sender.join()


@test
def kv_stop_under_load():
    """Every reply that leaves is whole and in its place, and the server comes to an end."""
    for _ in range(3):
        with serving() as (address, server):
            stopping = threading.Event()
            failures, replies = [], []

            def load(number):
                data = b"".join(encode("INCR", f"{number} {key}") for key in range(50))
                with Client(address) as client, contextlib.suppress(ConnectionError):
                    expected = 0
                    try:
                        while True:
                            client.send(data)
                            expected += 1
                            for _ in range(50):
                                said = client.reply()
                                check(said == expected, f"{said}, not {expected}")
                                replies.append(said)
                    except Failure as failure:
                        if not stopping.is_set() or "ended early" not in str(failure):
                            failures.append(failure)

            threads = [threading.Thread(target=load, args=(i,)) for i in range(8)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(replies) > 5000, "no replies")
            stopping.set()
            server.signal(signal.SIGTERM)
            for thread in threads:
                thread.join()
            check(not failures, str(failures))


@test
def kv_without_memory():
    """Where there is none it says so, and goes on."""
    with serving() as (address, server), Client(address) as client:
        with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as statm:
            size = int(statm.read().split()[0]) * resource.getpagesize()
        if size > 1 << 40:
            return # a sanitizer's: it needs more than it gets, and gives up by itself
        client.expect(OK, "SET", "kept", "x")
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (size + (64 << 20), limits[1]))
        said, number = OK, 0
        while said == OK and number < 20000:
            number += 1
            said = client.ask("SET", f"key {number}", b"x" * 30000)
        check(said == Error("OOM out of memory"), f"after {number}: {said}")
        client.expect(None, "GET", f"key {number}")
        client.expect(number, "DBSIZE")
        client.expect(b"x", "GET", "kept")
        client.expect(1, "DEL", "key 1")
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, limits)
        client.expect(OK, "SET", f"key {number}", b"x" * 30000)


@test
def kv_arguments():
    for arguments in (["-w", "x"], ["-w", ""], ["-w", "-1"], ["-w", "1025"], ["-w", "1x"],
                      ["a", "b"]):
        with Program("kv", *arguments) as program:
            check(program.end(1, "usage: ") == [], str(arguments))
    for arguments in ["-x"], ["-w"]:
        with Program("kv", *arguments) as program:
            check(program.end(1, "option") == [], str(arguments))
    with Program("kv", "nonsense") as program:
        check(program.end(1, "kv: invalid argument") == [], "it says that it listens")
    with serving(1) as ((host, port), _), Program("kv", f"{host}:{port}") as second:
        check(second.end(1, "kv: address already in use") == [], "it says that it listens")
    with Program("kv", "127.0.0.1:0") as server:
        server.address()
        check(server.end(0, signo=signal.SIGINT) == [], "more output")


def foreign(address, program, *arguments, said=None):
    """What it says, on either channel."""
    done = subprocess.run([program, "-p", str(address[1]), *arguments], input=said, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S,
                          check=False)
    check(done.returncode == 0, f"{program} {arguments}: {done.stdout}")
    return done.stdout


def has(program):
    if shutil.which(program):
        return True
    print(f"skip: no {program} (Debian: redis-tools)", flush=True)
    return False


@test
def kv_redis_cli():
    if not has("redis-cli"):
        return
    with serving() as (address, _):
        for expected, *arguments in ("PONG\n", "PING"), ("OK\n", "SET", "a", "1"), \
                ("2\n", "INCR", "a"), ("2\n\n", "MGET", "a", "b"), ("1\n", "DEL", "a", "b"):
            said = foreign(address, "redis-cli", *arguments)
            check(said == expected, f"{arguments}: {said!r}")
        said = foreign(address, "redis-cli", "--pipe", said="".join(
            f"SET key{i} {i}\r\n" for i in range(1000)))
        check("errors: 0, replies: 1000" in said, said)
        said = foreign(address, "redis-cli", said="DBSIZE\nGET key7\nNOPE\n")
        check(said == "1000\n7\nERR unknown command 'NOPE'\n\n", repr(said))


@test
def kv_redis_benchmark():
    if not has("redis-benchmark"):
        return
    for workers, pipeline in (1, "16"), (WORKERS, "1"), (WORKERS, "16"):
        with serving(workers) as (address, _):
            said = foreign(address, "redis-benchmark", "-t", "set,get,incr,mset", "-n", "10000",
                           "-c", "50", "-P", pipeline, "-r", "1000", "--csv")
            lines = said.splitlines()
            check(len(lines) == 5 and all(line.startswith('"') for line in lines), said)
            check("WARNING" not in said and "rror" not in said, said)
