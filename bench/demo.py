#!/usr/bin/env python3
"""Twenty seconds of weft beside libuv and raw epoll: ./run demo.

Three parts: echo under load, tasks posted from foreign threads, and a stop that owes bytes. Each is
checked, not only timed: every echoed byte is compared, every task counted.

exit: 0 all went well; 1 bytes differ, tasks are missing, or the stop lost something; 2 not built.
"""

import argparse
import array
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "suite"))
import load  # noqa: E402 (beside us, not installed)
import micro  # noqa: E402
from measurement import Budget, Failure, Measurement, Usage, ratio_text, ratios, spread  # noqa: E402
from measurement import spread_text  # noqa: E402
from servers import SERVERS, Server  # noqa: E402

ROUNDS = 4
SLICE_S = 0.25
CONNECTIONS = [1, 50]
ECHO = ["epoll_idle", "uv_write", "uv_try", "example"]
POST_ROUNDS = 11
POSTERS = 4
TASKS = 1_000_000
OWED = 192 << 10  # below high_water: the server has read all of it before it is stopped


def say(text):
    print(f"[{time.monotonic() - STARTED:4.1f} s] {text}", flush=True)


def echo_figure(args):
    """Echo: every server with one worker per CPU, in interleaved slices."""
    budget = Budget(args.build_dir, progress=sys.stderr.isatty())
    m = Measurement(budget, "demo", "echo", "raw epoll", seconds=float("inf"), most=ROUNDS)
    load.closed_loop(m, ECHO, CONNECTIONS, args.cpus, SLICE_S, pin="none")
    return m.result()


def post_figure(args):
    """Tasks from foreign threads to one worker, and to a libuv loop by list, mutex and async."""
    budget = Budget(args.build_dir, progress=sys.stderr.isatty())
    m = Measurement(budget, "demo", "post", "libuv", seconds=float("inf"), most=POST_ROUNDS)
    micro.fill(m, {"post": "posts"}, f"^post/{POSTERS}_threads/(weft|libuv)/")
    return {r["who"]: r for r in m.result()["records"]}


def unsent(sock):
    """Bytes that the peer's kernel has not acknowledged."""
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def unread_by_server(server_port, client_port):
    """Bytes in the receive queue of the server's end (proc(5), /proc/net/tcp)."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            ports = [int(fields[i].split(":")[1], 16) for i in (1, 2)]
            if ports == [server_port, client_port]:
                return int(fields[4].split(":")[1], 16)
    raise Failure("the server closed a connection before it was asked to stop")


def wait_until_read(sock, port):
    deadline = time.monotonic() + 10
    while unsent(sock) or unread_by_server(port, sock.getsockname()[1]):
        if time.monotonic() > deadline:
            raise Failure("the server does not read")
        time.sleep(0.001)


def read_to_end(sock):
    sock.settimeout(10)
    data = bytearray()
    while piece := sock.recv(1 << 16):
        data += piece
    return bytes(data)


def drained_stop(args):
    """SIGTERM while the server owes each of eight clients bytes that they have not read yet."""
    command = [os.path.join(args.build_dir, "examples", "echo"), "127.0.0.1:0"]
    server = Server("echo", command)
    port = int(server.address.rsplit(":", 1)[1])
    payload = os.urandom(OWED)
    clients = []
    try:
        for _ in range(8):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(payload)
            clients.append(client)
        for client in clients:
            wait_until_read(client, port)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        if any(read_to_end(client) != payload for client in clients):
            raise Failure("the stop lost bytes that the server owed")
        for client in clients:
            client.close()
        status = server.process.wait(10)
    finally:
        if server.process.poll() is None:
            server.process.kill()
    if status != 0:
        raise Failure(f"the server ended with {status}")
    return len(clients), time.monotonic() - begun


def print_echo(figure, cpus):
    print(f"\necho of 64 bytes, {cpus} workers each, {ROUNDS} rounds of {SLICE_S} s; ratios to raw "
          "epoll, median [quartiles]")
    print(f"  {'connections':<12}{'server':<28}{'requests/s':>11}   {'ratio':<18}"
          f"{'CPU us/request':>14}   ratio")
    records = {(r["x"], r["who"], r["metric"]): r for r in figure["records"]}
    for count in CONNECTIONS:
        for name in ECHO:
            who, line = SERVERS[name][2], f"  {count:<12}"
            line += f"{who:<28}"
            for metric, width, digits in ("requests", 11, 0), ("server CPU", 14, 2):
                own = records[count, who, metric]
                ratio = spread(ratios(own, records[count, "raw epoll", metric]))
                line += f"{spread(own['values'])[0]:>{width}.{digits}f}   {ratio_text(ratio):<18}"
            print(line.rstrip())


def print_rest(posts, clients, stop_s):
    weft, uv = posts["weft"], posts["libuv"]
    print(f"\n{TASKS} tasks from {POSTERS} foreign threads, millions a second, median [quartiles] of "
          f"{POST_ROUNDS}")
    print(f"  {'weft_post':<25}{spread_text(spread(weft['values']))}")
    print(f"  {'mutex + uv_async_send':<25}{spread_text(spread(uv['values']))}")
    print(f"  {'ratio':<25}{ratio_text(spread(ratios(weft, uv)))}")
    print(f"\nSIGTERM while the server owed {clients} clients {OWED >> 10} KiB each: all bytes came, "
          f"exit status 0, {stop_s * 1000:.0f} ms")


def run(args):
    say(f"echo: weft, libuv and raw epoll in turn, {args.cpus} workers each")
    figure = echo_figure(args)
    say(f"posting: {TASKS} tasks from {POSTERS} threads, weft and libuv in turn")
    posts = post_figure(args)
    say("stopping: SIGTERM to a server that owes its clients bytes")
    clients, stop_s = drained_stop(args)
    say("done; every byte was compared, every task counted")
    print_echo(figure, args.cpus)
    print_rest(posts, clients, stop_s)
    print("\nServers and generator share this machine's CPUs, so look at the ratios, and more rounds\n"
          "make them firmer: ./run bench, or\nbench/suite/compare.py --help. What to read next: examples/echo.c,\n"
          "README.md, docs/architecture.md.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build-dir", default="build/release")
    args = parser.parse_args()
    args.cpus = len(os.sched_getaffinity(0))
    try:
        run(args)
    except (Usage, FileNotFoundError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 2
    except (Failure, OSError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    return 0


STARTED = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
