"""Dictionaries of other tools by what their folders hold: sparsify, Gemma Scope, and folders on the hub."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from accord.concepts import Training, export_saelens, fit, import_dictionary, load, save
from accord.concepts.dictionaries import fingerprint
from accord.errors import AccordError

D, K = 6, 16


def rows() -> Tensor:
    return 1 + torch.randn(60, D, generator=torch.Generator().manual_seed(1)) * torch.arange(1, D + 1)


def weights(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    return {name: 0.5 * torch.randn(shape, generator=g) for name, shape in shapes.items()}


def same(model: Any, acts: Tensor, out: Tensor) -> None:
    encoded = model.encode(rows())
    assert torch.equal(encoded.strength != 0, acts != 0) and bool((acts != 0).any())
    for ours, other in ((encoded.strength, acts), (model.decode(encoded), out)):
        assert float((ours - other).abs().max()) <= 1e-6 * float(other.abs().max())


def sparsify(folder: Path, dtype: torch.dtype = torch.float32, **over: object) -> dict[str, Tensor]:
    """A folder as sparsify 1.3 writes it."""
    config = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": K, "k": 3,
              "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D, **over}  # fmt: skip
    w = weights(**{"encoder.weight": (K, D), "encoder.bias": (K,), "W_dec": (K, D), "b_dec": (D,)})
    if over.get("skip_connection"):
        w |= weights(W_skip=(D, D))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({name: weight.to(dtype) for name, weight in w.items()}, folder / "sae.safetensors")
    return {name: weight.to(dtype).float() for name, weight in w.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transcode", [False, True])
def test_sparsify(transcode: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    w = sparsify(tmp_path / "layers.20", dtype, transcode=transcode, skip_connection=transcode)
    x = rows()
    inputs = x if transcode else x - w["b_dec"]
    top = (inputs @ w["encoder.weight"].T + w["encoder.bias"]).relu().topk(3)
    acts = torch.zeros(len(x), K).scatter(1, top.indices, top.values)
    out = acts @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if transcode else 0)
    model = import_dictionary(tmp_path, "layers.20")
    same(model, acts, out)
    origin = model.config.origin
    assert (origin.layer, origin.target_layer) == ((20, 21) if transcode else (21, None))
    assert model.transcodes == transcode


def test_what_sparsify_does_otherwise_is_refused(tmp_path: Path) -> None:
    for over in (
        {"activation": "groupmax"},
        {"signed": True},
        {"own": 1},
        {"k": "3"},
        {"k": 17},
        {"skip_connection": True},
    ):
        sparsify(tmp_path, **over)
        with pytest.raises(AccordError):
            import_dictionary(tmp_path)


def gemma(folder: Path, **over: Any) -> dict[str, Tensor]:
    """A folder as Gemma Scope has it."""
    w = weights(W_enc=(D, K), W_dec=(K, D), b_enc=(K,), b_dec=(D,)) | {"threshold": torch.linspace(-0.2, 1, K)}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **({name: weight.numpy() for name, weight in w.items()} | over))
    return w


def jumprelu(w: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    pre = rows() @ w["W_enc"] + w["b_enc"]
    acts = pre.relu() * (pre > w["threshold"])
    return acts, acts @ w["W_dec"] + w["b_dec"]


def test_gemma_scope(tmp_path: Path) -> None:
    inside = "layer_20/width_16k/average_l0_71"
    place = tmp_path / "models--google--gemma-scope-2b-pt-res" / "snapshots" / "abc"
    w = gemma(place / inside)
    model = import_dictionary(place, inside)
    same(model, *jumprelu(w))
    assert model.config.origin.layer == 21 and model.config.origin.model == "google/gemma-2-2b"
    save(model, tmp_path / "saved")
    same(load(tmp_path / "saved"), *jumprelu(w))
    # Nothing but the path tells an autoencoder of the residual stream from a transcoder.
    for name, transcodes in (("gemma-scope-2b-pt-transcoders", True), ("gemma-scope-9b-it-mlp", False)):
        gemma(tmp_path / name / inside)
        other = import_dictionary(tmp_path / name / inside)
        assert other.transcodes == transcodes and other.config.origin.layer is None
        with pytest.raises(AccordError, match="reads no layer's states"):
            other.check_layer(21)
        with pytest.raises(AccordError, match="reads another place"):
            import_dictionary(tmp_path / name / inside, layer=21)
    gemma(tmp_path / "renamed")
    import_dictionary(tmp_path / "renamed", layer=5).check_layer(5)
    with pytest.raises(AccordError, match="another layer"):
        import_dictionary(tmp_path / "renamed", layer=5).check_layer(6)
    gemma(tmp_path / "google/gemma-scope-2b-pt-res/embedding/width_4k")
    with pytest.raises(AccordError, match="outside the blocks"):
        import_dictionary(tmp_path / "google/gemma-scope-2b-pt-res/embedding/width_4k").check_layer(0)


def test_arrays_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    for over, said in (
        ({"scaling_factor": np.full(K, 2.0)}, "scaling_factor"),
        ({"threshold": np.array([{"any": "code"}], dtype=object)}, "cannot read"),
        ({"W_enc": np.zeros((2, D, K))}, "no dictionary of one layer"),
        ({"b_enc": np.zeros(3)}, "b_enc does not fit"),
    ):
        gemma(tmp_path, **over)
        with pytest.raises(AccordError, match=said):
            import_dictionary(tmp_path)
    gemma(tmp_path)
    whole = (tmp_path / "params.npz").read_bytes()
    for damaged in (b"PK cut short", b"", whole[:-40], whole[:300], whole[:200] + bytes(50) + whole[250:]):
        (tmp_path / "params.npz").write_bytes(damaged)
        with pytest.raises(AccordError, match="cannot read"):
            import_dictionary(tmp_path)


def test_gemma_scope_2(tmp_path: Path) -> None:
    w = gemma(tmp_path / "old")
    folder = tmp_path / "resid_post" / "layer_9_width_16k_l0_small"
    folder.mkdir(parents=True)
    save_file({name.lower(): weight for name, weight in w.items()}, folder / "params.safetensors")

    def describe(**over: object) -> None:
        table = {
            "architecture": "jump_relu",
            "model_name": "gemma-3-1b-pt",
            "hf_hook_point_in": "model.layers.9.output",
        }
        (folder / "config.json").write_text(json.dumps(table | over))

    describe()
    model = import_dictionary(folder)
    same(model, *jumprelu(w))
    assert model.config.origin.layer == 10
    into, out = "model.layers.9.pre_feedforward_layernorm.output", "model.layers.9.post_feedforward_layernorm.output"
    describe(hf_hook_point_in=into, hf_hook_point_out=out)
    transcoder = import_dictionary(folder)
    same(transcoder, *jumprelu(w))
    assert transcoder.transcodes and transcoder.config.origin.layer is None
    for over in ({"architecture": "relu"}, {"affine_connection": True}, {"hf_hook_point_in": 9}):
        describe(**over)
        with pytest.raises(AccordError, match=r"cannot be imported|not understood"):
            import_dictionary(folder)


def test_folders_that_hold_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no dictionary in a known format"):
        import_dictionary(tmp_path)
    sparsify(tmp_path / "many" / "layers.3")
    gemma(tmp_path / "many" / "layer_4" / "width_16k")
    with pytest.raises(AccordError, match=r"Which of the dictionaries.*\n.*\n.*layer_4/width_16k, layers\.3"):
        import_dictionary(tmp_path / "many")
    with pytest.raises(AccordError, match="no such folder"):
        import_dictionary(tmp_path / "many", "layers.4")
    with pytest.raises(AccordError, match="no such folder"):
        import_dictionary("./nowhere")
    (tmp_path / "ae.pt").write_bytes(b"anything")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AccordError, match=r"pickled: refused.*\n.*\n.*ae\.pt\n.*\n.*save_model"):
        import_dictionary(tmp_path)


def test_the_hub_is_asked_for_weights_and_text_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requests: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        requests.append((repository, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    inside = "layer_20/width_16k/average_l0_71"
    w = gemma(tmp_path / inside)
    for given in (("google/gemma-scope-2b-pt-res", inside), (f"google/gemma-scope-2b-pt-res/{inside}", "")):
        model = import_dictionary(*given)
        same(model, *jumprelu(w))
        assert model.config.origin.layer == 21
        assert requests.pop() == (
            "google/gemma-scope-2b-pt-res",
            {
                "allow_patterns": [f"{inside}/*.safetensors", f"{inside}/*.json", f"{inside}/*.npz"],
                "ignore_patterns": [],
            },
        )
    with pytest.raises(AccordError, match="does not exist, or holds no safetensors or npz"):
        import_dictionary("google/gemma-scope-2b-pt-res/layer_21/width_16k")

    def offline(repository: str, **options: Any) -> str:
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(
        AccordError, match=r"could not be fetched\.\n  where:  the hub.*\n  got:    no route to the hub\n  fix"
    ):
        import_dictionary("org/name", "some/folder")


def test_a_folder_is_known_by_its_bytes(tmp_path: Path) -> None:
    gemma(tmp_path / "one")
    gemma(tmp_path / "two")
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two") != {}
    gemma(tmp_path / "two", b_dec=np.zeros(D, dtype=np.float32))
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "two")


def test_an_imported_dictionary_is_not_trained(tmp_path: Path) -> None:
    gemma(tmp_path)
    model = import_dictionary(tmp_path)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    model.fit_scale([rows()])  # how embeddings are spread changes nothing of what it computes
    assert torch.equal(model.encode(rows()).strength, import_dictionary(tmp_path).encode(rows()).strength)
    with pytest.raises(AccordError, match="cannot be trained"):
        fit(model, lambda step: iter([rows()]), Training(steps=1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_a_topk_transcoder_has_no_counterpart_in_saelens(tmp_path: Path) -> None:
    sparsify(tmp_path / "layers.20", transcode=True)
    with pytest.raises(AccordError, match="no such transcoder"):
        export_saelens(import_dictionary(tmp_path / "layers.20"), tmp_path / "out")
