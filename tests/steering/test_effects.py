"""The experiment: controls are fair, numbers are those of plain loops, and a planted concept is found to act."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from accord.concepts import Scale, Set
from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.sampling import generate
from accord.steering import (
    Dose,
    Effects,
    Reading,
    Target,
    Typical,
    Writing,
    equal_rates,
    live,
    measure_typical,
    promoted,
    promoted_along,
    promoted_effects,
    written_effects,
)
from accord.steering.arms import CONCEPT, OTHER, PUSH, arms, random_unit
from accord.steering.effects import _RIVALS, _SPECIFIC, _rows
from accord.steering.means import Mean, over_prompts, over_texts
from tests.steering.test_typical import batches

TEXTS = [
    "A bee is a kind of food.",
    "",
    "no",
    "The birds are kind of yes " * 3,
    "Yes, yes.",
    "Are birds food, or kind?",
]


def active(typical: Typical) -> list[int]:
    """Concepts that are ever active: untrained gates are rarely `live`."""
    concepts: list[int] = torch.nonzero(typical.rate > 0).flatten().tolist()
    return concepts


class Letters:
    """Counts a letter: an independent judge that is easily checked."""

    name, low, high = "letters", 0.0, 2.0

    def __call__(self, texts: list[str]) -> np.ndarray:
        return np.array([float(text.count("e")) for text in texts])


@pytest.fixture
def target(lm: Backbone, concepts: Any) -> Target:
    return Target.of(lm, concepts("topk", 3), 3)


@pytest.fixture
def planted(lm: Backbone, concepts: Any) -> Target:
    """Concept 0 writes what raises " food" (in place of what it wrote)."""
    model = concepts("topk", 3)
    food = lm.tokenizer(" food", add_special_tokens=False)["input_ids"]
    row = lm.lens_parts()[1].weight[food[0]].detach() / model.scale  # type: ignore[index]
    with torch.no_grad():
        model.W_dec[0] = 6 * row / row.norm()
    return Target.of(lm, model, 3)


def test_doses_and_controls(target: Target, states: Any) -> None:
    x = states(3)
    typical = measure_typical(target.concepts, batches(x, 64))
    assert [Dose("factor", v).sign for v in (0.0, 0.5, 2.0)] == [-1, -1, 1]
    assert [Dose("typical", v).sign for v in (0.0, 0.5)] == [-1, 1]
    k = live(typical)[0]
    assert Dose("factor", 3.0).edit(k, typical) == Scale(3.0)
    assert Dose("typical", 3.0).edit(k, typical) == Set(3.0 * float(typical.mean[k]))
    for wrong in (("factor", 1.0), ("factor", -1.0), ("typical", math.nan), ("added", 0.0)):
        with pytest.raises(AccordError, match="no dose"):
            Dose(*wrong)  # type: ignore[arg-type]
    chosen = live(typical)[:4]
    others = equal_rates(typical, chosen, 0)
    assert len(set(others.values())) == 4 and not set(others.values()) & set(chosen)
    with pytest.raises(AccordError, match="too few live"):
        equal_rates(typical, torch.nonzero(typical.rate > 0).flatten().tolist(), 0)
    # The push moves every state exactly as far as the edit, which is not at all where the concept is not active.
    for dose in (Dose("factor", 0.0), Dose("typical", 2.0)):
        own, other, push = arms(target, typical, k, others[k], dose, 0)
        assert (own.control, other.control, push.control) == (CONCEPT, OTHER, PUSH) and push.push is not None
        moved = target.change(own.edits)(x) - x
        pushed = push.push(x) - x
        torch.testing.assert_close(pushed.norm(dim=1), moved.norm(dim=1), rtol=1e-3, atol=1e-3)
        active = moved.norm(dim=1) > 1e-2
        along = pushed[active] / pushed[active].norm(dim=1, keepdim=True)
        way = dose.sign * random_unit(target, 0, k)  # turned down, the push goes against its direction
        torch.testing.assert_close(along, way.expand_as(along), rtol=1e-2, atol=1e-2)
    assert bool(active.any()) and not torch.allclose(random_unit(target, 0, k), random_unit(target, 1, k))


@pytest.mark.parametrize("kind", ["topk", "lcblm"])
def test_without_the_error_all_arms_change_the_reconstruction(
    lm: Backbone, concepts: Any, states: Any, kind: str
) -> None:
    target = Target.of(lm, concepts(kind, 3), 3, keep_error=False)
    x = states(3)
    typical = measure_typical(target.concepts, batches(x, 64))
    k, other = active(typical)[:2]
    reading = Reading.of(target, TEXTS)
    places = reading.places(None, 20, 0)
    with torch.no_grad():
        plain = target.concepts.decode(target.concepts.encode(x))
        assert not torch.allclose(plain, x, atol=1e-2)
        read = lm.lens(target.concepts.decode(target.concepts.encode(reading.states[places]))).log_softmax(-1)[:, [5]]
    np.testing.assert_allclose(reading.log_probs(None, places, [5]), read.mean(1), rtol=1e-4, atol=1e-4)
    for dose in (Dose("factor", 0.0), Dose("typical", 2.0), Dose("added", 2.0)):
        own, _, push = arms(target, typical, k, other, dose, 0)
        moved, pushed = ((arm.push or target.change(arm.edits))(x) - plain for arm in (own, push))
        assert float(moved.norm(dim=1).max()) > 0.1
        torch.testing.assert_close(pushed.norm(dim=1), moved.norm(dim=1), rtol=1e-4, atol=1e-4)
    # Run whole, the added one and the plain one are what was added to, and what is, the reconstruction.
    window = reading.tokens.rows([reading.windows[0]])
    with torch.no_grad():
        raw = lm.hidden(window)[3][0, 1:]
        rebuilt = target.concepts.decode(target.concepts.encode(raw))
        for model, vector in ((target.plain, 0), (own.model(target), 2 * typical.written[k])):
            torch.testing.assert_close(model.hidden(window)[3][0, 1:], rebuilt + vector, rtol=1e-3, atol=1e-3)


def test_adding_what_a_latent_writes_is_setting_it_where_it_was_off(target: Target, states: Any) -> None:
    x = states(3)
    typical = measure_typical(target.concepts, batches(x, 64))
    k, other = live(typical)[:2]
    set_, added = (arms(target, typical, k, other, Dose(kind, 2.0), 0) for kind in ("typical", "added"))
    with torch.no_grad():
        off = target.concepts.encode(x).strength[:, k] == 0
    moved = [target.change(set_[0].edits)(x)] + [arm.push(x) for arm in added if arm.push is not None]
    assert 0 < int(off.sum()) < len(x)
    torch.testing.assert_close(moved[0][off], moved[1][off], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((moved[3] - x).norm(dim=1), (moved[1] - x).norm(dim=1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((moved[2] - x)[0], 2 * typical.written[other], rtol=1e-3, atol=1e-3)


def test_means_of_texts_and_prompts_against_plain_formulas() -> None:
    rng = np.random.default_rng(0)
    texts = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    values = rng.normal(size=len(texts)) + np.repeat(rng.normal(size=12), np.bincount(texts))
    mean = over_texts(texts, values, 15)  # three texts have no value
    parts = [sum(values[texts == t] - values.mean()) / len(texts) for t in range(12)]
    half = stats.t.ppf(0.975, 11) * math.sqrt(12 / 11 * sum(part**2 for part in parts))
    low, high = mean.interval
    assert mean.value == pytest.approx(values.mean()) and mean.n == len(texts)
    assert low <= mean.value - half * 0.999 and high >= mean.value + half * 0.999 and high - low < 4 * half
    assert (mean - over_texts(texts, values + 1, 15)).value == pytest.approx(-1)
    paired = mean - over_texts(texts, values + 0.01 * rng.normal(size=len(texts)), 15)
    assert paired.interval[1] - paired.interval[0] < 0.1 * (high - low)


def test_prompts_are_the_units_and_lost_texts_count_in_no_mean() -> None:
    grid = np.array([[1.0, 2.0, np.nan], [4.0, 6.0, 8.0], *np.random.default_rng(1).normal(4, 1, (6, 3))])
    mean = over_prompts(grid)
    assert mean.value == pytest.approx(np.nanmean(grid)) and mean.n == 23
    assert (
        over_prompts(grid + 9).beyond(1) and over_prompts(-grid - 9).beyond(-1) and not over_prompts(grid - 4).beyond(1)
    )
    few, alike = over_prompts(grid[:2]), over_prompts(np.ones((8, 3)))
    assert all(math.isnan(end) for m in (few, alike) for end in m.interval)
    assert over_prompts(np.ones((8, 3)), unit=True).beyond(1)  # every text turned out as wanted
    empty = over_texts(np.array([], dtype=np.int64), np.array([]), 4)
    assert math.isnan(empty.value) and not empty.beyond(1)


@pytest.mark.parametrize("where", ["spliced", "inner", "original", "new", "inner-original"])
def test_log_probs_are_those_of_the_steered_model(
    lm: Backbone, concepts: Any, concept_lm: Any, states: Any, where: str
) -> None:
    layer = 1 if where.startswith("inner") else 3
    if where in ("spliced", "inner"):
        target = Target.of(lm, concepts("lcblm", layer), layer)
    else:
        target = Target.of(concept_lm("lcblm", layer, where.removeprefix("inner-")), None, None)
    assert target.at_top == (layer == 3)
    typical = measure_typical(target.concepts, batches(states(layer), 64))
    reading = Reading.of(target, TEXTS)
    places = reading.places(None, 20, 0)
    tokens = [5, 9, 200]
    doses = [Dose("typical", 3.0), Dose("added", 2.0)]
    edited = [arm for dose in doses for arm in arms(target, typical, *active(typical)[:2], dose, 0)]
    for arm in [None, *edited]:
        model = target.lm if arm is None else arm.model(target)
        log_probs = reading.log_probs(arm, places, tokens)
        for place, value in zip(places.tolist(), log_probs, strict=True):
            window = reading.windows[int(reading.row[place])]
            row = reading.tokens.rows([window])
            with torch.no_grad():
                logits = model.lens(model.hidden(row)[model.n_layers])[0, int(reading.column[place])]
            np.testing.assert_allclose(value, float(logits.log_softmax(-1)[tokens].mean()), rtol=1e-4, atol=1e-4)
    assert set(reading.text.tolist()) == {0, 2, 3, 4, 5} and len(reading.states) == sum(
        len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS
    )


def test_a_planted_concept_acts_on_its_tokens_and_controls_do_not(
    lm: Backbone, planted: Target, states: Any, tmp_path: Path
) -> None:
    typical = measure_typical(planted.concepts, batches(states(3), 64))
    food = lm.tokenizer(" food", add_special_tokens=False)["input_ids"][0]
    tokens = promoted(planted, typical, [0], states(3), n=1)
    assert tokens == {0: [food]}
    reading = Reading.of(planted, TEXTS * 3)
    doses = [Dose("factor", 0.0), Dose("typical", 1.0), Dose("typical", 4.0)]
    others = equal_rates(typical, [0], 0)
    rows = promoted_effects(reading, typical, tokens, others, doses, places=40)
    assert {row["random_concept"] for row in rows} == {others[0]}
    table = pd.DataFrame(rows).set_index(["kind", "dose", "control"])
    off, once, more = (table.loc[(*key, CONCEPT)] for key in (("factor", 0.0), ("typical", 1.0), ("typical", 4.0)))
    assert off["value"] < 0 < once["value"] < more["value"]
    assert off["acts"] and more["acts"] and not table.loc[("typical", 4.0, OTHER), "acts"]
    lead = table.loc[("typical", 4.0, f"concept over {PUSH}")]
    np.testing.assert_allclose(lead["value"], more["value"] - table.loc[("typical", 4.0, PUSH), "value"])
    # The change by hand, where the concept is active.
    where = reading.places(0, 40, 0)
    x = reading.states[where]
    with torch.no_grad():
        after = lm.lens(planted.change({0: Set(0.0)})(x)).log_softmax(-1)[:, food]
        before = lm.lens(x).log_softmax(-1)[:, food]
    np.testing.assert_allclose(off["value"], float((after - before).mean()), rtol=1e-3, atol=1e-4)
    assert off["n"] == len(where) > 5 and off["level"] == pytest.approx(float(after.mean()), abs=1e-4)


@pytest.mark.parametrize("given", [True, False])
def test_a_random_direction_is_scored_on_its_own_tokens(
    lm: Backbone, planted: Target, states: Any, given: bool
) -> None:
    x = states(3)
    typical = measure_typical(planted.concepts, batches(x, 64))
    reading, others = Reading.of(planted, TEXTS * 3), equal_rates(typical, [0], 0)
    doses = [Dose("factor", 0.0), Dose("added", 4.0)]
    around = x if given else planted.concepts.mean[None]
    options: dict[str, Any] = {"places": 30, "states": x if given else None}
    rows = promoted_effects(reading, typical, {0: [5, 9, 30]}, others, doses, **options)
    table = pd.DataFrame(rows).set_index(["kind", "control"])
    # Its tokens by hand: what the direction, as long as what the concept writes, raises most around the same states.
    vector = float(typical.written[0].norm()) * random_unit(planted, 0, 0)
    with torch.no_grad():
        after, before = lm.lens(around[:32] + vector), lm.lens(around[:32])
        change = (after - after.mean(1, keepdim=True)) - (before - before.mean(1, keepdim=True))
        own = change.mean(0).topk(3).indices.tolist()
        h = reading.states[reading.places(None, 30, 0)]
        moved = (lm.lens(h + 4 * vector).log_softmax(-1) - lm.lens(h).log_softmax(-1))[:, own].mean()
    assert own != [5, 9, 30] and promoted_along(planted, vector[None], around, n=3) == [own]
    push = table.loc[("added", PUSH)]
    np.testing.assert_allclose(push["value"], float(moved), rtol=1e-3, atol=1e-3)
    # Any direction raises its own tokens, and lowers them where it is turned down.
    assert push["acts"] and push["value"] > 1 and table.loc[("factor", PUSH), "value"] < 0
    assert not table.loc[("added", OTHER), "acts"]


def test_the_concepts_must_lead_each_other_on_promoted_tokens() -> None:
    def estimate(value: float) -> Mean:
        noise = np.random.default_rng(round(value)).normal(0, 0.1, 30)
        return over_texts(np.arange(30), value + noise, 30)

    changes = {CONCEPT: estimate(2.0), OTHER: estimate(1.0), PUSH: estimate(5.0)}
    level = dict.fromkeys(changes, 0.0)
    acting = {}
    for name, rivals in (("promoted", _SPECIFIC), ("wanted", _RIVALS)):
        rows = _rows((3, 8), Dose("added", 4.0), name, changes, level, 1, rivals)
        acting[name] = {row["control"]: row["acts"] for row in rows if row["acts"] is not None}
        assert len(rows) == 5 and {(row["concept"], row["random_concept"]) for row in rows} == {(3, 8)}
    assert acting["promoted"] == {CONCEPT: True, OTHER: False, PUSH: True}
    assert acting["wanted"] == {CONCEPT: False, OTHER: False, PUSH: True}


def test_texts_are_paired_and_written_down(planted: Target, lm: Backbone, states: Any, tmp_path: Path) -> None:
    typical = measure_typical(planted.concepts, batches(states(3), 64))
    writing = Writing(Letters(), ("A bee is", "No"), n=3, max_new_tokens=6, judge=lm)
    doses, others = [Dose("factor", 0.0), Dose("typical", 3.0)], equal_rates(typical, [0, 1], 0)
    rows, texts = written_effects(planted, typical, writing, {0: 1, 1: -1}, others, doses)
    table = pd.DataFrame(rows).set_index(["concept", "kind", "dose", "control", "measure"])
    options = {"prompts": list(writing.prompts), "n": 3, "max_new_tokens": 6}
    before = generate(lm, **options)  # type: ignore[arg-type]
    edit = typical.edit(1, 3.0)
    after = generate(planted.steered({1: edit}), **options)  # type: ignore[arg-type]
    change = np.mean([a.text.count("e") - b.text.count("e") for a, b in zip(after, before, strict=True)])
    row = table.loc[(1, "typical", 3.0, CONCEPT, "label")]
    assert row["value"] == pytest.approx(change) and row["expected"] == -1 and row["n"] == 6
    wanted = np.mean([a.text.count("e") <= 0 for a in after])  # the opposite of the label
    assert table.loc[(1, "typical", 3.0, CONCEPT, "wanted"), "level"] == pytest.approx(wanted)
    assert table.loc[(1, "factor", 0.0, CONCEPT, "label"), "expected"] == 1
    assert table.loc[(0, "typical", 3.0, CONCEPT, "judge_nll"), "expected"] == 0
    assert len(texts) == 6 * (1 + 2 * 2 * 3) and [text["text"] for text in texts[:6]] == [s.text for s in before]
    effects = Effects.of(rows, texts, typical, {"name": "planted", "label": "letters"})
    effects.write(tmp_path / "out")
    read = pd.read_parquet(tmp_path / "out" / "effects.parquet")
    assert len(read) == len(rows) and {"per_float", "acts", "low", "high"} <= set(read)
    pooled = pd.read_parquet(tmp_path / "out" / "doses.parquet").set_index(["kind", "dose", "control", "measure"])
    own = table.xs(("typical", 3.0, CONCEPT, "label"), level=("kind", "dose", "control", "measure"))
    signed = own.loc[0, "value"] - own.loc[1, "value"]  # the second is expected to fall
    assert pooled.loc[("typical", 3.0, CONCEPT, "label"), "value"] == pytest.approx(signed / 2)
    assert math.isnan(pooled.loc[("typical", 3.0, CONCEPT, "judge_nll"), "share"])
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["control"] == PUSH and len(lines) == len(texts)
    said = json.loads((tmp_path / "out" / "effects.json").read_text())
    assert "at 3.0 times the typical strength" in said["said"] and said["floats_per_concept"] == 1
    with pytest.raises(AccordError, match="goes with the label"):
        written_effects(planted, typical, writing, {0: 0}, others, doses)


def test_a_concept_of_many_floats_is_told_per_float(lm: Backbone, concepts: Any, states: Any) -> None:
    target = Target.of(lm, concepts("lcblm", 3), 3)
    typical = measure_typical(target.concepts, batches(states(3), 64))
    k, other = active(typical)[:2]
    reading = Reading.of(target, TEXTS)
    rows = promoted_effects(reading, typical, {k: [5]}, {k: other}, [Dose("factor", 0.0)])
    effects = Effects.of(rows, [], typical, {})
    np.testing.assert_allclose(effects.table["per_float"], effects.table["value"] / 3)
    rate = float(typical.rate.sum())
    assert effects.about["active_floats_per_token"] == pytest.approx(3 * rate)
