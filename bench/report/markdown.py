"""The report as GitHub Markdown: the page's content without its charts."""

import math

import records

BAR = 40  # characters

READING = """\
A value is a median with its quartiles. After it stands weft ÷ that contender, within rounds:
▲ weft is ahead, ▼ behind, ≈ even, where the quartiles span 1.00 and nothing is claimed. For rates
more than 1.00 is better for weft; for CPU, time and memory less."""

METHOD = """\
Contenders run in interleaved slices of a fraction of a second, so that what the machine does
meanwhile meets all of them. They are compared by ratios within a round, as medians with quartiles;
inside the noise there is no verdict, nor from fewer than four rounds. Counts (instructions, system
calls, bytes) come before times and are compared as they are. Debian's Google Benchmark prints a
DEBUG banner: that library was built without NDEBUG, what it times was not."""


def cell(value):
    """Text that means itself within a table."""
    said = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    for special in "\\|*`~":
        said = said.replace(special, "\\" + special)
    return said


def code(value):
    said = " ".join(str(value).split()).replace("|", "\\|")
    fence = "``" if "`" in said else "`"
    return f"{fence}{said}{fence}" if said else ""


def table(head, rows):
    return ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows), ""]


def headline(results):
    """Server CPU per request at 50 connections as bars of text, in ratios to the reference."""
    figure = records.named(results, "echo")
    reference = figure and records.find(figure, "50 connections", "server CPU",
                                        figure.get("reference") or "raw epoll")
    found = []
    for who in records.in_order(figure, "who") if reference else ():
        record = records.find(figure, "50 connections", "server CPU", who)
        three = records.spread(records.ratios(record, reference)) if record else None
        if three and three[0] < math.inf:
            found.append((who, three))
    if not found:
        return []
    wide = max(len(who) for who, _ in found)
    most = max(three[0] for _, three in found) or 1
    return [f"Server CPU per request, echo of 64 bytes, 50 connections, as a ratio to "
            f"{reference['who']} (less is better):", "", "```text",
            *(f"{who:{wide}}  {'#' * round(three[0] / most * BAR):{BAR}}  "
              f"{records.ratio_text(three)}" for who, three in found), "```", ""]


def goals(results):
    rows = []
    for goal in results["goals"]:
        symbol, said = records.VERDICTS[goal["verdict"]]
        why = f"<br>{cell(goal['why'])}" if goal.get("why") else ""
        rows.append((f"{symbol} {said}", cell(goal["figure"]), cell(goal["goal"]) + why,
                     cell(goal["measured"])))
    return ["## Goals", *table(("verdict", "figure", "goal", "measured"), rows)] if rows else []


def where_others_win(results):
    rows, said = [], set()
    for figure, own, peer, three in records.losses(results):
        who = "" if own["who"] == "weft" else f" ({cell(own['who'])})"
        whys = [] if figure["name"] in said else [
            goal["why"] for goal in records.missed(results, figure["name"]) if goal.get("why")]
        said.add(figure["name"])
        rows.append((records.times_text(records.advantage(own, three)[0]), cell(peer["who"]),
                     f"{cell(figure['title'])}, {cell(own['case'])}{who}"
                     + "".join(f"<br>{cell(why)}" for why in dict.fromkeys(whys)),
                     f"{cell(own['metric'])}, {own['better']} is better", records.ratio_text(three),
                     code(figure.get("command", ""))))
    rest = [f"- {cell(goal['figure'])}: {cell(goal['goal'])}; measured {cell(goal['measured'])}. "
            f"{cell(goal.get('why') or '')}".rstrip()
            for goal in records.missed(results) if goal["figure"] not in said]
    if not rows:
        found = ["", "In this run weft lost no comparison beyond the noise.", ""]
    else:
        found = table(("weft behind by", "who wins", "at what", "metric", "weft ÷ winner",
                       "command"), rows)
    return ["## Where others win", *found,
            *(["Goals missed beside these:", "", *rest, ""] if rest else [])]


def figure_lines(figure):
    facts = [code(figure.get("command", "")),
             f"{figure['rounds']} rounds" if figure.get("rounds") else "",
             records.duration_text(figure["seconds"]) if figure.get("seconds") else ""]
    programs = [code(program) for program in figure.get("programs", ())]
    said = [", ".join(filter(None, facts)), *(["which ran:"] if programs else []), *programs,
            *(cell(note) for note in figure.get("notes", ()))]
    lines = [f"### {cell(figure['title'])}", "", "<br>".join(filter(None, said))]
    for cases, metrics in records.tables(figure):
        lines += figure_table(figure, cases, metrics)
    return lines


def figure_table(figure, cases, metrics):
    """Contenders by cases, or cases by contenders, whichever takes fewer lines."""
    names = [name for name, _, _ in metrics]
    whos = list(dict.fromkeys(record["who"] for record in figure["records"]
                              if record["metric"] in names))
    across = len(cases) >= len(whos)
    down, columns = (whos, cases) if across else (cases, whos)
    rows = []
    for metric in metrics:
        label = cell(records.metric_text(metric))
        for key in down:
            found = [records.find(figure, *((column, metric[0], key) if across else
                                            (key, metric[0], column))) for column in columns]
            if any(found):
                rows.append((label, cell(key), *(value(figure, record) for record in found)))
                label = ""
    return table(("", "", *map(cell, columns)), rows)


def value(figure, record):
    """median [quartiles], and how weft compares with it."""
    if record is None:
        return ""
    three = records.spread(record["values"])
    if three is None:
        return "could not run"
    found = records.against_weft(figure, record)
    said = records.spread_text(three)
    if found:
        said += f"; {records.OUTCOMES[found[0]][0]} {records.ratio_text(found[1])}"
    if found and records.is_own(record["who"]):
        said += f" of {cell(figure['reference'])}"
    return said


def render(results):
    weft = results["weft"]
    facts = [results.get("date", ""), f"commit {weft['commit']}",
             f"{results['budget']} budget" if results.get("budget") else "",
             records.duration_text(results["seconds"]) if results.get("seconds") else "",
             results.get("command", "")]
    lines = [f"# weft {cell(weft['version'])}: {records.goals_text(results)}", "",
             cell(" · ".join(filter(None, facts))), "", f"{records.outcome_text(results)}.", "",
             *headline(results),
             READING, "",
             *goals(results), *where_others_win(results), "## Figures", ""]
    for figure in results["figures"]:
        lines += figure_lines(figure)
    lines += ["## Method", "",
              METHOD, "",
              "## Environment", *table(("", ""), ((cell(label), cell(said))
                                                  for label, said in results["machine"].items())),
              "The value of every round is in [results.json](results.json).", ""]
    return "\n".join(lines)
