"""How the figures look: one palette by role, one type size, and SVG that follows the page into the dark."""

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcdefaults
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter

from accord.disk import whole
from accord.report.wording import in_figure

# Okabe and Ito's colours, which people with any colour vision tell apart; shape and line style say the same again.
INK, MUTED, GRID, GROUND = "#1c2128", "#59636e", "#dde2e7", "#fefefe"
RIGHT, WRONG = "#0072b2", "#d55e00"
GENERATOR, VALIDATOR = "#00805e", "#9c4f96"

# On the page a colour is a variable of the style sheet (report.css), so that one SVG serves light and dark.
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    GROUND: "card",
    RIGHT: "right",
    WRONG: "wrong",
    GENERATOR: "generator",
    VALIDATOR: "validator",
}
# Blue and orange, white at zero: told apart by people with any colour vision, and in print.
DIVERGING = LinearSegmentedColormap.from_list(
    "accord", ["#8a3b00", "#d55e00", "#f7c79b", "#ffffff", "#a9cfe8", "#0072b2", "#003a5c"]
)
ROUND_STEPS = [1, 2, 5, 10]  # between ticks
NARROW, WIDE = 5.4, 10.8  # inches; at 10 points, narrow ones stay legible across a phone

_RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a token is a dollar sign
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "none",
    "savefig.facecolor": GROUND,
    "svg.fonttype": "path",  # looks the same where the font is missing, and holds no foreign text
    "svg.hashsalt": "accord",
    "figure.constrained_layout.use": True,
    "path.simplify": True,
}
NO_METADATA = dict.fromkeys(["Date", "Creator", "Format", "Type"])


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the house style, whatever the user's matplotlibrc says."""
    with rc_context():
        rcdefaults()
        with rc_context(_RC):
            yield


def tick(value: float, _: object) -> str:
    """A tick's label as the text prints numbers.

    >>> tick(0.5, None), tick(-0.2, None), tick(10, None), tick(-0.0, None)
    ('.5', '−.2', '10', '0')
    """
    text = f"{value:zg}".replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def halo(width: float = 2.5) -> list[AbstractPathEffect]:
    """A rim in the colour of the ground, which keeps text legible on top of points."""
    return [Stroke(linewidth=width, foreground=GROUND), Normal()]


def title(figure: Figure, text: str, width: int) -> None:
    """A figure's title, wrapped to about `width` characters."""
    wrapped = "\n".join(textwrap.wrap(in_figure(text), width))
    figure.suptitle(wrapped, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)


def untitle(figure: Figure) -> None:
    """Take a figure's title away, and the room for it."""
    suptitle = figure._suptitle  # type: ignore[attr-defined]  # no public way to ask whether there is one
    if suptitle is not None:
        suptitle.set_visible(False)
        suptitle.set_in_layout(False)


def spread(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart so that neighbours are at least `gap` away; on average they stay where they were.

    Where the outermost would lie beyond `low` or `high`, all move back by as much.

    >>> spread([0.5, 0.5], gap=0.25, low=0, high=1)
    [0.375, 0.625]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    out = [places[i] for i in order]
    for i in range(1, len(out)):
        out[i] = max(out[i], out[i - 1] + gap)
    shift = sum(o - places[i] for o, i in zip(out, order, strict=True)) / max(len(out), 1)
    out = [o - shift for o in out]
    over = max(0.0, out[-1] - high) - max(0.0, low - out[0]) if out else 0.0
    back = dict(zip(order, (o - over for o in out), strict=True))
    return [back[i] for i in range(len(places))]


def name_ends(
    axes: Axes, ends: Sequence[tuple[float, str, str]], last: float, *, apart: float = 0.11, ticks: int = 6
) -> None:
    """Name each line at its end, in its colour, instead of a legend; layers along the bottom.

    Args:
        ends: of each line its last value, its name and its colour.
        last: the last layer.
        apart: least distance of two names, as a share of the height.
    """
    low, high = axes.get_ylim()
    places = spread([value for value, _, _ in ends], apart * (high - low), low, high)
    for (value, label, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            label, (last, value), xytext=(1.02, place), textcoords=axes.get_yaxis_transform(), va="center",
            fontsize=9.5, color=colour, annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=ROUND_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=ROUND_STEPS))
    axes.yaxis.set_major_formatter(tick)
    axes.grid(axis="y", color=GRID, linewidth=0.7)


def log_ticks(low: float, high: float) -> list[float]:
    """Round values of a log scale from low to high (both above 0), two at least where they differ.

    >>> log_ticks(8, 120), log_ticks(0.1, 1000)
    ([10.0, 20.0, 50.0, 100.0], [0.1, 1.0, 10.0, 100.0, 1000.0])
    """
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 2.2 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
    locators = chain([LogLocator(subs=subs, numticks=12)], (MaxNLocator(n, steps=ROUND_STEPS) for n in (3, 6, 12)))
    ticks: list[float] = []
    for locator in locators:
        ticks = [float(v) for v in locator.tick_values(low, high) if 0.999 * low <= v <= 1.001 * high]
        if len(ticks) > 1:
            break
    return ticks


def log_axis(axes: Axes, which: str) -> None:
    """Label the log scale of `which` ("x", "y"), whatever its range; its limits must stand."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else tick(value, None))
    axis.set_minor_locator(LogLocator(subs=(1.0,), numticks=2))
    axis.set_minor_formatter(NullFormatter())


def at_least(axes: Axes, height: float) -> None:
    """Widen the y scale about its middle to this height: changes of nearly nothing must look so."""
    low, high = axes.get_ylim()
    if high - low < height:
        middle = (low + high) / 2
        axes.set_ylim(middle - height / 2, middle + height / 2)


def quiet(axes: Axes) -> None:
    """Take the frame and ticks off axes that carry no scale."""
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png, on a light ground, so that they can go into a paper or a slide."""
    with saved(figure, stem) as files:
        return list(files)


@contextmanager
def saved(figure: Figure, stem: Path) -> Iterator[dict[Path, Path]]:
    """The same, put in place at the end: STEM.svg and STEM.png, each with where it lies until then."""
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    with whole(svg) as vectors, whole(png) as pixels:
        figure.savefig(vectors, format="svg", metadata=NO_METADATA)
        figure.set_layout_engine("none")  # everything has its place now; finding it is half of the time
        figure.savefig(pixels, format="png", dpi=180)
        yield {svg: vectors, png: pixels}


def inline_svg(figure: Figure, prefix: str) -> str:
    """The figure as an SVG element to put into a page: no title, transparent, colours as CSS variables.

    Every id gets `prefix`, because a page has one namespace of ids for all its figures. There is no text in it
    (glyphs are outlines; matplotlib's comments, which repeat the text, are taken out).
    """
    untitle(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=NO_METADATA, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would speak to the whole page
    svg = _slim(svg, prefix)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _slim(svg: str, prefix: str) -> str:
    """A third of the size, and the same picture: fewer decimals, no ids that nothing refers to, no empty groups."""
    svg = re.sub(r"\b(\d*[1-9]\d*\.\d{2})\d+", r"\1", svg)  # numbers below 1 stay: they are scales
    svg = re.sub(r'transform="translate\((\d+)\.\d+ 0\)"', r'transform="translate(\1 0)"', svg)  # within glyphs' em
    svg = _short_ids(svg.replace("xlink:href", "href"), prefix)
    svg = re.sub(r"<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>", r'<svg viewBox="\1">', svg, count=1)
    svg = re.sub(r">\s+<", "><", svg)
    # every point of a scatter comes in a group of its own, all clipped alike, and says its colour again
    clip = re.compile(r'(<g clip-path="url\(#[^)]+\)">)((?:<use [^>]*/></g>\1)+)')
    svg = clip.sub(lambda m: m[1] + m[2].replace(f"</g>{m[1]}", ""), svg)
    alike = re.compile(r'<use [^>]*?( style="[^"]*")/>(?:<use [^>]*?\1/>)+')
    svg = alike.sub(lambda m: f"<g{m[1]}>{m[0].replace(m[1], '')}</g>", svg)
    return svg.replace("<g/>", "")


def _short_ids(svg: str, prefix: str) -> str:
    """Ids that are referred to become PREFIX-1, PREFIX-2, …; the others go."""
    used = dict.fromkeys([*re.findall(r'href="#([^"]+)"', svg), *re.findall(r"url\(#([^)]+)\)", svg)])
    short = {name: f"{prefix}-{i}" for i, name in enumerate(used, 1)}
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{short[m[1]]}"' if m[1] in short else "", svg)
    svg = re.sub(r'href="#([^"]+)"', lambda m: f'href="#{short[m[1]]}"', svg)
    return re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{short[m[1]]})", svg)
