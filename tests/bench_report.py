#!/usr/bin/env python3
"""Tests the report of the benchmarks on results that were made up: bench_report.py SOURCE_DIR"""

import contextlib
import copy
import html.parser
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

SOURCE = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else \
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(SOURCE, "bench", "report"))

import charts  # noqa: E402
import markdown  # noqa: E402
import page  # noqa: E402
import records  # noqa: E402
import terminal  # noqa: E402

NASTY = "<b>& \"who\" | x"
ROUNDS = 9


def record(who, case, metric, value, better="lower", x=None, unit="us"):
    """About `value` in each round, by the same factors for everybody; a count if it is whole; none
    where it is None."""
    values = [None] * ROUNDS if value is None else [value] if isinstance(value, int) else \
        [value * (1 + 0.1 * (at % 3)) * (1 + 0.004 * (at % 2)) for at in range(ROUNDS)]
    made = {"case": case, "who": who, "metric": metric, "unit": unit, "better": better,
            "values": values}
    return made | ({"x": x} if x is not None else {})


def wobbling(who, case, metric, value):
    """As often above as below."""
    made = record(who, case, metric, value)
    made["values"] = [value * (0.8 if at % 2 else 1.25) for at in range(ROUNDS)]
    return made


def figure(name, *its_records, reference="raw epoll"):
    return {"name": name, "title": f"The figure {name}", "command": f"./run bench {name}",
            "programs": [f"build/{name} --who '<i>'"], "rounds": ROUNDS, "seconds": 70,
            "reference": reference, "notes": [f"A note on {name} & more"],
            "records": list(its_records)}


def echo():
    levels = {"weft": (20.0, 19.0, 24.0), "raw epoll": (20.5, 18.5, 24.5),
              "libuv, uv_write": (22.0, 36.0, 42.0), "libevent": (None,) * 3}
    cases = ("1 connection", 1), ("50 connections", 50), ("1 000 connections", 1000)
    made = []
    for metric, better in (("server CPU", "lower"), ("p99", "lower"), ("requests", "higher")):
        for who, values in levels.items():
            for (case, x), value in zip(cases, values):
                turned = 1e6 / value if value and better == "higher" else value
                made.append(record(who, case, metric, turned, better, x))
    return figure("echo", *made)


def made_up():
    post = [record(who, f"{x} threads", "posts", value / x, "higher", x) for x in (1, 2, 4)
            for who, value in (("weft", 80.0), ("mutex", 30.0), ("weft_post_fn", 10.0))]
    latency = [record(who, f"{x} % of capacity", metric, value * x, "lower", x)
               for x in (30, 90) for metric in ("p50", "p99", "p99.9")
               for who, value in (("weft", 1.0), ("libuv, uv_write", 2.0))]
    scaling = [record(who, f"{x} workers", "requests", value * x, "higher", x) for x in (1, 2)
               for who, value in (("weft", 10.0), ("libuv", 9.0))]
    goals = [("held", "echo", ""), ("missed", "churn", "the reason <why>"), ("unclear", "post", ""),
             ("not measured", "latency", ""), ("missed", "gone", "a figure that did not run")]
    return {
        "weft": {"version": "0.1.0", "commit": "abc"}, "date": "2026-11-26T23:00:00Z",
        "command": "./run bench", "budget": "standard", "seconds": 612,
        "machine": {"CPU": "A CPU & more", "libuv": "1.44.2"},
        "figures": [
            echo(), figure("post", *post, reference="mutex"), figure("latency", *latency),
            figure("scaling", *scaling),
            figure("instructions", record("weft", "1 connection", "instructions", 362),
                   record("raw epoll", "1 connection", "instructions", 277)),
            figure("churn", record("weft", "few", "time", 3.0), record(NASTY, "few", "time", 2.0),
                   wobbling("even peer", "few", "time", 3.0)),
            figure("lost", record("weft", "all", "lost", 3), record("signalfd", "all", "lost", 0)),
            figure("none")],
        "goals": [{"figure": name, "goal": f"goal {at} of {name} <&>",
                   "measured": "1.01 [0.95-1.06]", "verdict": verdict, "why": why}
                  for at, (verdict, name, why) in enumerate(goals)]}


class Reader(html.parser.HTMLParser):
    """What a page says, which elements it has, and the cells of its table of losses."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.open, self.said, self.rows = [], [], [], [], []
        self.losses = False
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[key] for key in ("href", "src", "data") if key in attributes]
        if tag == "table":
            self.losses = attributes.get("class") == "losses"
        if self.losses and tag == "tr":
            self.rows.append([])
        if self.losses and tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data):
        self.said.append(data)
        if self.losses and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        if tag == "table":
            self.losses = False


class Report(unittest.TestCase):
    def setUp(self):
        self.results = records.check(made_up())
        self.page = page.render(self.results)
        self.read = Reader(self.page)

    def test_every_figure_and_goal_is_in_the_page_and_in_markdown(self):
        said, flat = "".join(self.read.said), markdown.render(self.results).replace("&lt;", "<")
        flat = flat.replace("&amp;", "&")
        for each in self.results["figures"]:
            for text in (each["title"], each["command"], *each["programs"], *each["notes"]):
                self.assertIn(text, said)
                self.assertIn(text, flat)
        for goal in self.results["goals"]:
            for text in (goal["goal"], goal["why"]):
                self.assertIn(text, said)
                self.assertIn(text, flat)
        self.assertIn("5 goals: 1 held, 2 missed, 1 inside the noise, 1 not measured", said)

    def test_values_are_text(self):
        self.assertNotIn("<b>& ", re.sub(r"<script.*?</script>", "", self.page, flags=re.DOTALL))
        self.assertIn(NASTY, "".join(self.read.said))
        self.assertNotIn("i", self.read.tags)
        self.assertIn("&lt;b>&amp; \"who\" \\| x", markdown.render(self.results))

    def test_data_within_the_page_is_the_results_and_cannot_end_its_element(self):
        self.results["machine"]["CPU"] = "</script><script>alert(1)</script>"
        markup = page.render(self.results)
        data = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', markup, re.DOTALL)
        self.assertEqual(json.loads(data.group(1)), self.results)
        self.assertEqual(Reader(markup).tags.count("script"), 2)

    def test_losses_are_all_that_lose_and_nothing_else_worst_first(self):
        lost = [(each["name"], own["who"], own["case"], own["metric"], peer["who"])
                for each, own, peer, _ in records.losses(self.results)]
        self.assertEqual(lost[0], ("lost", "weft", "all", "lost", "signalfd"))
        self.assertEqual(lost[1][1:], ("weft_post_fn", "1 threads", "posts", "mutex"))
        self.assertEqual(sorted(lost[4:], key=str), [
            ("churn", "weft", "few", "time", NASTY),
            ("echo", "weft", "50 connections", "p99", "raw epoll"),
            ("echo", "weft", "50 connections", "requests", "raw epoll"),
            ("echo", "weft", "50 connections", "server CPU", "raw epoll"),
            ("instructions", "weft", "1 connection", "instructions", "raw epoll")])
        rows = [row for row in self.read.rows if row]
        self.assertEqual([row[1] for row in rows], [peer for *_, peer in lost])
        self.assertEqual(rows[0][0], "▼ ∞×")

    def test_what_is_even_is_in_no_list(self):
        lost = [peer["who"] for _, _, peer, _ in records.losses(self.results)]
        self.assertNotIn("even peer", lost)
        even = [verdict for _, peer, verdict, _ in
                records.comparisons(records.named(self.results, "churn"))
                if peer["who"] == "even peer"]
        self.assertEqual(even, ["even"])

    def test_too_few_rounds_give_no_verdict(self):
        for each in self.results["figures"]:
            for one in each["records"]:
                one["values"] = one["values"][:3] if len(one["values"]) > 1 else [None]
        self.assertEqual(records.losses(self.results), [])
        self.assertIn("lost no comparison", page.render(self.results))

    def test_page_needs_nothing_from_elsewhere(self):
        self.assertNotRegex(self.page, r"https?://")
        self.assertNotRegex(self.page, r"@import|url\(")
        self.assertTrue(set(self.read.links) <= {"results.json"}
                        | {link for link in self.read.links if link.startswith("#")})
        for link in self.read.links:
            if link.startswith("#"):
                self.assertIn(f'id="{link[1:]}"', self.page)

    def test_images_are_well_formed_and_named(self):
        images = re.findall(r"<svg.*?</svg>", self.page, re.DOTALL)
        self.assertGreater(len(images), 12)
        for image in images:
            root = xml.etree.ElementTree.fromstring(image)
            self.assertEqual(root.get("role"), "img")
            self.assertTrue(root.get("aria-label"))
            self.assertNotRegex(image, r"\b(nan|inf)\b")
        xml.etree.ElementTree.fromstring(charts.readme_svg(self.results))

    def test_charts_say_who_could_not_run(self):
        captions = [caption for _, caption, _ in charts.all_charts(self.results)]
        self.assertEqual(len(captions), 6)
        self.assertEqual([at for at, caption in enumerate(captions) if "run: libevent" in caption],
                         [0, 1])

    def test_charts_without_figures_are_left_out(self):
        self.results["figures"], self.results["goals"] = [], []
        self.assertNotIn("<svg", page.render(self.results))
        markdown.render(self.results)
        self.assertIn("0 goals", terminal.summary(self.results, "there"))
        with self.assertRaises(ValueError):
            charts.readme_svg(self.results)

    def test_terminal_keeps_to_its_width(self):
        said = terminal.summary(self.results, "report.html").splitlines()
        self.assertLessEqual(len(said), 12)
        self.assertIn("missed goals in: churn, gone", said)
        for each in self.results["figures"]:
            table = terminal.table(each)
            said += table.splitlines()
            for one in each["records"]:
                self.assertIn(one["who"], table)
        self.assertLessEqual(max(map(len, said)), 100)
        self.assertIn("could not run", terminal.table(self.results["figures"][0]))


class Numbers(unittest.TestCase):
    def test_quartiles_are_between_values(self):
        self.assertEqual(records.spread([4, None, 1, 3, 2]), (2.5, 1.75, 3.25))
        self.assertIsNone(records.spread([None]))

    def test_nothing_beside_nothing_is_even_and_something_is_infinitely_more(self):
        some, none = record("weft", "c", "m", 3), record("peer", "c", "m", 0)
        self.assertEqual(records.compare(none, none)[0], "even")
        self.assertEqual(records.compare(some, none)[0], "loses")
        self.assertEqual(records.compare(none, some)[0], "wins")

    def test_labels_keep_apart_within_limits(self):
        moved = charts.svg.apart([10, 11, 12, 99], 15, 0, 100)
        self.assertTrue(all(b - a >= 15 for a, b in zip(moved, moved[1:])))
        self.assertTrue(0 <= moved[0] and moved[-1] <= 100)

    def test_a_close_verdict_does_not_read_as_one(self):
        self.assertEqual(records.ratio_text((1.004, 1.004, 1.004)), "1.004")
        self.assertEqual(records.ratio_text((1.004, 0.9, 1.2)), "1.00 [0.90-1.20]")


class Command(unittest.TestCase):
    def render(self, said):
        """render.py's exit status, what it prints, what it complains of, and the files it wrote."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "results.json")
            if said is not None:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(said)
            out = os.path.join(folder, "out")
            program = os.path.join(SOURCE, "bench", "report", "render.py")
            done = subprocess.run([sys.executable, program, path, "--out", out],
                                  capture_output=True, text=True, check=False)
            files = sorted(os.listdir(out)) if os.path.isdir(out) else []
            return done.returncode, done.stdout, done.stderr, files

    def test_writes_page_and_markdown_with_the_data_beside_them(self):
        status, said, complaint, files = self.render(json.dumps(made_up()))
        self.assertEqual((status, complaint), (0, ""))
        self.assertIn("5 goals", said)
        self.assertEqual(files, ["report.html", "report.md", "results.json"])

    def test_a_missing_or_broken_file_is_2_with_a_reason(self):
        wrong = copy.deepcopy(made_up())
        wrong["figures"][0]["records"][0]["values"] = ["fast"]
        lacking = copy.deepcopy(made_up())
        del lacking["figures"][0]["records"][0]["who"]
        for said, reason in ((None, "No such file"), ("{", "Expecting"), ("[]", "not an object"),
                             ("{}", "lacks 'weft'"), (json.dumps(wrong), "'fast'"),
                             (json.dumps(lacking), "lacks 'who'")):
            status, _, complaint, files = self.render(said)
            self.assertEqual((status, files), (2, []))
            self.assertIn(reason, complaint)
            self.assertEqual(len(complaint.splitlines()), 1)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        unittest.main(verbosity=1)
