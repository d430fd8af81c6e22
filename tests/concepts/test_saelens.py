"""SAELens' folder format, against its formulas in sae-lens 6.54; `benchmarks/concepts.py` asks it itself."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.concepts import ConceptModel, Set, build, export_saelens, import_saelens, load, read_config, save
from accord.errors import AccordError

Make = Callable[..., ConceptModel]
Rows = Callable[..., Tensor]
D, K, OUT = 6, 16, 5

# What sae-lens 6.54 writes beside the architecture's own keys.
RECORDED = {
    "d_in": D,
    "d_sae": K,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "metadata": {
        "sae_lens_version": "6.54.0",
        "sae_lens_training_version": "6.54.0",
        "hook_name": "blocks.3.hook_resid_post",
        "model_name": "some-model",
    },
}
OWN: dict[str, dict[str, Any]] = {
    "standard": {},
    "gated": {},
    "topk": {"k": 3, "rescale_acts_by_decoder_norm": False},
    "jumprelu": {},
    "batchtopk": {"k": 3.5, "rescale_acts_by_decoder_norm": False, "topk_threshold_lr": 0.01},
    "matryoshka_batchtopk": {"k": 3.0, "rescale_acts_by_decoder_norm": True, "matryoshka_widths": [4, 16]},
    "transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
    "skip_transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
    "jumprelu_transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
    "jumprelu_skip_transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
}


def normalised(config: dict[str, Any], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The rows as they are encoded, and the way back."""
    if config["normalize_activations"] == "layer_norm":
        mean = x.mean(1, keepdim=True)
        std = (x - mean).std(1, keepdim=True)
        return (x - mean) / (std + 1e-5), lambda out: out * std + mean
    if config["normalize_activations"] == "constant_norm_rescale":
        factor = D**0.5 / x.norm(dim=1, keepdim=True)
        return x * factor, lambda out: out / factor
    return x, lambda out: out


def theirs(folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """Strengths and reconstruction as SAELens computes them from a folder of version 6."""
    config, w = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    w = {name: weight.float() for name, weight in w.items()}
    architecture, transcodes = config["architecture"], "transcoder" in config["architecture"]
    inputs, back = normalised(config, x)
    if config["apply_b_dec_to_input"]:
        inputs = inputs - w["b_dec"]
    norm = w["W_dec"].norm(dim=1) if config.get("rescale_acts_by_decoder_norm") else torch.ones(config["d_sae"])
    if architecture == "gated":
        gate = inputs @ w["W_enc"] + w["b_gate"] > 0
        acts = gate * (inputs @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
    else:
        pre = (inputs @ w["W_enc"] + w["b_enc"]) * norm
        if architecture == "topk":
            top = pre.topk(config["k"])
            acts = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
        elif "jumprelu" in architecture or "batchtopk" in architecture:
            acts = pre.relu() * (pre > w.get("threshold", w.get("topk_threshold")))
        else:
            acts = pre.relu()
    out = acts / norm @ w["W_dec"] + w["b_dec"]
    out = out if transcodes else back(out)
    return acts, out + x @ w["W_skip"].T if "W_skip" in w else out


def write(folder: Path, architecture: str, seed: int = 0, dtype: torch.dtype = torch.float32, **over: object) -> None:
    """A folder as SAELens writes it, with random weights."""
    config = RECORDED | {"architecture": architecture} | OWN.get(architecture, {}) | over
    g = torch.Generator().manual_seed(seed)
    d_out = config.get("d_out", D)
    shapes = {"W_enc": (D, K), "W_dec": (K, d_out), "b_dec": (d_out,)}
    shapes |= dict.fromkeys(("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",), (K,))
    if "skip" in architecture:
        shapes["W_skip"] = (d_out, D)
    weights = {name: 0.5 * torch.randn(shape, generator=g) for name, shape in shapes.items()}
    if "jumprelu" in architecture:
        weights["threshold"] = torch.rand(K, generator=g) - 0.1
    if "batchtopk" in architecture:
        weights["topk_threshold"] = torch.tensor(0.4)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({name: w.to(dtype).contiguous() for name, w in weights.items()}, folder / "sae_weights.safetensors")


def rows(n: int = 60) -> Tensor:
    return 1 + torch.randn(n, D, generator=torch.Generator().manual_seed(1)) * torch.arange(1, D + 1)


def same(model: ConceptModel, acts: Tensor, out: Tensor, x: Tensor) -> None:
    """Strengths, which of them are active, and reconstruction, to 1e-6 of the largest."""
    encoded = model.encode(x)
    assert torch.equal(encoded.strength != 0, acts != 0)
    for ours, other in ((encoded.strength, acts), (model.decode(encoded), out)):
        assert float((ours - other).abs().max()) <= 1e-6 * float(other.abs().max())


@pytest.mark.parametrize("architecture", OWN)
def test_import_computes_the_same(architecture: str, tmp_path: Path) -> None:
    applies = (False,) if "transcoder" in architecture else (True, False)
    kinds = ("none", "layer_norm", "constant_norm_rescale")
    for apply, normalise, dtype in product(applies, kinds, (torch.float32, torch.bfloat16, torch.float16)):
        folder = tmp_path / f"{apply}-{normalise}-{dtype}"
        over = {"apply_b_dec_to_input": apply, "normalize_activations": normalise}
        write(folder, architecture, dtype=dtype, **over)
        x = rows()
        acts, out = theirs(folder, x)
        assert 0 < float((acts != 0).float().mean()) < 0.8
        model = import_saelens(folder)
        same(model, acts, out, x)
        save(model, folder / "ours")
        same(load(folder / "ours"), acts, out, x)
        assert model.config.origin.layer == 4


@pytest.mark.parametrize("rescale", [False, True])
def test_strengths_in_units_of_decoder_rows(rescale: bool, tmp_path: Path) -> None:
    write(tmp_path, "topk", rescale_acts_by_decoder_norm=rescale)
    same(import_saelens(tmp_path), *theirs(tmp_path, rows()), rows())


# As versions 2 to 5 wrote them; SAELens' `handle_pre_6_0_config` tells what they mean now.
OLD = {
    "d_in": D,
    "d_sae": K,
    "dtype": "torch.float32",
    "device": "cpu",
    "model_name": "gpt2-small",
    "prepend_bos": True,
    "context_size": 128,
    "finetuning_scaling_factor": False,
    "sae_lens_training_version": "3.4.0",
    "hook_name": "blocks.8.hook_resid_pre",
    "hook_layer": 8,
    "hook_head_index": None,
}


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ({"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}, {"k": 5}),
        ({"architecture": "topk", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}, {"k": 5}),
        ({"architecture": "topk", "k": 5}, {"k": 5}),
        ({"activation_fn": "topk", "activation_fn_kwargs": {"k": 5}, "normalize_activations": False}, {"k": 5}),
        ({"activation_fn_str": "relu", "apply_b_dec_to_input": False}, {"apply_b_dec_to_input": False}),
        ({"activation_fn": "relu", "normalize_activations": None, "lp_norm": 1, "use_ghost_grads": True}, {}),
        ({"architecture": "standard", "normalize_activations": "layer_norm"}, {"normalize_activations": "layer_norm"}),
    ],
)
def test_configs_of_before_version_6(old: dict[str, Any], now: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, "topk" if "k" in now else "standard", **now)
    expected = theirs(tmp_path, rows())
    (tmp_path / "cfg.json").write_text(json.dumps(OLD | old))
    model = import_saelens(tmp_path)
    same(model, *expected, rows())
    assert model.config.origin.layer == 8


def test_factors_that_are_constant_are_folded(tmp_path: Path) -> None:
    write(tmp_path, "standard")
    acts, _ = theirs(tmp_path, rows())
    weights = load_file(tmp_path / "sae_weights.safetensors")
    factor = torch.rand(K) + 0.5
    save_file(weights | {"scaling_factor": factor}, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(OLD | {"finetuning_scaling_factor": True}))
    same(import_saelens(tmp_path), acts, acts * factor @ weights["W_dec"] + weights["b_dec"], rows())
    (tmp_path / "cfg.json").write_text(json.dumps(OLD))
    with pytest.raises(AccordError, match="scaling factor is not understood"):
        import_saelens(tmp_path)
    save_file(weights | {"scaling_factor": torch.ones(K)}, tmp_path / "sae_weights.safetensors")
    same(import_saelens(tmp_path), acts, acts @ weights["W_dec"] + weights["b_dec"], rows())
    write(tmp_path, "standard", normalize_activations="expected_average_only_in")
    with pytest.raises(AccordError, match="the factor is not there"):
        import_saelens(tmp_path)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    acts, out = theirs(tmp_path, 0.25 * rows())
    same(import_saelens(tmp_path), acts, out / 0.25, rows())


def test_where_it_reads(tmp_path: Path) -> None:
    def origin(**metadata: object) -> Any:
        write(tmp_path, "standard", metadata={"sae_lens_version": "6.54.0", **metadata})
        return import_saelens(tmp_path).config.origin

    assert origin(hook_name="blocks.0.hook_resid_pre").layer == 0
    assert origin(hook_name="model.layers.20.output").layer == 21
    for place in ("blocks.3.hook_mlp_out", "blocks.3.attn.hook_z", "blocks.3.ln2.hook_normalized", "hook_embed"):
        write(tmp_path, "standard", metadata={"sae_lens_version": "6.54.0", "hook_name": place})
        model = import_saelens(tmp_path)
        assert model.config.origin.reads == place and model.config.origin.layer is None
        with pytest.raises(AccordError, match=f"reads no layer's states.*\n.*{place}"):
            model.check_layer(4)
    # States less their mean are not the states of a layer.
    assert (
        origin(
            hook_name="blocks.3.hook_resid_post", model_from_pretrained_kwargs={"center_writing_weights": True}
        ).layer
        is None
    )
    early = {key: value for key, value in OLD.items() if not key.startswith("hook")}
    (tmp_path / "cfg.json").write_text(
        json.dumps(early | {"hook_point": "blocks.{layer}.hook_resid_pre", "hook_point_layer": 8})
    )
    assert "center_writing_weights" in import_saelens(tmp_path).config.origin.caution
    assert origin().reads is None
    import_saelens(tmp_path).check_layer(17)  # nothing is known: the caller's word counts


@pytest.mark.parametrize(
    ("architecture", "over", "said"),
    [
        ("standard", {"my_own_key": 1}, "my_own_key"),
        ("standard", {"architecture": "temporal"}, "temporal"),
        (
            "standard",
            {"architecture": "matching_pursuit", "residual_threshold": 0.1},
            "matching_pursuit|residual_threshold",
        ),
        ("topk", {"architecture": "abstopk"}, "abstopk"),
        ("standard", {"activation_fn": "tanh-relu"}, "tanh-relu"),
        ("standard", {"activation_fn": "topk", "activation_fn_kwargs": {"k": 3}}, "'topk' cannot be imported"),
        ("topk", {"k": None}, "whole number k"),
        ("topk", {"k": 17}, "whole number k"),
        ("topk", {"activation_fn_kwargs": {"signed": True}}, "signed"),
        ("standard", {"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ("standard", {"reshape_activations": "sideways"}, "sideways"),
        ("standard", {"use_error_term": True}, "use_error_term"),
        ("standard", {"rescale_acts_by_decoder_norm": True}, "goes with topk"),
        ("topk", {"activation_fn_kwargs": {"k": 4}}, "and 4 in activation_fn_kwargs"),
        ("transcoder", {"d_out": None}, "d_out"),
        ("transcoder", {"apply_b_dec_to_input": True}, "cannot take b_dec"),
        ("standard", {"apply_b_dec_to_input": 1}, "apply_b_dec_to_input"),
        ("standard", {"metadata": ["a list"]}, "metadata"),
        ("standard", {"d_sae": 17}, "W_enc does not fit"),
        ("standard", {"d_in": "wide"}, "d_in"),
        ("gated", {"architecture": "standard"}, "b_gate, b_mag, r_mag"),
        ("jumprelu", {"architecture": "standard"}, "threshold"),
    ],
)
def test_what_is_not_understood_is_refused(architecture: str, over: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path, architecture)
    config = json.loads((tmp_path / "cfg.json").read_text()) | over
    (tmp_path / "cfg.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(AccordError, match=said):
        import_saelens(tmp_path)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="cannot read"):
        import_saelens(tmp_path / "nowhere")
    write(tmp_path, "standard")
    weights = load_file(tmp_path / "sae_weights.safetensors")
    save_file(weights | {"b_enc": torch.arange(K)}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(AccordError, match="whole numbers"):
        import_saelens(tmp_path)
    weights["b_enc"][3] = float("nan")
    save_file(weights, tmp_path / "sae_weights.safetensors")
    with pytest.raises(AccordError, match="b_enc has values that are not finite"):
        import_saelens(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(AccordError, match="cannot read"):
        import_saelens(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(AccordError, match="damaged"):
        import_saelens(tmp_path)


@pytest.mark.parametrize("name", ["topk", "batchtopk", "matryoshka", "jumprelu", "l1"])
def test_export_computes_the_same_from_raw_embeddings(name: str, make: Make, embeddings: Rows, tmp_path: Path) -> None:
    model, x = make(name), embeddings(50)
    export_saelens(model, tmp_path, {"model_name": "some-model", "hook_name": "blocks.3.hook_resid_post"})
    acts, xhat = theirs(tmp_path, x)
    encoded = model.encode(x)
    torch.testing.assert_close(acts, encoded.strength, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(xhat, model.decode(encoded), atol=1e-5, rtol=1e-6)
    again = import_saelens(tmp_path)
    assert again.config.origin.model == "some-model" and again.config.origin.layer == 4
    torch.testing.assert_close(again.encode(x).strength, encoded.strength, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(again(x), model(x), atol=1e-4, rtol=1e-4)


def test_a_transcoder_is_exported(tmp_path: Path) -> None:
    model, x = build(read_config({"kind": "transcoder", "size": K}), D, seed=3), rows()
    model.fit_scale([(x, 7 - x.abs())])  # type: ignore[list-item]
    export_saelens(model, tmp_path, {"hook_name": "blocks.3.hook_resid_post", "hook_name_out": "blocks.5.hook_mlp_out"})
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == "transcoder"
    acts, out = theirs(tmp_path, x)
    torch.testing.assert_close(acts, model.encode(x).strength, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out, model(x), atol=1e-5, rtol=1e-5)
    again = import_saelens(tmp_path)
    torch.testing.assert_close(again(x), out, atol=1e-5, rtol=1e-5)
    assert again.d_out == D and again.config.origin.writes == "blocks.5.hook_mlp_out"


@pytest.mark.parametrize("architecture", OWN)
def test_what_was_imported_is_exported_as_it_came(architecture: str, tmp_path: Path) -> None:
    for apply, normalise in product((True, False), ("none", "layer_norm", "constant_norm_rescale")):
        if apply and "transcoder" in architecture:
            continue
        write(tmp_path / "theirs", architecture, apply_b_dec_to_input=apply, normalize_activations=normalise)
        model = import_saelens(tmp_path / "theirs")
        export_saelens(model, tmp_path / "back")
        same(model, *theirs(tmp_path / "back", rows()), rows())
        again = import_saelens(tmp_path / "back")
        assert again.config == model.config
        same(again, *theirs(tmp_path / "theirs", rows()), rows())


def test_kinds_without_a_counterpart_are_not_exported(make: Make, tmp_path: Path) -> None:
    for name in ("bernoulli", "lcblm", "lcblm-shared"):
        with pytest.raises(AccordError, match="no such architecture"):
            export_saelens(make(name), tmp_path)


def test_edits_keep_the_frame_of_every_row(tmp_path: Path) -> None:
    write(tmp_path, "topk", normalize_activations="layer_norm")
    model, x = import_saelens(tmp_path), rows()
    encoded = model.encode(x)
    concept = int(encoded.strength.sum(0).argmax())
    written = model.decode(encoded) - model.decode(model.edit(encoded, {concept: Set(0.0)}))
    std = (x - x.mean(1, keepdim=True)).std(1, keepdim=True)
    row = load_file(tmp_path / "sae_weights.safetensors")["W_dec"][concept]
    torch.testing.assert_close(written, std * encoded.strength[:, [concept]] * row, atol=1e-5, rtol=1e-4)
