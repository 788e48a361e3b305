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

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "load"))
import compare  # noqa: E402 (beside us, not installed)
import posts  # noqa: E402

ROUNDS = 4
SLICE_S = 0.25
CONNECTIONS = [1, 50]
SERVERS = ["epoll", "uv_write", "uv_try", "example"]
POST_ROUNDS = 5
POSTERS = 4
TASKS = 1_000_000
OWED = 192 << 10  # below high_water: the server has read all of it before it is stopped


def say(text):
    print(f"[{time.monotonic() - STARTED:4.1f} s] {text}", flush=True)


def echo_cells(args):
    """Echo: every server with one worker per CPU, in interleaved slices."""
    options = argparse.Namespace(
        servers=SERVERS, reference="epoll", connections=CONNECTIONS, pipeline=1, size=64,
        rounds=ROUNDS, slice=SLICE_S, warmup=0.05, workers=args.cpus, load_threads=1, pin="none",
        build_dir=args.build_dir, progress=sys.stderr.isatty(), server_cpus=None, load_cpus=None)
    servers = []
    try:
        for name in SERVERS:
            servers.append(compare.Server(name, compare.server_command(options, name), None))
        cells = [(count, compare.summarize(options, compare.measure(options, servers, count)))
                 for count in CONNECTIONS]
    finally:
        died = [server.name for server in servers if not server.end()]
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    if died:
        raise compare.Failure(f"{', '.join(died)} did not end well")
    return cells


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
    raise compare.Failure("the server closed a connection before it was asked to stop")


def wait_until_read(sock, port):
    deadline = time.monotonic() + 10
    while unsent(sock) or unread_by_server(port, sock.getsockname()[1]):
        if time.monotonic() > deadline:
            raise compare.Failure("the server does not read")
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
    server = compare.Server("echo", command, None)
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
            raise compare.Failure("the stop lost bytes that the server owed")
        for client in clients:
            client.close()
        status = server.process.wait(10)
    finally:
        if server.process.poll() is None:
            server.process.kill()
    if status != 0:
        raise compare.Failure(f"the server ended with {status}")
    return len(clients), time.monotonic() - begun


def print_echo(cells, cpus):
    print(f"\necho of 64 bytes, {cpus} workers each, {ROUNDS} rounds of {SLICE_S} s; ratios to raw "
          "epoll, median [quartiles]")
    print(f"  {'connections':<12}{'server':<28}{'requests/s':>11}   {'ratio':<18}"
          f"{'CPU us/request':>14}   ratio")
    names = {name: compare.SERVERS[name][2] for name in SERVERS}
    names["example"] = "weft (examples/echo)"
    names["epoll"] = "raw epoll"
    for count, summary in cells:
        for name, figures in summary.items():
            rate, cpu = figures["requests_per_s"], figures["server_cpu_us"]
            print(f"  {count:<12}{names[name]:<28}{rate['median']:>11.0f}   "
                  f"{compare.ratio_text(rate):<18}{cpu['median']:>14.2f}   "
                  f"{compare.ratio_text(cpu)}")


def print_rest(rates, clients, stop_s):
    weft, uv = rates["weft_post"], rates["mutex + uv_async_send"]
    ratios = [a / b for a, b in zip(weft, uv)]
    print(f"\n{TASKS} tasks from {POSTERS} foreign threads, millions a second, median [min-max] of "
          f"{POST_ROUNDS}")
    print(f"  weft_post                {posts.span(weft, 1e6)}")
    print(f"  mutex + uv_async_send    {posts.span(uv, 1e6)}")
    print(f"  ratio                    {posts.span(ratios, 1, 2)}")
    print(f"\nSIGTERM while the server owed {clients} clients {OWED >> 10} KiB each: all bytes came, "
          f"exit status 0, {stop_s * 1000:.0f} ms")


def run(args):
    say(f"echo: weft, libuv and raw epoll in turn, {args.cpus} workers each")
    cells = echo_cells(args)
    say(f"posting: {TASKS} tasks from {POSTERS} threads, weft and libuv in turn")
    rates = posts.rates(args.build_dir, ["weft_post", "mutex + uv_async_send"], POSTERS, TASKS,
                        POST_ROUNDS)
    say("stopping: SIGTERM to a server that owes its clients bytes")
    clients, stop_s = drained_stop(args)
    say("done; every byte was compared, every task counted")
    print_echo(cells, args.cpus)
    print_rest(rates, clients, stop_s)
    print("\nServers and generator share this machine's CPUs, so look at the ratios, and more rounds\n"
          "make them firmer: bench/load/compare.py --help. What to read next: examples/echo.c,\n"
          "README.md, docs/architecture.md.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build-dir", default="build/release")
    args = parser.parse_args()
    args.cpus = len(os.sched_getaffinity(0))
    try:
        run(args)
    except (compare.Usage, FileNotFoundError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 2
    except (compare.Failure, OSError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    return 0


STARTED = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
