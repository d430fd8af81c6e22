"""Two models compared end to end: nothing changed, a known change, resumed, written and read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import accord
from accord.damage import Damage, Questions, compare, measure_damage, observe
from accord.damage.wording import word
from accord.errors import AccordError
from accord.gap import measure_gap
from accord.lm import Backbone, LanguageModel
from accord.lm.edited import Readout, WithReadout
from accord.lm.perplexity import perplexity
from accord.relations import relation_tasks
from accord.repair.folder import with_edits
from accord.steering import AddDirection
from accord.tasks import Task
from tests.tiny import tiny_model, tiny_tokenizer, yes_no

TEXTS = ["A bee is a kind of food.", "", "Yes, yes. The birds are kind.", "naïve café", "of of of of of of no"]
OPTIONS: dict[str, Any] = {"facts": 1, "samples": 3, "new_tokens": 5, "resamples": 40}


@pytest.fixture(scope="module")
def base() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


@pytest.fixture(scope="module")
def moved(base: Backbone) -> LanguageModel:
    vector = 2 * torch.randn(base.d_model, generator=torch.Generator().manual_seed(0))
    return with_edits(base, [AddDirection(2, vector)], name="moved")


@pytest.fixture(scope="module")
def own() -> Task:
    return relation_tasks("judged", 9)[-3]  # of three facts


@pytest.fixture(scope="module")
def damage(base: Backbone, moved: LanguageModel, own: Task) -> Damage:
    return measure_damage(base, moved, texts=TEXTS, own=own, judge=base, **OPTIONS)


def row(damage: Damage, group: str, measure: str) -> pd.Series:
    table = damage.table
    [record] = table[(table["group"] == group) & (table["measure"] == measure)].to_dict("records")
    return pd.Series(record)


def test_a_model_beside_itself_shows_nothing_at_all(base: Backbone, own: Task) -> None:
    damage = measure_damage(base, base, texts=TEXTS, own=own, judge=base, **OPTIONS)
    none = np.where(damage.table["change_is"] == "ratio", 1.0, 0.0)
    for column in ("change", "low", "high"):
        defined = damage.table[column].notna()
        assert (damage.table[column] == none)[defined].all()
    assert not damage.table["worsened"].any()
    assert damage.sentence.startswith(
        "Nothing got measurably worse, in 17 measures of 4 texts, 14 facts, 6 items, 3 free"
    )
    assert damage.sentence.endswith("Every next-token distribution is that of the base.")


def test_texts_are_read_as_perplexity_reads_them(damage: Damage, base: Backbone, moved: LanguageModel) -> None:
    before, after = (perplexity(lm, TEXTS) for lm in (base, moved))
    np.testing.assert_allclose(damage.texts["nll_base"], before.nll, rtol=1e-5)
    np.testing.assert_allclose(damage.texts["nll_repaired"], after.nll, rtol=1e-5)
    assert list(damage.texts["text"]) == TEXTS
    measured = row(damage, "text", "perplexity")
    assert measured["change"] == pytest.approx(after.token_weighted / before.token_weighted, rel=1e-5)


def test_distance_on_texts_is_that_of_whole_forward_passes(damage: Damage, base: Backbone, moved: Any) -> None:
    forward, backward, same = [], [], []
    for text in TEXTS:
        ids = torch.tensor([[1, *base.tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            p, q = (lm.lens(lm.hidden(ids)[3])[0, :-1].double().log_softmax(-1) for lm in (base, moved))
        forward += (p.exp() * (p - q)).sum(-1).tolist()
        backward += (q.exp() * (q - p)).sum(-1).tolist()
        same += (p.argmax(-1) == q.argmax(-1)).tolist()
    assert row(damage, "text", "kl_base_repaired")["repaired"] == pytest.approx(np.mean(forward), rel=1e-4)
    assert row(damage, "text", "kl_repaired_base")["repaired"] == pytest.approx(np.mean(backward), rel=1e-4)
    assert row(damage, "text", "same_top")["repaired"] == pytest.approx(np.mean(same))
    assert 0 < np.mean(same) < 1 and np.mean(forward) > 0.01  # a comparison that could show nothing shows nothing


def test_facts_are_scored_as_the_gap_scores_them(damage: Damage, base: Backbone, moved: LanguageModel) -> None:
    for task in relation_tasks("judged", 1):
        mine = damage.relations[damage.relations["relation"] == task.items[0].group]
        assert list(mine["wording"]) == [task.validator.phrasing]
        for side, lm in (("base", base), ("repaired", moved)):
            scores = measure_gap(lm, task, resamples=0).scores
            for i, which in enumerate(("answer", "wrong")):
                assert list(mine[which]) == list(scores["answer"][i::2])
                for column, theirs in (("logprob", "generator_logprob"), ("logodds", "validator_logodds")):
                    got, expected = mine[f"{which}_{column}_{side}"], scores[theirs][i::2]
                    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_distance_at_prompts_is_at_their_last_position(damage: Damage, base: Backbone, moved: Any) -> None:
    for form, which in (("generator", 0), ("validator", 1)):
        prompts = {task.prompts(item)[which]: None for task in relation_tasks("judged", 1) for item in task.items}
        divergences = []
        for prompt in prompts:
            ids = torch.tensor([base.tokenizer(prompt)["input_ids"]])
            with torch.no_grad():
                p, q = (lm.lens(lm.hidden(ids)[3])[0, -1].double().log_softmax(-1) for lm in (base, moved))
            divergences.append(float((p.exp() * (p - q)).sum()))
        got = row(damage, "relations", f"{form}_kl_base_repaired")
        assert got["n"] == len(prompts) == (14, 28)[which]
        assert got["repaired"] == pytest.approx(np.mean(divergences), rel=1e-3)


def test_a_constant_readout_moves_every_validator_and_nothing_else(base: Backbone, own: Task) -> None:
    repaired = WithReadout(base, Readout((1,), torch.zeros(base.d_model), 30.0, *yes_no(base.tokenizer)))
    damage = measure_damage(base, repaired, texts=TEXTS * 2, own=own, **OPTIONS)  # an interval takes five texts
    shift = row(damage, "relations", "validator_logodds")
    assert shift["change"] == pytest.approx(30, rel=1e-4) and shift["worse_if"] == "neither" and not shift["worsened"]
    assert row(damage, "relations", "yes_share")["repaired"] == 1
    assert row(damage, "relations", "yes_excess")["repaired"] == 0.5
    assert row(damage, "relations", "validator_auc")["change"] == pytest.approx(0, abs=1e-9)
    assert row(damage, "text", "perplexity")["worsened"]  # it fires on ordinary text, too
    assert "Got worse: perplexity of held-out text" in damage.sentence and "says yes to 100%" in damage.sentence


def test_own_scores_may_be_given(damage: Damage, base: Backbone, moved: LanguageModel, own: Task) -> None:
    scores = tuple(measure_gap(lm, own, resamples=0).scores for lm in (base, moved))
    scored = measure_damage(base, moved, texts=TEXTS, scores=scores, **OPTIONS)  # type: ignore[arg-type]
    mine, theirs = (side.table[side.table["group"] == "own task"].reset_index(drop=True) for side in (damage, scored))
    pd.testing.assert_frame_equal(mine, theirs, rtol=1e-4, atol=1e-5)
    assert len(mine) == 5
    with pytest.raises(AccordError, match="not of the same items"):
        measure_damage(base, moved, texts=TEXTS, scores=(scores[0], scores[1][:-1]), **OPTIONS)


def test_free_texts_stand_side_by_side(damage: Damage, base: Backbone) -> None:
    assert list(damage.free["prompt"]) == ["A bee is a kind", "Yes, yes. The birds are", "naïve café"]
    first = damage.free.iloc[0]
    whole, alone = (perplexity(base, [text]) for text in (first["prompt"] + first["base"], first["prompt"]))
    expected = np.exp((whole.nll - alone.nll) / (whole.tokens - alone.tokens))[0]
    assert first["base_perplexity"] == pytest.approx(expected, rel=1e-4)
    assert row(damage, "free text", "judge_perplexity")["n"] == 3


def test_what_is_written_opens(damage: Damage, tmp_path: Path) -> None:
    damage.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "damage.json",
        "damage.parquet",
        "texts.parquet",
        "relations.parquet",
        "generations.jsonl",
    }
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "damage.parquet"), damage.table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "relations.parquet"), damage.relations)
    summary = json.loads((tmp_path / "damage.json").read_text(encoding="utf-8"))
    assert summary["sentence"] == damage.sentence and len(summary["table"]) == len(damage.table)
    lines = (tmp_path / "generations.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["base"] for line in lines] == list(damage.free["base"])


class Failing:
    """A model that works for some forward passes."""

    def __init__(self, lm: LanguageModel, passes: int) -> None:
        self.lm, self.left = lm, passes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lm, name)

    def hidden(self, ids: Tensor, **options: Any) -> dict[int, Tensor]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.lm.hidden(ids, **options)


def test_a_killed_run_goes_on_and_a_finished_one_asks_nothing(
    damage: Damage, base: Backbone, moved: LanguageModel, own: Task, tmp_path: Path
) -> None:
    kills = 0
    while True:
        try:
            resumed = measure_damage(
                Failing(base, 12), Failing(moved, 12), texts=TEXTS, own=own, judge=base, parts=tmp_path, **OPTIONS
            )
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 2
    pd.testing.assert_frame_equal(resumed.table, damage.table)
    pd.testing.assert_frame_equal(resumed.free, damage.free)
    again = measure_damage(
        Failing(base, 0), Failing(moved, 0), texts=TEXTS, own=own, judge=base, parts=tmp_path, **OPTIONS
    )
    pd.testing.assert_frame_equal(again.table, damage.table)
    with pytest.raises(AccordError, match="of other questions"):
        measure_damage(base, moved, texts=TEXTS[:2], own=own, judge=base, parts=tmp_path, **OPTIONS)


def test_states_are_kept_of_the_first_tokens_only(
    base: Backbone, moved: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = Questions(TEXTS, facts=0, samples=0)
    whole = observe(base, questions)
    monkeypatch.setattr("accord.damage.observed.STATES", 30)
    monkeypatch.setattr("accord.damage.observed._TEXTS", 1)
    few = observe(base, questions)
    assert len(few.states) == 30 < len(whole.states) == whole.texts.tokens.sum()
    torch.testing.assert_close(few.states, whole.states[:30])
    assert few.owner.tolist() == whole.owner[:30].tolist() and set(few.owner) == {0, 2, 3}
    np.testing.assert_allclose(few.texts.nll, whole.texts.nll, rtol=1e-5)
    result = compare(base, few, moved, observe(moved, questions), questions, resamples=0)
    assert result.relations.empty and result.free.empty and set(result.table["group"]) == {"text"}


def test_without_a_start_token_first_tokens_are_not_scored() -> None:
    tokenizer = tiny_tokenizer(bos=False)
    tokenizer.eos_token = None
    lm = Backbone(tiny_model(), tokenizer)
    observed = observe(lm, Questions(TEXTS, facts=0, samples=0))
    assert len(observed.states) == observed.texts.tokens.sum() == perplexity(lm, TEXTS).tokens.sum()
    assert np.bincount(observed.owner, minlength=5).tolist() == observed.texts.tokens.tolist()


def test_half_precision_and_parts_without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.damage.observed._TEXTS", 1)
    base = Backbone(tiny_model().bfloat16(), tiny_tokenizer())
    repaired = WithReadout(base, Readout((1,), torch.zeros(base.d_model), 3.0, *yes_no(base.tokenizer)))
    result = measure_damage(base, repaired, texts=TEXTS, facts=1, samples=1, new_tokens=3, resamples=20)
    assert observe(base, Questions(TEXTS, facts=0, samples=0)).states.dtype == torch.bfloat16
    assert row(result, "relations", "validator_logodds")["change"] == pytest.approx(3, abs=1e-3)
    assert np.isnan(row(result, "relations: colour", "yes_share")["low"])  # one fact has no interval


def test_other_tasks_have_rows_of_their_own(base: Backbone, moved: LanguageModel, own: Task) -> None:
    result = measure_damage(base, moved, texts=TEXTS, tasks=[own], facts=0, samples=0, resamples=20)
    mine = result.table[result.table["group"] == own.name]
    assert len(mine) == 6 and set(mine["n"]) == {3, 6}


def test_mistakes_are_told(base: Backbone, own: Task) -> None:
    for keys, message in (
        ({"texts": ["", " "]}, "there are none"),
        ({"texts": TEXTS, "samples": -1}, "from 0"),
        ({"texts": TEXTS, "tasks": [own]}, "same name"),
        ({"texts": TEXTS, "own": Task("x", "test", (), own.generator, own.validator, False, {})}, "no items"),
    ):
        with pytest.raises(AccordError, match=message):
            measure_damage(base, base, **keys)  # type: ignore[arg-type]
    nameless = tiny_tokenizer(bos=False)
    nameless.eos_token = None
    with pytest.raises(AccordError, match="no text has a token"):
        observe(Backbone(tiny_model(), nameless), Questions(["x"], facts=0, samples=0))
    other = Backbone(tiny_model(vocab_size=310), tiny_tokenizer())
    with pytest.raises(AccordError, match="different tokens"):
        measure_damage(base, other, texts=TEXTS)


@pytest.mark.real
def test_the_small_real_model_is_hurt_by_noise() -> None:
    lm = accord.load("smollm2-135m")
    questions = Questions(
        ["The film was long, and the music was better than the story.", "It rained."], facts=1, samples=0
    )
    before = observe(lm, questions)
    vector = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    noisy = with_edits(lm, [AddDirection(15, vector * 80 / vector.norm())])  # half a state's norm at this layer
    hurt = compare(lm, before, noisy, observe(noisy, questions), questions, resamples=100)
    assert row(hurt, "text", "perplexity")["change"] > 1.1
    assert word(row(hurt, "relations", "generator_same_top")) == "moved"
    assert row(hurt, "relations", "true_beats_false")["base"] > 0.6
