#!/usr/bin/env python3
"""What connections cost a server in memory, from outside: VmRSS before and after.

  memory.py idle --connections 10000        bytes per stream that is open and silent
  memory.py deaf --connections 1000         clients that send and never read a reply

Servers are those of compare.py, each with one worker unless --workers says otherwise.
"""

import argparse
import os
import resource
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402 (beside us, not installed)

CHUNK = b"x" * 65536
PER_SOURCE = 20000  # connections from one address: there are 28 232 ports for them
IP_BIND_ADDRESS_NO_PORT = 24
OTHER_FDS = 64


def rss_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


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
    sent, last = 0, time.monotonic()
    while time.monotonic() - last < quiet_s:
        for fd, _ in poll.poll(100):
            try:
                sent += by_fd[fd].send(CHUNK)
                last = time.monotonic()
            except BlockingIOError:
                pass
    return sent


def measure(args, name):
    server = compare.Server(name, compare.server_command(args, name), None)
    try:
        echo_once(warm := connect(server.address, 16))
        before = rss_of(server.process.pid)
        sockets = connect(server.address, args.connections, 4096 if args.mode == "deaf" else None)
        if args.mode == "idle":
            echo_once(sockets)
            grown = rss_of(server.process.pid) - before
            print(f"{name}: {args.connections} idle streams, {grown / args.connections:.0f} bytes each "
                  f"(RSS {before >> 10} to {(before + grown) >> 10} KiB)")
        else:
            sent = send_until_stuck(sockets)
            grown = rss_of(server.process.pid) - before
            echo_once(warm)
            print(f"{name}: {args.connections} clients that never read sent {sent >> 20} MiB before they "
                  f"were held back; RSS grew by {grown >> 10} KiB, {grown // args.connections} bytes "
                  "each; others are served")
        for s in sockets + warm:
            s.close()
    finally:
        server.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=["idle", "deaf"])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--servers", default="weft")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--build-dir", default=os.path.join(compare.HERE, "../../build/release"))
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.connections + OTHER_FDS > hard:
        print(f"{args.connections} connections are left out: ulimit -Hn is {hard}")
        return 0
    for name in args.servers.split(","):
        measure(args, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
