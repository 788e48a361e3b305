"""The charts of the report, as SVG that takes its colours from the page.

A chart is (heading, caption, panels); a panel is an image of its own, so that a narrow page stacks
what a wide one shows side by side. All show medians over the rounds, and quartiles as whiskers.
"""

import html
import math

import records
import svg

LEFT, TOP = 46, 44


def figure_text(record, three=None):
    """weft, 50 connections: 19.1 [18.7-19.5] µs/request"""
    unit = records.unit_text(record["unit"])
    return (f"{record['who']}, {record['case']}: "
            f"{records.spread_text(three or records.spread(record['values']))} {unit}").rstrip()


def measured(figure, metric):
    """The records of a metric that have a value, by contender in their order, by case."""
    found = {}
    for record in figure["records"] if figure else ():
        if record["metric"] == metric and records.spread(record["values"]):
            found.setdefault(record["who"], {})[record["case"]] = record
    return found


def absent(figure):
    """Who is in the figure's table and not in its chart, as a sentence."""
    ran = {record["who"] for record in figure["records"] if records.spread(record["values"])}
    missing = [who for who in records.in_order(figure, "who") if who not in ran]
    return f" Could not run: {', '.join(missing)}." if missing else ""


def absolute(figure, metric):
    """{who: [(x, case, spread, tooltip)]}"""
    return {who: [(record.get("x", at + 1), case, records.spread(record["values"]),
                   figure_text(record))
                  for at, (case, record) in enumerate(cases.items())]
            for who, cases in measured(figure, metric).items()}


def relative(figure, metric, reference):
    """The same, as ratios to the reference within rounds."""
    whos = measured(figure, metric)
    found = {}
    for who, cases in whos.items():
        for at, (case, record) in enumerate(cases.items()):
            base = whos.get(reference, {}).get(case)
            three = records.spread(records.ratios(record, base)) if base else None
            if three and math.isfinite(three[2]):
                tip = f"{records.ratio_text(three)} of {reference}; {figure_text(record)}"
                found.setdefault(who, []).append((record.get("x", at + 1), case, three, tip))
    return found


def domain(series, log, include=()):
    """From the lowest to the highest of what is drawn, with some air."""
    values = [value for points in series.values() for point in points for value in point[2]]
    values += include
    if log:
        values = [value for value in values if value > 0] or [1]
        return min(values) / 1.15, max(values) * 1.15
    return min(0, *values), max(values) * 1.06 or 1


def x_axis(series, x_name, log_x, right, bottom):
    """The scale along x, the ticks below it, and the axis' name."""
    xs = {x: case for points in series.values() for x, case, _, _ in points}
    scale = svg.Scale(min(xs), max(xs), LEFT + 16, right - 10, log_x and min(xs) > 0)
    parts = [svg.text(scale(x), bottom + 16, f"{x:,g}".replace(",", "\u202f"), "soft", "middle")
             for x in xs]
    parts.append(svg.text((LEFT + right) / 2, bottom + 33, x_name, "soft", "middle"))
    return scale, parts


def curves(title, series, x_name, *, unit="", log_x=False, log_y=False, one=None, ideal=False,
           width=420, height=270):
    """Curves over x with their names at their ends. `one` names who is the ratio 1.00; `ideal`
    draws what twice as many workers would give if nothing were lost."""
    right, bottom = width - 132, height - 42
    low, high = domain(series, log_y, (1.0,) if one else ())
    first = next(iter(series.values()))[0]
    last_x = max(point[0] for points in series.values() for point in points)
    ideal = ideal and first[0] > 0
    if ideal:
        high = max(high, first[2][0] * last_x / first[0] * 1.06)
    y = svg.Scale(low, high, bottom, TOP, log_y)
    x, parts = x_axis(series, x_name, log_x, right, bottom)
    parts += [svg.text(4.0, 16, title, "title"), svg.text(4.0, 32, unit, "soft")]
    for tick in y.ticks():
        parts += [svg.line(LEFT, y(tick), right, y(tick), "grid"),
                  svg.text(LEFT - 6, y(tick) + 4, short(tick), "soft", "end")]
    if one:
        parts.append(svg.line(LEFT, y(1.0), right, y(1.0), "one"))
    if ideal:
        at = x(last_x), y(first[2][0] * last_x / first[0])
        parts += [svg.line(x(first[0]), y(first[2][0]), *at, "one"),
                  svg.text(at[0] - 44, at[1] + 2, "ideal", "soft", "end")]
    ends = [y(points[-1][2][0]) for points in series.values()]
    labels = svg.apart(ends, 15, TOP + 2, bottom - 2)
    drawn = [curve(who, points, x, y, (at - (len(series) - 1) / 2) * 3.2)
             + end_label(who, x(points[-1][0]), ends[at], labels[at], right, width)
             for at, (who, points) in enumerate(series.items())]
    parts += reversed(drawn)  # weft on top
    return svg.drawing(width, height, f"{title}{', ' * bool(unit)}{unit}: {spoken(series)}", parts)


def curve(who, points, x, y, aside):
    """One contender's curve; its whiskers stand aside, so that those of others can be seen."""
    path = "M" + "L".join(f"{x(at) + aside:.1f},{y(three[0]):.1f}" for at, _, three, _ in points)
    inside = [svg.tag("path", d=path, class_="curve", stroke_dasharray=svg.style(who)[2])]
    for at, _, three, tip in points:
        place = x(at) + aside
        inside.append(svg.contender(
            who, tip, svg.line(place, y(three[1]), place, y(three[2]), "whisker"),
            svg.mark(who, place, y(three[0]), size=3.4)))
    return svg.contender(who, "", *inside)


def end_label(who, x, y, label_y, right, width):
    lead = svg.tag("path", d=f"M{x + 10:.1f},{y:.1f}L{right + 2:.1f},{label_y:.1f}", class_="lead")
    return svg.contender(who, "", lead, svg.text(right + 6, label_y + 4, who, "name",
                                                 width=width - right - 6))


def short(value):
    """A number on an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.3g}"


def spoken(series):
    """The chart in words, for those who do not see it."""
    return "; ".join(tip for points in series.values() for *_, tip in points)


def bars(title, series, *, unit="", one=None, top=None, width=340):
    """Bars from zero, to `top` if that is given, in groups by case, each with its whisker and its
    value."""
    cases = dict.fromkeys(case for points in series.values() for _, case, _, _ in points)
    left, right = 126, width - 48
    scale = svg.Scale(0, top or domain(series, False)[1], left, right)
    parts, y = [svg.text(4.0, 16, title, "title"), svg.text(4.0, 32, unit, "soft")], 40
    for case in cases:
        if len(cases) > 1:
            parts.append(svg.text(4.0, y + 16, case, "soft"))
            y += 22
        for who, points in series.items():
            for _, its_case, three, tip in points:
                if its_case == case:
                    parts.append(bar(who, three, tip, scale, y, left))
                    y += 21
        y += 6
    if one:
        parts += [svg.line(scale(1.0), 38, scale(1.0), y, "one"),
                  svg.text(scale(1.0), y + 14, f"{one} = 1.00", "soft", "middle")]
        y += 18
    return svg.drawing(width, y + 4, f"{title}{', ' * bool(unit)}{unit}: {spoken(series)}", parts)


def bar(who, three, tip, scale, y, left):
    end = scale(three[0])
    middle = y + 10
    inside = [svg.text(left - 6, middle + 4, who, "name", "end", left - 8),
              svg.tag("rect", x=float(left), y=float(y + 3), width=float(max(end - left, 0.5)),
                      height=14, rx=2, class_="bar")]
    if three[1] != three[2]:
        low, high = scale(three[1]), scale(three[2])
        inside += [svg.tag("path", class_="whisker halo", d=f"M{low:.1f},{middle}H{high:.1f}"),
                   svg.tag("path", class_="tip", d=f"M{low:.1f},{middle}H{high:.1f}M{low:.1f},"
                           f"{middle - 3}v6M{high:.1f},{middle - 3}v6")]
        end = max(end, high)
    inside.append(svg.text(end + 5, middle + 4, records.number(three[0])))
    return svg.contender(who, tip, *inside)


def dots(figure, width=430):
    """weft against each peer, with wins on the right and losses on the left; None without peers."""
    rows = [(own, peer, verdict, records.advantage(own, three), three)
            for own, peer, verdict, three in records.comparisons(figure)]
    if not rows:
        return None
    scale = beside_even([value for row in rows for value in row[3]], width)
    several = len({(own["metric"]) for own, *_ in rows}) > 1
    parts, y, group = [], 24, None
    for own, peer, verdict, ahead, three in rows:
        now = own["metric"], own["case"], own["who"]
        if now != group:
            group = now
            head = [own["case"], own["metric"] if several else "", own["who"]
                    if own["who"] != "weft" else ""]
            parts.append(svg.text(4.0, y + 15, " · ".join(filter(None, head)), "soft"))
            y += 20
        parts.append(dot(own, peer, verdict, ahead, three, scale, y + 9, width))
        y += 19
    said = "; ".join(comparison_text(own, peer, verdict, three)
                     for own, peer, verdict, _, three in rows)
    return svg.drawing(width, y + 24, f"{figure['title']}, weft against each: {said}",
                       even_grid(scale, y) + parts)


def comparison_text(own, peer, verdict, three):
    return (f"{own['case']}, {own['metric']}: {own['who']} ÷ {peer['who']} "
            f"{records.ratio_text(three)}, {records.OUTCOMES[verdict][1]}")


def dot(own, peer, verdict, ahead, three, scale, y, width):
    who = peer["who"]
    times = records.times_text(1 / ahead[0] if ahead[0] > 1 else ahead[0])
    said = f"{records.OUTCOMES[verdict][0]} {times}" if verdict != "even" else "≈ even"
    return svg.contender(
        who, comparison_text(own, peer, verdict, three),
        svg.text(scale.start - 10, y + 4, who, "name", "end", scale.start - 18),
        svg.line(scale(ahead[1]), y, scale(ahead[2]), y, "span"),
        svg.mark(who, scale(ahead[0]), y, verdict == "even"),
        svg.text(width - 2, y + 4, said, "soft", "end"))


def overview(results, width=430):
    """Every comparison there is, as a mark in the row of its peer's family; None without any."""
    rows = {}
    for figure in results["figures"]:
        for own, peer, verdict, three in records.comparisons(figure):
            rows.setdefault(peer["who"].split(",")[0], []).append(
                (records.advantage(own, three)[0], peer["who"], verdict,
                 f"{figure['title']}, {comparison_text(own, peer, verdict, three)}"))
    if not rows:
        return None
    scale, bottom = beside_even([at for row in rows.values() for at, *_ in row], width), 26
    parts = []
    for family, row in rows.items():
        y = bottom + 13
        name = svg.text(scale.start - 14, y + 4, family, "name", "end", scale.start - 18)
        parts.append(svg.contender(row[0][1], "", name))
        marks = [svg.contender(who, tip, svg.mark(who, scale(at), y + (-5, 0, 5)[lane % 3],
                                                  verdict == "even", 3.2))
                 for lane, (at, who, verdict, tip) in enumerate(sorted(row))]
        parts.append(svg.tag("g", *marks, class_="many"))
        bottom += 27
    return svg.drawing(width, bottom + 26, "All comparisons. " + records.outcome_text(results),
                       even_grid(scale, bottom) + parts)


def beside_even(values, width):
    """A logarithmic scale with 1 in its middle."""
    seen = [max(value, 1 / value) for value in values if 0 < value < math.inf]
    reach = min(max([1.6] + seen) * 1.1, 5000)
    return svg.Scale(1 / reach, reach, 156, width - 56, True)


def even_grid(scale, bottom):
    parts = [svg.text(scale.start, 13, "◂ weft behind", "soft"),
             svg.text(scale.end, 13, "weft ahead ▸", "soft", "end")]
    for times in svg.log_ticks(1, scale.high, 4):
        even = abs(times - 1) < 1e-6
        for at in {scale(times), scale(1 / times)}:
            parts += [svg.line(at, 20, at, bottom + 4, "one" if even else "grid"),
                      svg.text(at, bottom + 18, "even" if even else f"{short(times)}×", "soft",
                               "middle")]
    return parts


def throughput(results):
    echo = records.named(results, "echo")
    reference = (echo or {}).get("reference") or "raw epoll"
    panels = [curves(f"{name}, ratio to {reference}", series, "connections",
                     unit=f"{better} is better", log_x=True, log_y=True, one=reference)
              for metric, name, better in (("requests", "Requests per second", "higher"),
                                           ("p99", "99th percentile of latency", "lower"))
              if (series := relative(echo, metric, reference))]
    return ("Throughput against connections",
            f"Echo of 64 bytes, each round's value divided by that of {reference} in the same "
            "round. Absolute figures are in the tooltips and the table.", panels)


def cost(results):
    echo = records.named(results, "echo")
    reference = (echo or {}).get("reference") or "raw epoll"
    series = relative(echo, "server CPU", reference)
    series.pop(reference, None)
    top = domain(series, False, (1.0,))[1]
    panels = [bars(case, some, unit="server CPU per request; lower is better", one=reference,
                   top=top) for case, some in by_case(series).items()]
    return ("Server CPU per request",
            "User and system time of the server over the requests that it answered, as a ratio to "
            f"{reference} within rounds. Bars are medians, whiskers quartiles.", panels)


def by_case(series):
    cases = {}
    for who, points in series.items():
        for point in points:
            cases.setdefault(point[1], {})[who] = [point]
    return cases


def latency(results):
    figure = records.named(results, "latency")
    panels = [curves(name, series, "offered load, % of capacity",
                     unit="µs, logarithmic; lower is better", log_y=True, width=345)
              for name in ("p50", "p99", "p99.9") if (series := absolute(figure, name))]
    return ("Latency under load",
            "Requests are sent at fixed times, whether answers have come or not, and latency "
            "counts from the time at which a request was due: a server that stalls pays for all "
            "that had to wait.", panels)


def scaling(results):
    figure = records.named(results, "scaling")
    panels = [curves(name, series, "workers", unit=f"{unit}; {better} is better",
                     ideal=metric == "requests")
              for metric, name, unit, better in (
                  ("requests", "Requests per second", "requests/s", "higher"),
                  ("server CPU", "Server CPU per request", "µs/request", "lower"))
              if (series := absolute(figure, metric))]
    return ("More workers",
            "The dashed line is what more workers would give if nothing were lost between them, "
            "from weft's figure with one. The load generator needs CPUs as well: on a small "
            "machine it takes what the second worker would have used.", panels)


def counted(results):
    panels = [bars(name, series, unit=f"{unit}per request; lower is better")
              for figure, metric, name, unit in (
                  ("instructions", "instructions", "Instructions in user space", ""),
                  ("syscalls", "system calls", "System calls", ""),
                  ("echo", "server CPU", "Server CPU", "µs "))
              if (series := counted_cases(records.named(results, figure), metric))]
    if not any(records.named(results, name) for name in ("instructions", "syscalls")):
        panels = []
    return ("What a request costs",
            "Counts do not depend on how fast the machine is at the moment. The time beside them "
            "does; much of it is the kernel's.", panels)


def counted_cases(figure, metric):
    """Two cases are enough beside each other."""
    return {who: points[:2] for who, points in absolute(figure, metric).items()}


def posts(results):
    figure = records.named(results, "post")
    peers = [who for who in measured(figure, "posts") if not records.is_own(who)]
    reference = (figure or {}).get("reference")
    reference = reference if reference in peers else (peers or [None])[0]
    panels = []
    if series := absolute(figure, "posts"):
        panels.append(curves("Posts to one worker", series, "posting threads",
                             unit="millions a second; higher is better", log_x=True))
    if series := relative(figure, "posts", reference):
        panels.append(curves("The same as a ratio", series, "posting threads", log_x=True,
                             log_y=True, unit=f"to {reference}, within rounds", one=reference))
    return ("Posts from other threads", "Tasks that threads without a loop hand to one worker.",
            panels)


CHARTED = ("echo", "latency", "scaling", "instructions", "syscalls", "post")


def all_charts(results):
    """Those that have something to show."""
    found = []
    for chart, name in ((throughput, "echo"), (cost, "echo"), (latency, "latency"),
                        (scaling, "scaling"), (counted, "instructions"), (posts, "post")):
        heading, caption, panels = chart(results)
        figure = records.named(results, name)
        if panels:
            found.append((heading, caption + (absent(figure) if figure else ""), panels))
    return found


def readme_svg(results):
    """One image for README: CPU per request beside raw epoll's. Stands alone, on any ground."""
    heading, _, panels = cost(results)
    if not panels:
        raise ValueError("it has no figure echo with ratios of server CPU")
    echo, machine = records.named(results, "echo"), results["machine"]
    heading += f", as a ratio to {echo.get('reference') or 'raw epoll'}"
    ground = " · ".join(label * (label != "CPU") + " " * (label != "CPU") + machine[label]
                        for label in ("CPU", "CPUs", "kernel", "libuv", "libev")
                        if label in machine)
    rounds = f"medians of {echo['rounds']} rounds, " if echo.get("rounds") else ""
    caption = (f"Echo of 64 bytes, {rounds}whiskers are quartiles",
               f"{ground} · {echo.get('command', '')}")
    boxes = [[float(number) for number in panel.split('viewBox="0 0 ')[1].split('"')[0].split()]
             for panel in panels]
    width, height = sum(wide + 14 for wide, _ in boxes) + 26, max(tall for _, tall in boxes) + 112
    parts = [f"<style>{svg.palette_css()}{STANDALONE}</style>",
             svg.tag("rect", width=width, height=height, rx=8, class_="ground"),
             svg.tag("text", html.escape(heading), x=24, y=34, class_="heading")]
    at = 20
    for panel, (wide, tall) in zip(panels, boxes):
        place = f'<svg x="{at:g}" y="52" width="{wide:g}" height="{tall:g}" '
        parts.append(panel.replace("<svg ", place, 1))
        at += wide + 14
    parts += [svg.text(24, height - 36 + 18 * at, said, "soft") for at, said in enumerate(caption)]
    return svg.drawing(width, height, heading, parts, xmlns="http://www.w3.org/2000/svg",
                       width=width, height=height) + "\n"


STANDALONE = """
svg{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.ground{fill:var(--ground);stroke:var(--line)} svg.chart .heading{font-weight:700;font-size:16px}
"""
