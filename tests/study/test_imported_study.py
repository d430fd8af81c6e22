"""A study on a dictionary that another tool trained: judged, named, explained with and steered; or refused in time."""

import io
import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from tests.study.test_explain_study import STUDY as TRAINED
from tests.tiny import tiny_hub_folder, tiny_texts
from typer.testing import CliRunner

from accord import cli, study
from accord.concepts import import_dictionary, load
from accord.errors import AccordError
from accord.study import engine, plan_study

D, K = 32, 40
_CONCEPTS = TRAINED[TRAINED.index("[[concepts]]") : TRAINED.index("[steering]")]
STUDY = (
    TRAINED.replace(_CONCEPTS, '[[concepts]]\nkind = "imported"\nsource = "dictionary"\n\n')
    + "\n[names]\nscores = false\n"
)


def write(folder, architecture="jumprelu", d=D, hook="blocks.2.hook_resid_post", **over):
    """A SAELens folder of random weights that fire on some of the tiny model's states."""
    g = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(K, d, generator=g), dim=1)
    weights = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": torch.zeros(K), "b_dec": torch.zeros(d)}
    if architecture == "jumprelu":
        weights["threshold"] = torch.full((K,), 0.5)
    metadata = {"sae_lens_version": "6.54.0", "hook_name": hook, "model_name": "tiny"}
    config = {"architecture": architecture, "d_in": d, "d_sae": K, "metadata": metadata, **over}
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(weights, folder / "sae_weights.safetensors")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a study in a folder with a model, texts and a dictionary; what it said."""
    monkeypatch.chdir(tmp_path)
    tiny_hub_folder(tmp_path / "model")
    lines = [f"{text},{(i % 7) - 3}" for i, text in enumerate(tiny_texts())]
    (tmp_path / "texts.csv").write_text("text,mood\n" + "\n".join(lines))
    write(tmp_path / "dictionary")

    def run(text=STUDY):
        (tmp_path / "study.toml").write_text(text)
        shown = io.StringIO()
        engine.run(tmp_path / "study.toml", console=Console(file=shown, width=200))
        return shown.getvalue()

    return run


def test_a_study_on_an_imported_dictionary(run, tmp_path):
    run()
    folder = tmp_path / "runs" / "s"
    kept, model = load(folder / "concepts/imported-s0"), import_dictionary(tmp_path / "dictionary")
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, kept.get_parameter(name))
    assert bool((kept.mean != 0).all())  # what ablation puts in
    metrics = json.loads((folder / "concepts/imported-s0/metrics.json").read_text())
    assert metrics["layer"] == 3 and metrics["origin"]["reads"] == "blocks.2.hook_resid_post" and 0 < metrics["l0"] < K
    assert {path.name for path in folder.iterdir()} >= {"names", "steering", "explain", "report.html"}
    assert "imported" in (folder / "report.html").read_text()
    assert "to do" not in run()
    words = ["steer", "runs/s", "--concepts", "imported", "--off", "3", "-n", "1", "--tokens", "3"]
    done = CliRunner().invoke(cli.app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "without" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("written", "line", "said"),
    [
        ({"hook": "blocks.1.hook_resid_post"}, "", "reads another layer"),
        ({"hook": "blocks.2.hook_mlp_out"}, "", "reads no layer's states"),
        ({"architecture": "transcoder", "d_out": D}, "", "it is a transcoder"),
        ({"d": 16}, "", "another width"),
        ({"own_key": 1}, "", "not understood"),
        ({"normalize_activations": "layer_norm"}, "", "normalises every embedding by itself"),
        ({}, 'source = "nowhere"', "There is no such folder"),
        ({}, "size = 3", "Unknown key"),
        ({}, "training = { steps = 5 }", "Unknown key"),
    ],
)
def test_what_does_not_fit_is_refused_before_work_begins(written, line, said, run, tmp_path):
    write(tmp_path / "dictionary", **written)
    text = STUDY.replace('source = "dictionary"', line if "source" in line else f'source = "dictionary"\n{line}')
    with pytest.raises(AccordError) as caught:
        run(text)
    assert said in str(caught.value) and "study.toml:" in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_check_fetches_nothing_and_a_run_does_first(run, monkeypatch, tmp_path):
    fetched = []

    def snapshot_download(repository, **options):
        fetched.append(repository)
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    text = STUDY.replace('"dictionary"', '"org/name/layer_2"')
    (tmp_path / "study.toml").write_text(text)
    assert plan_study(study.load(tmp_path / "study.toml")).missing == {"org/name/layer_2": "a dictionary"}
    assert not fetched
    with pytest.raises(AccordError, match="org/name could not be fetched"):
        run(text)
    assert fetched and not (tmp_path / "runs").exists()
