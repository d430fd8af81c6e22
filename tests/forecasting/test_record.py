"""The line through logged runs, its interval, and the runs themselves."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, t

from accord.errors import AccordError
from accord.forecasting import logged, predict, record

_ROOT = Path(__file__).parents[2]


def _runs(n: int, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.2, 0.9, n)
    y = 0.1 + 0.6 * x + 0.05 * draw.normal(size=n)
    table = pd.DataFrame({"repair": "readout", "model": [f"m{i}" for i in range(n)], "readout_r": x, "closure": y})
    return table.assign(task="pairs", source="a test")


def test_a_new_run_is_foretold_by_least_squares_with_its_interval() -> None:
    runs = _runs(9)
    x, y = runs["readout_r"], runs["closure"]
    line = linregress(x, y)
    left = y - line.intercept - line.slope * x
    for at in (0.1, 0.5):
        found = predict(at, runs=runs)
        value = line.intercept + line.slope * at
        error = math.sqrt((left**2).sum() / 7 * (1 + 1 / 9 + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()))
        assert found.value == pytest.approx(value)
        assert [found.low, found.high] == pytest.approx([value + sign * t.ppf(0.975, 7) * error for sign in (-1, 1)])


def test_intervals_of_new_runs_hold() -> None:
    held = 0
    for seed in range(200):
        runs = _runs(7, seed)
        told, new = predict(float(runs["readout_r"].iloc[-1]), runs=runs[:-1]), runs["closure"].iloc[-1]
        held += told.low <= new <= told.high
    assert 0.91 < held / 200 < 0.985


def test_too_few_runs_give_no_interval_and_say_so() -> None:
    for n, known in ((2, False), (3, True), (4, True)):
        found = predict(0.5, runs=_runs(n))
        assert math.isnan(found.value) is not known and math.isnan(found.low) and math.isnan(found.high)
        assert f"{n} logged runs" in found.reason and "interval" in found.reason
    assert math.isnan(predict(0.5, runs=_runs(6).assign(readout_r=0.4)).value)
    with pytest.raises(AccordError, match=r"no run of this repair[\s\S]*sft[\s\S]*readout"):
        predict(0.5, "sft", runs=_runs(6))
    for wrong, says in ((1.2, "a correlation"), (math.nan, "a finite number")):
        with pytest.raises(AccordError, match=says):
            predict(wrong, runs=_runs(6))


def test_no_closure_is_above_one() -> None:
    runs = _runs(6).assign(closure=lambda table: 2 * table["readout_r"])
    found = predict(0.9, runs=runs)
    assert found.value == found.high == found.low == 1


def test_each_logged_run_is_foretold_by_the_others() -> None:
    runs = _runs(7)
    table = record(runs=runs)
    assert list(table["found"]) == list(runs["closure"])
    for i, row in enumerate(table.to_dict("records")):
        told = predict(runs["readout_r"][i], runs=runs.drop(index=i))
        assert [row["predicted"], row["low"], row["high"]] == pytest.approx([told.value, told.low, told.high])
    assert record(runs=_runs(3))["predicted"].isna().all()  # two others are no line
    assert record("sft", runs=runs).empty


def test_what_is_logged_is_what_the_log_tells() -> None:
    runs, log = logged(), (_ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    assert not runs.duplicated(["model", "task", "repair"]).any()
    assert {"readout", "rankalign"} <= set(runs["repair"])
    closure = (runs["r_after"] - runs["r_before"]) / (1 - runs["r_before"])
    assert (closure - runs["closure"]).abs().max() < 0.006  # what rounding to three digits leaves
    for source in runs["source"]:
        file, date, title = source.split(", ", 2)
        assert file == "docs/log.md" and f"## {date}. {title}" in log, source
    runs.loc[0, "closure"] = 9.0
    assert logged()["closure"].max() <= 1  # a copy
