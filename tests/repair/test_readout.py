"""The readout repair: its regression against the formula, its cost against the edited model, and the whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer, yes_no

import accord
from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.edited import Readout, WithReadout
from accord.lm.perplexity import perplexity
from accord.relations import relation_tasks
from accord.repair import Fitted, calibrate, operate, readout
from accord.repair.config import ReadoutConfig
from accord.repair.evidence import Evidence, _prompts, gather, hold_out, validator_logodds
from accord.repair.fitted import best_within
from accord.repair.ordinary import Ordinary, ordinary_texts, read_texts
from accord.repair.readout import KeptQuestions, _Search, target_logodds, typical_removed
from accord.tasks import Labels, task
from accord.tasks.splits import prompts_apart
from accord.text import corpus

TEXTS = [f"the {word} was no good, yes it was not, No but" * 2 for word in ("film", "plot", "cast", "score", "end")]
QUICK = ReadoutConfig(positions=120, penalties=[0.1, 1.0], quiet_weights=[0.03], budget=1.2)


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer())


@torch.no_grad()
def test_the_cost_is_what_the_edited_model_loses(lm: Backbone) -> None:
    weight = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(1)) / 3
    read = Readout((2,), weight, 0.7, *yes_no(lm.tokenizer))
    model = WithReadout(lm, read)
    ordinary = read_texts(lm, TEXTS, [2], yes_no(lm.tokenizer), positions=10_000)
    assert {1.0, -1.0, 0.0} == set(ordinary.sign.tolist())  # texts with yes, with no, and other tokens
    cost = ordinary.cost(read(ordinary.states))
    before, after = perplexity(lm, TEXTS), perplexity(model, TEXTS)
    assert len(ordinary.sign) == before.tokens.sum() - len(TEXTS)  # all but the first of each
    lost = (after.nll - before.nll).sum()
    assert np.log(cost["perplexity_ratio"]) * len(ordinary.sign) == pytest.approx(lost, rel=1e-3)
    divergences = []
    for text in TEXTS:
        ids = torch.tensor([[1, *lm.tokenizer(text, add_special_tokens=False)["input_ids"]]])
        old, new = (m.lens(m.hidden(ids)[3])[0, 1:-1].double().log_softmax(-1) for m in (lm, model))
        divergences.append((old.exp() * (old - new)).sum(-1))
    assert cost["kl"] == pytest.approx(float(torch.cat(divergences).mean()), rel=1e-3)


def test_what_is_wanted_follows_the_generator() -> None:
    l_g = np.random.default_rng(0).normal(-7, 4, 51)
    target = target_logodds(l_g, 2.0)
    assert np.corrcoef(target, l_g)[0, 1] == pytest.approx(1.0)
    assert target.std() == pytest.approx(2.0) and np.median(target) == pytest.approx(0.0)


def test_items_are_held_out_by_themselves_and_in_groups() -> None:
    whole = task("hypernymy", split="train", split_kind="nested", limit=400)
    items, alone = whole.items, prompts_apart(whole)
    assert len(set(alone)) == 400  # pairs of words are divided by words: a test may have a training prompt
    sides = hold_out(items, alone, 0.25, seed=0)
    assert (sides > 0).mean() == pytest.approx(0.25, abs=0.03) and (sides == 2).mean() == pytest.approx(0.125, abs=0.03)
    held = {item.group for item, side in zip(items, sides, strict=True) if side == 2}
    assert held and not held & {item.group for item, side in zip(items, sides, strict=True) if side != 2}
    few = [item for item in items if item.group in {items[0].group, items[1].group}]
    assert set(hold_out(few, range(len(few)), 0.25, seed=0)) == {0, 1}
    assert (hold_out(items, alone, 0.25, seed=1) != sides).any()


@pytest.mark.parametrize(("name", "kinds"), [("hypernymy-members", 3), ("arithmetic-chains", 2), ("programs", 2)])
def test_no_prompt_is_both_fitted_and_held_out_as_none_is_both_trained_and_tested(name: str, kinds: int) -> None:
    train, test = (task(name, split=split, limit=160) for split in ("train", "test"))
    assert not set(prompts_apart(train)) & set(prompts_apart(test))
    for seed in (0, 1):
        sides = hold_out(train.items, prompts := prompts_apart(train), 0.25, seed)
        assert len(set(sides)) == kinds and (sides > 0).mean() == pytest.approx(0.25, abs=0.06)
        fitted = {prompt for prompt, side in zip(prompts, sides, strict=True) if side == 0}
        assert not fitted & {prompt for prompt, side in zip(prompts, sides, strict=True) if side > 0}
    one = replace(train, items=train.items[:8])
    assert len(set(prompts_apart(one))) == 1 and len(set(_prompts(one))) == 8  # then items are all there is to hold out


def test_the_best_within_the_budget_is_taken() -> None:
    rows = [
        {"agreement": 0.9, "perplexity_ratio": 1.2},
        {"agreement": 0.5, "perplexity_ratio": 1.0},
        {"agreement": 0.7, "perplexity_ratio": 1.01},
        {"agreement": float("nan"), "perplexity_ratio": 1.0},
    ]
    best, table = best_within(rows, 1.01)
    assert best == 2 and table["chosen"].tolist() == [False, False, True, False]
    assert table["allowed"].tolist() == [False, True, True, True]
    with pytest.raises(AccordError, match="budget"):
        best_within(rows[:1], 1.01)
    balanced = [{**row, "balance": balance} for row, balance in zip(rows, (0.9, 0.5, 0.4, 0.3), strict=True)]
    assert best_within(balanced, 1.01, by="balance")[0] == 1


def test_a_fitted_readout_repairs_and_comes_back(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    lm = accord.load(tmp_path / "base")
    train = task("hypernymy", split="train", limit=120)
    fitted = operate(lm, train, QUICK, seed=0, texts=TEXTS)
    assert len(fitted.choices) == (4 + 1) * 2 * 3  # four layers and one band, penalties, strengths
    assert fitted.choices["chosen"].sum() == 1
    evidence, repaired = gather(lm, train), fitted.on(lm)
    before = evidence.judge(evidence.validator, np.ones(120, dtype=bool))["pearson_all"]
    moved = validator_logodds(repaired, train, train.items)
    after = evidence.judge(moved, np.ones(120, dtype=bool))["pearson_all"]
    assert after > before + 0.2
    assert after == pytest.approx(fitted.chosen["training"]["pearson_all"], abs=1e-3)
    fitted.save(tmp_path / "repaired", base=str(tmp_path / "base"), about={"method": "readout"})
    back = accord.load(tmp_path / "repaired")
    np.testing.assert_allclose(validator_logodds(back, train, train.items), moved, rtol=1e-4, atol=1e-4)
    assert len(pd.read_parquet(tmp_path / "repaired" / "choices.parquet")) == len(fitted.choices)


def test_a_readout_is_fitted_on_the_states_of_a_model_that_has_one(lm: Backbone) -> None:
    """Not on the value that the first one read: a second one, and a threshold, read as many numbers as the first."""
    train = task("hypernymy", split="train", limit=24)
    first = WithReadout(lm, Readout((2,), torch.ones(lm.d_model) / 9, 0.4, *yes_no(lm.tokenizer)))
    for layer in (1, 3):
        fitted = readout.fit(first, train, QUICK.model_copy(update={"layers": [layer]}), texts=TEXTS)
        assert len(fitted.edits[0].weight) == lm.d_model  # type: ignore[union-attr]
        assert np.isfinite(perplexity(fitted.on(first), TEXTS).nll).all()
    shifted = calibrate.fit(first, train, texts=TEXTS)
    read = shifted.edits[0]
    assert isinstance(read, Readout) and len(read.weight) == lm.d_model and not read.weight.any()
    moved = validator_logodds(shifted.on(first), train, train.items) - validator_logodds(first, train, train.items)
    np.testing.assert_allclose(moved, read.bias, atol=1e-4)


def test_kept_questions_weigh_as_much_as_the_items() -> None:
    """Against the normal equations, row by row."""
    rng = np.random.default_rng(0)

    def states(n: int) -> dict[int, torch.Tensor]:
        return {1: torch.from_numpy(rng.normal(size=(n, 3))).float()}

    def text(n: int) -> Ordinary:
        return Ordinary(states(n), *(torch.zeros(n).double() for _ in range(3)))

    held = np.array([0] * 20 + [1] * 10)
    evidence = Evidence(rng.normal(size=30), rng.normal(size=30), rng.random(30) > 0.5, states(30), held)
    kept = KeptQuestions(states(80), rng.normal(size=80), rng.normal(size=80), np.arange(80) // 20, np.arange(80) >= 60)
    config = ReadoutConfig(layers=[1], spread=2.0)
    probe = _Search(config, evidence, text(15), text(15), kept).ridge([1], all_items=False)
    fitted = probe.fit(0.3, 0.1)
    own, others = evidence.states[1][:20], kept.states[1][:60]
    rows = torch.cat([own, own, own, others]).double().numpy()  # 60 to 60
    missing = target_logodds(evidence.generator[:20], 2.0) - evidence.validator[:20]
    goal = np.concatenate([missing, missing, missing, (kept.wanted - kept.validator)[:60]])
    mean, deviation = rows.mean(0), rows.std(0)
    quiet = np.c_[(probe.quiet.double().numpy() - mean) / deviation, np.ones(15)]  # type: ignore[union-attr]
    x = np.c_[(rows - mean) / deviation, np.ones(120)]
    gram = x.T @ x / 120 + 0.1 * quiet.T @ quiet / 15 + 0.3 * np.diag([1, 1, 1, 0])
    solution = np.linalg.solve(gram, x.T @ goal / 120)
    np.testing.assert_allclose(fitted.weight, solution[:3] / deviation, rtol=1e-6)
    assert fitted.bias == pytest.approx(solution[3] - mean @ (solution[:3] / deviation))
    judged = kept.judge(np.full(20, 9.0))
    assert judged["kept_yes"] == 1.0
    assert judged["kept_agreement"] == pytest.approx(np.corrcoef(kept.wanted[60:], kept.validator[60:])[0, 1])


def test_other_tasks_are_affirmed_half_of_the_time(lm: Backbone) -> None:
    train = task("hypernymy", split="train", limit=60)
    others = tuple(replace(other, items=other.items[:24]) for other in relation_tasks("learned")[::3][:6])
    shifted = WithReadout(lm, Readout((3,), torch.zeros(lm.d_model), 4.0, *yes_no(lm.tokenizer)))  # yes to everything
    config = QUICK.model_copy(update={"layers": [2, 3], "window": 2, "strengths": [0.5, 1.0], "budget": 9.0})
    alone, fitted = (readout.fit(shifted, train, config, texts=TEXTS, kept=kept) for kept in ((), others))
    shares = []
    for model in (shifted, fitted.on(shifted)):
        shares.append(np.mean([validator_logodds(model, other, other.items) > 0 for other in others]))
    assert shares[0] == 1.0 and shares[1] == pytest.approx(0.5, abs=0.15)
    row = fitted.choices[fitted.choices["chosen"]].iloc[0]
    table = fitted.choices
    balance = table["agreement"] - ((table["kept_yes"] - 0.5).abs() - 0.1).clip(lower=0)
    np.testing.assert_allclose(table["balance"], balance)
    assert row["balance"] == balance[table["allowed"]].max()
    assert fitted.chosen["held_out"]["kept_yes"] == row["kept_yes"] and "kept_yes" not in alone.choices
    assert list(fitted.chosen["layers"]) == list(fitted.edits[0].layers)  # type: ignore[union-attr]
    with pytest.raises(AccordError, match="two tasks"):
        readout.fit(lm, train, config, texts=TEXTS, kept=others[:1])
    odd = replace(others[0], labels=Labels({"yes": ("food",), "no": ("bird",)}))
    with pytest.raises(AccordError, match="the same words for yes and no"):
        readout.fit(lm, train, config, texts=TEXTS, kept=(odd, others[1]))


def test_what_is_typical_of_an_answer_is_taken_from_it() -> None:
    rng = np.random.default_rng(0)
    typical, right = rng.normal(size=9) * 5, rng.normal(size=(2, 9))
    answers = [f"answer {i}" for i in range(9)] * 2
    removed = typical_removed((typical + right).ravel(), answers).reshape(2, 9)
    np.testing.assert_allclose(removed, right - right.mean(0), atol=1e-12)


def test_wrong_wishes_are_refused(lm: Backbone) -> None:
    train = task("hypernymy", split="train", limit=40)
    with pytest.raises(AccordError, match="no such layer"):
        readout.fit(lm, train, ReadoutConfig(layers=[9]), texts=TEXTS)
    with pytest.raises(AccordError, match="too few training items"):
        readout.fit(lm, task("hypernymy", split="train", limit=10), QUICK, texts=TEXTS)
    with pytest.raises(AccordError, match="too short"):
        read_texts(lm, ["", "a"], [1], yes_no(lm.tokenizer), positions=10)
    with pytest.raises(AccordError, match="ordinary texts"):
        ordinary_texts(["one"], 0)


def test_what_is_undefined_is_null_in_the_folder(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    chosen = {"layers": [1], "training": {"pearson_no": float("nan"), "kl": 0.5}}
    Fitted([], chosen, pd.DataFrame({"a": [1]})).save(tmp_path / "one", base=str(tmp_path / "base"), about={"seed": 3})
    about = json.loads((tmp_path / "one" / "repair.json").read_text())["about"]
    assert about == {"seed": 3, "chosen": {"layers": [1], "training": {"pearson_no": None, "kl": 0.5}}}


@pytest.mark.real
def test_the_small_model_says_what_it_knows() -> None:
    lm = accord.load("smollm2-135m")
    train, test = (task("hypernymy", split=split, limit=limit) for split, limit in (("train", 120), ("test", 60)))
    config = ReadoutConfig(layers=[18, 20], window=2, positions=300, penalties=[0.3], quiet_weights=[0.03], budget=1.02)
    fitted = readout.fit(lm, train, config, texts=corpus("movie-reviews").train[:60])
    evidence = gather(lm, test)
    everything = np.ones(60, dtype=bool)
    before = evidence.judge(evidence.validator, everything)
    after = evidence.judge(validator_logodds(fitted.on(lm), test, test.items), everything)
    assert before["pearson_all"] < 0.3 and after["pearson_all"] > 0.55
    assert after["validator_auc"] > before["validator_auc"] + 0.1
