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

import statistics


def spread(values):
    """(median, lower quartile, upper quartile) of those that are there; None if there are none."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    if len(there) == 1:
        return there[0], there[0], there[0]
    q1, median, q3 = statistics.quantiles(there, n=4, method="inclusive")
    return median, q1, q3


def ratios(own, other):
    """own / other, round by round."""
    return [a / b for a, b in zip(own["values"], other["values"])
            if a is not None and b is not None and b != 0]


def find(figure, case, metric, who):
    """The record, or None."""
    for record in figure["records"]:
        if (record["case"], record["metric"], record["who"]) == (case, metric, who):
            return record
    return None


def in_order(figure, key):
    """The different values of a key ("case", "who", "metric"), as they first come."""
    return list(dict.fromkeys(record[key] for record in figure["records"]))


def compare(own, other):
    """How own does against other: "wins", "loses", or "even" where the quartiles of the ratio span
    1.00 or there are too few rounds to have any. With the ratio's spread; None if not comparable.

    Counts (a single value, the same in every round) are compared as they are."""
    found = ratios(own, other)
    if not found:
        return None
    median, q1, q3 = spread(found)
    counted = len(own["values"]) == 1
    if q1 <= 1.0 <= q3 or (len(found) < 4 and not counted):
        verdict = "even"
    else:
        verdict = "wins" if (median > 1.0) == (own["better"] == "higher") else "loses"
    return verdict, (median, q1, q3)


def number(value):
    """A figure as people write it: three digits that mean something, thousands apart."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}".replace(",", "\u202f")
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.095 or size == 0 else f"{value:.3f}"


def spread_text(three, write=number):
    """median [lower-upper]; the median alone where they are one."""
    if three is None:
        return "-"
    median, q1, q3 = three
    if q1 == q3:
        return write(median)
    return f"{write(median)} [{write(q1)}-{write(q3)}]"


def ratio_text(three):
    return spread_text(three, lambda value: f"{value:.2f}" if value < 10 else f"{value:.0f}")
