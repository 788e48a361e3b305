"""examples/http beside nginx, both with one worker, under wrk: the same page.

nginx runs as an ordinary child in a directory of its own; a system service is not touched."""

import http.client
import os
import re
import shutil
import subprocess
import tempfile

from load import connections_text, cpus_for
from measurement import Failure, Measurement, Usage, rotated
from redis import Listening, free_port
from servers import Group, Server, choose_cpus, pin_to, pinned

PAGE = "hello from weft\n"
PIPELINED = 16
NGINX_PATH = "/usr/sbin/nginx"  # not in the PATH of everybody

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


class Nginx(Listening):
    """A master and its worker."""

    def cpu_s(self):
        def used(pid):
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = file.read().split()
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks = int(fields[11]) + int(fields[12])
            return ticks / os.sysconf("SC_CLK_TCK") + sum(map(used, children))
        return used(self.process.pid)


def start_servers(budget, group, directory, cpus):
    example = os.path.normpath(os.path.join(budget.build_dir, "examples", "http"))
    if not os.access(example, os.X_OK):
        raise Usage(f"{example} is not built")
    for name in NGINX_PATH, "wrk":
        if not shutil.which(name):
            raise Usage(f"no {os.path.basename(name)} (Debian has a package of that name)")
    group.start("weft", [example, "-w", "1", "127.0.0.1:0"], cpus, kind=Server)
    port = free_port()
    path = os.path.join(directory, "nginx.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(NGINX % port)
    command = [NGINX_PATH, "-p", directory, "-c", path, "-e", "stderr"]
    group.start("nginx", pinned(command, cpus), port, kind=Nginx)


def check_page(server):
    connection = http.client.HTTPConnection(server.address, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    kind, body = answer.headers["Content-Type"], answer.read().decode()
    connection.close()
    if (answer.status, kind, body) != (200, "text/plain; charset=utf-8", PAGE):
        raise Failure(f"{server.name} answers {answer.status}, {kind}, {body!r}")


def run_slice(m, server, connections, script, cpus, directory):
    """Requests a second, and CPU microseconds per request. wrk knows whole seconds alone."""
    command = ["wrk", "-t1", f"-c{connections}", "-d1s", *script, f"http://{server.address}/"]
    before = server.cpu_s()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          preexec_fn=pin_to(cpus), check=False)
    used = server.cpu_s() - before
    rate = re.search(r"^Requests/sec: +([\d.]+)", done.stdout, re.M)
    count = re.search(r"^ *(\d+) requests in", done.stdout, re.M)
    if done.returncode != 0 or not rate or "Non-2xx" in done.stdout or "errors" in done.stdout:
        raise Failure(f"{server.name}: wrk says\n{done.stdout}")
    m.ran(pinned(command, cpus), address=server.address, dir=directory)
    return float(rate[1]), used * 1e6 / int(count[1])


def http_pages(budget):
    m = Measurement(budget, "http", f"A page of {len(PAGE)} bytes under wrk, one worker", "nginx", 25)
    server_cpus, load_cpus = choose_cpus(1)
    with tempfile.TemporaryDirectory() as directory, Group() as group:
        script = os.path.join(directory, "pipeline.lua")
        with open(script, "w", encoding="ascii") as file:
            file.write(PIPELINE % PIPELINED)
        start_servers(budget, group, directory, server_cpus)
        for server in group.servers:
            check_page(server)
        for number in m.rounds():
            for count, extra in (1, []), (50, []), (50, ["-s", script]):
                case = connections_text(count) + (f", {PIPELINED} pipelined" if extra else "")
                cpus = cpus_for(count, server_cpus, load_cpus)
                for server in rotated(group.servers, number):
                    rate, cost = run_slice(m, server, count, extra, cpus, directory)
                    m.add(case, server.name, "requests", rate, count)
                    m.add(case, server.name, "server CPU", cost, count)
    m.notes.append("nginx does more: its answer is longer, and it has a configuration to look the "
                   "page up in. Pipelined, it sends each answer by itself.")
    return m.result()
