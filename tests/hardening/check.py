#!/usr/bin/env python3
"""Whether what was built is hardened: check.py LIBWEFT_A LIBWEFT_SO PROGRAM...

Looks at the files as they are shipped, with readelf and nm, not at the flags that were given, and
prints what each lacks. Fortified calls are asked of the library alone, for a program may make none
that could be. So are shadow stacks (CET), and of the static one: a linked file has that mark only
where every object in it has, and Debian 12's crti.o has not.
"""
import re
import subprocess
import sys


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing(path, is_library):
    header = run("readelf", "-hW", path)
    segments = run("readelf", "-lW", path)
    dynamic = run("readelf", "-dW", path)
    symbols = run("nm", "-D", "--undefined-only", path)
    stack = re.search(r"GNU_STACK.*", segments)
    found = {
        "position-independent (DYN)": re.search(r"Type:\s+DYN", header),
        "GNU_RELRO": "GNU_RELRO" in segments,
        "BIND_NOW": re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", dynamic),
        "a stack that is not executable": stack and "RWE" not in stack[0],
        "no segment that is writable and executable": not re.search(r"LOAD.*RWE", segments),
        "no text relocations": "TEXTREL" not in dynamic,
        "no RPATH or RUNPATH of the library's own": not (is_library and "PATH)" in dynamic),
    }
    if is_library:
        found["the stack protector (__stack_chk_fail)"] = "__stack_chk_fail" in symbols
        found["fortified calls (*_chk)"] = re.search(r"__(?!stack)\w+_chk\b", symbols)
    return [what for what, there in found.items() if not there]


def missing_mark(path):
    is_x86 = "X86-64" in run("readelf", "-hW", path)
    return ["SHSTK"] if is_x86 and "SHSTK" not in run("readelf", "-nW", path) else []


def main():
    bad = False
    for i, path in enumerate(sys.argv[1:]):
        lacks = missing(path, is_library=i == 1) if i > 0 else missing_mark(path)
        bad |= bool(lacks)
        print(f"{path}: {'lacks ' + '; '.join(lacks) if lacks else 'hardened'}")
    return 1 if bad or len(sys.argv) < 4 else 0


if __name__ == "__main__":
    sys.exit(main())
