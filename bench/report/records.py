"""What a run of the suite knows: records, and the few things that may be concluded from them.

A record is one contender in one case, by one metric, with a value for each round:

    {"case": "50 connections", "x": 50, "who": "weft", "metric": "server CPU", "unit": "us/request",
     "better": "lower", "values": [19.1, 18.7, None, ...]}

`x` is the case as a number where it has one: charts need it. Records of one case and metric are
aligned: value number i of each comes from round i, and a round is short. The machine's speed drifts
by more than contenders differ, so contenders are compared within rounds and never by their medians.
A value is None where a contender could not run.

A figure is what one command measures: {"name", "title", "command", "rounds", "seconds", "records",
"notes"}; results.json holds the figures of a run with its goals and its machine.
"""

import collections
import json
import math
import re

# How a goal's verdict is said, and its symbol: colour alone says nothing.
VERDICTS = {"held": ("✓", "held"), "missed": ("✗", "missed"), "unclear": ("≈", "inside the noise"),
            "not measured": ("–", "not measured")}
SAME_COUNT = 0.005  # what a count of the same work wavers by
CHANCE = 1 / 8  # what four rounds that all say the same may be, and more rounds must be as clear
OUTCOMES = {"wins": ("▲", "ahead"), "loses": ("▼", "behind"), "even": ("≈", "even")}


def spread(values):
    """(median, lower quartile, upper quartile) of those that are there; None if there are none."""
    there = sorted(value for value in values if value is not None)
    if not there:
        return None

    def quartile(which):
        at, part = divmod(which * (len(there) - 1), 4)
        # Apart, since infinity times 0 is no number.
        return there[at] if part == 0 else (there[at] * (4 - part) + there[at + 1] * part) / 4

    return quartile(2), quartile(1), quartile(3)


def ratios(own, other):
    """own / other, round by round: infinite against nothing, 1 where both are nothing."""
    return [a / b if b else (math.inf if a else 1.0)
            for a, b in zip(own["values"], other["values"]) if a is not None and b is not None]


def find(figure, case, metric, who):
    """The record, or None."""
    for record in figure["records"]:
        if (record["case"], record["metric"], record["who"]) == (case, metric, who):
            return record
    return None


def in_order(figure, key):
    """The different values of a key ("case", "who", "metric"), as they first come."""
    return list(dict.fromkeys(record[key] for record in figure["records"]))


def by_chance(found):
    """How probable it is that a coin lays so many of these ratios, or more, on one side of 1.00:
    the sign test, both sides. It asks nothing of how they are distributed."""
    sides = [value > 1.0 for value in found if value != 1.0]
    most = max(sum(sides), len(sides) - sum(sides))
    tail = sum(math.comb(len(sides), many) for many in range(most, len(sides) + 1))
    return min(1.0, 2 * tail / 2 ** len(sides))


def compare(own, other):
    """How own does against other: "wins", "loses", or "even" where the quartiles of the ratio span
    1.00, or where chance would lay as many rounds on one side. With the ratio's spread; None if not
    comparable, or where more is neither better nor worse.

    Counts (a single value, the same in every round) are compared as they are."""
    found = ratios(own, other)
    if not found or own["better"] == "neither":
        return None
    median, q1, q3 = spread(found)
    counted = len(own["values"]) == 1
    if counted and abs(median - 1) < SAME_COUNT:
        verdict = "even"
    elif q1 <= 1.0 <= q3 or (not counted and by_chance(found) > CHANCE):
        verdict = "even"
    else:
        verdict = "wins" if (median > 1.0) == (own["better"] == "higher") else "loses"
    return verdict, (median, q1, q3)


def is_own(who):
    """Is it weft, in one way of using it or another?"""
    return who == "weft" or who[:5] in ("weft,", "weft ", "weft_")


def comparisons(figure):
    """(own, peer, verdict, spread of the ratio) for all that can be compared."""
    for own in figure["records"]:
        for peer in figure["records"] if is_own(own["who"]) else ():
            same = (own["case"], own["metric"]) == (peer["case"], peer["metric"])
            found = compare(own, peer) if same and not is_own(peer["who"]) else None
            if found:
                yield own, peer, *found


def against_weft(figure, record):
    """What `compare` says of weft and this peer; of another way of using weft and the reference; or
    None. The first way of using weft in the figure is the one that stands for it."""
    same = [other for other in figure["records"]
            if (other["case"], other["metric"]) == (record["case"], record["metric"])]
    own = next((other for other in same if is_own(other["who"])), None)
    if own is None or own is record:
        return None
    if not is_own(record["who"]):
        return compare(own, record)
    base = next((other for other in same if other["who"] == figure.get("reference")), None)
    return compare(record, base) if base else None


def advantage(record, three):
    """The spread of a ratio, turned so that above 1 is better for who is above the line."""
    if record["better"] == "higher":
        return three
    median, q1, q3 = (1 / value if value else math.inf for value in three)
    return median, q3, q1


def losses(results):
    """(figure, own, peer, spread of the ratio) of each comparison that weft loses, worst first."""
    lost = [(figure, own, peer, three) for figure in results["figures"]
            for own, peer, verdict, three in comparisons(figure) if verdict == "loses"]
    return sorted(lost, key=lambda loss: advantage(loss[1], loss[3])[0])


def outcomes(results):
    """How many comparisons weft wins, loses, and leaves even."""
    return collections.Counter(verdict for figure in results["figures"]
                               for _, _, verdict, _ in comparisons(figure))


def outcome_text(results):
    count = outcomes(results)
    return (f"{sum(count.values())} comparisons with others: weft ahead in {count['wins']}, "
            f"behind in {count['loses']}, {count['even']} even")


def goals_text(results):
    """31 goals: 24 held, 5 missed, 2 inside the noise"""
    count = collections.Counter(goal["verdict"] for goal in results["goals"])
    said = [f"{count[verdict]} {text}" for verdict, (_, text) in VERDICTS.items() if count[verdict]]
    goals = len(results["goals"])
    return f"{goals} goal{'s' * (goals != 1)}" + (": " if said else "") + ", ".join(said)


def missed(results, figure=None):
    """The goals that were missed, of one figure or of all."""
    return [goal for goal in results["goals"] if goal["verdict"] == "missed"
            and figure in (None, goal["figure"])]


def named(results, name):
    """The figure of that name, or None."""
    return next((figure for figure in results["figures"] if figure["name"] == name), None)


def tables(figure):
    """(cases, metrics) of each table that a figure needs: metrics of the same cases share one. A
    metric is (name, unit, better)."""
    cases = {}
    for record in figure["records"]:
        metric = record["metric"], record["unit"], record["better"]
        cases.setdefault(metric, {})[record["case"]] = True
    together = {}
    for metric, its_cases in cases.items():
        together.setdefault(tuple(its_cases), []).append(metric)
    return together.items()


def metric_text(metric):
    name, unit, better = metric
    unit = unit_text(unit)
    return f"{name}{', ' * (unit != '')}{unit}; {better} is better"


def unit_text(unit):
    return re.sub(r"\bus\b", "µs", unit)


def number(value):
    """A figure as people write it: three digits that mean something, thousands apart."""
    size = abs(value)
    if size == math.inf:
        return "∞"
    if size >= 1e6:
        return number(value / 1e6) + "M"
    if size >= 100:
        return f"{value:,.0f}".replace(",", "\u202f")
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.095 or size == 0:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.0095 else f"{value:.2g}"


def spread_text(three, write=None):
    """median [lower-upper], in one unit; the median alone where they are one."""
    if three is None:
        return "-"
    if write is None:
        def write(value):
            return number(value / 1e6) + "M" if 1e6 <= three[2] < math.inf else number(value)
    median, q1, q3 = three
    if write(q1) == write(q3):
        return write(median)
    return f"{write(median)} [{write(q1)}-{write(q3)}]"


def ratio_text(three):
    def write(value):
        if (three[1] > 1 or three[2] < 1) and 0 < abs(value - 1) < 0.005:
            return f"{value:.3f}"  # of what has a verdict, nothing reads 1.00
        return f"{value:.2f}" if 0.095 <= value < 10 else number(value)
    return spread_text(three, write)


def times_text(ahead):
    """By how much, for an advantage below 1: 0.5 is 2.00 times behind."""
    return ratio_text((1 / ahead if ahead else math.inf,) * 3) + "×"


def duration_text(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def check(results):
    """Raises ValueError where results.json is not what a report can be made of."""
    def want(thing, kind, where, *keys):
        if not isinstance(thing, kind):
            raise ValueError(f"{where} is not {'an object' if kind is dict else 'a list'}")
        for key in keys:
            if key not in thing:
                raise ValueError(f"{where} lacks {key!r}")

    want(results, dict, "the file", "weft", "machine", "figures", "goals")
    want(results["weft"], dict, "weft", "version", "commit")
    want(results["machine"], dict, "machine")
    want(results["figures"], list, "figures")
    want(results["goals"], list, "goals")
    for at, goal in enumerate(results["goals"]):
        want(goal, dict, f"goal {at}", "figure", "goal", "measured", "verdict")
        if goal["verdict"] not in VERDICTS:
            raise ValueError(f"goal {at} has the verdict {goal['verdict']!r}")
    for at, figure in enumerate(results["figures"]):
        want(figure, dict, f"figure {at}", "name", "title", "records")
        want(figure["records"], list, f"the records of {figure['name']}")
        for record in figure["records"]:
            where = f"a record of {figure['name']}"
            want(record, dict, where, "case", "who", "metric", "unit", "better", "values")
            want(record["values"], list, f"the values of {where}")
            if record["better"] not in ("higher", "lower", "neither"):
                raise ValueError(f"{where} is better {record['better']!r}")
            for value in record["values"]:
                if value is not None and not (type(value) in (int, float) and math.isfinite(value)
                                              and value >= 0):
                    raise ValueError(f"{where} has the value {value!r}")
    return results


def load(path):
    """results.json, checked; ValueError or OSError says what is wrong with it."""
    with open(path, encoding="utf-8") as file:
        return check(json.load(file))
