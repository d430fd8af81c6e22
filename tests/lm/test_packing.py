"""Prompts packed into rows by their prefix tree read as they do one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import accord
from accord.gap import measure_gap
from accord.lm import Backbone, proofs
from accord.lm.marked import States
from accord.lm.packing import as_batch, pack
from accord.lm.prefix_tree import Ids, grow
from accord.lm.states import end_states
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer

SEQUENCES = st.lists(
    st.lists(st.integers(1, 3), min_size=1, max_size=7).map(tuple), min_size=1, max_size=12, unique=True
)


@given(SEQUENCES, st.integers(7, 20))
@settings(max_examples=150, deadline=None)
def test_each_place_sees_its_own_sequence_alone(sequences: list[Ids], width: int) -> None:
    rows = pack(grow(sequences, min_saving=1), width)
    ids, tree, at = as_batch(rows)
    assert ids.shape[1] <= width
    seen = tree.mask(torch.float32, torch.device("cpu"))[:, 0] == 0
    read = set()
    for number, row in enumerate(rows):
        for slot, (place, i) in enumerate(row.reads):
            assert int(at[number, slot]) == place and i not in read
            read.add(i)
            own = seen[number, place].nonzero().squeeze(1)
            assert tuple(ids[number, own].tolist()) == sequences[i]
            assert tree.positions[number, own].tolist() == list(range(len(sequences[i])))
    assert read == set(range(len(sequences)))


def _sequences() -> list[Ids]:
    generator = torch.Generator().manual_seed(0)

    def some(n: int) -> list[int]:
        return torch.randint(5, 60, (n,), generator=generator).tolist()

    start = some(9)
    drawn = {tuple(start[: 1 + i % 9] + some(1 + i * 5 % 13)) for i in range(60)}
    return sorted(drawn)


def _states(lm: Backbone, sequences: list[Ids], batch_tokens: int) -> dict[tuple[int, int], Tensor]:
    found: dict[tuple[int, int], Tensor] = {}

    def read(layer: int, states: States, which: list[int]) -> None:
        assert isinstance(states, Tensor)
        found.update({(layer, i): state for i, state in zip(which, states, strict=True)})

    with torch.no_grad():
        end_states(lm, sequences, read, layers=range(lm.n_layers + 1), batch_tokens=batch_tokens)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_states_are_those_of_caches(family: str) -> None:
    """Of models that pass the proof; those with a window of six tokens do not."""
    lm, sequences = Backbone(tiny_model(family), tiny_tokenizer()), _sequences()
    assert lm.packs == 0  # on a CPU
    with torch.no_grad():
        proof, reach = proofs.packing(lm, proofs.make_probe(lm, proofs.tokens_to_try(lm, thorough=False)))
    assert proof.holds == (family not in ("mistral", "gemma2", "gemma3")) == (reach > 0)
    if not proof.holds:
        return
    plain = _states(lm, sequences, 64)
    lm.packs = reach
    for batch_tokens in (1, 64, 8192):
        packed = _states(lm, sequences, batch_tokens)
        assert packed.keys() == plain.keys()
        assert all(torch.allclose(packed[key], plain[key], atol=1e-4) for key in plain)


def test_a_wide_window_bounds_what_is_packed() -> None:
    lm = Backbone(tiny_model("mistral", sliding_window=20), tiny_tokenizer())
    with torch.no_grad():
        proof, reach = proofs.packing(lm, proofs.make_probe(lm, 64))
    assert proof.holds and reach == 20


def test_memory_that_runs_out_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, sequences = Backbone(tiny_model(), tiny_tokenizer()), _sequences()
    plain = _states(lm, sequences, 64)
    lm.packs = 100
    hidden, sizes = lm.hidden, []

    def small(ids: Tensor, **options: object) -> dict[int, Tensor]:
        sizes.append(ids.numel())
        if len(ids) > 2:
            raise torch.OutOfMemoryError("no room")
        return hidden(ids, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(lm, "hidden", small)
    monkeypatch.setattr("accord.lm.states._PACKED_WIDTH", 30)
    packed = _states(lm, sequences, 8192)
    assert max(sizes) > 60 and all(torch.allclose(packed[key], plain[key], atol=1e-4) for key in plain)


@pytest.mark.real
def test_the_small_real_model_scores_alike_packed() -> None:
    lm, task = accord.load("smollm2-135m", device="cpu", dtype="float32"), accord.task("hypernymy", limit=24)
    plain = measure_gap(lm, task, resamples=0).scores
    with torch.no_grad():
        proof, lm.packs = proofs.packing(lm, proofs.make_probe(lm, proofs.tokens_to_try(lm, thorough=False)))
    packed = measure_gap(lm, task, resamples=0).scores
    assert proof.holds
    for column in ("generator_logodds", "validator_logodds", "generator_logprob"):
        assert (plain[column] - packed[column]).abs().max() < 2e-4
