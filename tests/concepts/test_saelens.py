"""SAELens' folder format as recorded from sae-lens 6.54; `benchmarks/concepts.py` asks it itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.concepts import ConceptModel, export_saelens, import_saelens
from accord.errors import AccordError

Make = Callable[..., ConceptModel]
Rows = Callable[..., Tensor]

# What sae-lens 6.54.12 wrote for TopKSAE(d_in=4, d_sae=6, k=2).save_model(...).
RECORDED = {
    "d_in": 4,
    "d_sae": 6,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "metadata": {"sae_lens_version": "6.54.12", "sae_lens_training_version": "6.54.12"},
    "k": 2,
    "rescale_acts_by_decoder_norm": False,
    "architecture": "topk",
}


def theirs(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """Strengths and reconstruction as SAELens computes them from a folder."""
    config, w = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    pre = (x - w["b_dec"] * config["apply_b_dec_to_input"]) @ w["W_enc"] + w["b_enc"]
    norm = w["W_dec"].norm(dim=-1) if config.get("rescale_acts_by_decoder_norm") else torch.ones(len(w["W_dec"]))
    if config["architecture"] == "topk":
        top = (pre * norm).topk(config["k"])
        acts = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    elif config["architecture"] == "jumprelu":
        acts = pre.relu() * (pre > w["threshold"])
    else:
        acts = pre.relu()
    return acts, acts / norm @ w["W_dec"] + w["b_dec"]


def write(folder: Path, seed: int = 0, **over: object) -> None:
    config = RECORDED | over
    g = torch.Generator().manual_seed(seed)
    weights = {
        "W_enc": torch.randn(4, 6, generator=g),
        "b_enc": torch.randn(6, generator=g),
        "W_dec": torch.randn(6, 4, generator=g),
        "b_dec": torch.randn(4, generator=g),
    }
    if config["architecture"] == "jumprelu":
        weights["threshold"] = torch.rand(6, generator=g)
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(weights, folder / "sae_weights.safetensors")


@pytest.mark.parametrize("name", ["topk", "batchtopk", "l1"])
def test_export_computes_the_same_from_raw_embeddings(name: str, make: Make, embeddings: Rows, tmp_path: Path) -> None:
    model, x = make(name), embeddings(50)
    export_saelens(model, tmp_path, {"model_name": "some-model", "hook_name": "blocks.3.hook_resid_post"})
    acts, xhat = theirs(tmp_path, x)
    encoded = model.encode(x)
    torch.testing.assert_close(acts, encoded.strength, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(xhat, model.decode(encoded), atol=1e-4, rtol=1e-4)
    assert json.loads((tmp_path / "cfg.json").read_text())["metadata"]["model_name"] == "some-model"
    again = import_saelens(tmp_path)
    assert again.config.kind == name
    torch.testing.assert_close(again(x), model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "standard"])
@pytest.mark.parametrize("apply", [True, False])
def test_import_computes_the_same(architecture: str, apply: bool, tmp_path: Path) -> None:
    write(tmp_path, architecture=architecture, apply_b_dec_to_input=apply)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    acts, xhat = theirs(tmp_path, x)
    model = import_saelens(tmp_path)
    torch.testing.assert_close(model.encode(x).strength, acts, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(x), xhat, atol=1e-5, rtol=1e-4)


def test_import_of_rescaled_strengths(tmp_path: Path) -> None:
    write(tmp_path, rescale_acts_by_decoder_norm=True)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    acts, xhat = theirs(tmp_path, x)
    model = import_saelens(tmp_path)
    torch.testing.assert_close(model.encode(x).strength, acts, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(x), xhat, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_exchanged_says_so(make: Make, tmp_path: Path) -> None:
    for name in ("bernoulli", "lcblm", "lcblm-shared"):
        with pytest.raises(AccordError, match="no such architecture"):
            export_saelens(make(name), tmp_path)
    with pytest.raises(AccordError, match="cannot read"):
        import_saelens(tmp_path / "nowhere")
    write(tmp_path, architecture="gated")
    with pytest.raises(AccordError, match="cannot import this architecture"):
        import_saelens(tmp_path)
    write(tmp_path, normalize_activations="layer_norm")
    with pytest.raises(AccordError, match="normalize_activations"):
        import_saelens(tmp_path)
    write(tmp_path, d_sae=7)
    with pytest.raises(AccordError, match="W_enc does not fit"):
        import_saelens(tmp_path)
