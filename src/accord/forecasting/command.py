"""`accord forecast`: will a repair help? What can be told before one is made."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.forecasting.config import ForecastSection
from accord.gap.shown import repair_command, show_command
from accord.lm.config import BackboneSection
from accord.report.metric import plain
from accord.report.prompts import shared_beginning
from accord.screen import tell
from accord.terminal import (
    DEVICE,
    QUESTION,
    All,
    Replace,
    Seed,
    decimals,
    made,
    print_finding,
    print_next,
    print_table,
    say_how_read,
    say_if_little,
)

if TYPE_CHECKING:
    from accord.forecasting.result import RepairForecast

_INTERVAL = ("value", "low", "high")
_MOVED = 3  # items that are shown of those that a correction moves most, each way
_PROMPT = 60  # characters of a prompt in a table: its end


def forecast(
    backbone: Annotated[BackboneSection, DEVICE],
    section: Annotated[ForecastSection, QUESTION.but(without=("name",))],
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; without it, only print.")] = None,
    replace: Replace = False,
    all_: All = False,
) -> None:
    """Tell before a repair is made whether it will help, from the items that it would learn from.

    How often each form, as a teacher, orders a right and a wrong answer rightly; how well what the generator says can
    be read from the validator's state; what correcting for typicality would turn; and the closure that the runs logged
    so far let expect.

    Examples:

    - `accord forecast --model smollm2-135m --task hypernymy`
    - `accord forecast --model smollm2-135m --task hypernymy --limit 200 --all --out results/forecast`
    """
    from accord.forecasting.stage import single_stage
    from accord.forecasting.training import training_items

    task = training_items(section.task, data=section.data, seed=seed, limit=section.limit, **section.asked)
    say_how_read(task)
    told: RepairForecast = made(single_stage(section, task, backbone, seed), out, replace=replace)
    _print(told, backbone.model, section, every=all_)


def _print(told: "RepairForecast", model: str, section: ForecastSection, *, every: bool) -> None:
    from accord.forecasting.findings import finding, teacher

    print_finding(finding(told))
    way = teacher(told)
    for direction in ("g2v", "v2g") if every else (way,):
        for scope in ("all", "within") if every else ("all",):
            _print_pairs(told, direction, scope)
    if every:
        _print_all(told)
    say_if_little(float(told.items["yes_no_mass"].mean()), show_command(model, section))
    repairs = [repair_command(model, section, method) for method in ("readout", "rankalign")]
    print_next(*repairs, *([] if every else ["the same with --all: by layer, what turns, the record"]))


def _print_pairs(told: "RepairForecast", direction: str, scope: str) -> None:
    from accord.forecasting.findings import FORMS, bins

    table = bins(told, direction, scope)
    if table.empty:
        return
    rows = [
        [f"{row['above']:.2f} to {row['upto']:.2f}", f"{row['pairs']:,}", *_cells(row, *_INTERVAL)]
        for row in table.to_dict("records")
    ]
    where = "of any two items" if scope == "all" else "of answers to one prompt"
    tell(f"\nPairs {where}, the {FORMS[direction]} teaching ({direction}):")
    print_table(("|Δ|, nats", "pairs", "ordered rightly", "low", "high"), rows)


def _cells(row: Mapping[Any, Any], *names: str) -> list[str]:
    """Numbers of a row; nothing where one is not defined."""
    return [decimals(None if math.isnan(row[name]) else float(row[name]), "") for name in names]


def _print_all(told: "RepairForecast") -> None:
    """Every measure, the layers, what the corrections turn, and the record."""
    rows = [
        [name, *(decimals(metric[end], "" if end != "value" else "undefined") for end in ("value", "low", "high"))]
        for name, metric in told.metrics.items()
    ]
    tell()
    print_table(("metric", "value", "low", "high"), rows, title=f"{told.about['task']} / {told.about['model']}")
    for name, metric in told.metrics.items():
        if "reason" in metric:
            tell(f"No interval for {name}: {metric['reason']}.")
    tell("\nBy layer: AUC of each form by the logit lens, and r of l_G with what a readout of the layer reads.")
    by_layer = told.layers.pivot(index="layer", columns="metric", values="value")
    columns = ("generator_auc", "validator_auc", "readout_r")
    cells = [[str(row["layer"]), *_cells(row, *columns)] for row in by_layer.reset_index().to_dict("records")]
    print_table(("layer", *columns), cells)
    if len(told.corrections):
        tell("\nWhat correcting the generator's scores for typicality changes:")
        cells = [
            [row["correction"], row["scope"], row["metric"], *_cells(row, *_INTERVAL)]
            for row in told.corrections.to_dict("records")
        ]
        print_table(("correction", "scope", "metric", "value", "low", "high"), cells)
        _print_moved(told)
    tell("\nWhat logged runs closed, and what all others foretell of each:")
    cells = [
        [plain(str(row[name])) for name in ("repair", "model", "task")]
        + _cells(row, "readout_r", "predicted", "low", "high", "found")
        + [plain(str(row["source"]))]
        for row in told.record.to_dict("records")
    ]
    print_table(("repair", "model", "task", "readout r", "foretold", "low", "high", "found", "source"), cells)


def _print_moved(told: "RepairForecast") -> None:
    """The items that the first correction moves most among the others, each way."""
    from accord.forecasting.findings import moved

    shared = shared_beginning(told.items["generator_prompt"].tolist())
    rows = []
    for row in moved(told, _MOVED).to_dict("records"):
        prompt = " ".join(str(row["generator_prompt"]).removeprefix(shared).split())
        prompt = prompt if len(prompt) <= _PROMPT else "…" + prompt[-_PROMPT:]
        right = "right" if row["gold"] else "wrong"
        rows.append([f"{prompt} | {row['answer']}", f"{row['raw_place']:.0%}", f"{row['corrected_place']:.0%}", right])
    tell("\nThe items that it moves most: above how many of the others they stand")
    print_table(("completing", "raw", "corrected", "the answer is"), rows)


COMMANDS = (forecast,)
