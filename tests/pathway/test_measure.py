"""The whole measurement on tiny models: tables, words, parts, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer, yes_no

import accord
from accord import concepts
from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.edited import Readout, Steered, WithReadout
from accord.pathway import Pathway, linear_cka, measure_pathway
from accord.pathway.receiver import Receiver
from accord.pathway.summary import entry
from accord.pathway.tables import COLUMNS, INTO_BASE
from accord.steering import AddDirection
from accord.tasks import Task, task

KEYS: dict[str, Any] = {"validator_shots": "zero", "split_kind": "nested"}


@pytest.fixture(scope="module")
def base() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


@pytest.fixture(scope="module")
def train() -> Task:
    return task("hypernymy", split="train", limit=24, **KEYS)


@pytest.fixture(scope="module")
def tests() -> dict[str, Task]:
    return {name: task("hypernymy", split=name, limit=12, **KEYS) for name in ("test", "test-unseen-hypernyms")}


def _steered(base: Backbone, layer: int) -> Steered:
    return Steered(base, [AddDirection(layer, 2 * torch.randn(32, generator=torch.Generator().manual_seed(2)))])


@pytest.fixture(scope="module")
def pathway(base: Backbone, train: Task, tests: dict[str, Task]) -> Pathway:
    model = concepts.build(concepts.read_config({"kind": "topk", "size": 20, "k": 4}), d=32, seed=0)
    return measure_pathway(
        base, _steered(base, 2), train, tests, concepts=(2, model), patch_items=6, every_position=True, resamples=40
    )


def test_every_table_has_its_columns_and_layers(pathway: Pathway, tmp_path: Path) -> None:
    pathway.write(tmp_path)
    columns = {
        "curves": ["model", "layer", "metric", "value", "low", "high"],
        "matrix": ["model", "generator_layer", "validator_layer", "pearson", "pearson_yes", "pearson_no"],
        "cka": ["form", "layer", "value", "low", "high"],
        "readout": ["model", "layer", "items", "metric", "value", "low", "high"],
        "patching": ["direction", "positions", "layer", "what", "value", "low", "high"],
        "patched": ["direction", "positions", "item", "layer", "what", "receiver", "donor", "patched"],
        "concepts": ["concept", "before", "after", "change", "low", "high", "certain", "reason"],
    }
    for name, expected in columns.items():
        table = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert list(table) == expected, name
        if "layer" in table:
            assert set(table["layer"]) == {0, 1, 2, 3}
    assert json.loads((tmp_path / "pathway.json").read_text())["about"]["n"]["train"] == 24
    assert [list(row) for row in pathway.by_layer()] == [["layer", *COLUMNS]] * 4


def test_below_the_edit_nothing_differs_and_above_it_everything_does(pathway: Pathway) -> None:
    cka = pathway.cka[pathway.cka["form"] == "validator"].set_index("layer")["value"]
    assert cka[1] == pytest.approx(1) and cka[3] < 0.9999
    curves = pathway.curves[pathway.curves["metric"] == "validator_auc"].pivot(
        index="layer", columns="model", values="value"
    )
    assert (curves["base"] == curves["repaired"])[[0, 1]].all() and (curves["base"] != curves["repaired"]).any()
    table = pathway.patching[(pathway.patching["what"] == "states") & (pathway.patching["positions"] == "all")]
    for _, part in table.groupby("direction"):
        assert part.sort_values("layer")["value"].tolist() == pytest.approx([0, 0, 1, 1], abs=1e-3)
    assert entry(pathway.patching, INTO_BASE, "all") == entry(pathway.patching, INTO_BASE, "all").__class__(
        2, 2, pytest.approx(1, abs=1e-3)
    )
    assert pathway.concepts is not None and pathway.concepts["change"].abs().max() > 0


def test_curves_hold_the_final_log_odds_against_each_layer(
    base: Backbone, tests: dict[str, Task], pathway: Pathway
) -> None:
    gap = accord.measure_gap(base, tests["test"], layers=True, resamples=0)
    assert gap.layers is not None
    at_two = gap.layers[gap.layers["layer"] == 2].set_index("item")["validator_logodds"]
    expected = np.corrcoef(at_two, gap.scores["generator_logodds"])[0, 1]
    row = pathway.curves.set_index(["model", "layer", "metric"]).loc[("base", 2, "final_pearson_all")]
    assert row["value"] == pytest.approx(expected, abs=1e-6) and row["low"] <= row["value"] <= row["high"]


def test_a_repair_of_the_logits_is_said_to_be_one(base: Backbone, train: Task, tests: dict[str, Task]) -> None:
    read = Readout((2,), torch.randn(32, generator=torch.Generator().manual_seed(1)), 0.0, *yes_no(base.tokenizer))
    pathway = measure_pathway(base, WithReadout(base, read), train, tests, patch_items=4, draws=1, resamples=10)
    assert "not in the states" in pathway.summary()["sentences"][0]
    values = pathway.cka["value"].dropna()
    assert values.min() == pytest.approx(1) and len(values) >= 6
    read_off = pathway.readout.pivot_table(index=["layer", "items", "metric"], columns="model", values="value")
    np.testing.assert_allclose(read_off["base"], read_off["repaired"], atol=1e-5)


def test_the_entry_is_where_the_effect_stays() -> None:
    def table(values: list[float]) -> pd.DataFrame:
        rows = [{"layer": 2 * i, "value": value} for i, value in enumerate(values)]
        return pd.DataFrame(rows).assign(direction=INTO_BASE, positions="last", what="states")

    at = entry(table([0.0, 0.8, 0.05, 0.3, 0.7, 0.9, 1.0]), INTO_BASE)
    assert (at.starts, at.most, at.top) == (6, 10, 1.0)
    assert entry(table([0.0, 0.02]), INTO_BASE).starts is None
    assert entry(table([0.2, 0.5]), INTO_BASE).most is None
    assert entry(table([np.nan, np.nan]), INTO_BASE).top is None


def test_a_killed_run_goes_on_with_the_same_numbers(
    base: Backbone, train: Task, tests: dict[str, Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired, shares = _steered(base, 1), []
    keys: dict[str, Any] = {"patch_items": 4, "draws": 1, "resamples": 10, "parts": tmp_path}
    run = Receiver.run

    def killed(self: Receiver, *args: Any, **more: Any) -> Any:
        if more.get("puts"):
            raise KeyboardInterrupt
        return run(self, *args, **more)

    monkeypatch.setattr(Receiver, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        measure_pathway(base, repaired, train, tests, **keys)
    monkeypatch.setattr(Receiver, "run", run)
    whole = measure_pathway(base, repaired, train, tests, **{**keys, "parts": None})
    monkeypatch.setattr("accord.pathway.comparison.context_states", None)  # states are not needed again
    again = measure_pathway(
        base, repaired, train, tests, **keys, progress=lambda done, total: shares.append(done / total)
    )
    for name in ("curves", "matrix", "cka", "readout", "patching", "patched"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(whole, name))
    assert shares[-1] == 1 and max(shares) == 1


def test_only_the_layers_asked_for_and_the_top(base: Backbone, train: Task, tests: dict[str, Task]) -> None:
    pathway = measure_pathway(base, _steered(base, 1), train, tests, layers=[1], patch_items=4, draws=0, resamples=0)
    assert {
        layer for table in (pathway.curves, pathway.cka, pathway.readout, pathway.patching) for layer in table["layer"]
    } == {1, 3}
    assert set(pathway.matrix["generator_layer"]) == set(pathway.matrix["validator_layer"]) == {1, 3}
    assert pathway.summary()["random"] is None and pathway.concepts is None
    assert linear_cka(torch.eye(3), torch.eye(3), resamples=0)["value"] == pytest.approx(1)


def test_what_cannot_be_measured_is_refused(base: Backbone, train: Task, tests: dict[str, Task]) -> None:
    with pytest.raises(AccordError, match="are in a test"):
        measure_pathway(base, base, train, {"test": replace(tests["test"], items=train.items[:3])})
    with pytest.raises(AccordError, match="no such layer"):
        measure_pathway(base, base, train, tests, layers=[4])
    with pytest.raises(AccordError, match="at least one test"):
        measure_pathway(base, base, train, {})
    narrow = concepts.build(concepts.read_config({"kind": "topk", "size": 20, "k": 4}), d=16, seed=0)
    with pytest.raises(AccordError, match="another width"):
        measure_pathway(base, base, train, tests, concepts=(2, narrow))
    other = Backbone(tiny_model(), tiny_tokenizer(bos=False))
    with pytest.raises(AccordError, match="different tokens"):
        measure_pathway(base, other, train, tests)
