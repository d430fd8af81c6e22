"""Every method's batches and losses against plain loops."""

from dataclasses import replace
from math import exp, log1p
from statistics import median

import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer

import accord
from accord.errors import AccordError
from accord.kinds import code_of
from accord.lm import Backbone
from accord.repair.config import DPO, KINDS, SFT, Consistency, RankAlign, read_repair
from accord.repair.consistency import Agreeing
from accord.repair.dpo import Preferring
from accord.repair.method import PairBatch, drawn, reached
from accord.repair.rankalign import RankAligning, Ranking, median_difference
from accord.repair.scores import Odds
from accord.repair.sft import FineTuning
from accord.tasks import Task, task


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


def minus_log_sigmoid(x: float) -> float:
    return log1p(exp(-x))


def total(batch: PairBatch, values: torch.Tensor) -> float:
    return float(torch.stack(list(batch.loss(values).values())).sum())


def texts(lm: Backbone, batch: PairBatch) -> set[tuple[str, str]]:
    decode = lm.tokenizer.decode
    return {(decode(pair.context, skip_special_tokens=True), decode(pair.answer)) for pair in batch.pairs}


def test_items_are_drawn_without_repeats_and_reached_tells_which() -> None:
    steps = [drawn(10, 3, step, seed=4) for step in range(7)]
    for epoch in (steps[:3], steps[3:6]):
        assert len({i for step in epoch for i in step}) == 9
    assert steps != [drawn(10, 3, step, seed=5) for step in range(7)]
    assert reached(10, 3, 2, seed=4) == sorted(steps[0] + steps[1])
    assert sorted(drawn(4, 9, 3, seed=0)) == [0, 1, 2, 3]


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("direction", ["g2v", "v2g"])
def test_rankalign_is_a_loop_over_pairs(lm: Backbone, words_task: Task, direction: str, reference: bool) -> None:
    gap = accord.measure_gap(lm, words_task, resamples=0).scores
    scored = gap["generator_logprob" if direction == "g2v" else "validator_logodds"].to_numpy()
    delta = float(scored.std()) / 2
    config = RankAlign(
        direction=direction, score="yes", generated="answer", reference=reference, delta=delta, batch=8, steps=3
    )
    batch = RankAligning.build(config, lm, words_task, 0, None).batch(lm, 1)
    items = drawn(len(words_task.items), 8, 1, 0)
    teacher = scored[items]
    values = torch.randn(8, generator=torch.Generator().manual_seed(1))
    before = torch.zeros(8)
    if reference:
        queries = [accord.Query(pair.context, (pair.answer,)) for pair in batch.pairs]
        before = torch.tensor([float(s.total[0]) for s in accord.score(lm, queries)])
    each = [
        minus_log_sigmoid(float(values[i] - values[j] - before[i] + before[j]))
        for i in range(8)
        for j in range(8)
        if teacher[i] - teacher[j] > delta
    ]
    assert 5 < len(each) < 28
    assert batch.counts[f"pairs_{direction}"] == len(each)
    assert total(batch, values) == pytest.approx(sum(each) / len(each), rel=1e-5)
    wanted = {" Yes"} if direction == "g2v" else {" " + words_task.items[i].answer for i in items}
    assert {answer for _, answer in texts(lm, batch)} == wanted


def test_rankalign_both_weighs_each_direction(lm: Backbone, words_task: Task) -> None:
    values = torch.randn(16, generator=torch.Generator().manual_seed(2))

    def batch_of(**keys: object) -> PairBatch:
        config = RankAlign.model_validate({"batch": 8, "steps": 2, "delta": 0.05, **keys})
        return RankAligning.build(config, lm, words_task, 1, None).batch(lm, 0)

    alone = [total(batch_of(direction=d), v) for d, v in zip(("g2v", "v2g"), values.split(8), strict=True)]
    both = batch_of(direction="both", weight=0.25)
    assert total(both, values) == pytest.approx(0.25 * alone[0] + 0.75 * alone[1], rel=1e-5)
    # By gold: pairs that put a wrong item above a right one do not teach.
    gold = torch.tensor([words_task.items[i].gold for i in drawn(len(words_task.items), 8, 0, 1)])
    generator = accord.measure_gap(lm, words_task, resamples=0).scores["generator_logodds"].to_numpy()
    teacher = [generator[i] for i in drawn(len(words_task.items), 8, 0, 1)]
    each = [
        minus_log_sigmoid(float(values[i] - values[j]))
        for i in range(8)
        for j in range(8)
        if teacher[i] - teacher[j] > 0.05 and not (gold[j] and not gold[i])
    ]
    terms = batch_of(direction="both", weight="gold").loss(values)
    assert float(terms["g2v"]) == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert len(each) < both.counts["pairs_g2v"]


def test_rankalign_learns_log_odds_and_counts_no_pair_as_no_loss(lm: Backbone, words_task: Task) -> None:
    method = RankAligning.build(RankAlign(score="logodds", batch=8, steps=1), lm, words_task, 0, None)
    ranking = replace(method.rankings["g2v"], delta=1000.0)
    batch = replace(method, rankings={"g2v": ranking}).batch(lm, 0)
    assert all(isinstance(pair, Odds) and len(pair.plus) == len(pair.minus) == 4 for pair in batch.pairs)
    assert total(batch, torch.randn(8)) == 0.0
    with pytest.raises(AccordError, match="no two items of a batch differ"):
        RankAligning.build(RankAlign(delta=1000.0, batch=8, steps=3), lm, words_task, 0, None)


def test_an_item_is_above_another_by_more_than_delta_alone() -> None:
    for delta in (1.1, dict.fromkeys((3, 5, 8, 9), 1.1)):
        ranking = Ranking({}, {3: 0.0, 5: 1.1, 8: 1.1 + 1e-9, 9: 4.0}, None, delta)
        assert ranking.above([9, 3, 8, 5]).tolist() == [
            [False, True, True, True],
            [False, False, False, False],
            [False, True, False, False],  # by a little more than 1.1; item 5 by just that
            [False, False, False, False],
        ]


def test_a_weighted_loss_of_few_pairs_is_their_mean() -> None:
    ranking = Ranking({}, {}, {1: 0.5, 2: -0.25}, delta=0.0)
    scores = torch.tensor([2.0, 1.0])
    weights = torch.tensor([[0.0, 0.02], [0.01, 0.0]], dtype=torch.float64)
    each = [minus_log_sigmoid(x) for x in ((2.0 - 0.5) - (1.0 + 0.25), (1.0 + 0.25) - (2.0 - 0.5))]
    want = (0.02 * each[0] + 0.01 * each[1]) / 0.03
    loss = ranking.loss([1, 2], scores, weights)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(want, rel=1e-5)


def test_the_automatic_delta_is_taken_of_what_teaches(lm: Backbone, words_task: Task) -> None:
    config = RankAlign(direction="both", delta="auto", reference=True, batch=8, steps=2)
    method = RankAligning.build(config, lm, words_task, 3, None)
    met = reached(36, 8, 2, 3)
    gap = accord.measure_gap(lm, words_task, resamples=0).scores
    for name, column in (("g2v", "generator_logodds"), ("v2g", "validator_logodds")):
        ranking = method.rankings[name]
        assert list(ranking.teacher) == list(ranking.pairs) == list(ranking.offset or {}) == met
        scored = gap[column].to_numpy()[met]
        assert list(ranking.teacher.values()) == pytest.approx(scored.tolist(), abs=1e-4)
        assert ranking.delta == median_difference(list(ranking.teacher.values()), 3)
        distances = [abs(x - y) for i, x in enumerate(scored) for j, y in enumerate(scored) if i != j]
        assert ranking.delta == pytest.approx(median(distances), rel=0.1)
        assert method.batch(lm, 1).counts[f"delta_{name}"] == ranking.delta
    first = RankAlign(generated="first", delta=0.1, batch=8, steps=2)
    teacher = RankAligning.build(first, lm, words_task, 3, None).rankings["g2v"].teacher
    assert list(teacher.values()) == pytest.approx(gap["generator_first_logodds"].to_numpy()[met].tolist(), abs=1e-4)


def test_the_automatic_delta_is_drawn_by_the_seed(
    lm: Backbone, words_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.repair.rankalign._DRAWN_PAIRS", 7)
    config = RankAlign(delta="auto", batch=12, steps=1)
    for seed in range(3):
        ranking = RankAligning.build(config, lm, words_task, seed, None).rankings["g2v"]
        scores = list(ranking.teacher.values())
        assert ranking.delta == median_difference(scores, seed) != median_difference(scores, seed + 9)


def test_the_automatic_delta_keeps_half_of_the_pairs() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).tolist()
    delta = median_difference(values, seed=0)
    share = sum(abs(x - y) > delta for x in values for y in values) / (400 * 399)
    assert share == pytest.approx(0.5, abs=0.01)


def test_sft_trains_what_is_right(lm: Backbone, words_task: Task) -> None:
    def texts_of(**keys: object) -> set[tuple[str, str]]:
        config = SFT.model_validate({"batch": 36, "steps": 1, **keys})
        return texts(lm, FineTuning.build(config, lm, words_task, 0, None).batch(lm, 0))

    shots = "Is dog like doe? Answer: Yes\n\nIs elk like fox? Answer: No\n\n"
    yes, no = (shots + "Is ant like ape? Answer:", " Yes"), (shots + "Is ant like bat? Answer:", " No")
    statement, negated = ("Ant is like", " ape"), ("Ant is not like", " bat")
    generator, validator = texts_of(form="generator"), texts_of(form="validator")
    assert statement in generator and len(generator) == 9
    assert {yes, no} <= validator and len(validator) == 36
    assert texts_of(form="union") == generator | validator
    assert texts_of(form="validator", positives_only=True) == {pair for pair in validator if pair[1] == " Yes"}
    assert negated in texts_of(form="generator", negation=True) and ("Ant is like", " bat") not in generator
    joint = texts_of(form="joint", negation=True)
    assert {statement, negated, yes, no} <= joint and len(joint) == 36 * 4
    assert (shots + "Ant is not like bat\n\nIs ant like bat? Answer:", " No") in joint
    assert (yes[0] + " Yes\n\nAnt is like", " ape") in joint


def test_sft_is_the_mean_over_answer_tokens(lm: Backbone, words_task: Task) -> None:
    batch = FineTuning.build(SFT(batch=4, steps=1), lm, words_task, 0, None).batch(lm, 0)
    losses, tokens = 0.0, 0
    for pair in batch.pairs:
        logits = lm.model(torch.tensor([pair.context + pair.answer])).logits
        labels = torch.tensor([pair.answer])
        cut = logits[:, len(pair.context) - 1 : -1]
        losses += float(torch.nn.functional.cross_entropy(cut[0], labels[0], reduction="sum").detach())
        tokens += len(pair.answer)
    scored = accord.score(lm, [accord.Query(pair.context, (pair.answer,)) for pair in batch.pairs])
    loss = total(batch, torch.tensor([s.total[0] for s in scored]))
    assert loss == pytest.approx(losses / tokens, rel=1e-5)


def test_consistency_keeps_what_both_forms_say(lm: Backbone, words_task: Task) -> None:
    config = Consistency(rounds=2, items=20, batch=50, steps=4)
    method = Agreeing.build(config, lm, words_task, 0, None)
    batch = method.batch(lm, 0)
    places = sorted(drawn(36, 20, 0, 0))
    gap = accord.measure_gap(lm, words_task, resamples=0).scores.iloc[places]
    middle = median(gap["generator_logodds"])
    says = {i: row.generator_logodds > middle for i, row in zip(places, gap.itertuples(), strict=True)}
    odds = dict(zip(places, gap["validator_logodds"], strict=True))
    agreed = [[i, says[i]] for i in places if says[i] == (odds[i] > 0)]
    assert 0 < len(agreed) < 20
    assert method.memory == {"round": 0, "kept": agreed}
    assert len(batch.pairs) == sum(2 if yes else 1 for _, yes in agreed)
    assert batch.counts == {"pairs": len(batch.pairs), "kept": len(agreed)}
    wanted = []
    for i in drawn(len(agreed), 50, 0, 0):
        prompts, yes = words_task.prompts(words_task.items[agreed[i][0]]), agreed[i][1]
        wanted += [(prompts[0], " " + words_task.items[agreed[i][0]].answer)] if yes else []
        wanted.append((prompts[1], " Yes" if yes else " No"))
    assert [texts(lm, PairBatch([pair], dict)).pop() for pair in batch.pairs] == wanted
    assert {answer for _, answer in texts(lm, batch)} >= {" Yes" if yes else " No" for _, yes in agreed}
    other = Backbone(tiny_model(seed=2), tiny_tokenizer())  # says yes where the first says no
    method.batch(other, 1)
    assert method.memory == {"round": 0, "kept": agreed}  # a round is measured once
    method.batch(other, 2)
    assert method.memory["round"] == 1
    drawn_again, now = sorted(drawn(36, 20, 1, 0)), accord.measure_gap(other, words_task, resamples=0).scores
    scored = now.iloc[drawn_again]
    yes = scored["generator_logodds"] > scored["generator_logodds"].median()
    both = [[i, y] for i, y, v in zip(drawn_again, yes, scored["validator_logodds"], strict=True) if y == (v > 0)]
    assert method.memory["kept"] == both != agreed
    ranked = Agreeing.build(config.model_copy(update={"rank": 1}), lm, words_task, 0, None)
    ranked.batch(lm, 0)
    first = {i: rank == 1 for i, rank in zip(places, gap["generator_rank"], strict=True)}
    assert ranked.memory["kept"] == [[i, first[i]] for i in places if first[i] == (odds[i] > 0)]


def test_dpo_prefers_what_the_other_form_ranks_higher(lm: Backbone, words_task: Task) -> None:
    gap = accord.measure_gap(lm, words_task, resamples=0).scores
    prompts = dict(zip(gap["validator_prompt"], gap["generator_logodds"], strict=True))
    method = Preferring.build(DPO(batch=36, steps=1), lm, words_task, 0, None)
    middle = median(prompts.values())
    decode = lm.tokenizer.decode
    for preference in method.preferences:
        prompt = decode(preference.better.context, skip_special_tokens=True)
        assert decode(preference.better.answer) == (" Yes" if prompts[prompt] > middle else " No")
        assert {decode(preference.better.answer), decode(preference.worse.answer)} == {" Yes", " No"}
    batch = method.batch(lm, 0)
    values = torch.randn(72, generator=torch.Generator().manual_seed(3))
    scored = accord.score(lm, [accord.Query(pair.context, (pair.answer,)) for pair in batch.pairs])
    before = [float(s.total[0]) for s in scored]
    each = [minus_log_sigmoid(0.1 * float(values[i] - before[i] - values[36 + i] + before[36 + i])) for i in range(36)]
    assert total(batch, values) == pytest.approx(sum(each) / 36, rel=1e-5)


def some_of(words_task: Task, n: int) -> Task:
    return Task(**{**vars(words_task), "items": words_task.items[:: len(words_task.items) // n][:n], "pool": ()})


def test_the_item_in_the_middle_counts_as_a_no(lm: Backbone, words_task: Task) -> None:
    """Of an odd number the median is an item's own score, which is not above itself."""
    odd = some_of(words_task, 15)
    gap = accord.measure_gap(lm, odd, resamples=0).scores
    above = gap["generator_logodds"].rank() > 8
    method = Preferring.build(DPO(batch=15, steps=1), lm, odd, 0, None)
    assert sum(texts(lm, PairBatch([p.better], dict)).pop()[1] == " Yes" for p in method.preferences) == 7
    agreeing = Agreeing.build(Consistency(rounds=1, items=15, batch=15, steps=1), lm, odd, 0, None)
    agreeing.batch(lm, 0)
    says = gap["validator_logodds"] > 0
    assert agreeing.memory["kept"] == [[i, bool(above[i])] for i in range(15) if above[i] == says[i]]


def test_dpo_scores_only_what_a_run_meets(lm: Backbone, words_task: Task) -> None:
    method = Preferring.build(DPO(batch=4, steps=3), lm, words_task, 5, None)
    prompts = {lm.tokenizer.decode(p.better.context, skip_special_tokens=True) for p in method.preferences}
    met = sorted(drawn(36, 12, 0, 5))
    assert prompts == {words_task.prompts(words_task.items[i])[1] for i in met} and len(method.preferences) == 12
    batch = method.batch(lm, 2)
    chosen = [method.preferences[i] for i in drawn(12, 4, 2, 5)]
    assert list(batch.pairs) == [p.better for p in chosen] + [p.worse for p in chosen]
    assert batch.counts == {"pairs": 4}
    other = Preferring.build(DPO(direction="v2g", batch=4, steps=3), lm, words_task, 5, None)
    assert len(other.preferences) == 12
    for p in (*method.preferences, *other.preferences):
        pairs = [accord.Query(pair.context, (pair.answer,)) for pair in (p.better, p.worse)]
        better, worse = (float(s.total[0]) for s in accord.score(lm, pairs))
        assert p.reference == pytest.approx(better - worse, abs=1e-4)


def test_dpo_the_other_way_compares_answers_to_one_prompt(lm: Backbone, words_task: Task) -> None:
    gap = accord.measure_gap(lm, words_task, resamples=0).scores
    odds = {(row.generator_prompt, " " + row.answer): row.validator_logodds for row in gap.itertuples()}
    method = Preferring.build(DPO(direction="v2g", batch=36, steps=9), lm, words_task, 0, None)
    assert len(method.preferences) == sum(n * (n - 1) // 2 for n in range(9))
    for preference in method.preferences:
        assert preference.better.context == preference.worse.context
        better, worse = (texts(lm, PairBatch([pair], dict)).pop() for pair in (preference.better, preference.worse))
        assert odds[better] > odds[worse]


@pytest.mark.parametrize(
    ("passes", "table"),
    [
        (1, {"kind": "rankalign", "direction": "g2v"}),
        (2, {"kind": "rankalign", "direction": "v2g"}),
        (3, {"kind": "rankalign", "direction": "g2v", "typicality": "frozen", "reference": True}),
        (3, {"kind": "rankalign", "direction": "v2g", "typicality": "live", "reference": True}),
        (2, {"kind": "dpo", "direction": "g2v"}),
        (2, {"kind": "dpo", "direction": "v2g"}),
    ],
)
def test_every_pass_over_items_tells_how_far_it_is(
    passes: int, table: dict[str, object], lm: Backbone, words_task: Task
) -> None:
    told: list[tuple[int, int]] = []
    config = read_repair({"batch": 12, "steps": 1, **table})
    code_of(KINDS, config.kind).build(config, lm, words_task, 0, lambda *of: told.append(of))
    assert sum(done == total for done, total in told) == passes


def test_what_a_task_cannot_give_is_refused(lm: Backbone, words_task: Task) -> None:
    hypernymy = task("hypernymy", limit=12)
    assert hypernymy.generator.prompt(hypernymy.items[0], negated=True).endswith(" are not a kind of")
    plain = Task(**{**vars(words_task), "items": words_task.items[:1]})
    with pytest.raises(AccordError, match="items to train on"):
        RankAligning.build(RankAlign(), lm, plain, 0, None)
    unsaid = Task(**{**vars(words_task), "generator": words_task.validator})
    with pytest.raises(AccordError, match="negated wording"):
        FineTuning.build(SFT(negation=True), lm, unsaid, 0, None)
    wrong = Task(**{**vars(words_task), "items": tuple(i for i in words_task.items if not i.gold)})
    with pytest.raises(AccordError, match="no item trains"):
        FineTuning.build(SFT(form="generator"), lm, wrong, 0, None)
    single = Task(**{**vars(words_task), "items": (words_task.items[0], words_task.items[-1])})
    with pytest.raises(AccordError, match="no two answers compete"):
        Preferring.build(DPO(direction="v2g"), lm, single, 0, None)
    with pytest.raises(AccordError, match="each round needs a step: rounds = 9"):
        read_repair({"kind": "consistency", "rounds": 9, "steps": 2})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "rankaling"}, "did you mean 'rankalign'"),
        ({"kind": "sft", "from": "joint"}, "did you mean 'form'"),
        ({"kind": "rankalign", "delta": -1}, "'delta' is wrong"),
        ({"kind": "dpo", "direction": "both"}, "'direction' is wrong"),
    ],
)
def test_a_wrong_key_is_named(table: dict[str, object], said: str) -> None:
    with pytest.raises(AccordError, match=said):
        read_repair(table)
