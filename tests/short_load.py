#!/usr/bin/env python3
"""The echo example under a short load of each kind: short_load.py EXAMPLES_DIR WEFT_LOAD

Nothing is measured. Every byte has to come back, and the server, which ends in order (so that a
leak checker has its say), must end with 0 and have said nothing.
"""

import json
import signal
import subprocess
import sys

from examples import PATIENCE_S, WRAPPER, Failure, Program, check

CONNECTIONS = 300
REQUESTS = 3000 if WRAPPER else 30000  # a tenth of them where each is a connection
KINDS = {
    "closed loop": [],
    "pipelined": ["--pipeline", "32", "--burst-writes"],
    "mixed sizes": ["--sizes", "1:10,1000:10,200000:1", "--pipeline", "4"],
    "open loop": ["--rate", f"{REQUESTS // 2}", "--pipeline", "16"],
    "churn": ["--churn"],
}


def load(host, port, arguments):
    """The requests that were answered."""
    command = [sys.argv[2], "--address", f"{host}:{port}", "--connections", str(CONNECTIONS),
               "--requests", str(REQUESTS // 10 if "--churn" in arguments else REQUESTS), "--json",
               *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    said = f"{done.returncode}: {done.stdout}{done.stderr}"
    check(done.returncode == 0 and done.stderr == "", said)
    return json.loads(done.stdout)["requests"]


def main():
    failed = 0
    for kind, arguments in KINDS.items():
        try:
            with Program("echo", "127.0.0.1:0") as server:
                requests = load(*server.address(), arguments)
                check(requests >= REQUESTS // 10, f"{requests} requests were answered")
                check(server.end(0, signo=signal.SIGTERM) == [], "more output")
            print(f"ok   {kind}: {requests} requests", flush=True)
        except (Failure, OSError, ValueError, subprocess.TimeoutExpired) as failure:
            failed += 1
            print(f"FAIL {kind}: {failure}", flush=True)
    print(f"{len(KINDS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
