"""The report in a terminal: a dozen lines for a run, or the table of one figure."""

import records

WIDTH = 100


def cut(said, width=WIDTH):
    return said if len(said) <= width else said[:width - 1].rstrip(" ,;") + "…"


def ratios_at(results, name, metric, case, meant=lambda who: True):
    """≈ 1.02 raw epoll, ▲ 0.55 libuv, ...: weft ÷ each; "" if it was not measured."""
    figure = records.named(results, name)
    said = []
    for own, peer, verdict, three in records.comparisons(figure) if figure else ():
        if (own["who"], own["metric"], own["case"]) == ("weft", metric, case) \
                and meant(peer["who"]):
            said.append(f"{records.OUTCOMES[verdict][0]} {records.ratio_text(three[:1] * 3)} "
                        f"{peer['who']}")
    return " · ".join(said)


def advantages(results, name):
    """How far ahead or behind weft is over all cases of a figure, by peer."""
    figure = records.named(results, name)
    found = {}
    for own, peer, _, three in records.comparisons(figure) if figure else ():
        if own["who"] == "weft":
            found.setdefault(peer["who"], []).append(records.advantage(own, three)[0])
    return " · ".join(f"{records.ratio_text((min(some),) * 3)} to "
                      f"{records.ratio_text((max(some),) * 3)} times {who}"
                      for who, some in found.items())


def headlines(results):
    def meant(who):
        return who == "raw epoll" or who.startswith("libuv")
    yield "CPU per request, 50", ratios_at(results, "echo", "server CPU", "50 connections", meant)
    yield "p99.9 at 70 % load", ratios_at(results, "latency", "p99.9", "70 % of capacity", meant)
    yield "posts, 4 threads", ratios_at(results, "post", "posts", "4 threads")
    yield "timers, ahead", advantages(results, "timers")


def summary(results, where):
    """At most a dozen lines: verdicts, the ratios that matter most, what was missed, and where the
    rest is."""
    weft = results["weft"]
    facts = [f"weft {weft['version']} ({weft['commit']})",
             f"{results['budget']} budget" if results.get("budget") else "",
             records.duration_text(results["seconds"]) if results.get("seconds") else ""]
    lines = [", ".join(filter(None, facts)), records.goals_text(results),
             records.outcome_text(results)]
    found = [(label, said) for label, said in headlines(results) if said]
    lines += ["weft ÷ each:"] * bool(found) + [f"  {label:20}{said}" for label, said in found]
    lost = records.losses(results)
    if lost:
        figure, own, peer, three = lost[0]
        behind = records.times_text(records.advantage(own, three)[0])
        lines.append(f"furthest behind: {own['who']} at {figure['name']}, {own['case']}, "
                     f"{own['metric']}: {behind} behind {peer['who']}")
    missed = dict.fromkeys(goal["figure"] for goal in records.missed(results))
    if missed:
        lines.append(f"missed goals in: {', '.join(missed)}")
    return "\n".join([cut(said) for said in lines] + [f"report: {where}"])


def table(figure):
    """Who by case and metric, a line each: the median with its quartiles, the ratio to the
    reference, and weft's ratio to each."""
    reference = figure.get("reference")
    facts = [f"{figure['rounds']} rounds" if figure.get("rounds") else "",
             records.duration_text(figure["seconds"]) if figure.get("seconds") else ""]
    lines = [figure["title"] + (f" ({', '.join(filter(None, facts))})" if any(facts) else "")]
    for cases, metrics in records.tables(figure):
        for metric in metrics:
            for case in cases:
                head = cut(f"{case}: {records.metric_text(metric)}", 57)
                base = cut(f"÷ {reference}", 22) if reference else ""
                lines += ["", f"{head:58}{base:23}weft ÷ it"]
                lines += [row(figure, record) for record in figure["records"]
                          if record["case"] == case and record["metric"] == metric[0]]
    notes = [f"note: {note}" for note in figure.get("notes", ())]
    lines += [""] * bool(notes) + notes
    return "\n".join(line.rstrip() for line in lines)


def row(figure, record):
    three = records.spread(record["values"])
    base = records.find(figure, record["case"], record["metric"], figure.get("reference"))
    to_base = records.compare(record, base) if base and base is not record else None
    own = records.is_own(record["who"])
    versus = None if own else records.against_weft(figure, record)
    return (f"  {cut(record['who'], 28):29}"
            f"{records.spread_text(three) if three else 'could not run':27}"
            f"{compared(to_base, symbol=own):23}{compared(versus)}")


def compared(found, symbol=True):
    """The ratio, with who is ahead where it is weft's."""
    if not found:
        return ""
    return f"{records.OUTCOMES[found[0]][0]} " * symbol + records.ratio_text(found[1])
