"""What repairs closed of the gap, and what the forecast said of them before: rows for a table, one of each repair made.

    python scripts/log_runs.py rows.tsv --models smollm2-135m --tasks hypernymy,programs --repairs readout,rankalign

The forecast is made from training items. Closure is that of r between the forms on test items, with the generator's
score as it is and corrected for typicality (`accord.gap.corrected.generator_scores`). Rows that the file has already,
of these items, steps and seed, are not made again, so that a run goes on where it was stopped. Rows for
src/accord/forecasting/data/logged_runs.tsv are made of these; what they are of is told in docs/log.md, under the
heading that the last column then names.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pandas as pd

import accord
from accord.gap import Gap, compare, measure_gap
from accord.gap.corrected import generator_scores, with_base
from accord.repair import read_repair, repair
from accord.tasks import Task

Typicalities = tuple[Literal["own", "negated"], ...]
MEASURED = ("pearson_all", "within_pearson", "generator_auc", "within_generator_auc", "validator_auc")


def rows(
    model: str, task: str, repairs: list[str], given: argparse.Namespace, there: pd.DataFrame | None
) -> Iterator[pd.DataFrame]:
    """A row for each score of the generator, of each repair that is not there yet."""
    divided = accord.task(task, split="all").usual_split_kind
    train = accord.task(task, split="train", split_kind=divided, limit=given.items)
    test = accord.task(task, split="test", split_kind=divided, limit=given.test)
    about = {"model": model, "task": task, "seed": given.seed, "steps": given.steps or 0}
    about |= {"train_items": len(train.items), "test_items": len(test.items)}
    made = set() if there is None else set(there.loc[(there[[*about]] == pd.Series(about)).all(axis=1), "repair"])
    if not set(repairs) - made:
        return
    lm = accord.load(model)
    typicality: Typicalities = ("own", "negated") if train.generator.negated else ("own",)
    read = accord.forecast(lm, train, seed=given.seed, resamples=0).metrics["readout_r"]["value"]
    before = measure_gap(lm, test, typicality=typicality, resamples=0)
    for kind in repairs:
        if kind in made:
            continue
        started = time.monotonic()
        after = repaired(lm, model, train, test, kind, typicality, given)
        numbers = pd.DataFrame(changes(before, after)).assign(seconds=time.monotonic() - started)
        yield pd.DataFrame([{**about, "repair": kind, "readout_r": read}] * len(numbers)).join(numbers)


def repaired(
    lm: Any, model: str, train: Task, test: Task, kind: str, typicality: Typicalities, given: argparse.Namespace
) -> Gap:
    """The gap that a repair leaves, on test items."""
    settings: dict[str, Any] = {"kind": kind}
    if given.steps and kind != "readout":
        settings["steps"] = given.steps
    with TemporaryDirectory() as folder:
        where = Path(folder) / "repaired"
        repair(lm, train, read_repair(settings), folder=where, base=model, seed=given.seed)
        return measure_gap(accord.load(where), test, typicality=typicality, resamples=0)


def changes(before: Gap, after: Gap) -> Iterator[dict[str, Any]]:
    """For each score of the generator: every measure before and after, and the closure of r, with intervals."""
    old, new = with_base(before.scores, before.scores), with_base(after.scores, before.scores)
    sides = generator_scores(old), generator_scores(new)
    for score in sides[0]:
        pair = (table.assign(generator_logodds=side[score]) for table, side in zip((old, new), sides, strict=True))
        found = compare(*pair)
        row: dict[str, Any] = {"score": score}
        for name in MEASURED:  # within prompts nothing is measured where each has one answer; the columns are there
            sides_of = (found[name].before["value"], found[name].after["value"]) if name in found else (None, None)
            row |= dict(zip((f"{name}_before", f"{name}_after"), sides_of, strict=True))
        closure = found["pearson_all"].closure or {}
        row |= {"closure": closure.get("value"), "low": closure.get("low"), "high": closure.get("high")}
        row["yes_before"], row["yes_after"] = (float((table["validator_logodds"] > 0).mean()) for table in (old, new))
        yield row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="tab-separated; rows are added")
    for name in ("models", "tasks", "repairs"):
        parser.add_argument(f"--{name}", required=True, type=lambda text: text.split(","), help="with commas between")
    parser.add_argument("--items", type=int, default=400, help="training items, at most")
    parser.add_argument("--test", type=int, default=150, help="test items, at most")
    parser.add_argument("--steps", type=int, help="of repairs that are trained; without it (0 in the table) their own")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    there = pd.read_csv(given.table, sep="\t") if given.table.exists() else None
    if there is not None and "steps" not in there:
        parser.error(f"{given.table} has other columns: name another table")
    for model in given.models:
        for task in given.tasks:
            for table in rows(model, task, given.repairs, given, there):
                table.to_csv(given.table, sep="\t", index=False, mode="a", header=not given.table.exists())
                print(table.iloc[0].to_dict(), flush=True)
