"""The tests of examples/chat; examples.py runs them with the others."""

import random
import re
import signal
import socket
import struct
import threading
import time

from examples import PATIENCE_S, Program, check, connect, test


class Talker:
    """A user of chat."""

    def __init__(self, address, name=None):
        self.connection = connect(address)
        self.unread = b""
        self.name = None
        if name:
            self.enter(name)

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

    def enter(self, name):
        self.name = name
        self.say(f"NAME {name}")
        self.hears(f"* welcome, {name}")
        # What others have heard before may come to this one's worker a moment later.
        until(self, f"* {name} is here", ".*")

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
            for i in range(20):
                rivals = [Talker(where) for _ in range(30)]
                for rival in rivals:
                    rival.say(f"NAME highlander{i}")
                answers = sorted(rival.line() for rival in rivals)
                check(answers == 29 * [f"* highlander{i} is taken"] +
                      [f"* welcome, highlander{i}"], str(answers))
                for rival in rivals:
                    rival.connection.close()
                witness.hears(f"* highlander{i} is here", f"* highlander{i} has left")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_names_of_those_who_leave_at_once():
    """Before they have heard of it, too: no name stays behind."""
    names = [f"n{i}" for i in range(300)]
    chance = random.Random(5)
    with chat(3) as server:
        where = server.address()
        for name in names:
            with Talker(where) as talker:
                talker.say(f"NAME {name}")
                time.sleep(chance.random() / 2000)
                talker.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
        deadline = time.monotonic() + PATIENCE_S
        for name in names:
            with Talker(where) as talker:
                talker.say(f"NAME {name}")
                while (said := talker.line()) != f"* welcome, {name}":
                    check(said == f"* {name} is taken" and time.monotonic() < deadline, said)
                    talker.say(f"NAME {name}")
        server.end(0, signo=signal.SIGTERM)


@test
def chat_user_who_comes_and_goes():
    with chat(2) as server:
        where = server.address()
        with Talker(where, "alice") as alice:
            done, visits, deadline = threading.Event(), [], time.monotonic() + PATIENCE_S
            def come_and_go():
                try:
                    while len(visits) < 200:
                        bob = Talker(where)
                        bob.say("NAME bob")
                        while (said := bob.line()) != "* welcome, bob":
                            if said == "* bob is taken": # the last one is about to go
                                check(time.monotonic() < deadline, "it never becomes free")
                                bob.say("NAME bob")
                            else: # the name is known a moment before its user is told
                                check(said == "alice to you: quick", said)
                        if len(visits) % 2:
                            bob.connection.close() # with what it has not read: a reset
                        else:
                            bob.leave()
                        visits.append(bob)
                finally:
                    done.set()
            visitor = threading.Thread(target=come_and_go)
            visitor.start()
            sent = refused = 0
            while not done.is_set():
                alice.say(*20 * ["TO bob quick"], "TO alice that was it")
                sent += 20
                while (said := alice.line()) != "alice to you: that was it":
                    refused += said == "* bob: no such user"
                    check(said in ("* bob: no such user", "* bob is here", "* bob has left"), said)
            visitor.join()
            wait_until_free(alice, "bob", r"\* bob (is here|has left)")
            check(len(visits) == 200, f"a visitor had trouble after {len(visits)}")
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
            bob.enter("bob")
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
