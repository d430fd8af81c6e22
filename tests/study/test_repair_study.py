"""A study of repairs: every stage, what a change redoes, what is refused before anything is loaded."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console
from tests.study.said import stages_made
from tests.tiny import tiny_hub_folder, tiny_texts

import accord
from accord.errors import AccordError
from accord.study import engine, plan_study
from accord.study.config import load

pytestmark = pytest.mark.usefixtures("seldom_answers")

STUDY = """\
name = "s"
seeds = [0, 1]

[backbone]
model = "model"
device = "cpu"

[[repair]]
kind = "rankalign"
validator_shots = "zero"
limit = 16
steps = 2
batch = 6
r = 2

[[repair]]
kind = "calibrate"
name = "shifted"
after = "rankalign"
validator_shots = "zero"
limit = 16
positions = 20

[verdict]
limit = 10
phrasings = false

[damage]
texts = "texts.txt"
limit = 4
facts = 2
samples = 2
new_tokens = 4
resamples = 20

[pathway]
limit = 8
train_limit = 16
patch_items = 4
draws = 1
resamples = 20
"""
_MADE = ("rankalign-s0", "rankalign-s1", "shifted-s0", "shifted-s1")
STAGES = {f"{kind}/{name}" for kind in ("repair", "verdict", "damage") for name in _MADE}
STAGES |= {"answers/hypernymy-validator-zero", "observation/hypernymy-validator-zero", "pathway/rankalign-s0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, texts and a study."""
    folder = tmp_path_factory.mktemp("study")
    tiny_hub_folder(folder / "model")
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    return folder


def _run(folder, text, replace=False):
    (folder / "study.toml").write_text(text)
    said = io.StringIO()
    engine.run(folder / "study.toml", folder / "run", console=Console(file=said, width=200), replace=replace)
    return said.getvalue()


def test_a_whole_study_of_repairs(made) -> None:
    said = _run(made, STUDY)
    assert set(stages_made(said)) == STAGES
    run = made / "run"
    base = accord.load(made / "model")
    repaired, shifted = accord.load(run / "repair/rankalign-s0"), accord.load(run / "repair/shifted-s0")
    task = accord.task("hypernymy", split="test", split_kind="nested", validator_shots="zero", limit=10)
    before = pd.read_parquet(run / "answers/hypernymy-validator-zero/test.parquet")
    for lm, name in ((base, None), (repaired, "rankalign-s0"), (shifted, "shifted-s0")):
        scores = accord.measure_gap(lm, task, resamples=0).scores
        kept = before if name is None else pd.read_parquet(run / f"verdict/{name}/test.parquet")
        assert kept["validator_logodds"].to_numpy() == pytest.approx(scores["validator_logodds"].to_numpy(), abs=1e-3)
    verdict = json.loads((run / "verdict/shifted-s1/verdict.json").read_text())
    assert {key: verdict[key] for key in ("repair", "kind", "seed", "task")} == {
        "repair": "shifted",
        "kind": "calibrate",
        "seed": 1,
        "task": "hypernymy",
    }
    first = json.loads((run / "verdict/rankalign-s1/verdict.json").read_text())
    assert verdict["seconds"] > first["seconds"] > 0  # the second repair takes the time of the first, too
    assert set(verdict["tests"]) == {"test", "test-unseen-hypernyms", "test-unseen-both"}
    page = (run / "report.html").read_text()
    assert "rankalign" in page and "shifted" in page

    # All is up to date; a change of the second repair redoes it and what is about it, and nothing else.
    assert stages_made(_run(made, STUDY)) == []
    said = _run(made, STUDY.replace("positions = 20", "positions = 21"), replace=True)
    assert set(stages_made(said)) == {name for name in STAGES if "shifted" in name}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('after = "rankalign"', 'after = "rankalgin"', "No such repair to go on from"),
        ('name = "shifted"', 'name = "rankalign"', "Two repairs have the same name"),
        ("limit = 16\nsteps = 2", 'after = "shifted"\nsteps = 2', "starts from the backbone"),
        ("[verdict]", '[[repair]]\nkind = "concepts"\nmodel = "topk"\n\n[verdict]', "No such concepts"),
        ("patch_items = 4", 'patch_items = 4\nrepairs = ["shfted"]', "No such repair"),
        ('texts = "texts.txt"', 'texts = "text.txt"', "text.txt"),
        ("steps = 2", "stepz = 2", "stepz"),
        ('kind = "calibrate"', 'kind = "calibrat"', "calibrate"),
        ('kind = "calibrate"', 'kind = "surgery"', "surgery is here 'direction' or 'concepts'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(made, monkeypatch, old, new, problem) -> None:
    assert old in STUDY
    (made / "wrong.toml").write_text(STUDY.replace(old, new, 1))
    monkeypatch.setattr(accord.lm, "load", None)
    with pytest.raises(AccordError, match=problem) as caught:
        plan_study(load(made / "wrong.toml"))
    assert "wrong.toml:" in str(caught.value)


SEVERAL = """\
name = "s"

[backbone]
model = "model"
device = "cpu"

[tasks.cap]
data = "cap.csv"
generator = "The capital of {country} is"
validator = "Is {city} the capital of {country}? Answer:"
answer = "city"
gold = "right"

[tasks.copy]
data = "copy.csv"
generator = "{thing} are"
validator = "Are {thing} {kind}?"
answer = "kind"
gold = "right"

[[repair]]
kind = "sft"
validator_phrasing = "true"

[[repair]]
kind = "calibrate"
name = "capitals"
task = "cap"

[[repair]]
kind = "calibrate"
name = "further"
task = "copy"
after = "sft"

[verdict]
phrasings = false
tasks = ["hypernymy", "cap"]

[damage]
texts = "texts.txt"
samples = 0
tasks = ["hypernymy"]
"""


def test_repairs_of_several_tasks_are_each_tried_on_what_they_never_saw(made) -> None:
    cities = [f"land{i},city{(i + i % 2) % 40},{'no' if i % 2 else 'yes'}" for i in range(40)]
    (made / "cap.csv").write_text("country,city,right\n" + "\n".join(cities))
    pairs = accord.task("hypernymy", split="all").items[:200]
    rows = [f"{item.fields['noun1']},{item.answer},{'yes' if item.gold else 'no'}" for item in pairs]
    (made / "copy.csv").write_text("thing,kind,right\n" + "\n".join(rows))
    (made / "several.toml").write_text(SEVERAL)
    stages = {stage.name: stage for stage in plan_study(load(made / "several.toml")).stages}

    trials = {stage.label: stage.settings["trials"] for stage in stages.values() if stage.kind == "answers"}
    own = trials["hypernymy-validator-true"]
    assert set(own) == {"test", "test-unseen-hypernyms", "test-unseen-both", "task-cap"}
    assert own["test"]["validator"]["phrasing"] == "true" and own["task-cap"]["validator"]["phrasing"] == "custom"
    other = trials["cap"]["task-hypernymy"]  # divided as for training, in its own wording
    assert (other["split_kind"], other["validator"]["phrasing"]) == ("nested", "think")

    trained = accord.task("hypernymy", split="train", split_kind="nested").items
    learned = {(item.fields["noun1"], item.answer) for item in trained}
    copied = accord.task(load(made / "several.toml").study.tasks["copy"].model_copy(update={"data": made / "copy.csv"}))
    kept = [item for item in copied.items if (item.fields["thing"], item.answer) not in learned]
    test = trials["copy"]["test"]
    assert 0 < len(kept) < len(copied.items)
    assert (test["items"], test["left_out"]) == (len(kept), len(copied.items) - len(kept))

    bases = {"sft": "hypernymy-validator-true", "capitals": "cap", "further": "copy"}
    for name, task in (("sft", "hypernymy"), ("capitals", "cap"), ("further", "copy")):
        base = stages[f"observation/{bases[name]}"]
        assert base.settings["own"]["name"] == task and stages[f"damage/{name}-s0"].inputs["base"] is base
    stay = {name: stages[f"observation/{base}"].settings["tasks"][0].get("left_out") for name, base in bases.items()}
    assert stay["sft"] == len(trained) and stay["capitals"] is None and stay["further"] >= len(trained)
