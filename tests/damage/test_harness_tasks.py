"""Tasks of lm-evaluation-harness in the table of damage: paired by document, told in the sentence and on the page."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import accord
from accord import cli
from accord.damage import Damage, measure_damage
from accord.damage.changes import Changes
from accord.damage.harness_tasks import task_rows
from accord.damage.page import damage_shown
from accord.damage.wording import harms, sentence
from accord.errors import AccordError
from accord.intervals import mean_change, ratio_change, ratio_difference, share_change
from accord.lm import Backbone, LanguageModel
from accord.repair import save_edits
from accord.repair.folder import with_edits
from accord.steering import AddDirection
from accord.study import engine
from accord.study.config import load
from accord.study.graph import plan_study
from tests.harness.task import CHOICE, DOCUMENTS, ROLLING, write_task
from tests.tiny import tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval", reason="of lm-evaluation-harness (pip install 'accord[harness]')")

TEXTS = ["A bee is a kind of food.", "Yes, yes. The birds are kind."]
OPTIONS: dict[str, Any] = {"texts": TEXTS, "facts": 0, "samples": 0, "resamples": 40}


@pytest.fixture(autouse=True)
def data_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def edit() -> AddDirection:
    return AddDirection(2, 6 * torch.randn(32, generator=torch.Generator().manual_seed(5)))


def models() -> tuple[Backbone, LanguageModel]:
    base = Backbone(tiny_model(), tiny_tokenizer())
    return base, with_edits(base, [edit()], name="moved")


def documents(rows: dict[str, Any], n: int) -> pd.DataFrame:
    """As `compare` makes them, with what is given in place of what does not matter."""
    plain = {"asked": "many", "task": "one", "metric": "acc", "better": "higher", "aggregation": "mean"}
    rest = {"document": range(n), "hash": "", "weight_base": 1.0, "weight_repaired": 1.0}
    return pd.DataFrame({**plain, **rest, "reported_base": np.nan, "reported_repaired": np.nan, **rows})


def row_of(table: pd.DataFrame, group: str, measure: str) -> dict[str, Any]:
    [record] = table[(table["group"] == group) & (table["measure"] == measure)].to_dict("records")
    return record


def test_both_models_do_the_tasks_and_are_paired_by_document(tmp_path: Path) -> None:
    paths = [str(write_task(tmp_path, "birds", CHOICE)), str(write_task(tmp_path, "texts", ROLLING))]
    base, moved = models()
    damage = measure_damage(base, moved, harness=paths, parts=tmp_path / "parts", **OPTIONS)
    acc = damage.documents[damage.documents["metric"] == "acc"]
    before, after = acc["value_base"].to_numpy(), acc["value_repaired"].to_numpy()
    assert len(acc) == DOCUMENTS and not np.array_equal(before, after)
    row = row_of(damage.table, "harness", "birds: acc")
    change = share_change(before, after)
    assert (row["change"], row["low"], row["high"]) == (change.value, change.low, change.high)
    assert (row["base"], row["repaired"], row["n"]) == (before.mean(), after.mean(), DOCUMENTS)
    assert row["base"] == pytest.approx(acc["reported_base"].iloc[0])
    words = damage.documents[damage.documents["metric"] == "word_perplexity"]
    row = row_of(damage.table, "harness", "texts: word_perplexity")
    assert row["change_is"] == "ratio" and row["worse_if"] == "higher" and row["worsened"]
    assert row["repaired"] == pytest.approx(words["reported_repaired"].iloc[0], rel=1e-6)
    assert "texts: word_perplexity × " in damage.sentence
    damage.write(tmp_path / "written")
    again = Damage.read(tmp_path / "written")
    pd.testing.assert_frame_equal(again.documents, damage.documents)
    assert again.metrics["harness/birds: acc/change"]["low"] == change.low
    (block,) = damage_shown({"a": {0: again}}, "a")["blocks"]
    shown = [(row["group"], row["label"]) for row in block["rows"] if row["group"] == "lm-evaluation-harness"]
    assert ("lm-evaluation-harness", "birds: acc_norm") in shown and len(shown) == 5


def test_a_model_beside_itself_shows_nothing(tmp_path: Path) -> None:
    base, _ = models()
    paths = [str(write_task(tmp_path, "birds", CHOICE)), str(write_task(tmp_path, "texts", ROLLING))]
    table = measure_damage(base, base, harness=paths, harness_limit=7, **OPTIONS).table
    rows = table[table["group"] == "harness"]
    none = np.where(rows["change_is"] == "ratio", 1.0, 0.0)
    assert (rows[["change", "low", "high"]].to_numpy() == none[:, None]).all() and (rows["n"] == 7).all()


def test_each_metric_is_compared_as_it_is_aggregated() -> None:
    r, n = np.random.default_rng(0), 40
    before, after, weights = r.normal(2, 1, n), r.normal(2.5, 1, n), r.integers(1, 9, n).astype(float)
    hits = r.integers(0, 2, (2, n)).astype(float)
    whole = {"value_base": np.nan, "value_repaired": np.nan, "reported_base": 0.5, "reported_repaired": 0.3}
    losses = {"value_base": -before, "value_repaired": -after, "weight_base": weights, "better": "lower"}
    table = pd.concat(
        [
            documents({"value_base": hits[0], "value_repaired": hits[1], "task": ["one"] * 30 + ["two"] * 10}, n),
            documents({"value_base": before, "value_repaired": after, "metric": "score", "better": ""}, n),
            documents({**losses, "metric": "ppl", "aggregation": "weighted_perplexity"}, n),
            documents({**losses, "metric": "bits", "aggregation": "bits_per_byte"}, n),
            documents({**whole, "metric": "f1", "aggregation": "f1_score"}, n),
            documents({**whole, "metric": "mcc", "aggregation": "mcc", "task": ["one"] * 30 + ["two"] * 10}, n),
        ]
    )
    changes = Changes(0, 1000)
    task_rows(changes, table)
    rows = changes.table()
    bits = [(losses / np.log(2), weights) for losses in (before, after)]
    for measure, estimate in {
        "many: acc": share_change(*hits),
        "many: score": mean_change(before, after),
        "many: ppl": ratio_change(before, after, weights),
        "many: bits": ratio_difference(*bits),
    }.items():
        row = row_of(rows, "harness", measure)
        got, expected = (row["change"], row["low"], row["high"]), (estimate.value, estimate.low, estimate.high)
        np.testing.assert_allclose(got, expected)
    np.testing.assert_allclose(row_of(rows, "harness", "many: ppl")["base"], np.exp(before.sum() / weights.sum()))
    np.testing.assert_allclose(row_of(rows, "harness", "many: bits")["repaired"], bits[1][0].sum() / weights.sum())
    sides = {"many: score": "neither", "many: acc": "lower", "many: ppl": "higher"}
    assert {measure: row_of(rows, "harness", measure)["worse_if"] for measure in sides} == sides
    f1 = row_of(rows, "harness", "many: f1")
    assert (f1["base"], f1["change"]) == (0.5, -0.2) and np.isnan(f1["low"]) and "one number of all" in f1["reason"]
    one = row_of(rows, "harness: one", "acc")
    assert (one["n"], one["change"]) == (30, share_change(*hits[:, :30]).value)
    assert row_of(rows, "harness: two", "mcc")["repaired"] == 0.3
    assert "many: mcc" not in set(rows["measure"])  # of several tasks there is no one number
    assert set(harms(rows)["group"]) == {"harness"}
    assert sentence(rows[rows["measure"] == "many: acc"]).startswith(
        "Nothing got measurably worse, in 1 measures of 40"
    )


def test_documents_that_changed_in_between_are_an_error(tmp_path: Path) -> None:
    from dataclasses import replace

    from accord.damage import Questions, compare, observe

    base, moved = models()
    questions = Questions(TEXTS, facts=0, samples=0, harness=[str(write_task(tmp_path))])
    before, after = observe(base, questions), observe(moved, questions)
    assert after.harness is not None
    other = replace(after, harness=after.harness.assign(hash="other"))
    with pytest.raises(AccordError, match="did not do the same documents"):
        compare(base, before, moved, other, questions)


STUDY = """
name = "s"
[backbone]
model = "model"
device = "cpu"
[[repair]]
kind = "calibrate"
validator_shots = "zero"
limit = 16
positions = 20
[verdict]
limit = 8
phrasings = false
[damage]
texts = "texts.txt"
limit = 4
facts = 0
samples = 0
"""
TASKS = 'harness = ["tasks/birds.yaml"]\nharness_limit = 5\n'


def test_recipes_know_of_tasks_only_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_models(tmp_path)
    write_task(tmp_path / "tasks")

    def settings(more: str) -> dict[str, Any]:
        (tmp_path / "study.toml").write_text(STUDY + more)
        [stage] = [stage for stage in plan_study(load(tmp_path / "study.toml")).stages if stage.kind == "observation"]
        assert (stage.reach is None) == (not more)
        return dict(stage.settings)

    plain = settings("")
    assert not [key for key in plain if key.startswith("harness")]
    done = settings(TASKS)
    assert {**plain, "harness": done["harness"]} == done and done["harness"]["limit"] == 5
    monkeypatch.setattr("accord.harness.installed.find_spec", lambda name: None)
    with pytest.raises(AccordError, match=r"(?s)key damage.*pip install 'accord\[harness\]'"):
        settings('harness = ["arc_easy"]\n')


@pytest.mark.usefixtures("seldom_answers")
def test_a_study_has_them_in_its_results_and_on_its_page(tmp_path: Path) -> None:
    write_models(tmp_path)
    write_task(tmp_path / "tasks")
    (tmp_path / "study.toml").write_text(STUDY + TASKS)
    page = engine.run(tmp_path / "study.toml", tmp_path / "run", console=Console(file=io.StringIO()))
    damage = accord.read(tmp_path / "run")["damage/calibrate-s0"]
    assert len(damage.documents) == 10  # of two metrics
    text = page.read_text(encoding="utf-8")
    assert "birds: acc_norm" in text and "lm-evaluation-harness" in text


def write_models(folder: Path) -> None:
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "texts.txt").write_text("".join(f"The bird number {i} is kind of yellow.\n" for i in range(20)))
    rows = "".join(f"bee{i}s\tfood\t{'yes' if i % 2 else 'no'}\thigh\n" for i in range(24))
    (folder / "pairs.tsv").write_text(rows)


def test_the_command_does_them_too(tmp_path: Path) -> None:
    write_models(tmp_path)
    save_edits([edit()], tmp_path / "repaired", base=str(tmp_path / "model"), about={})
    words = ["damage", "--repaired", tmp_path / "repaired", "--texts", tmp_path / "texts.txt", "--device", "cpu"]
    words += ["--facts", 0, "--samples", 0, "--out", tmp_path / "out", "--harness-limit", 6]
    words += ["--harness", write_task(tmp_path / "tasks")]
    done = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    assert "birds: acc_norm" in done.stdout and "6 documents of birds" in done.stdout
    table = json.loads((tmp_path / "out" / "damage.json").read_text())["table"]
    assert {row["n"] for row in table if row["group"] == "harness"} == {6}
