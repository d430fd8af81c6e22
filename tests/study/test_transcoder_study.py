"""A study with a transcoder: trained and judged on two layers; left out where what it reads must be put back."""

import io
import json

import pytest
import torch
from rich.console import Console
from tests.study.test_explain_study import STUDY as EXPLAINED
from tests.tiny import tiny_hub_folder, tiny_texts

from accord.concepts import evaluate, load
from accord.concepts.transcoder import Transcoder
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.errors import AccordError
from accord.heads import recovered_on_texts
from accord.lm.opening import load as load_lm
from accord.study import engine, plan_study
from accord.study.config import load as load_study
from accord.text import in_order

TRANSCODER = """
[[concepts]]
kind = "transcoder"
size = 24
layers = [1, 2]
target = 3
training = { steps = 12, batch = 64, evaluate_every = 6, checkpoint_every = 4 }
"""
HEADS = '\n[[heads]]\nkind = "new"\ntraining = { steps = 4, batch = 64 }\n'
OTHER = EXPLAINED[EXPLAINED.index("[[concepts]]") : EXPLAINED.index("[steering]")]
STUDY = EXPLAINED.replace("[steering]", f"{TRANSCODER}\n[steering]") + HEADS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a study in a folder with a model and texts."""
    monkeypatch.chdir(tmp_path)
    tiny_hub_folder(tmp_path / "model")
    (tmp_path / "texts.csv").write_text(
        "text,mood\n" + "\n".join(f"{text},{i % 7}" for i, text in enumerate(tiny_texts()))
    )

    def run(text=STUDY):
        (tmp_path / "study.toml").write_text(text)
        shown = io.StringIO()
        engine.run(tmp_path / "study.toml", console=Console(file=shown, width=200))
        return shown.getvalue()

    return run


def test_it_is_trained_and_judged_on_both_layers(run, tmp_path):
    run()
    folder = tmp_path / "runs" / "s"
    made = {path.name for path in folder.glob("*/*-s0")}
    assert {"transcoder-L1-s0", "transcoder-L2-s0", "topk-s0", "topk-latents-new-s0"} <= made
    assert not {name for name in made if name.startswith("transcoder-L1-latents")}
    assert {path.name for kind in ("steering", "explain") for path in (folder / kind).iterdir()} == {"topk-s0"}
    model = load(folder / "concepts/transcoder-L2-s0")
    metrics = json.loads((folder / "concepts/transcoder-L2-s0/metrics.json").read_text())
    assert isinstance(model, Transcoder) and (metrics["layer"], metrics["target"]) == (2, 3)
    texts = Embeddings.read(folder / "embeddings")
    x, y = (torch.cat([batch.x for batch in in_order(texts.store(TRAIN), layer, 64)]) for layer in (2, 3))
    torch.testing.assert_close(model.mean, x.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.mean_out, y.mean(0), atol=1e-5, rtol=1e-5)
    below, above = ([batch.x for batch in in_order(texts.store(HELD_OUT), layer, 99)] for layer in (2, 3))
    assert metrics["r2"] == pytest.approx(evaluate(model, zip(below, above, strict=True)).r2, abs=1e-6)
    lm = load_lm(tmp_path / "model", device="cpu")
    recovered = recovered_on_texts(lm, 2, model, texts.texts(HELD_OUT), target=3)
    assert metrics["ce_recovered"] == pytest.approx(recovered.recovered, rel=1e-3)
    assert metrics["ce_ablated"] == pytest.approx(recovered.ablated, rel=1e-4)
    page = (folder / "report.html").read_text()
    assert "layer 2 to 3" in page and "From layer 1 to 3" in page
    assert "to do" not in run()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("layers = [1, 2]", "", "layers"),
        ("layers = [1, 2]", 'layers = "last"', "from one that comes before it"),
        ("layers = [1, 2]", "layers = [3]", "from one that comes before it"),
        ("target = 3", "target = 1", "layer 1, and target = 1"),
        ("target = 3", "target = 9", "9"),
        ("number = 3", 'number = 3\nconcepts = ["transcoder"]', "puts? back what they? reads?"),
        ('kind = "new"', 'kind = "new"\nconcepts = "transcoder"', "a transcoder does not"),
        (
            EXPLAINED[EXPLAINED.index('[[concepts]]\nkind = "topk"') : EXPLAINED.index("[steering]")],
            "",
            "no transcoder",
        ),
    ],
)
def test_what_a_transcoder_is_not_for_is_said_before_work_begins(old, new, said, run, tmp_path):
    assert old in STUDY
    with pytest.raises(AccordError, match=said) as caught:
        run(STUDY.replace(old, new))
    assert "study.toml:" in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_what_changes_its_target_makes_it_alone_anew(run, tmp_path):
    text = STUDY.replace("layers = [1, 2]", "layers = [1]") + "\n[[concepts]]\nkind = 'l1'\nsize = 4\nlayers = [2]\n"

    def recipes(text):
        (tmp_path / "study.toml").write_text(text)
        stages = plan_study(load_study(tmp_path / "study.toml")).stages
        return {stage.name: stage.recipe.fingerprint for stage in stages}

    before, after = recipes(text), recipes(text.replace("target = 3", "target = 2"))
    assert {name for name, value in before.items() if after[name] != value} == {"concepts/transcoder-L1-s0"}
