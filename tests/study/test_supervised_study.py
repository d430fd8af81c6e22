"""A study with labelled concepts: trained on the texts' labels, judged, steered by them, and shown."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from tests.study.test_explain_study import STUDY as EXPLAINED
from tests.tiny import tiny_hub_folder, tiny_texts

from accord.concepts import load
from accord.concepts.labelled import judge_labels, label_numbers
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.errors import AccordError
from accord.study import engine
from accord.text import in_order

SUPERVISED = """
[[concepts]]
kind = "supervised"
labels = ["negative", "positive"]
size = 22
training = { steps = 12, batch = 64, evaluate_every = 6, checkpoint_every = 4 }
"""
HEADS = '\n[[heads]]\nkind = "new"\ntraining = { steps = 4, batch = 64 }\n'
TOPK = EXPLAINED[EXPLAINED.index("[[concepts]]") : EXPLAINED.index("[steering]")]
STUDY = EXPLAINED.replace(TOPK, SUPERVISED) + HEADS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a study in a folder with a model and texts."""
    monkeypatch.chdir(tmp_path)
    tiny_hub_folder(tmp_path / "model")
    rows = [f"{text},{i % 7 - 3}" for i, text in enumerate(tiny_texts())]
    (tmp_path / "texts.csv").write_text("\n".join(["text,mood", *rows]))

    def run(text=STUDY):
        (tmp_path / "study.toml").write_text(text)
        shown = io.StringIO()
        engine.run(tmp_path / "study.toml", console=Console(file=shown, width=200))
        return shown.getvalue()

    return run


def test_from_the_file_to_the_page(run, tmp_path):
    run()
    folder = tmp_path / "runs" / "s"
    made = {path.name for path in folder.glob("*/*-s0")}
    assert {"supervised-s0", "supervised-latents-new-s0"} <= made
    model = load(folder / "concepts/supervised-s0")
    metrics = json.loads((folder / "concepts/supervised-s0/metrics.json").read_text())
    assert model.labels == ("negative", "positive") and model.K == 24
    texts, sides = Embeddings.read(folder / "embeddings"), []
    for side in (TRAIN, HELD_OUT):
        mood = texts.table(side)["label"].to_numpy()
        numbers = label_numbers(texts.table(side)["label"], model.labels)
        assert numbers.tolist() == np.where(mood < 0, 0, np.where(mood > 0, 1, -1)).tolist()
        sides.append((in_order(texts.store(side), 3, 99), numbers))
    for name, value in judge_labels(model, *sides).items():
        assert metrics[name] == pytest.approx(value, abs=1e-6), name
    # Texts are steered by the labelled concepts, each its way, whatever goes with the label by chance.
    steered = json.loads((folder / "steering/supervised-s0/effects.json").read_text())
    assert [(row["concept"], row["score"]) for row in steered["written"]] == [(0, -1.0), (1, 1.0)]
    page = (folder / "report.html").read_text()
    assert "How well labelled concepts tell their labels" in page and "By the rest" in page
    assert "to do" not in run()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('label = "mood"\n', "", "need texts with labels"),
        ('"negative", "positive"', '"a", "b", "c"', "No text has this label"),
        ('"negative", "positive"', '"a"', "labels"),
    ],
)
def test_labels_that_are_not_there_are_told_before_work_begins(old, new, said, run, tmp_path):
    assert old in STUDY
    with pytest.raises(AccordError, match=said) as caught:
        run(STUDY.replace(old, new).replace("written = 1", "written = 0"))
    assert "study.toml:" in str(caught.value)
    assert not (tmp_path / "runs").exists()
