"""The report as one HTML page that needs nothing beside it, and no JavaScript to be read."""

import html
import json
import os

import charts
import records
import svg

DOWNLOAD = """
const data = document.getElementById("results").textContent;
const link = document.getElementById("download");
link.href = URL.createObjectURL(new Blob([data], {type: "application/json"}));
link.hidden = false;
"""

METHOD = """
<p>Contenders run in <strong>interleaved slices</strong>: a round gives each of them a few tenths of
a second, one after the other, round after round. What the machine does meanwhile (another guest,
another clock rate) meets all of them.</p>
<p>Contenders are compared by <strong>ratios within a round</strong>, never by their medians. A
comparison is the median of these ratios, with their quartiles. <strong>Where the quartiles span
1.00 there is no verdict</strong>, nor where fewer than four rounds could be compared.</p>
<p><strong>Counts come before times.</strong> Instructions, system calls and bytes are the same on a
busy machine as on a quiet one; they are measured once and compared as they are.</p>
<p>Where Google Benchmark runs a figure, Debian's build of it prints a banner that says DEBUG: the
library was built without NDEBUG. What it times here was built with optimization.</p>"""

READING = """
<p>Everything below is measured beside others on one machine, in turns, in the same seconds. A
figure such as <span class="num">1.02 <small>[0.97–1.08]</small></span> is a median with its lower
and upper quartile. Ratios divide weft's value by another's <em>in the same round</em>: for rates
more than 1.00 is better for weft, for CPU, time and memory less.
<span class="wins">▲ ahead</span> and
<span class="loses">▼ behind</span> are said only where the quartiles lie on one side of 1.00
and a coin would seldom do that (sign test, 1 in 8); otherwise it is <span class="even">≈ even</span>,
whatever the median. Where weft loses is found by
the same rule and listed before any chart.</p>"""


def esc(value):
    return html.escape(str(value))


def ranged(said):
    """A spread as text, its quartiles small."""
    if "[" not in said:
        return f'<span class="num">{esc(said)}</span>'
    median, quartiles = said.split("[", 1)
    quartiles = esc(quartiles.replace("-", "–"))
    return f'<span class="num">{esc(median)}<small>[{quartiles}</small></span>'


def outcome(verdict):
    symbol, said = records.OUTCOMES[verdict]
    return f'<span class="{verdict}" title="{said}">{symbol}<span class="sr"> {said}</span></span>'


def table(head, rows, class_=""):
    """Rows of cells that are markup already, in a container that scrolls when they are too wide."""
    cells = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return scrolling(class_, cells, body)


def scrolling(class_, head, body):
    return (f'<div class="scroll" tabindex=0><table class="{class_}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def goals(results):
    def row(goal):
        symbol, said = records.VERDICTS[goal["verdict"]]
        why = goal.get("why")
        because = f'<p class="why">{esc(why)}</p>' if why else ""
        class_ = goal["verdict"].replace(" ", "-")
        return (f'<span class="goal {class_}">{symbol} {said}</span>',
                link(results, goal["figure"]), esc(goal["goal"]) + because,
                ranged(str(goal["measured"])))
    if not results["goals"]:
        return "<p>This run knew no goals.</p>"
    return table(("Verdict", "Figure", "Goal", "Measured"), map(row, results["goals"]), "goals")


def link(results, name):
    known = records.named(results, name)
    return f'<a href="#figure-{esc(name)}">{esc(name)}</a>' if known else esc(name)


def where_others_win(results):
    """Every comparison that weft loses, the worst first, and why, where that is known."""
    rows, said = [], set()
    for figure, own, peer, three in records.losses(results):
        behind = records.advantage(own, three)[0]
        whys = [] if figure["name"] in said else [
            goal["why"] for goal in records.missed(results, figure["name"]) if goal.get("why")]
        said.add(figure["name"])
        case = own["case"] if own["who"] == "weft" else f"{own['case']} · {own['who']}"
        rows.append((
            f'<span class="loses">▼</span> <b class="num">{records.times_text(behind)}</b>',
            f'<b>{esc(peer["who"])}</b>',
            f'{esc(figure["title"])}<br><span class="soft">{esc(case)}</span>'
            + "".join(f'<p class="why">{esc(why)}</p>' for why in dict.fromkeys(whys)),
            f'{esc(own["metric"])}<br><span class="soft">{esc(own["better"])} is better</span>',
            ranged(records.ratio_text(three)), f'<code>{esc(figure.get("command", ""))}</code>'))
    rest = [f'<li>{link(results, goal["figure"])}: {esc(goal["goal"])}. Measured: '
            f'{ranged(goal["measured"])}. {esc(goal.get("why") or "")}</li>'
            for goal in records.missed(results) if goal["figure"] not in said]
    found = "<p>In this run weft lost no comparison beyond the noise.</p>"
    if rows:
        found = table(("weft behind by", "Who wins", "At what", "Metric", "weft ÷ winner",
                       "Command"), rows, "losses")
    return found + (f"<h3>Goals missed beside these</h3><ul>{''.join(rest)}</ul>" if rest else "")


def chart(heading, caption, panels):
    columns = {1: 1, 3: 3}.get(len(panels), 2)
    return (f'<figure><h3>{esc(heading)}</h3>{beside(panels, columns)}'
            f"<figcaption>{esc(caption)}</figcaption></figure>")


def beside(panels, columns):
    return f'<div class="panels of-{columns}">{"".join(panels)}</div>'


def figure_table(figure, cases, metrics):
    """Contenders by cases: the median, and below it how weft compares."""
    body = []
    for metric in metrics:
        body.append(f'<tr class="metric"><th colspan="{len(cases) + 1}" scope=colgroup>'
                    f"{esc(records.metric_text(metric))}</th></tr>")
        whos = dict.fromkeys(record["who"] for record in figure["records"]
                             if record["metric"] == metric[0])
        for who in whos:
            cells = "".join(f"<td>{cell(figure, records.find(figure, case, metric[0], who))}</td>"
                            for case in cases)
            body.append(f'<tr class="c-{svg.style(who)[0]}"><th scope=row>{esc(who)}</th>'
                        f"{cells}</tr>")
    head = "".join(f"<th scope=col>{esc(case)}</th>" for case in cases)
    return scrolling("measured", f"<th></th>{head}", "".join(body))


def cell(figure, record):
    if record is None:
        return ""
    three = records.spread(record["values"])
    if three is None:
        return '<span class="soft">could not run</span>'
    found = records.against_weft(figure, record)
    of = f' of {esc(figure["reference"])}' if records.is_own(record["who"]) and found else ""
    return ranged(records.spread_text(three)) + (
        f'<div class="versus">{outcome(found[0])} {ranged(records.ratio_text(found[1]))}{of}</div>'
        if found else "")


def figure_section(figure):
    name, whos = figure["name"], records.in_order(figure, "who")
    plot = charts.dots(figure) if name not in charts.CHARTED else None
    first = next((who for who in whos if records.is_own(who)), None)
    small = [f"{figure['rounds']} rounds" if figure.get("rounds") else "",
             records.duration_text(figure["seconds"]) if figure.get("seconds") else "",
             f"below each value: {first} ÷ it" if first else ""]
    commands = "\n".join(map(str, figure.get("programs", ())))
    notes = "".join(f"<li>{esc(note)}</li>" for note in figure.get("notes", ()))
    return (f'<section class="figure" id="figure-{esc(name)}"><h3>{esc(figure["title"])}</h3>'
            f'<p class="meta"><code>{esc(figure.get("command", ""))}</code> '
            f'{esc(" · ".join(filter(None, small)))}</p>'
            + (beside([plot], 1) if plot else "")
            + "".join(figure_table(figure, *each) for each in records.tables(figure))
            + (f'<ul class="notes">{notes}</ul>' if notes else "")
            + ("<details><summary>The commands that it ran</summary>"
               f"<pre>{esc(commands)}</pre></details>" if commands else "") + "</section>")


def environment(results):
    rows = "".join(f"<dt>{esc(label)}</dt><dd>{esc(said)}</dd>"
                   for label, said in results["machine"].items())
    return f"<dl>{rows}</dl>"


def raw(results):
    # So that no text in it can end the element.
    data = json.dumps(results, ensure_ascii=False).replace("<", "\\u003c")
    return ('<p><a href="results.json">results.json</a> beside this page has the value of every '
            'round. The page holds a copy: '
            '<a id="download" download="results.json" hidden>save it</a><noscript>it is in the '
            'source, in the element with the id “results”</noscript>. '
            '<code>python3 bench/report/render.py results.json --out DIR</code> makes this page '
            f'from it.</p><script type="application/json" id="results">{data}</script>'
            f'<script>{DOWNLOAD}</script>')


def contents(results, sections):
    def item(anchor, heading, more=""):
        return f'<li><a href="#{esc(anchor)}">{esc(heading)}</a>{more}</li>'
    names = [figure["name"] for figure in results["figures"]]
    figures = f"<ol>{''.join(item(f'figure-{name}', name) for name in names)}</ol>"
    items = "".join(item(anchor, heading, figures if anchor == "figures" else "")
                    for anchor, heading, inside in sections if inside)
    return f'<nav aria-label="Contents"><ol>{items}</ol></nav>'


def head(results):
    weft = results["weft"]
    facts = [f"{results.get('date', '')[:16].replace('T', ' ')} UTC" if results.get("date") else "",
             f"commit {weft['commit']}",
             f"{results['budget']} budget" if results.get("budget") else "",
             f"took {records.duration_text(results['seconds'])}" if results.get("seconds") else "",
             results["machine"].get("CPU", "")]
    unbroken = esc(records.goals_text(results)).replace(" ", "\u00a0")
    for pause in ":,":  # the only places to break the line
        unbroken = unbroken.replace(pause + "\u00a0", pause + " ")
    return (f'<header><p class="over">weft {esc(weft["version"])}, measured beside others</p>'
            f"<h1>{unbroken}</h1>"
            f'<p class="lede">{esc(records.outcome_text(results))}.</p>'
            f'<p class="meta">{esc(" · ".join(filter(None, facts)))} · '
            f'<code>{esc(results.get("command", ""))}</code></p></header>')


def render(results):
    everything = charts.overview(results)
    seen = [chart(*one) for one in charts.all_charts(results)]
    if everything:
        seen.insert(0, chart("Every comparison", "One mark for each case and metric, in the row of "
                             "whom weft is compared with; hollow where the quartiles span 1.00. "
                             "Hover for which it is.", [everything]))
    sections = [("goals", "Goals", goals(results)),
                ("losses", "Where others win", where_others_win(results)),
                ("charts", "Charts", "".join(seen)),
                ("figures", "Figures", "".join(map(figure_section, results["figures"]))),
                ("method", "Method", METHOD),
                ("environment", "Environment", environment(results)),
                ("data", "Data", raw(results))]
    body = "".join(f'<section id="{anchor}"><h2>{heading}</h2>{inside}</section>'
                   for anchor, heading, inside in sections if inside)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "style.css")) as file:
        style = svg.palette_css() + file.read()
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark">'
            f'<title>weft {esc(results["weft"]["version"])}: {esc(records.goals_text(results))}'
            f"</title><style>{style}</style></head>\n"
            f"<body>{contents(results, sections)}<main>{head(results)}"
            f'<section id="reading">{READING}</section>{body}</main></body></html>\n')
