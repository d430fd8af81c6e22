"""A study on a dictionary that another tool trained: judged, named, explained with and steered; or refused in time."""

import json

import pytest
import torch
from safetensors.torch import save_file
from tests.study.conftest import UNDRAWN
from tests.study.test_explain_study import STUDY as TRAINED
from tests.tiny import tiny_hub_folder, tiny_texts
from typer.testing import CliRunner

from accord import cli
from accord.concepts import import_dictionary, load

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
def accord(tmp_path, monkeypatch):
    """The command line in a folder with a model, texts, a study and a dictionary."""
    monkeypatch.chdir(tmp_path)
    tiny_hub_folder(tmp_path / "model")
    lines = [f"{text},{(i % 7) - 3}" for i, text in enumerate(tiny_texts())]
    (tmp_path / "texts.csv").write_text("text,mood\n" + "\n".join(lines))
    write(tmp_path / "dictionary")

    def accord(*words, text=None):
        (tmp_path / "study.toml").write_text(text or STUDY)
        result = CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200"})
        return result.exit_code, result.stdout, result.stderr

    return accord


def test_a_study_on_an_imported_dictionary(accord, tmp_path):
    code, _, err = accord("run", "study.toml")
    assert code == 0, err
    folder = tmp_path / "runs" / "s"
    kept, model = load(folder / "concepts/imported-s0"), import_dictionary(tmp_path / "dictionary")
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, kept.get_parameter(name))
    assert bool((kept.mean != 0).all())  # what ablation puts in
    metrics = json.loads((folder / "concepts/imported-s0/metrics.json").read_text())
    assert metrics["layer"] == 3 and metrics["origin"]["reads"] == "blocks.2.hook_resid_post" and 0 < metrics["l0"] < K
    assert {path.name for path in folder.iterdir()} >= {"names", "steering", "explain", "report.html"}
    assert UNDRAWN or "imported" in (folder / "report.html").read_text()
    code, out, err = accord("steer", "runs/s", "--concepts", "imported", "--off", "3", "-n", "1", "--tokens", "3")
    assert code == 0 and "without" in out, err
    assert "to do" not in accord("run", "study.toml")[2]


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
def test_what_does_not_fit_is_refused_before_work_begins(written, line, said, accord, tmp_path):
    write(tmp_path / "dictionary", **written)
    text = STUDY.replace('source = "dictionary"', line if "source" in line else f'source = "dictionary"\n{line}')
    for options in ([], ["--check"]):
        code, _, err = accord("run", "study.toml", *options, text=text)
        assert code == 1 and said in err and "study.toml:" in err, err
    assert not (tmp_path / "runs").exists()


def test_a_check_fetches_nothing_and_a_run_does_first(accord, monkeypatch, tmp_path):
    asked = []

    def snapshot_download(repository, **options):
        asked.append(repository)
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    text = STUDY.replace('"dictionary"', '"org/name/layer_2"')
    assert accord("run", "study.toml", "--check", text=text)[0] == 0 and not asked
    code, _, err = accord("run", "study.toml", text=text)
    assert code == 1 and "org/name could not be fetched" in err and "to do" not in err and asked
