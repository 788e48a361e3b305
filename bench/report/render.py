#!/usr/bin/env python3
"""Makes the report of a run: render.py results.json --out DIR [--readme FILE.svg]

Writes report.html and report.md to DIR and a summary to the terminal. 2 is the exit status where
results.json is missing or broken.
"""

import argparse
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import charts
import markdown
import page
import records
import terminal


def write(path, said):
    with open(path, "w", encoding="utf-8") as file:
        file.write(said)


def report(results, source, out):
    """Writes the report and a copy of its source; where the page is."""
    os.makedirs(out, exist_ok=True)
    where = os.path.join(out, "report.html")
    write(where, page.render(results))
    write(os.path.join(out, "report.md"), markdown.render(results))
    beside = os.path.join(out, "results.json")
    if os.path.realpath(source) != os.path.realpath(beside):
        shutil.copyfile(source, beside)
    return where


def main():
    parser = argparse.ArgumentParser(description="Makes the report of a run of the benchmarks.")
    parser.add_argument("results", help="results.json")
    parser.add_argument("--out", metavar="DIR", help="where report.html and report.md go")
    parser.add_argument("--readme", metavar="FILE", help="write README's chart, an SVG, there")
    arguments = parser.parse_args()
    if not arguments.out and not arguments.readme:
        parser.error("nothing to do: --out DIR or --readme FILE")
    try:
        results = records.load(arguments.results)
        if arguments.readme:
            write(arguments.readme, charts.readme_svg(results))
    except (OSError, ValueError) as error:
        where = getattr(error, "filename", None) or arguments.results
        print(f"render.py: {where}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    if arguments.out:
        print(terminal.summary(results, report(results, arguments.results, arguments.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
