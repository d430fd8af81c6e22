"""Marked states by themselves, and what every wrapper owes: states as wide as the backbone's, and equal to them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from accord.concepts import Set, build, read_config
from accord.heads import ConceptLM, FinetunedHead, NewHead, Reader, build_head
from accord.lm import Backbone, LanguageModel
from accord.lm.edited import Readout, Steered, WithReadout
from accord.lm.marked import Marked, States, as_tensors, backbone_states, from_tensors, joined
from accord.lm.prompted import InPart
from accord.steering.span import EditedSpan
from accord.text import extract
from tests.tiny import tiny_model, tiny_tokenizer

IDS = torch.randint(3, 250, (2, 9), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer())


@pytest.fixture(scope="module")
def wrapped(lm: Backbone) -> dict[str, LanguageModel]:
    """Models whose states are the backbone's own: their edits act in the lens."""
    with torch.no_grad():
        x = lm.hidden(IDS, layers=[2])[2][:, 1:].flatten(0, 1)
    concepts = build(read_config({"kind": "topk", "size": 24, "k": 4}), lm.d_model, seed=3)
    concepts.fit_scale([x])
    latents = Reader("latents", concepts.eval())
    read = Readout((1, 2), torch.linspace(-1, 1, 2 * lm.d_model), 0.3, plus=(5, 6), minus=(9,))
    new = ConceptLM(lm, 2, latents, build_head(NewHead(reads="latents"), lm, latents, x))
    fine = ConceptLM(lm, 3, Reader(), build_head(FinetunedHead(reads="embedding"), lm, Reader(), x))
    span = EditedSpan(new, {0: Set(3.0)}, first=3, stop=6)
    return {
        "readout": WithReadout(lm, read),
        "two readouts": WithReadout(WithReadout(lm, read), read),
        "new head": new,
        "finetuned head": fine,
        "edited span": span,
        "readout on an edited span": WithReadout(span, read),
        "edits of none": Steered(WithReadout(lm, read), []),
    }


NAMES = (
    "readout",
    "two readouts",
    "new head",
    "finetuned head",
    "edited span",
    "readout on an edited span",
    "edits of none",
)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_states_are_the_backbones_own(lm: Backbone, wrapped: dict[str, LanguageModel], name: str) -> None:
    model = wrapped[name]
    layers = range(model.n_layers + 1)
    assert model.d_model == lm.d_model == 32
    expected = lm.hidden(IDS, layers=layers)
    states_by_layer = model.hidden(IDS, layers=layers)
    assert list(states_by_layer) == list(layers)
    for layer in layers:
        assert torch.equal(backbone_states(states_by_layer[layer]), expected[layer])
        marked = states_by_layer[layer]
        while isinstance(marked, Marked):
            assert marked.mark.shape == IDS.shape and marked.mark.dtype == torch.float32
            marked = marked.states


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_parts_are_read_as_the_whole_is(wrapped: dict[str, LanguageModel], name: str, tmp_path: Path) -> None:
    """Indexed in every way that callers do, joined, moved, and kept on disk."""
    model = wrapped[name]
    states = model.hidden(IDS)[model.n_layers]
    whole = model.lens(states)
    inside = torch.zeros(IDS.shape, dtype=torch.bool)
    inside[0, 2:5] = inside[1, 0] = True
    rows, places = [0, 1, 1], [4, 0, 8]
    pick = torch.tensor([1, 0])
    for index in (0, slice(1, 2), [1, 0], pick, inside, (rows, places), (slice(None), -1), (0, slice(2, 5)), (0, 0)):
        torch.testing.assert_close(model.lens(states[index]), whole[index], rtol=1e-4, atol=1e-4)
    assert len(states) == len(IDS)
    both = joined([states[1:], states[:1].cpu().to(torch.device("cpu"))])
    torch.testing.assert_close(model.lens(both), whole.flip(0), rtol=1e-4, atol=1e-4)
    save_file(as_tensors(states, "states") | {"other": torch.zeros(1)}, tmp_path / "kept.safetensors")
    assert torch.equal(model.lens(from_tensors(load_file(tmp_path / "kept.safetensors"), "states")), whole)


def test_marks_go_with_their_states() -> None:
    numbers = torch.arange(24.0).reshape(2, 3, 4)
    inner = Marked(numbers, torch.arange(6.0).reshape(2, 3))
    states = Marked(inner, -inner.mark)
    assert as_tensors(numbers, "x") == {"x": numbers}
    assert list(as_tensors(states, "x")) == ["x", "x.mark0", "x.mark1"]
    again = from_tensors(as_tensors(states, "x"), "x")
    chosen = joined([again[1:], again[:1]])[[0, 1], [2, 0]]
    assert isinstance(chosen, Marked) and isinstance(chosen.states, Marked)
    assert chosen.mark.tolist() == [-5.0, 0.0] and chosen.states.mark.tolist() == [5.0, 0.0]
    assert torch.equal(backbone_states(chosen), numbers[[1, 0], [2, 0]])


def test_columns_are_not_sliced_off_and_lenses_not_confused(lm: Backbone, wrapped: dict[str, LanguageModel]) -> None:
    with torch.no_grad():
        states: States = wrapped["readout"].hidden(IDS)[3]
    with pytest.raises(TypeError, match="leading axes"):
        states[..., :4]
    with pytest.raises(IndexError):
        states[:, :, :4]
    with pytest.raises(TypeError, match="the model that marked them"):
        lm.lens(states)
    for model in wrapped.values():
        with pytest.raises(TypeError, match="needs the marks"):
            model.lens(backbone_states(states))


@torch.no_grad()
def test_an_edit_of_a_span_is_marked_where_the_head_reads(wrapped: dict[str, LanguageModel]) -> None:
    states_by_layer = wrapped["edited span"].hidden(IDS, layers=[1, 2])
    expected = {1: ([0.0] * 9, [0.0] * 9), 2: ([0.0] + [1.0] * 8, [0.0] * 3 + [1.0] * 3 + [0.0] * 3)}
    for layer, (reads, edited) in expected.items():
        states = states_by_layer[layer]
        assert isinstance(states, Marked) and isinstance(states.states, Marked)
        assert states.states.mark.tolist() == [reads] * 2 and states.mark.tolist() == [edited] * 2


@torch.no_grad()
def test_a_value_keeps_its_digits_under_another_readout() -> None:
    """In half precision too: the inner value is no state, and is never stored like a state."""
    lm = Backbone(tiny_model("llama").bfloat16(), tiny_tokenizer())
    inner = Readout((3,), torch.zeros(lm.d_model), 1.2345678, plus=(5,), minus=(9,))
    outer = Readout((3,), torch.zeros(lm.d_model), 0.1111111, plus=(5,), minus=(9,))
    model = WithReadout(WithReadout(lm, inner), outer)
    moved = model.lens(model.hidden(IDS)[3])[:, 1:] - lm.lens(lm.hidden(IDS)[3])[:, 1:]
    torch.testing.assert_close(moved[..., 5] - moved[..., 9], torch.full((2, 8), 1.3456789), rtol=0, atol=1e-5)


def test_a_store_of_a_wrapped_model_is_that_of_its_backbone(
    lm: Backbone, wrapped: dict[str, LanguageModel], tmp_path: Path
) -> None:
    texts = ["A bee is a kind of food.", "Yes, yes."]
    plain, marked = (extract(model, texts, tmp_path / str(i)) for i, model in enumerate((lm, wrapped["two readouts"])))
    assert plain.d_model == marked.d_model == 32
    assert torch.equal(plain.shard(0, 3)["x"], marked.shard(0, 3)["x"])


def test_what_is_changed_in_a_part_is_as_wide(lm: Backbone, wrapped: dict[str, LanguageModel]) -> None:
    part = InPart(wrapped["readout"], lambda first, stop: lm, "generated", {})
    assert part.d_model == lm.d_model
