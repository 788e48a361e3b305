#!/usr/bin/env python3
"""What the libraries show to the world: check.py SOURCE_DIR LIBWEFT_SO LIBWEFT_A

The dynamic symbols of the shared library, the names in lib/weft.map and the functions declared with
WEFT_API are one and the same set; the global symbols of the static library are that set too. The
shared library needs no jemalloc, whose static TLS could not be loaded by dlopen().
"""
import pathlib
import re
import subprocess
import sys


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def defined(*command):
    """Names of nm's posix lines: name type value size."""
    names = set()
    for line in run(*command).splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1] in "TtDdBbRrVvWwuiGgSsC":
            names.add(fields[0].split("@")[0])
    return names


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*|^[ \t]*#(?:\\\n|[^\n])*", " ", text, flags=re.S | re.M)


def declared(include):
    names = set()
    for path in include.glob("**/*.h"):
        for statement in re.split(r"[;{}]", without_comments(path.read_text())):
            if "WEFT_API" in statement:
                names.add(re.search(r"WEFT_API[^(]*?(\w+)\s*[(\[=]?(?=[(\[=]|$)", statement)[1])
    return names


def in_map(path):
    names = set()
    section = "local"
    for token in re.findall(r"[\w.*]+:?|[{};]", re.sub(r"/\*.*?\*/|#[^\n]*", " ", path.read_text(), flags=re.S)):
        if token in ("global:", "local:"):
            section = token[:-1]
        elif token == "}":
            section = "node"
        elif section == "global" and re.fullmatch(r"[\w*.]+", token):
            names.add(token)
    return names


def main():
    source, shared, static = map(pathlib.Path, sys.argv[1:4])
    sets = {
        "declared with WEFT_API": declared(source / "include"),
        "in weft.map": in_map(source / "lib/weft.map"),
        "exported by the shared library": defined("nm", "-D", "--defined-only", "-P", str(shared)),
        "global in the static library": defined("nm", "-g", "--defined-only", "-P", str(static)),
    }
    failed = False
    everything = set().union(*sets.values())
    for what, names in sets.items():
        print(f"{len(names):4} {what}")
        for name in sorted(everything - names):
            print(f"     missing: {name}")
            failed = True
    for name in sorted(everything):
        if not name.startswith("weft_"):
            print(f"foreign name: {name}")
            failed = True
    dynamic = run("readelf", "-d", str(shared))
    if "jemalloc" in dynamic:
        print("the shared library needs jemalloc")
        failed = True
    if not re.search(r"SONAME.*\[libweft\.so\.\d+\.\d+\]", dynamic):
        print("the shared library has no SONAME of the form libweft.so.X.Y")
        failed = True
    return 1 if failed or not everything else 0


if __name__ == "__main__":
    sys.exit(main())
