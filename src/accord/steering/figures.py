"""Dose curves of steering: what concepts do at each dose, beside a random concept and a random direction."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from accord.report import style
from accord.report.drawn import Drawn
from accord.report.metric import plain
from accord.report.wording import count, in_figure, number
from accord.steering.result import Effects
from accord.steering.shown_doses import ARMS, ShownDose, doses_of, label_of, rows_at

PANELS = 6  # models in a picture
_LOOKS = {ARMS[0]: (style.RIGHT, "o", "-"), ARMS[1]: (style.WRONG, "^", (0, (4, 2))), ARMS[2]: (style.MUTED, "s", ":")}
_DOSES = (
    "Mean over concepts with 95 % intervals over concepts, which the table counts. × multiplies the strength "
    "where a concept is active, = sets it everywhere to so many times its usual strength, + adds everywhere so many "
    "times what it usually writes."
)
_SIDE = 0.16  # arms of a dose stand so far apart, doses 1

# The least height of each measure's axis: below it, differences are of no account.
_LEAST = {"promoted": 0.05, "wanted": 0.1, "label": 0.1, "judge_nll": 0.1, "repeated_4": 0.02}

# measure -> name of the figure, the axis, what is seen, how to read it
_WORDS = {
    "promoted": (
        "steered-tokens", "change of log-probability, nats", "Steering and the tokens that concepts promote",
        "Up is as expected: promoted tokens less likely where a concept is turned down, more likely where it is turned "
        "up. Random concepts are scored on the same tokens, random directions on those that they raise most: "
        "what any push of that size does to the tokens it points at.",
    ),
    "label": (
        "steered-label", "change of {label}", "Steering and the {label} of written texts",
        "Up is as expected: towards the label where the concept goes with it, away where it is turned down.",
    ),
    "wanted": (
        "steered-wanted", "change of the share of texts", "Steering and the share of texts with the wanted {label}",
        "Up: more of the written texts have the {label} that was wanted.",
    ),
    "judge_nll": (
        "steered-fluency", "change of nats a token", "What steering costs in fluency, by a judge",
        "Up: another language model finds the texts less likely. No direction is expected.",
    ),
    "repeated_4": (
        "steered-repetition", "change of repeated runs of four", "What steering costs in repetition",
        "Up: a larger share of runs of four words is a repeat. No direction is expected.",
    ),
}  # fmt: skip


def draw_doses(steered: Mapping[str, Effects], pooled: Mapping[str, pd.DataFrame], measure: str) -> Drawn | None:
    """A panel a model: the mean change at every dose with its interval, of all three arms; None if not measured.

    Args:
        steered: label of a model -> its effects.
        pooled: label of a model -> `doses` of its effects.
    """
    measured = {label: table[table["measure"] == measure] for label, table in pooled.items()}
    tables = {label: table for label, table in measured.items() if len(table)}
    tables = dict(list(tables.items())[:PANELS])
    if not tables:
        return None
    word = in_figure(label_of(steered[next(iter(tables))]), 24)
    name, axis, title, how = (text.format(label=word) for text in _WORDS[measure])
    rows = -(-len(tables) // 2)
    wide = len(tables) > 1
    figure = Figure(figsize=(style.WIDE if wide else style.NARROW, 0.9 + 3.0 * rows))
    panels = figure.subplots(rows, 2 if wide else 1, sharey=True, squeeze=False)
    for axes, (label, table) in zip(panels.flat, tables.items(), strict=False):
        _panel(axes, table)
        axes.set_title(in_figure(plain(label), 40))
    for spare in panels.flat[len(tables) :]:
        spare.set_visible(False)
    style.at_least(panels.flat[0], _LEAST[measure])  # the panels share it
    for first in panels[:, 0]:
        first.set_ylabel(axis)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    style.title(figure, title, 110 if wide else 58)
    doses = _DOSES if measure == "promoted" else "Doses and intervals as in the first picture."
    shown = pd.concat(tables.values())
    bare = shown[shown["value"].notna() & shown["control"].isin(ARMS) & shown[["low", "high"]].isna().any(axis=1)]
    lacking = (
        f" No line: too few or too uneven concepts for an interval ({count(len(bare), 'point')})." if len(bare) else ""
    )
    caption = f"{how} {doses}{lacking}"
    return Drawn(name, figure, title, caption, f"{title}. {_in_words(tables)}", wide=wide)


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    doses = doses_of(table)
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    for k, (arm, (colour, marker, line)) in enumerate(_LOOKS.items()):
        label = f"{arm}s"
        for kind in dict.fromkeys(dose.kind for dose in doses):
            own = [(x, dose) for x, dose in enumerate(doses) if dose.kind == kind]
            means = [(x + _SIDE * (k - 1), row) for x, dose in own if (row := _arm(table, dose, arm)) is not None]
            if not means:
                continue
            x = np.array([place for place, _ in means])
            y, low, high = (np.array([float(row[end]) for _, row in means]) for end in ("value", "low", "high"))
            axes.plot(x, y, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1.3, label=label)
            axes.vlines(x, low, high, color=colour, linewidth=1.5)
            label = "_"
    axes.set_xticks(range(len(doses)), [dose.short for dose in doses])
    axes.set_xlim(-0.5, len(doses) - 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=style.ROUND_STEPS))
    axes.yaxis.set_major_formatter(style.tick)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)


def _arm(table: pd.DataFrame, dose: ShownDose, arm: str) -> pd.Series | None:
    rows = rows_at(table[table["control"] == arm], dose)
    return None if rows.empty or rows["value"].isna().all() else rows.iloc[0]


def _in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What each model's arms do at its last dose."""
    words = []
    for label, table in tables.items():
        last = doses_of(table)[-1]
        values = [
            f"{arm}s {number(float(row['value']), signed=True)}"
            for arm in ARMS
            if (row := _arm(table, last, arm)) is not None
        ]
        words.append(f"{plain(label)}, {last.words}: {', '.join(values)}")
    return "; ".join(words) + "."
