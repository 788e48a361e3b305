"""Drawing: elements, scales, who has which colour, and labels that keep out of each other's way."""

import html
import math
import zlib

# Colour on light and on dark ground. Families differ in hue also to the colour-blind (after Okabe
# and Ito), their members in tone, and all in marker and dashes.
PALETTE = {
    "weft": ("#c2410c", "#ff8f4d"), "weft2": ("#d4743f", "#d98350"),
    "raw": ("#3f4754", "#c3cad6"), "raw2": ("#7b8596", "#929cac"),
    "uv": ("#0a66b0", "#4ea8f0"), "uv2": ("#4a9ad6", "#9fd0fb"),
    "ev": ("#00805c", "#2fc297"), "event": ("#a3508f", "#e08fcb"),
    "third": ("#9a7400", "#e0b93c"), "fourth": ("#6a51a3", "#b3a2ec"),
    "ink": ("#1c2027", "#e6e9ee"), "soft": ("#5b6472", "#a3acb9"), "line": ("#e1e4e9", "#2e343d"),
    "ground": ("#ffffff", "#14171c"),
}
CORNERS = {"diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
           "up": ((0, -1.2), (1.2, 1), (-1.2, 1)), "down": ((0, 1.2), (1.2, -1), (-1.2, -1)),
           "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
           "cross": ((-1.2, -.5), (-.5, -1.2), (0, -.6), (.5, -1.2), (1.2, -.5), (.6, 0),
                     (1.2, .5), (.5, 1.2), (0, .6), (-.5, 1.2), (-1.2, .5), (-.6, 0))}
MARKERS = ("circle", "square", "diamond", "up", "down", "cross")
DASHES = ("", "7 3", "2 3", "8 3 2 3", "4 2")
BY_HAND = ("raw", "by hand", "mutex", "rwlock", "eventfd", "signalfd", "pidfd", "vfork", "send ")


def palette_css():
    def variables(at):
        return "".join(f"--{name}:{both[at]};" for name, both in PALETTE.items())
    return (f":root{{{variables(0)}}}\n@media (prefers-color-scheme:dark)"
            f"{{:root{{{variables(1)}}}}}\n" + "".join(
                f".c-{name}{{--c:var(--{name})}}" for name in PALETTE) + """
svg.chart text{fill:var(--ink);font-size:12px}
svg.chart .title{font-weight:600;font-size:13px}
svg.chart .soft{fill:var(--soft);font-size:11px}
svg.chart .grid{stroke:var(--line)} svg.chart .one{stroke:var(--soft);stroke-dasharray:3 3}
svg.chart .curve{stroke:var(--c);fill:none;stroke-width:1.6;stroke-linejoin:round}
svg.chart .c-weft .curve{stroke-width:2.6}
svg.chart .whisker{stroke:var(--c);stroke-width:1.3;fill:none}
svg.chart .halo{stroke:var(--ground);stroke-width:4}
svg.chart .tip{stroke:var(--ink);stroke-width:1.2;fill:none}
svg.chart .span{stroke:var(--c);stroke-width:5;stroke-opacity:.35}
svg.chart .mark,svg.chart .bar{fill:var(--c)} svg.chart .bar{fill-opacity:.8}
svg.chart .many .mark{fill-opacity:.6}
svg.chart .even{fill:var(--ground);stroke:var(--c);stroke-width:1.6}
svg.chart .lead{stroke:var(--c);stroke-width:.8;stroke-opacity:.6;fill:none}
svg.chart text.name{fill:var(--c);fill:color-mix(in srgb,var(--c) 72%,var(--ink));font-size:11.5px}
svg.chart .c-weft text.name{font-weight:700}
""")


def style(who):
    """(colour, marker, dashes) of a contender, the same in every chart."""
    pick = zlib.crc32(who.encode())
    if who.startswith("weft"):
        return ("weft", "circle", "") if who == "weft" else ("weft2", MARKERS[pick % 6], DASHES[1])
    if who.startswith("libuv") or who == "mutex + uv_async_send":
        second = "uv_write" in who or "jemalloc" in who
        return ("uv2", "down", DASHES[1]) if second else ("uv", "square", "")
    if who.startswith("libevent"):
        return "event", "cross", DASHES[3]
    if who.startswith("libev"):
        return "ev", "diamond", DASHES[4]
    if who.startswith(BY_HAND):
        return ("raw", "up", DASHES[2]) if who == "raw epoll" else \
            ("raw2" if pick % 2 else "raw", MARKERS[pick % 6], DASHES[2 + pick % 3])
    return "third" if pick % 2 else "fourth", MARKERS[pick % 6], DASHES[pick % 5]


def tag(name, *inside, **attributes):
    """An element; its content is markup, the attributes' values are not."""
    said = "".join(f' {key.strip("_").replace("_", "-")}="{html.escape(plain(value))}"'
                   for key, value in attributes.items() if value not in (None, ""))
    return f"<{name}{said}>{''.join(inside)}</{name}>" if inside else f"<{name}{said}/>"


def plain(value):
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def text(x, y, words, class_=None, anchor=None, width=None):
    """A line of text; what would be wider than `width` is cut in its middle, and whole in
    its tooltip."""
    capitals = sum(map(str.isupper, words)) / max(len(words), 1)
    fits = int(width / (6 + 2.5 * capitals)) if width else len(words)
    title = tag("title", html.escape(words)) if len(words) > fits else ""
    shown = words if len(words) <= fits else \
        words[:fits // 2 - 1].rstrip(" ,") + "…" + words[fits // 2 - fits:]
    return tag("text", title, html.escape(shown), x=float(x), y=float(y), class_=class_,
               text_anchor=anchor)


def line(x1, y1, x2, y2, class_):
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def contender(who, tooltip, *inside):
    title = [tag("title", html.escape(tooltip))] if tooltip else []
    return tag("g", *title, *inside, class_=f"c-{style(who)[0]}")


def mark(who, x, y, even=False, size=4.0):
    """The contender's marker; hollow where nothing is claimed."""
    class_ = "even" if even else "mark"
    shape = style(who)[1]
    if shape == "circle":
        return tag("circle", cx=float(x), cy=float(y), r=size, class_=class_)
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in CORNERS[shape])
    return tag("polygon", points=points, class_=class_)


class Scale:
    """From values to places, linear or logarithmic; what is outside ends at the edge."""

    def __init__(self, low, high, start, end, log=False):
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, value):
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (self.end - self.start) * (value - low) / ((high - low) or 1)

    def ticks(self, most=6):
        return log_ticks(self.low, self.high, most) if self.log else \
            linear_ticks(self.low, self.high, most)


def linear_ticks(low, high, most):
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    return [step * at for at in range(math.ceil(low / step - 1e-9), int(high / step + 1e-9) + 1)]


def log_ticks(low, high, most):
    if high / low < 6:
        return linear_ticks(low, high, most)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0 ** power for step in steps
                 for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
                 if low * 0.999 <= step * 10.0 ** power <= high * 1.001]
        if len(found) <= most:
            return sorted(found)
    decades = sorted(found)
    return decades[::math.ceil(len(decades) / most)]


def apart(places, gap, low, high):
    """The places moved as little as a gap between them, and the limits, allow; in their order."""
    order = sorted(range(len(places)), key=lambda at: places[at])
    moved = list(places)
    floor = low
    for at in order:
        moved[at] = max(moved[at], floor)
        floor = moved[at] + gap
    ceiling = high
    for at in reversed(order):
        moved[at] = min(moved[at], ceiling)
        ceiling = moved[at] - gap
    return moved


def drawing(width, height, name, parts, /, **more):
    """The whole image, and its name for those who do not see it."""
    return tag("svg", *parts, class_="chart", viewBox=f"0 0 {plain(width)} {plain(height)}",
               role="img", aria_label=name, **more)
