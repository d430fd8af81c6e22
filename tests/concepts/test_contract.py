"""What every kind promises."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.concepts.conftest import rows_for

from accord.concepts import ConceptModel, Pattern, Scale, Set, Sparse, Step, build, load, read_config, save
from accord.errors import AccordError

Make = Callable[..., ConceptModel]
Rows = Callable[..., torch.Tensor]
D = 5


def test_shapes_and_named_terms(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(7)
    encoded = model.encode(x)
    assert encoded.strength.shape == (7, model.K)
    assert (encoded.strength >= 0).all()
    assert model.decode(encoded).shape == (7, D)
    terms = model.loss(rows_for(kind, x), Step(0, 10, torch.Generator().manual_seed(0)))
    assert "mse" in terms
    assert all(t.ndim == 0 and torch.isfinite(t) for t in terms.values())


def test_encoding_does_not_depend_on_the_mode_or_the_batch(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(7)
    trained = model.train().encode(x).strength
    judged = model.eval().encode(x).strength
    assert torch.equal(trained, judged)
    torch.testing.assert_close(model.encode(x[2:3]).strength, judged[2:3], atol=1e-6, rtol=1e-4)


def test_every_parameter_learns(kind: str, make: Make, embeddings: Rows) -> None:
    model = make(kind)
    generator = torch.Generator().manual_seed(0)
    sum(model.loss(rows_for(kind, embeddings(64)), Step(5, 10, generator)).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_raw_space_in_and_out(kind: str, make: Make, embeddings: Rows) -> None:
    """Data shifted and stretched, and the standardisation with it: so is the reconstruction."""
    model, x = make(kind), embeddings(7)
    strength, out = model.encode(x).strength, model(x)
    model.mean.mul_(2).add_(1)
    model.scale.mul_(2)
    torch.testing.assert_close(model.encode(2 * x + 1).strength, strength, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model(2 * x + 1), 2 * out + 1, atol=1e-3, rtol=1e-3)


def test_edits(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(9)
    encoded = model.encode(x)
    edited = model.edit(encoded, {1: Set(0.0), 3: Set(0.7), 5: Scale(2.0), 4: Scale(0.0)})
    want = encoded.strength.clone()
    want[:, 1], want[:, 3] = 0.0, 0.7
    want[:, 5] *= 2
    want[:, 4] = 0
    assert torch.equal(edited.strength, want)
    assert torch.equal(encoded.strength, model.encode(x).strength)  # the original is untouched
    same = model.decode(model.edit(encoded, {}))
    assert torch.equal(same, model.decode(encoded))
    # What an edit changes is what the concepts write: decoding is affine in each strength.
    twice = model.edit(encoded, {3: Set(1.4)})
    once = model.edit(encoded, {3: Set(0.7)})
    none = model.edit(encoded, {3: Set(0.0)})
    torch.testing.assert_close(
        model.decode(twice) - model.decode(none),
        2 * (model.decode(once) - model.decode(none)),
        atol=1e-4,
        rtol=1e-3,
    )


@pytest.mark.parametrize("concept", [-1, 99])
def test_an_edit_of_no_concept_is_an_error(kind: str, concept: int, make: Make, embeddings: Rows) -> None:
    model = make(kind)
    with pytest.raises(AccordError, match="no such concept"):
        model.edit(model.encode(embeddings(2)), {concept: Set(0.0)})


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), ids=st.lists(st.integers(0, 5), unique=True, max_size=4))
def test_sparse_edits_equal_dense_ones(seed: int, ids: list[int]) -> None:
    g = torch.Generator().manual_seed(seed)
    S = torch.rand(4, 6, generator=g) * (torch.rand(4, 6, generator=g) < 0.4)
    flat = S.flatten().nonzero().squeeze(1)
    sparse = Sparse(Pattern.of_flat(flat, 4, 6), S.flatten()[flat])
    edits = {k: Set(float(i)) if i % 2 else Scale(3.0) for i, k in enumerate(ids)}
    for k, edit in edits.items():
        S[:, k] = edit.value if isinstance(edit, Set) else S[:, k] * edit.factor
    assert torch.equal(sparse.edit(edits).dense(), S)


def test_sparse_strengths_keep_their_gradient(make: Make, embeddings: Rows) -> None:
    model = make("topk")
    encoded = model.encode(embeddings(5))
    encoded.strength.sum().backward()
    assert model.W_enc.grad.abs().sum() > 0


def test_hardening(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(30)
    soft, hard = model.encode(x), model.harden(model.encode(x))
    if model.gated:
        assert set(hard.strength.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(hard.strength == 1, soft.strength > 0.5)
    else:
        assert torch.equal(hard.strength, soft.strength)


def test_directions_are_what_a_unit_of_strength_writes(kind: str, make: Make, embeddings: Rows) -> None:
    model, x = make(kind), embeddings(3)
    directions = model.directions()
    if kind == "lcblm":
        assert directions is None
        return
    encoded = model.encode(x)
    written = model.decode(model.edit(encoded, {2: Set(1.0)})) - model.decode(model.edit(encoded, {2: Set(0.0)}))
    torch.testing.assert_close(written, directions[2].expand(3, -1), atol=1e-4, rtol=1e-3)


def test_standardisation_is_that_of_the_data(embeddings: Rows) -> None:
    x = embeddings(500) + torch.tensor([1e4, 0, 0, 0, 0])
    x[:, 4] = 7.0
    model = build(read_config({"kind": "topk", "size": 12, "k": 3}), D)
    model.fit_scale(x.split(77))
    torch.testing.assert_close(model.mean, x.double().mean(0).float())
    want = x.double().std(0, correction=0).float()
    want[4] = 1  # a dimension that never varies
    torch.testing.assert_close(model.scale, want, rtol=1e-4, atol=0)
    torch.testing.assert_close(model.restore(model.standardise(x)), x)
    with pytest.raises(AccordError, match="no training embeddings"):
        model.fit_scale([])


def test_wrong_width_is_an_error(kind: str, make: Make) -> None:
    with pytest.raises(AccordError, match=r"\(3, 4\)"):
        make(kind).encode(torch.zeros(3, 4))


def test_save_and_load(kind: str, tmp_path: Path, make: Make, embeddings: Rows) -> None:
    model, x = make(kind).eval(), embeddings(8)
    save(model, tmp_path)
    again = load(tmp_path)
    assert again.config == model.config
    assert not again.training
    assert torch.equal(again(x), model(x))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "weights.safetensors"]


def test_damaged_folders_say_what_is_wrong(tmp_path: Path, make: Make) -> None:
    with pytest.raises(AccordError, match="cannot be read"):
        load(tmp_path)
    save(make("topk"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"version": 99}))
    with pytest.raises(AccordError, match="another version"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"d": 6}))
    with pytest.raises(AccordError, match="do not fit"):
        load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"cut off")
    with pytest.raises(AccordError, match="cannot read"):
        load(tmp_path)


def test_sections_refuse_what_they_do_not_know() -> None:
    with pytest.raises(AccordError, match="did you mean 'topk'"):
        read_config({"kind": "topkk", "size": 4})
    with pytest.raises(AccordError, match="widht"):
        read_config({"kind": "lcblm", "widht": 4})
    with pytest.raises(AccordError, match="larger than size"):
        read_config({"kind": "topk", "size": 4, "k": 5})
    with pytest.raises(AccordError, match="decoder blocks"):
        read_config({"kind": "lcblm", "decoder": "sum", "ortho_weight": 1.0})


def test_fields_are_documented(kind: str, make: Make) -> None:
    fields = type(make(kind).config).model_fields
    assert [name for name, field in fields.items() if not field.description] == ["kind"]


def test_a_seed_fixes_the_weights(kind: str, table: dict[str, object]) -> None:
    config = read_config(table)
    first, again, other = (build(config, D, seed) for seed in (1, 1, 2))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
