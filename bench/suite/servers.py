"""The servers that are measured: what they are called, how they are started, and where they run."""

import contextlib
import os
import select
import subprocess
import time

from measurement import Failure, Usage

# name on a command line: (program, arguments, name in a report). A program that was not built is
# left out, as its library is not installed.
SERVERS = {
    "weft": ("echo_weft", [], "weft"),
    "epoll_idle": ("echo_epoll", ["--idle-thread"], "raw epoll"),
    "epoll": ("echo_epoll", [], "raw epoll, one thread alone"),
    "epoll_edge": ("echo_epoll", ["--edge", "--idle-thread"], "raw epoll, edge"),
    "epoll_each": ("echo_epoll", ["--per-message", "{size}", "--idle-thread"],
                   "raw epoll, a send per message"),
    "epoll_own_fds": ("echo_epoll", ["--own-fds", "--idle-thread"], "raw epoll, private fd table"),
    "epoll_bare": ("echo_epoll", ["--bare", "--idle-thread"], "raw epoll, past libc"),
    "epoll_bare_own": ("echo_epoll", ["--bare", "--own-fds", "--idle-thread"],
                       "raw epoll, past libc, private fd table"),
    "ev": ("echo_ev", [], "libev"),
    "event": ("echo_event", [], "libevent"),
    "bufferevent": ("echo_event", ["--bufferevent"], "libevent, bufferevent"),
    "uv_try": ("echo_uv", ["--try-write"], "libuv, uv_try_write"),
    "uv_write": ("echo_uv", [], "libuv, uv_write"),
    "uv_write_je": ("echo_uv_jemalloc", [], "libuv, uv_write, jemalloc"),
    "uv_each": ("echo_uv", ["--try-write", "--per-message", "{size}"],
                "libuv, uv_try_write per message"),
    "weft_each": ("echo_weft", ["--per-message", "{size}"], "weft, a write per message"),
    "weft_spin": ("echo_weft", ["--with", "spin"], "weft, spinning"),
    "weft_ids": ("echo_weft", ["--with", "ids"], "weft, with ids"),
    "weft_timeouts": ("echo_weft", ["--with", "timeouts"], "weft, with idle timeouts"),
    "weft_both": ("echo_weft", ["--with", "ids", "--with", "timeouts"], "weft, with both"),
    "example": ("../examples/echo", None, "weft (examples/echo)"),
}


def pin_to(cpus):
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


def pinned(command, cpus):
    """The command as a person would run it there."""
    return ["taskset", "-c", ",".join(map(str, sorted(cpus)))] + command if cpus else command


def choose_cpus(workers):
    """CPUs for the servers and for the generator; None (anywhere) where they cannot have their
    own."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) <= workers:
        return None, None
    return set(cpus[:workers]), set(cpus[workers:])


def program(build_dir, name):
    path = os.path.normpath(os.path.join(build_dir, "bench", name))
    if not os.access(path, os.X_OK):
        raise Usage(f"{path} is not built (configure with -DWEFT_BENCH=ON, or name another "
                    "--build-dir)")
    return path


def is_built(build_dir, name):
    return os.access(os.path.join(build_dir, "bench", SERVERS[name][0]), os.X_OK)


def command_of(build_dir, name, workers=1, size=64):
    binary, extra, _ = SERVERS[name]
    if extra is None:  # an example: its address is all that can be said
        return [program(build_dir, binary), "127.0.0.1:0"]
    return ([program(build_dir, binary), "--address", "127.0.0.1:0", "--workers", str(workers)]
            + [word.format(size=size) for word in extra])


class Server:
    """A running server; ended by its process id and nothing else."""

    def __init__(self, name, command, cpus=None):
        self.name, self.command, self.cpus = name, command, cpus
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=pin_to(cpus))
        try:
            self.address = self.read_address()
        except BaseException:
            self.end()
            raise

    def read_address(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 10)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("listening on "):
            raise Failure(f"{self.name} did not start listening")
        return line.split()[2]

    def cpu_s(self):
        """What all of its threads have used so far: clock_getcpuclockid(3), written out."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def end(self):
        """Ends it; False if it died before or did not end well by itself."""
        alive = self.process.poll() is None
        if alive:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return alive and self.process.returncode == 0


class Group:
    """Servers that run side by side, idle but for their slices: `with Group(…) as servers`."""

    def __init__(self):
        self.servers = []

    def start(self, *args, kind=Server):
        self.servers.append(kind(*args))
        return self.servers[-1]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        died = [server.name for server in self.servers if not server.end()]
        if died and kind is None:
            raise Failure(f"{', '.join(died)} did not live until the end, or ended with an error")


@contextlib.contextmanager
def echo_group(budget, names, workers=1, size=64):
    """The echo servers of these names that were built, on the first CPUs where there are enough."""
    server_cpus, _ = choose_cpus(workers)
    with Group() as group:
        for name in names:
            if is_built(budget.build_dir, name):
                command = command_of(budget.build_dir, name, workers, size)
                group.start(SERVERS[name][2], command, server_cpus)
        yield group
