"""The machine and the programs of a run: what a reader needs to judge its figures."""

import os
import platform
import re
import subprocess

from servers import SERVERS, is_built, program


def first_line(command, pattern=r".*"):
    """Of what a program says about itself; None if it is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, done.stdout)
    return found.group(0).strip() if found and found.group(0).strip() else None


def cpu_model():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) / (1 << 20)


def content(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def versions(build_dir):
    """What each server says it runs on."""
    found = {}
    servers = {"weft": "weft", "raw epoll": "epoll", "libuv": "uv_try", "libev": "ev",
               "libevent": "event"}
    for label, name in servers.items():
        if is_built(build_dir, name):
            path = os.path.join(build_dir, "bench", SERVERS[name][0])
            said = first_line([path, "--version"], r"[^(\n]+")
            found[label] = (said or "").removeprefix(label + " ")
    weft = program(build_dir, SERVERS["weft"][0])
    found["all compiled with"] = first_line([weft, "--version"], r"(?<=\()[^)\n]+")
    found["redis-server"] = first_line(["redis-server", "--version"], r"v=\S+")
    found["nginx"] = first_line(["/usr/sbin/nginx", "-v"], r"nginx/\S+")
    found["wrk"] = first_line(["wrk", "-v"], r"wrk \S+")
    found["redis-benchmark"] = first_line(["redis-benchmark", "--version"])
    return found


def machine(build_dir):
    load = os.getloadavg()
    found = {
        "CPU": cpu_model(),
        "CPUs": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_gib():.1f} GiB",
        "kernel": platform.release(),
        "virtualisation": first_line(["systemd-detect-virt"]),
        "distribution": first_line(["sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"]),
        "frequency governor": content("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "open files at most": first_line(["sh", "-c", "ulimit -Hn"]),
        "load when it began": f"{load[0]:.2f}",
        "compiler": first_line(["cc", "--version"]),
        "glibc": " ".join(platform.libc_ver()),
    }
    found.update(versions(build_dir))
    return {label: text for label, text in found.items() if text}


def commit():
    return first_line(["git", "describe", "--always", "--dirty", "--tags"]) or "unknown"


def weft_version(build_dir):
    path = os.path.join(build_dir, "bench", "echo_weft")
    return first_line([path, "--version"], r"\d+\.\d+\S*") or "unknown"
