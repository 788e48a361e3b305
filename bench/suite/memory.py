"""What connections cost a server in memory, from outside: its RSS before and after."""

import resource
import select
import socket
import time

from measurement import Failure, Measurement
from servers import SERVERS, Server, command_of, is_built

CHUNK = b"x" * 65536
PER_SOURCE = 20000  # connections from one address: there are 28 232 ports for them
IP_BIND_ADDRESS_NO_PORT = 24
OTHER_FDS = 64
WARM = 16
IDLE = ["weft", "weft_timeouts", "weft_ids", "weft_both", "epoll_idle", "ev", "event", "uv_try"]


def rss_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise Failure(f"/proc/{pid}/status has no VmRSS")


def connect(address, count, receive_buffer=None):
    host, port = address.rsplit(":", 1)
    sockets = []
    for number in range(count):
        s = socket.socket()
        if count > PER_SOURCE:
            s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            s.bind((f"127.0.0.{2 + number // PER_SOURCE}", 0))
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.connect((host, int(port)))
        sockets.append(s)
    return sockets


def echo_once(sockets):
    """Every connection is open on the server's side, and has been used."""
    for s in sockets:
        s.sendall(b"ping")
    for s in sockets:
        s.recv(4)


def send_until_stuck(sockets, quiet_s=1.0):
    """Sends on all of them until none has taken a byte for a while."""
    poll = select.poll()
    by_fd = {s.fileno(): s for s in sockets}
    for s in sockets:
        s.setblocking(False)
        poll.register(s, select.POLLOUT)
    last = time.monotonic()
    while time.monotonic() - last < quiet_s:
        for fd, _ in poll.poll(100):
            try:
                by_fd[fd].send(CHUNK)
                last = time.monotonic()
            except BlockingIOError:
                pass


def growth(m, name, count, deaf=False):
    """Bytes of RSS per connection, with clients that are silent, or that never read a reply."""
    server = Server(name, command_of(m.budget.build_dir, name))
    sockets = []
    try:
        sockets = connect(server.address, WARM)
        echo_once(sockets)
        before = rss_of(server.process.pid)
        more = connect(server.address, count, 4096 if deaf else None)
        sockets += more
        if deaf:
            send_until_stuck(more)
        else:
            echo_once(more)
        grown = rss_of(server.process.pid) - before
        echo_once(sockets[:WARM])  # the others are served
        m.ran(server.command)
        return grown / count
    finally:
        for s in sockets:
            s.close()
        server.end()


def memory(budget):
    """How many streams there can be is the hard limit of fds, of both sides together."""
    m = Measurement(budget, "memory", "User memory per idle stream", "raw epoll", most=1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts = [10000] if budget.scale <= 1 else [10000, 100000]
    for _ in m.rounds():
        for count in counts:
            if count + OTHER_FDS > hard:
                m.notes.append(f"{count} connections are left out: ulimit -Hn is {hard}.")
                continue
            for name in (n for n in IDLE if is_built(budget.build_dir, n)):
                budget.show(f"memory: {name}, {count}")
                m.add(f"{count:,} idle streams".replace(",", " "), SERVERS[name][2], "memory",
                      growth(m, name, count), count)
        m.add("1 000 clients that never read", "weft", "memory", growth(m, "weft", 1000, deaf=True))
    m.notes.append("RSS before and after, divided by the streams; the kernel's own memory is not in "
                   "it. A client that never reads holds what high_water and one buffer allow.")
    return m.result()
