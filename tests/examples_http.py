"""The tests of examples/http; examples.py runs them with the others."""

import contextlib
import email.utils
import http.client
import random
import re
import select
import signal
import socket
import struct
import tempfile
import time

from examples import PATIENCE_S, Failure, Program, check, connect, test


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
