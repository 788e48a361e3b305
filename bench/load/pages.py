#!/usr/bin/env python3
"""examples/http beside nginx, both with one worker, under wrk: the same page, round by round in
turns. Requests a second and CPU of the server per request, medians with quartiles, and the ratios
to nginx within a round, whose median is what counts.

nginx runs as an ordinary child in a directory of its own; a system service is not touched.
"""

import argparse
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402 (beside us, not installed)

PAGE = "hello from weft\n"

NGINX = r"""
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
    access_log off;
    server_tokens off;
    default_type "text/plain; charset=utf-8";
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:%d;
        location = / { return 200 "hello from weft\n"; }
    }
}
"""

# So many requests in one piece, for wrk.
PIPELINE = """
init = function()
    local requests = {}
    for i = 1, %d do requests[i] = wrk.format("GET", "/") end
    batch = table.concat(requests)
end
request = function() return batch end
"""


class Nginx(compare.Server):
    """Says nothing when it listens; it is asked."""

    def __init__(self, directory, cpus):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        path = os.path.join(directory, "nginx.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(NGINX % self.port)
        nginx = "/usr/sbin/nginx"  # not in the PATH of everybody
        super().__init__("nginx", [nginx, "-p", directory, "-c", path, "-e", "stderr"], cpus)

    def read_address(self):
        for _ in range(200):
            with socket.socket() as connection:
                if self.process.poll() is None and connection.connect_ex(
                        ("127.0.0.1", self.port)) == 0:
                    return f"127.0.0.1:{self.port}"
            time.sleep(0.05)
        raise compare.Failure("nginx did not start listening")


def cpu_s(pid):
    """User and system time of a process and its children."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = file.read().split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_s, children))


def check_page(server):
    connection = http.client.HTTPConnection(server.address, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    kind, body = answer.headers["Content-Type"], answer.read().decode()
    connection.close()
    if (answer.status, kind, body) != (200, "text/plain; charset=utf-8", PAGE):
        raise compare.Failure(f"{server.name} answers {answer.status}, {kind}, {body!r}")


def run_slice(args, server, connections, script):
    """Requests a second, and CPU microseconds per request."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{args.slice}s", *script,
               f"http://{server.address}/"]
    before = cpu_s(server.process.pid)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          preexec_fn=compare.pin_to(compare.cpus_of_load(args, connections)))
    used = cpu_s(server.process.pid) - before
    rate = re.search(r"^Requests/sec: +([\d.]+)", done.stdout, re.M)
    count = re.search(r"^ *(\d+) requests in", done.stdout, re.M)
    if done.returncode != 0 or not rate or "Non-2xx" in done.stdout or "errors" in done.stdout:
        raise compare.Failure(f"{server.name}: wrk says\n{done.stdout}")
    return float(rate[1]), used * 1e6 / int(count[1])


def measure(args, servers, connections, script):
    slices = {server.name: [] for server in servers}
    for number in range(args.rounds):
        for server in compare.rotated(servers, number):
            slices[server.name].append(run_slice(args, server, connections, script))
    return slices


def span(values, digits):
    spread = compare.spread(values)
    return (f"{spread['median']:.{digits}f} "
            f"[{spread['q1']:.{digits}f}-{spread['q3']:.{digits}f}]")


def print_slices(what, slices):
    print(what)
    for name, own in slices.items():
        line = f"  {name:<6}"
        for metric, unit, digits in (0, "req/s", 0), (1, "CPU us/req", 2):
            values = [piece[metric] for piece in own]
            ratios = [a / piece[metric] for a, piece in zip(values, slices["nginx"])]
            line += f"  {span(values, digits):<22} {unit}, ratio {span(ratios, 2):<16}"
        print(line.rstrip(), flush=True)


def run(args, directory):
    script = os.path.join(directory, "pipeline.lua")
    with open(script, "w", encoding="ascii") as file:
        file.write(PIPELINE % args.pipeline)
    example = os.path.join(args.build_dir, "examples", "http")
    servers = []
    try:
        servers.append(compare.Server("weft", [example, "-w", "1", "127.0.0.1:0"],
                                      args.server_cpus))
        servers.append(Nginx(directory, args.server_cpus))
        for server in servers:
            check_page(server)
        for connections in args.connections:
            print_slices(f"{connections} connections",
                         measure(args, servers, connections, []))
        print_slices(f"{args.connections[-1]} connections, {args.pipeline} requests pipelined",
                     measure(args, servers, args.connections[-1], ["-s", script]))
    finally:
        died = [server.name for server in servers if not server.end()]
    if died:
        raise compare.Failure(f"{', '.join(died)} did not live until the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--connections", type=compare.numbers, default=[1, 50], metavar="N[,N]")
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slice", type=int, default=2, metavar="SEC")
    parser.add_argument("--build-dir", default=os.path.join(compare.HERE, "../../build/release"))
    args = parser.parse_args()
    args.pin = "auto"
    args.server_cpus, args.load_cpus = compare.choose_cpus(1)
    print(f"a page of {len(PAGE)} bytes, one worker each, wrk with one thread; medians [quartiles] of "
          f"{args.rounds} rounds of {args.slice} s, ratios to nginx within a round")
    with tempfile.TemporaryDirectory() as directory:
        run(args, directory)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except compare.Failure as failure:
        print(f"pages.py: {failure}", file=sys.stderr)
        sys.exit(1)
