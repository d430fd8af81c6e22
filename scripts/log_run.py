"""One row of src/accord/forecasting/data/logged_runs.tsv: what the forecast reads before a repair, and what came of it.

    python scripts/log_run.py smollm2-135m hypernymy --items 400 --test 150 --repair readout

The readout's r is held out on training items, as `accord forecast` has it; closure is that of r between the forms, on
test items.
Put the row into the table, and what it is of into docs/log.md, under the heading that its last column then names.
"""

import argparse
import tempfile
from pathlib import Path

import accord
from accord.gap import compare, measure_gap
from accord.repair import read_repair, repair


def row(model: str, task: str, items: int, test_items: int, kind: str, steps: int | None) -> list[str]:
    """model, task, repair, items, test items, readout's r, r before and after, closure."""
    lm = accord.load(model)
    divided = "nested" if accord.task(task, split="all").nested else "random"
    train = accord.task(task, split="train", split_kind=divided, limit=items)
    test = accord.task(task, split="test", split_kind=divided, limit=test_items)
    read = accord.forecast(lm, train, resamples=0).metrics["readout_r"]
    config = read_repair({"kind": kind, **({} if steps is None else {"steps": steps})})
    before = measure_gap(lm, test, typicality=())
    with tempfile.TemporaryDirectory() as folder:
        repair(lm, train, config, folder=Path(folder) / "repaired", base=model, seed=0)
        after = measure_gap(accord.load(Path(folder) / "repaired"), test, typicality=())
    change = compare(before.scores, after.scores)["pearson_all"]
    numbers = (read["value"], change.before["value"], change.after["value"], (change.closure or {}).get("value"))
    shown = ["" if number is None else f"{number:.3f}" for number in numbers]
    return [model, task, kind, str(len(train.items)), str(len(test.items)), *shown]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("task")
    parser.add_argument("--items", type=int, default=400, help="training items, at most")
    parser.add_argument("--test", type=int, default=150, help="test items, at most")
    parser.add_argument("--repair", default="readout", help="kind of repair, with its defaults")
    parser.add_argument("--steps", type=int, help="of a trained repair")
    given = parser.parse_args()
    print("\t".join(row(given.model, given.task, given.items, given.test, given.repair, given.steps)))
