"""The stages of a run in time: a bar for each session, a row for each stage, by machine and worker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from accord.amounts import in_time
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.making import Making, by_number
from accord.report.wording import count, in_figure

_COLOURS = style.RIGHT, style.GENERATOR, style.WRONG, style.VALIDATOR, style.INK
_NAMED = 45  # rows: of so many each has its name beside it
_ROW, _THIN, _HIGHEST = 0.21, 0.1, 7.6  # inches of a row that has its name, of one that has none, and of all rows
_LABELS = 12  # of the longest stages, where rows have no names
_UNITS = ((2 * 86_400.0, "days", 86_400.0), (7200.0, "hours", 3600.0), (180.0, "minutes", 60.0), (0.0, "seconds", 1.0))


@dataclass(frozen=True)
class _Row:
    """A row of the figure: a stage on a worker, or the name of a worker above those of its stages."""

    label: str
    sessions: pd.DataFrame | None = None


def draw_timeline(making: Making) -> Drawn | None:
    """The run in time; None where there are not two stages to be compared."""
    if making.sessions["stage"].nunique() < 2:
        return None
    table, breaks = making.without_breaks()
    rows = _rows(making, table)
    named = len(rows) <= _NAMED
    high = _ROW * len(rows) if named else min(_THIN * len(rows), _HIGHEST)
    figure = Figure(figsize=(style.WIDE, 1.5 + high))
    axes = figure.add_subplot()
    last = float(table[["start", "end"]].max().max()) or 1.0
    _, unit, scale = next(entry for entry in _UNITS if last >= entry[0])
    colours = _colours(table)
    _draw_rows(axes, rows, colours, scale, thin=not named)
    for at, seconds in breaks:
        axes.axvline(at / scale, color=style.MUTED, linewidth=0.9, linestyle=(0, (3, 3)), zorder=0)
        if len(breaks) <= 4:
            axes.text(
                at / scale, 1.005, f"{in_time(seconds)} later", transform=axes.get_xaxis_transform(), ha="center",
                va="bottom", fontsize=8.5, color=style.MUTED,
            )  # fmt: skip
    axes.set_xlim(-0.003 * last / scale, 1.003 * last / scale)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=style.ROUND_STEPS))
    axes.xaxis.set_major_formatter(style.tick)
    axes.set_xlabel(f"{unit} since the run began{', breaks cut out' if breaks else ''}")
    axes.grid(axis="x", color=style.GRID, linewidth=0.7)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles = [Patch(color=colour, label=label) for label, colour in _legend(table, colours)]
    figure.legend(handles=handles, loc="outside lower left", ncols=6, fontsize=9, handlelength=1.3, columnspacing=1.4)
    title = _title(making, breaks)
    style.title(figure, title, 110)
    if not named:
        _label_longest(figure, axes, rows, scale)
    return Drawn("timeline", figure, title, _caption(making, breaks, named), _alt(title, table), wide=True,
                 numbers=making.sessions)  # fmt: skip


def _rows(making: Making, table: pd.DataFrame) -> list[_Row]:
    """Workers by machine and number, the stages of each in the order in which it began them."""
    rows: list[_Row] = []
    pairs = {(int(machine), str(worker)) for machine, worker in zip(table["machine"], table["worker"], strict=True)}
    for machine, worker in sorted(pairs, key=lambda pair: (pair[0], by_number(pair[1]))):
        own = table[(table["machine"] == machine) & (table["worker"] == worker)]
        if place := making.place(machine, worker):
            rows.append(_Row(place))
        rows += [_Row(str(stage), own[own["stage"] == stage]) for stage in own["stage"].unique()]
    return rows


def _colours(table: pd.DataFrame) -> dict[str, str]:
    """Capability -> its colour: those that took longest have one of their own, where all have one or one is left."""
    took = _took(table)
    own = list(took.index) if len(took) <= len(_COLOURS) + 1 else list(took.index[: len(_COLOURS)])
    return dict(zip(own, [*_COLOURS, style.MUTED], strict=False))


def _took(table: pd.DataFrame) -> pd.Series:
    """Capability -> seconds, the longest first."""
    seconds = (table["end"] - table["start"]).groupby(table["capability"], sort=False).sum()
    return seconds.sort_values(ascending=False, kind="stable")


def _legend(table: pd.DataFrame, colours: dict[str, str]) -> list[tuple[str, str]]:
    took = _took(table)
    entries = [(f"{in_figure(name, 20)}, {in_time(took[name])}", colour) for name, colour in colours.items()]
    others = took.drop(list(colours))
    return entries + ([(f"{len(others)} others, {in_time(others.sum())}", style.MUTED)] if len(others) else [])


def _draw_rows(axes: Axes, rows: Sequence[_Row], colours: dict[str, str], scale: float, *, thin: bool) -> None:
    bars = []
    for y, row in enumerate(rows):
        if row.sessions is None:
            if y:
                axes.axhline(y - 0.5, color=style.GRID, linewidth=0.7, zorder=0)
            continue
        ends = row.sessions[["start", "end"]].to_numpy(dtype=float) / scale
        for capability, (start, end) in zip(row.sessions["capability"], ends, strict=True):
            colour = colours.get(str(capability), style.MUTED)
            if np.isnan(end):
                axes.plot(start, y, marker="x", markersize=5, color=colour, zorder=4, label="_killed")
            else:
                bars.append((y, start, end - start, colour))
    if bars:
        places, starts, widths, shades = zip(*bars, strict=True)
        # A rim of the same colour: what took no time to speak of is seen all the same.
        axes.barh(places, widths, 1.0 if thin else 0.7, starts, color=shades, edgecolor=shades, linewidth=0.6, zorder=3)
    heads = [y for y, row in enumerate(rows) if row.sessions is None]
    if not thin:
        axes.set_yticks(range(len(rows)), [in_figure(row.label, 40) for row in rows], fontsize=8.5)
    else:
        apart, shown = 0.15 * len(rows) / _HIGHEST, heads[:1]
        for y in heads:
            shown += [y] if y - shown[-1] >= apart else []
        axes.set_yticks(shown, [in_figure(rows[y].label, 40) for y in shown], fontsize=8.5, va="top")
    for y, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        if int(y) in heads:
            label.set_fontweight("bold")


def _label_longest(figure: Figure, axes: Axes, rows: Sequence[_Row], scale: float) -> None:
    """The names of the longest stages, where they lie over no bar and no other name: above a bar, or below it."""
    lengths = {
        y: float((row.sessions["end"] - row.sessions["start"]).sum())
        for y, row in enumerate(rows)
        if row.sessions is not None
    }
    figure.draw_without_rendering()  # every thing has its place then
    inside = axes.get_window_extent()
    taken = [bar.get_window_extent() for bar in axes.patches]
    for y in sorted(lengths, key=lambda y: -lengths[y])[: 5 * _LABELS]:
        sessions = rows[y].sessions
        if len(axes.texts) >= _LABELS or sessions is None or not lengths[y]:
            return
        first, last = _group(rows, y)
        low, high = axes.transData.transform((0, last + 1.5))[1], inside.y1
        if last - first > _LABELS:  # what is short has no room for names of its own
            high = axes.transData.transform((0, first - 1.5))[1]
        start, end = float(sessions["start"].min()) / scale, float(sessions["end"].max()) / scale
        for x, side, below in ((start, "left", False), (end, "right", True), (end, "right", False)):
            text = axes.text(
                x, y + 0.5 if below else y - 0.5, in_figure(rows[y].label, 32), va="top" if below else "bottom",
                ha=side, fontsize=8, zorder=2, path_effects=style.halo(),
            )  # fmt: skip
            box = text.get_window_extent()
            around = inside.x0 <= box.x0 and box.x1 <= inside.x1 and low <= box.y0 and box.y1 <= high
            if around and not any(_meet(box, other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _group(rows: Sequence[_Row], y: int) -> tuple[int, int]:
    """The first row and the last one of the worker that has this one."""
    heads = [i for i, row in enumerate(rows) if row.sessions is None]
    above, below = [i for i in heads if i <= y], [i for i in heads if i > y]
    return (above[-1] if above else 0), (below[0] - 1 if below else len(rows) - 1)


def _meet(box: Bbox, other: Bbox) -> bool:
    gap = 0.5  # pixels: a name stands against its own bar
    across = box.x0 < other.x1 - gap and other.x0 + gap < box.x1
    return bool(across and box.y0 < other.y1 - gap and other.y0 + gap < box.y1)


def _title(making: Making, breaks: Sequence[tuple[float, float]]) -> str:
    sessions = making.sessions
    lasted = float(sessions[["start", "end"]].max().max()) - sum(seconds for _, seconds in breaks)
    title = f"{count(sessions['stage'].nunique(), 'stage')} in {in_time(lasted)}"
    if making.workers > 1:
        title += f": {in_time(making.work)} of work by {count(making.workers, 'worker')}"
        title += f" on {count(len(making.machines), 'machine')}" if len(making.machines) > 1 else ""
    return title


def _caption(making: Making, breaks: Sequence[tuple[float, float]], named: bool) -> str:
    sessions = making.sessions
    caption = "Each bar is the making of a stage, from its beginning to its end, in the colour of its capability."
    if not named:
        caption += " Named are the longest, where there is room."
    if making.workers > 1:
        caption += " Where a worker has no bar it waited, for other stages or for want of work."
    if len(making.machines) > 1:
        caption += " Times are those of each machine's own clock."
    if (sessions["session"] > 1).any():
        caption += " A stage with several bars was interrupted and gone on with."
    if sessions["end"].isna().any():
        caption += " A cross is where work began that was killed: its end is not known."
    if breaks:
        caption += (
            f" Dashed: {count(len(breaks), 'break')} in which nobody worked, together "
            f"{in_time(sum(seconds for _, seconds in breaks))}, cut out."
        )
    return caption


def _alt(title: str, table: pd.DataFrame) -> str:
    longest = (table["end"] - table["start"]).groupby(table["stage"]).sum().nlargest(3)
    each = ", ".join(f"{in_figure(stage)} {in_time(seconds)}" for stage, seconds in longest.items())
    return f"Bars of stages in time. {title}. The longest: {each}."
