"""The items of a gap by both log-odds, as a chart whose points can be pointed at and picked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from nicegui import ui

from accord.explore.kit import words
from accord.report.wording import count

MOST = 3000
"""Points that are drawn at once: what a search sends stays under 100 kB, however many items it finds."""
_CROWDED = 1000  # points that are drawn smaller
_COLOURS = {True: "#2f86c1", False: "#d9732a"}  # told apart by any eyes, on light and dark ground
_GREY = "#7d8793"
_MINUS = "(value) => String(value).replace('-', '−')"
_HINT = "Point at an item to read it; click it to look closely."


class ItemScatter:
    """A chart of the items that were found last; what cannot be seen in it stands in the table beside it.

    Args:
        pick: called with the number of an item that is clicked.
        told: what stands below the chart of the item under the pointer.
    """

    def __init__(self, pick: Callable[[int], object], told: Callable[[int], str]) -> None:
        self._chart = ui.echart(_options(), on_point_click=lambda event: pick(int(event.value[2]))).classes("x-scatter")
        self._chart.props["role"] = "img"
        self._under = under = words(_HINT, "note x-under")
        self._chart.on(
            "chart:mouseover",
            lambda event: under.set_text(told(int(event.args))),
            throttle=0.05,
            js_handler="(point) => point.value && emit(point.value[2])",
        )
        self._sampled = words("", "note")

    def show(self, rows: pd.DataFrame) -> None:
        """Draw these rows of `item_rows`: of more than MOST, a random part, and say so."""
        finite = rows[np.isfinite(rows["generator_logodds"]) & np.isfinite(rows["validator_logodds"])]
        drawn = finite if len(finite) <= MOST else finite.sample(MOST, random_state=0)
        self._chart.options["series"] = [_series(drawn, gold) for gold in (True, False)]
        self._chart.update()
        self._chart.props["aria-label"] = f"Scatter of {count(len(drawn), 'item')}; the table has all that were found."
        part = f"Drawn are {len(drawn):,} of {len(finite):,}, chosen at random. Search to see fewer of them, all."
        self._sampled.set_text(part if len(drawn) < len(finite) else "")
        self._sampled.set_visibility(len(drawn) < len(finite))
        self._under.set_text(_HINT)


def _series(rows: pd.DataFrame, gold: bool) -> dict[str, Any]:
    """The points of one kind: both log-odds and the number of the item, nothing more."""
    own = rows[rows["gold"].astype(bool) == gold]
    columns = (own["generator_logodds"].round(2), own["validator_logodds"].round(2), own["item"])
    points: Sequence[Any] = [list(point) for point in zip(*(column.tolist() for column in columns), strict=True)]
    return {
        "type": "scatter",
        "name": "right answer" if gold else "wrong answer",
        "data": points,
        "symbol": "circle" if gold else "triangle",
        "symbolSize": 9 if len(rows) < _CROWDED else 5,
        "itemStyle": {"color": _COLOURS[gold], "opacity": 0.75},
    }


def _options() -> dict[str, Any]:
    axis = {
        "nameLocation": "middle", "nameGap": 26, "scale": True, "nameTextStyle": {"color": _GREY},
        "axisLabel": {"color": _GREY, ":formatter": _MINUS}, "axisLine": {"lineStyle": {"color": _GREY}},
        "splitLine": {"lineStyle": {"color": _GREY, "opacity": 0.25}},
    }  # fmt: skip
    return {
        "animation": False,
        "legend": {"top": 0, "textStyle": {"color": _GREY}},
        "grid": {"left": 44, "right": 12, "top": 34, "bottom": 44},
        "xAxis": {**axis, "name": "log-odds of the answer, completing"},
        "yAxis": {**axis, "name": "log-odds of yes, asked"},
        "series": [],
    }
