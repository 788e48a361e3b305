#!/usr/bin/env python3
"""A table of gcovr's summary: coverage.py SUMMARY_JSON"""
import json
import sys


def line(name, of):
    print("{:28}{line_covered:6} of {line_total:5} lines {line_percent:6}%"
          "{branch_covered:7} of {branch_total:5} branches {branch_percent:6}%".format(name, **of))


def percent(of):
    return {k: 100.0 if v is None else v for k, v in of.items()}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        summary = json.load(file)
    for file in sorted(summary["files"], key=lambda f: f["filename"]):
        line(file["filename"], percent(file))
    line("total", percent(summary))


if __name__ == "__main__":
    main()
