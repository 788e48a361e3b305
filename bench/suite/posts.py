"""Tasks posted from foreign threads to one worker, by programs of their own: weft beside mutex +
list + uv_async_send. Every task is counted."""

import json
import subprocess

from measurement import Failure, rotated
from servers import program

POSTERS = {  # name: (program, arguments)
    "weft_post": ("post_weft", []),
    "weft_post_fn": ("post_weft", ["--via", "fn"]),
    "mutex + uv_async_send": ("post_uv", []),
}


def post(build_dir, name, threads, tasks):
    """Posts a second; every task must have been accepted and run."""
    binary, extra = POSTERS[name]
    command = [program(build_dir, binary), "--posters", str(threads), "--tasks", str(tasks), "--pin"]
    done = subprocess.run(command + extra, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failure(f"{binary} exited with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    if report["ran"] != tasks or report["posted"] != tasks:
        raise Failure(f"{name}: {report['posted']} posted, {report['ran']} ran of {tasks}")
    return report["posts_per_s"]


def rates(build_dir, names, threads, tasks, rounds):
    found = {name: [] for name in names}
    for number in range(rounds):
        for name in rotated(list(names), number):
            found[name].append(post(build_dir, name, threads, tasks))
    return found
