#!/usr/bin/env python3
"""Holds the house to its floors: check.py SOURCE_DIR

- a folder of lib/ includes from others only their doors, <folder>/<folder>.h, and only of lower
  floors; folders of one floor never include each other
- system calls, the allocator and raw atomics are used in lib/base only
- public headers include neither liburcu nor jemalloc, nor anything of lib/

Before it judges the tree it judges small offenders of its own: a rule that reports none of its
offenders has come loose.
"""
import pathlib
import re
import sys

FLOORS = {"base": 0, "selector": 1, "queue": 1, "wheel": 1, "worker": 2, "runtime": 3, "net": 4}

# The functions that base/os.h, base/mem.h and base/clock.h stand in front of.
CALLS = set(
    """
    read write pread pwrite readv writev close fcntl ioctl dup dup2 dup3 pipe pipe2 open openat
    recv recvfrom recvmsg recvmmsg send sendto sendmsg sendmmsg sendfile splice
    socket socketpair bind listen accept accept4 connect shutdown getsockopt setsockopt
    getsockname getpeername poll ppoll select pselect
    epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd_read eventfd_write timerfd_create timerfd_settime timerfd_gettime signalfd
    sigaction signal sigprocmask pthread_sigmask sigwait sigwaitinfo sigtimedwait kill tgkill raise
    pthread_kill fork vfork clone execve execv posix_spawn wait waitpid waitid
    mmap munmap mprotect madvise mremap mlock
    pthread_create pthread_setaffinity_np pthread_setname_np
    sched_getaffinity sched_setaffinity sched_yield prctl syscall
    nanosleep clock_nanosleep usleep sleep clock_gettime gettimeofday time
    getrlimit setrlimit prlimit unlink
    malloc calloc realloc free aligned_alloc posix_memalign strdup strndup mallocx sdallocx
    printf fprintf vprintf vfprintf puts fputs putchar perror
    """.split()
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
CALL = re.compile(r"(?<![\w.])(?<!->)(\w+)\s*\(")
# atomic_init() is no access: it makes an object that no other thread knows yet.
ATOMIC = re.compile(r"(?<!\w)(atomic_(?!init\b)\w+|__atomic_\w+|__sync_\w+|ATOMIC_VAR_INIT)\s*\(")
# What a seeded bug does is no part of the library.
SEEDED = re.compile(r'if \(MUTANT\(""\)\)[^;{]*;')
NOT_CODE = re.compile(
    r'/\*.*?\*/|//[^\n]*|(?P<keep>^\s*#\s*include[^\n]*)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
    re.S | re.M,
)


def strip(text):
    """The text without comments and literals, with its lines where they were."""
    return NOT_CODE.sub(lambda m: m["keep"] or '""' + "\n" * m[0].count("\n"), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def check_lib_include(folder, name):
    parts = name.split("/")
    if parts[0] in ("urcu", "urcu.h"):
        return None
    if parts[0] == "jemalloc":
        return "jemalloc is found at run time, never included"
    if name == "stdatomic.h" and folder != "base":
        return "raw atomics belong to base/atomic.h"
    if parts[0] not in FLOORS or parts[0] == folder:
        return None
    if parts[0] != folder and parts != [parts[0], parts[0] + ".h"]:
        return f"past the door of {parts[0]} ({parts[0]}/{parts[0]}.h)"
    if FLOORS[parts[0]] >= FLOORS[folder]:
        return f"{folder} is on floor {FLOORS[folder]}, {parts[0]} on {FLOORS[parts[0]]}: not below"
    return None


def check_lib(folder, text):
    """(line, complaint) for each offence of a file in lib/<folder>."""
    text = strip(text)
    if folder not in FLOORS:
        yield 1, f"lib/{folder} has no floor"
        return
    for m in INCLUDE.finditer(text):
        complaint = check_lib_include(folder, m[2])
        if complaint:
            yield line_of(text, m.start(2)), f'#include "{m[2]}": {complaint}'
    if "_LGPL_SOURCE" in text:
        yield 1, "_LGPL_SOURCE would inline liburcu's code into this library"
    if folder == "base":
        return
    text = SEEDED.sub(lambda m: "\n" * m[0].count("\n"), text)
    for m in CALL.finditer(text):
        if m[1] in CALLS:
            yield line_of(text, m.start(1)), f"{m[1]}() is for lib/base alone"
    for m in ATOMIC.finditer(text):
        yield line_of(text, m.start(1)), f"{m[1]}(): use atom_*() of base/atomic.h"


def check_public(text):
    text = strip(text)
    for m in INCLUDE.finditer(text):
        first = m[2].split("/")[0]
        if first in ("urcu", "urcu.h", "jemalloc") or (first in FLOORS and "/" in m[2]):
            yield line_of(text, m.start(2)), f"public header includes {m[2]}"
        elif m[1] == '"' and not m[2].startswith("weft/"):
            yield line_of(text, m.start(2)), f'public header includes "{m[2]}": only weft/*.h'


def self_test():
    offenders = {
        ("wheel", '#include "queue/queue.h"\n'): 1,
        ("worker", '#include "selector/table.h"\n'): 1,
        ("worker", '#include "runtime/runtime.h"\n'): 1,
        ("net", "#include <stdatomic.h>\n"): 1,
        ("net", "int f(int d) { return close(d); }\n"): 1,
        ("net", "x = atomic_load_explicit(&y, memory_order_relaxed);\n"): 1,
        ("attic", "int x;\n"): 1,
        ("queue", "#define _LGPL_SOURCE\n"): 1,
    }
    innocents = [
        ("worker", '#include "selector/selector.h"\n#include "worker/inner.h"\n#include <urcu/urcu-memb.h>\n'),
        ("net", "/* close(fd) */ const char *x = \"close(fd)\"; s->close(s); os_close(fd); p.read(q);\n"),
        ("net", 'if (MUTANT("net-x"))\n    close(fd);\n'),
        ("base", "#include <stdatomic.h>\nint f(int d) { return close(d); }\n"),
    ]
    bad = [str(o) for o, n in offenders.items() if len(list(check_lib(*o))) != n]
    bad += [str(i) for i in innocents if list(check_lib(*i))]
    if not list(check_public("#include <urcu/urcu-memb.h>\n")):
        bad.append("urcu in a public header")
    if not list(check_public('#include "base/os.h"\n')):
        bad.append("lib in a public header")
    return bad


def main():
    root = pathlib.Path(sys.argv[1])
    loose = self_test()
    for case in loose:
        print(f"check.py itself: wrong about {case}")
    found = 0
    files = 0
    for path in sorted(root.glob("lib/*/*.[ch]")) + sorted(root.glob("include/**/*.h")):
        text = path.read_text()
        files += 1
        public = path.relative_to(root).parts[0] == "include"
        for line, complaint in check_public(text) if public else check_lib(path.parent.name, text):
            print(f"{path.relative_to(root)}:{line}: {complaint}")
            found += 1
    for folder in FLOORS:
        inside = root / "lib" / folder
        if list(inside.glob("*.c")) and not (inside / f"{folder}.h").exists():
            print(f"lib/{folder}: has no door {folder}/{folder}.h")
            found += 1
    print(f"layering: {files} files, {found} offences")
    return 1 if found or loose or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
