"""Patching against one prompt at a time with hooks set by hand, and the cases whose answer is known beforehand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer, yes_no
from torch import Tensor

import accord
from accord.concepts import Set, build, read_config
from accord.errors import AccordError
from accord.gap.questions import contexts_of
from accord.heads import ConceptLM, NewHead, Reader, build_head
from accord.lm import Backbone
from accord.lm.edited import Readout, Steered, WithReadout
from accord.pathway import patch
from accord.pathway.patching import recovered
from accord.pathway.receiver import Put, Receiver
from accord.steering import AddDirection
from accord.steering.span import EditedSpan
from accord.tasks import Task, task


@pytest.fixture(scope="module")
def hypernyms() -> Task:
    return task("hypernymy", limit=6, validator_shots="zero")


def _backbone(family: str = "llama", seed: int = 0) -> Backbone:
    return Backbone(tiny_model(family, seed), tiny_tokenizer())


def _vector(lm: Backbone, seed: int = 0, size: float = 1.0) -> Tensor:
    return size * torch.randn(lm.d_model, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _by_hand(donor: Backbone, receiver: Backbone, prompt: tuple[int, ...], layer: int, where: slice) -> float:
    """The donor's states of a layer put into the receiver at some positions, with nothing but a hook on a block."""
    ids, (yes, no) = torch.tensor([prompt]), yes_no(receiver.tokenizer)
    theirs = donor.hidden(ids, layers=[layer])[layer]

    def put(states: Tensor) -> Tensor:
        changed = states.clone()
        changed[:, where] = theirs[:, where]
        return changed

    if layer == 0:

        def before(_: Any, args: Any, kwargs: Any) -> Any:
            return (
                ((put(args[0]), *args[1:]), kwargs)
                if args
                else (args, {**kwargs, "hidden_states": put(kwargs["hidden_states"])})
            )

        handle = receiver.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = receiver.blocks[layer - 1].register_forward_hook(
            lambda _, __, out: (put(out[0]), *out[1:]) if isinstance(out, tuple) else put(out)
        )
    logits = receiver.model(ids).logits[0, -1].double().log_softmax(-1)
    handle.remove()
    return float(logits[list(yes)].logsumexp(0) - logits[list(no)].logsumexp(0))


@pytest.mark.parametrize(
    ("family", "everywhere"), [("llama", False), ("llama", True), ("gemma2", True), ("gpt2", False)]
)
def test_patched_logodds_are_those_of_hooks_set_by_hand(hypernyms: Task, family: str, everywhere: bool) -> None:
    donor, receiver = _backbone(family, seed=3), _backbone(family)
    table = patch(donor, receiver, hypernyms, draws=0, every_position=everywhere)
    for row in table.itertuples():
        prompt = contexts_of(receiver, hypernyms, "validator", [hypernyms.items[row.item]])[0]
        where = slice(1 if everywhere else len(prompt) - 1, None)
        expected = _by_hand(donor, receiver, prompt, row.layer, where)
        assert row.patched == pytest.approx(expected, abs=2e-4)
    assert len(table) == 6 * 4


def test_l_v_of_both_models_are_those_of_the_gap(hypernyms: Task) -> None:
    donor, receiver = _backbone(seed=3), _backbone()
    table = patch(donor, receiver, hypernyms, layers=[1], draws=0).sort_values("item")
    for lm, column in ((donor, "donor"), (receiver, "receiver")):
        scores = accord.measure_gap(lm, hypernyms, resamples=0).scores
        np.testing.assert_allclose(table[column], scores["validator_logodds"], atol=2e-4)


@pytest.mark.parametrize("everywhere", [False, True])
def test_without_a_cache_the_numbers_are_the_same(hypernyms: Task, everywhere: bool) -> None:
    donor, receiver, uncached = _backbone(seed=3), _backbone(), _backbone()
    uncached.cacheable = False
    shared = patch(donor, receiver, hypernyms, draws=1, layers=[0, 2], every_position=everywhere)
    whole = patch(donor, uncached, hypernyms, draws=1, layers=[0, 2], every_position=everywhere)
    states = shared["what"] == "states"
    np.testing.assert_allclose(shared.loc[states, "patched"], whole.loc[states, "patched"], atol=2e-4)
    if not everywhere:  # of one piece each, so that the random directions are the same too
        np.testing.assert_allclose(shared["patched"], whole["patched"], atol=2e-4)


def test_a_model_put_into_itself_changes_nothing(hypernyms: Task) -> None:
    lm = Steered(_backbone(), [AddDirection(1, _vector(_backbone()))])
    table = patch(lm, lm, hypernyms, draws=2)
    np.testing.assert_array_equal(table["patched"], table["receiver"])
    np.testing.assert_array_equal(table["donor"], table["receiver"])
    assert recovered(table, resamples=10)["value"].isna().all()


def test_two_loaded_models_with_the_same_head_differ_by_their_states_alone(hypernyms: Task) -> None:
    donor, receiver = _backbone(), _backbone()
    with torch.no_grad():
        for parameter in donor.blocks[1].parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    for source, target in ((donor, receiver), (receiver, donor)):
        table = patch(source, target, hypernyms, draws=1)
        effect = recovered(table, resamples=0).set_index(["layer", "what"])["value"]
        assert effect[0, "states"] == effect[1, "states"] == effect[1, "random"] == 0
        assert effect[3, "states"] == pytest.approx(1, abs=1e-3)
        assert abs(effect[2, "states"] - 1) > 0.01  # the last position alone, not what block 3 reads from the others


def test_states_are_put_after_the_receivers_own_edits(hypernyms: Task) -> None:
    base = _backbone()
    steered = Steered(base, [AddDirection(2, _vector(base, size=2.0))])
    table = patch(base, steered, hypernyms, draws=0, every_position=True)
    assert (table["donor"] - table["receiver"]).abs().min() > 1e-3
    at = dict(list(table.groupby("layer")))
    for layer in (0, 1):  # below the edit both models are the same: the edit comes anew
        np.testing.assert_allclose(at[layer]["patched"], at[layer]["receiver"], atol=1e-5)
    for layer in (2, 3):  # at it and above, nothing of the edit is left
        np.testing.assert_allclose(at[layer]["patched"], at[layer]["donor"], atol=1e-4)
    effect = recovered(table, resamples=0).set_index("layer")["value"]
    assert effect.tolist() == pytest.approx([0, 0, 1, 1], abs=1e-3)


def test_a_repair_of_the_logits_is_in_no_state(hypernyms: Task) -> None:
    base = _backbone()
    read = Readout((1,), _vector(base, 1), 1.0, *yes_no(base.tokenizer))
    repaired = WithReadout(WithReadout(base, read), read)
    for donor, receiver in ((repaired, base), (base, repaired)):
        table = patch(donor, receiver, hypernyms, draws=1)
        assert (table["donor"] - table["receiver"]).abs().max() > 0.1
        np.testing.assert_array_equal(table["patched"], table["receiver"])
        assert recovered(table, resamples=20)[["value", "low", "high"]].eq(0).all(axis=None)


def test_the_readouts_own_states_can_be_patched(hypernyms: Task) -> None:
    """What the receiver reads at a layer moves with states that are put below it, not with those put above."""
    base, other = _backbone(), _backbone(seed=3)
    read = Readout((1,), _vector(base, 1), 1.0, *yes_no(base.tokenizer))
    plain, reading = patch(other, base, hypernyms, draws=0), patch(other, WithReadout(base, read), hypernyms, draws=0)
    value = (reading["patched"] - plain["patched"]).groupby(plain["layer"])
    base_value, other_value = [], []
    for item in hypernyms.items:
        ids = torch.tensor([contexts_of(base, hypernyms, "validator", [item])[0]])
        for lm, values in ((base, base_value), (other, other_value)):
            values.append(float(read(lm.hidden(ids, layers=[1]))[0, -1].detach()))
    np.testing.assert_allclose(value.get_group(1), other_value, atol=1e-3)
    np.testing.assert_allclose(value.get_group(2), base_value, atol=1e-3)


def test_a_model_edited_in_a_part_is_given_states_wherever_it_runs_them() -> None:
    lm, ids = _backbone(), torch.arange(5, 11)[None]
    states = lm.hidden(ids)[lm.n_layers].flatten(0, 1)
    concepts = build(read_config({"kind": "topk", "size": 24, "k": 4}), lm.d_model, seed=3)
    concepts.fit_scale([states])
    reader = Reader("latents", concepts.eval())
    head = build_head(NewHead(), lm, reader, states, counts=torch.ones(lm.vocab_size))
    edited = EditedSpan(ConceptLM(lm, lm.n_layers, reader, head), {2: Set(5.0)}, first=2)
    put = Put(lm.n_layers, 1, torch.randn(1, 5, lm.d_model, generator=torch.Generator().manual_seed(1)))
    (before, _), (after, _) = (Receiver(edited).run(ids, [], puts=puts) for puts in ((), [put]))
    logits = [edited.lens(by_layer[edited.n_layers]) for by_layer in (before, after)]
    assert torch.equal(logits[0][:, 0], logits[1][:, 0]) and not torch.equal(logits[0][:, 1:], logits[1][:, 1:])


def test_random_directions_have_the_norm_of_the_difference(hypernyms: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    donor, receiver = _backbone(seed=3), _backbone()
    puts, run = [], Receiver.run

    def spy(self: Receiver, *args: Any, **kwargs: Any) -> Any:
        puts.extend(kwargs.get("puts", ()))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Receiver, "run", spy)
    patch(donor, receiver, hypernyms, layers=[2], draws=2)
    prompts = contexts_of(receiver, hypernyms, "validator")
    own, theirs = (
        torch.stack([lm.hidden(torch.tensor([p]), layers=[2])[2][0, -1].detach() for p in prompts])
        for lm in (receiver, donor)
    )
    rows = torch.cat([put.states.reshape(3, -1, 32) for put in puts], dim=1)  # donor's, first draw, second draw
    assert rows.shape[1] == len(prompts)
    for state, first, second in zip(*rows, strict=True):
        item = int((theirs - state).norm(dim=1).argmin())
        torch.testing.assert_close(state, theirs[item], rtol=1e-3, atol=1e-3)
        for random in (first, second):
            assert float((random - own[item]).norm()) == pytest.approx(float((state - own[item]).norm()), rel=1e-3)
        assert abs(float(torch.cosine_similarity(first - own[item], second - own[item], dim=0))) < 0.7


def test_the_effect_is_the_slope_through_zero() -> None:
    draw = np.random.default_rng(0)
    donor, receiver = draw.normal(size=40), draw.normal(size=40)
    patched = receiver + 0.6 * (donor - receiver) + 0.1 * draw.normal(size=40)
    table = pd.DataFrame(
        {"item": range(40), "layer": 5, "what": "states", "receiver": receiver, "donor": donor, "patched": patched}
    )
    effect = recovered(table).iloc[0]
    slope, *_ = np.linalg.lstsq((donor - receiver)[:, None], patched - receiver, rcond=None)
    assert effect["value"] == pytest.approx(float(slope[0]))
    assert effect["low"] < effect["value"] < effect["high"] and 0.02 < effect["high"] - effect["low"] < 0.1


def test_a_killed_run_goes_on_from_its_parts(hypernyms: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    donor, receiver, run, calls = _backbone(seed=3), _backbone(), Receiver.run, []
    whole = patch(donor, receiver, hypernyms, layers=[1, 2], parts=tmp_path)
    lengths = sorted(tmp_path.glob("length-*.parquet"))
    assert len(lengths) > 1
    lengths[0].unlink()

    def counted(self: Receiver, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(args[0]))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Receiver, "run", counted)
    pd.testing.assert_frame_equal(patch(donor, receiver, hypernyms, layers=[1, 2], parts=tmp_path), whole)
    again = len(calls)
    patch(donor, receiver, hypernyms, layers=[1, 2], parts=tmp_path)
    assert again > 0 and len(calls) == again


def test_models_of_other_shapes_are_refused(hypernyms: Task) -> None:
    with pytest.raises(AccordError, match="same shape"):
        patch(_backbone(), Backbone(tiny_model("llama", num_hidden_layers=2), tiny_tokenizer()), hypernyms)


@pytest.mark.real
def test_on_the_real_model_one_item_is_as_by_hand_and_the_edit_is_found_where_it_is() -> None:
    base = accord.load("smollm2-135m")
    hypernyms = task("hypernymy", limit=4, validator_shots="zero")
    steered = Steered(base, [AddDirection(15, _vector(base, size=1.0))])
    table = patch(steered, base, hypernyms, layers=[14, 15, 30], draws=1)
    effect = recovered(table, resamples=0).set_index(["layer", "what"])["value"]
    assert effect[14, "states"] == 0 and effect[30, "states"] == pytest.approx(1, abs=1e-3)
    assert effect[15, "states"] > 0.2 and abs(effect[15, "random"]) < effect[15, "states"]
    prompt = contexts_of(base, hypernyms, "validator")[2]
    with torch.no_grad():
        state = steered.hidden(torch.tensor([prompt]), layers=[15])[15][:, -1:]
        put = base.blocks[14].register_forward_hook(
            lambda _, __, out: (
                (torch.cat([out[0][:, :-1], state], 1), *out[1:])
                if isinstance(out, tuple)
                else torch.cat([out[:, :-1], state], 1)
            )
        )
        logits = base.model(torch.tensor([prompt])).logits[0, -1].double()
        put.remove()
    yes, no = yes_no(base.tokenizer)
    expected = float(logits[list(yes)].logsumexp(0) - logits[list(no)].logsumexp(0))
    row = table[(table["item"] == 2) & (table["layer"] == 15) & (table["what"] == "states")].iloc[0]
    assert row["patched"] == pytest.approx(expected, abs=1e-3)
