"""The forecast as a whole: of a tiny model, through the folder, the command and a study; and what it refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.gap.test_measure import pairs
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

import accord
from accord import RepairForecast, cli
from accord.errors import AccordError
from accord.forecasting import findings
from accord.gap import measure_gap
from accord.intervals import pearson
from accord.lm import Backbone
from accord.report.metric import Metric, metric_in
from accord.tasks import Labels, Task

pytestmark = pytest.mark.usefixtures("seldom_answers")


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


def _training(n: int = 36) -> Task:
    task = replace(pairs(n), split="train")
    # Of every other noun there are right and wrong answers.
    items = tuple(replace(item, group=item.fields["noun"], gold=i % 4 == 0) for i, item in enumerate(task.items))
    return replace(task, items=items)


@pytest.fixture(scope="module")
def told(lm: Backbone) -> RepairForecast:
    return accord.forecast(lm, _training())


def test_it_is_made_of_the_gap_of_the_training_items(lm: Backbone, told: RepairForecast) -> None:
    gap = measure_gap(lm, _training(), layers=True)
    assert told.items[list(gap.scores)].equals(gap.scores)
    for way, form in findings.FORMS.items():
        assert told.metrics[f"{way}_right"]["value"] == pytest.approx(gap.metrics[f"{form}_auc"]["value"])
        assert told.metrics[f"{way}_right_within"]["value"] is not None
    lens = gap.layer_metrics
    assert lens is not None and set(told.layers["metric"]) == {"generator_auc", "validator_auc", "readout_r"}
    ours = told.layers.set_index(["metric", "layer"])["value"]
    for row in lens[lens["metric"].isin(("generator_auc", "validator_auc"))].to_dict("records"):
        assert ours[row["metric"], row["layer"]] == row["value"]
    assert ours["readout_r"].notna().all() and len(ours["readout_r"]) == lm.n_layers + 1
    read = float(pearson(told.items["generator_logodds"].to_numpy(), told.items["read"].to_numpy()))
    assert told.metrics["readout_r"]["value"] == pytest.approx(read)
    expected = accord.forecasting.predict(read)
    assert told.metrics["closure_readout"] == pytest.approx(expected.interval())
    assert told.about == {
        "model": lm.name, "task": "pairs", "items": 36, "right": 9, "prompts": 6, "held_out": "group",
        "answer_score": "first",
    }  # fmt: skip


def test_the_folder_holds_all_of_it(told: RepairForecast, tmp_path: Path) -> None:
    told.write(tmp_path)
    again = RepairForecast.read(tmp_path)
    assert again.about == told.about and again.metrics == told.metrics == again.measures()
    for name in ("items", "pairs", "layers", "corrections", "record"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(told, name))
    assert findings.finding(again) == findings.finding(told)
    assert "readout r" in told.headline() and "36 items" in repr(told)


def test_a_layer_knows_from_95_per_cent_on() -> None:
    first = accord.forecasting.measure.first_that_knows
    by_layer = pd.DataFrame({"value": [0.5, 0.78, 0.786, 0.8, 0.6], "low": [0.4, 0.7, 0.7, 0.7, 0.5]})
    assert first(by_layer) == 2
    assert first(by_layer.assign(low=0.5)) is None and first(by_layer.assign(low=np.nan)) == 2
    assert first(by_layer.assign(value=np.nan)) is None


def test_it_refuses_what_no_forecast_can_be_made_from(lm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm, "hidden", None)  # nothing is computed before
    task = _training()
    for wrong, match in (
        (replace(task, split="test"), r"training items[\s\S]*split 'test'[\s\S]*split=\"train\""),
        (replace(task, split="all"), "training items"),
        (replace(task, items=task.items[:7]), r"too few training items[\s\S]*7"),
        (replace(task, labels=Labels.choice(["food", "bird"])), "yes or no"),
    ):
        with pytest.raises(AccordError, match=match):
            accord.forecast(lm, wrong)
    with pytest.raises(AccordError, match="no negated wording"):
        accord.forecast(lm, task, negated=True)


def test_items_of_one_gold_class_leave_the_teacher_unknown(lm: Backbone) -> None:
    task = _training(24)
    told = accord.forecast(lm, replace(task, items=tuple(replace(item, gold=True) for item in task.items)))
    assert told.metrics["g2v_right"]["value"] is None and told.pairs.empty
    assert told.metrics["generator_layer"]["value"] is None
    assert "all right or all wrong" in findings.finding(told).headline
    assert told.metrics["readout_r"]["value"] is not None


def _with(told: RepairForecast, **metrics: tuple[float, float, float]) -> RepairForecast:
    tables = {name: dict(zip(Metric._fields, numbers, strict=True)) for name, numbers in metrics.items()}
    return replace(told, metrics={**told.metrics, **tables})


@pytest.mark.parametrize(
    ("generator", "validator", "says"),
    [
        ((0.9, 0.85, 0.93), (0.6, 0.5, 0.7), "the generator has something to teach (g2v)"),
        ((0.6, 0.5, 0.7), (0.9, 0.85, 0.93), "the validator has something to teach (v2g)"),
        ((0.8, 0.7, 0.88), (0.78, 0.68, 0.86), "neither form is clearly the better teacher"),
        ((0.55, 0.45, 0.65), (0.4, 0.3, 0.5), "neither form is above chance"),
    ],
)
def test_the_headline_says_who_can_teach(
    told: RepairForecast, generator: tuple[float, float, float], validator: tuple[float, float, float], says: str
) -> None:
    assert says in findings.finding(_with(told, g2v_right=generator, v2g_right=validator)).headline


def test_a_closure_without_interval_is_told_as_one(told: RepairForecast) -> None:
    nan = math.nan
    words = findings.closure_in_words(_with(told, closure_readout=(0.7, 0.4, 0.9)), "readout")
    assert "a readout would close" in words.replace("A readout", "a readout") and "[.40" in words
    words = findings.closure_in_words(_with(told, closure_readout=(0.7, nan, nan)), "readout")
    assert "too few for an interval" in words and "[" not in words
    words = findings.closure_in_words(_with(told, closure_readout=(nan, nan, nan)), "readout")
    assert "cannot be told" in words and ".70" not in words
    assert findings.closure_in_words(told, "sft") == ""


def test_the_record_is_held_against_the_plain_mean(told: RepairForecast) -> None:
    runs = {"repair": "readout", "readout_r": [0.2, 0.4, 0.6], "found": [0.3, 0.6, 0.9], "predicted": [0.4, 0.6, 0.8]}
    [line] = [line for line in findings.remarks(replace(told, record=pd.DataFrame(runs))) if "record so far" in line]
    assert "3 logged runs" in line and "off by .07 in the mean (their plain mean: .30)" in line
    few = replace(told, record=pd.DataFrame({**runs, "predicted": np.nan}))
    assert any("too few to foretell" in line for line in findings.remarks(few))
    far = findings.remarks(replace(_with(told, readout_r=(0.8, 0.7, 0.9)), record=pd.DataFrame(runs)))
    assert any("outside of what was logged (.20 to .60)" in line for line in far)


def test_those_that_a_correction_moves_most(told: RepairForecast) -> None:
    table = findings.moved(told, 2)
    change = (table["corrected_place"] - table["raw_place"]).tolist()
    assert change == sorted(change) and change[0] < 0 < change[-1] and len(change) <= 4
    corrected = told.items["generator_logprob"] - told.items["typicality"]
    for column, by in (("raw_place", told.items["generator_logprob"]), ("corrected_place", corrected)):
        for i, row in table.iterrows():
            below, equal = (by < by[i]).sum(), (by == by[i]).sum()
            assert row[column] == pytest.approx((below + (equal - 1) / 2) / 35)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_the_command_answers_first_and_fills_a_folder(base: Path, tmp_path: Path) -> None:
    words = ["forecast", "--model", str(base), "--task", "hypernymy", "--shots", "zero", "--limit", "32"]
    words += ["--out", str(tmp_path / "out")]
    short = CliRunner().invoke(cli.app, words)
    assert short.exit_code == 0, short.output
    assert short.stdout.startswith("base on hypernymy: ")
    assert "ordered rightly" in short.stdout and "accord repair" in short.stdout
    told = RepairForecast.read(tmp_path / "out")
    assert (
        told.about["items"] == 32
        and json.loads((tmp_path / "out" / "manifest.json").read_text())["stage"] == "forecast"
    )
    whole = CliRunner().invoke(cli.app, [*words, "--all"])
    assert whole.exit_code == 0 and "up to date" in whole.stderr
    assert whole.stdout.startswith(short.stdout.split("\n", 1)[0])
    for each in ("g2v_right_within", "readout_r_no", "closure_rankalign", "generator_auc", "to_right", "docs/log.md"):
        assert each in whole.stdout, each
    assert metric_in(told.metrics, "readout_r").known


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--task", "hypernymi"], "Unknown task"),
        (["--task", "hypernymy", "--limit", "3"], "8"),
        (["--task", "personas"], "data"),
    ],
)
def test_the_command_says_what_is_wrong(base: Path, words: list[str], says: str) -> None:
    result = CliRunner().invoke(cli.app, ["forecast", "--model", str(base), *words])
    assert result.exit_code != 0 and says in result.output
