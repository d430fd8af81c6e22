"""The terms of a ranking loss, each against plain loops: pairs within a prompt, typicality, anchors, labels, alarm."""

import json
import math
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer

import accord
from accord.concepts.train import mix
from accord.errors import AccordError
from accord.gap.typicality import null_context
from accord.lm import Backbone
from accord.lm.model import LanguageModel
from accord.repair.alarm import BEFORE, NOW, TOKENS, WINDOW, check_likelihood
from accord.repair.config import FloraNeg, FloraPMI, RankAlign, Ranked, check_task, read_repair
from accord.repair.loop import fit
from accord.repair.lora import trainable
from accord.repair.method import PairBatch, drawn, reached
from accord.repair.rankalign import RankAligning
from accord.repair.scores import Divergence, Odds, Pair, Terms, scores
from accord.tasks import Task


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


def built(lm: Backbone, task: Task, seed: int = 0, **keys: Any) -> RankAligning:
    return RankAligning.build(RankAlign.model_validate({"batch": 12, "steps": 3, **keys}), lm, task, seed, None)


def log_p(lm: Backbone, context: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """Of an answer, one token at a time."""
    total, ids = 0.0, [*context]
    for token in answer:
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids])).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
        ids.append(token)
    return total


def answers(method: RankAligning) -> dict[int, Pair]:
    return {i: method.forms.generator(item) for i, item in enumerate(method.forms.task.items)}


def plain_loss(s: list[float], teacher: list[float], may: Any) -> tuple[float, int]:
    n = range(len(s))
    each = [math.log1p(math.exp(-(s[i] - s[j]))) for i in n for j in n if may(i, j, teacher[i] - teacher[j])]
    return sum(each) / len(each), len(each)


def values(batch: PairBatch, seed: int = 1) -> torch.Tensor:
    return torch.randn(len(batch.pairs), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("delta", ["auto", 0.05])
def test_pairs_within_a_prompt(lm: Backbone, words_task: Task, delta: Any) -> None:
    method = built(lm, words_task, pairs="prompt", direction="v2g", delta=delta)
    prompts = [item.fields["one"] for item in words_task.items]
    odds = accord.measure_gap(lm, words_task, resamples=0).scores["validator_logodds"].to_numpy()
    limits = dict.fromkeys(prompts, 0.05)
    met = {i for step in range(3) for i in method._drawn(step)}
    if delta == "auto":
        for prompt in limits:
            own = [odds[i] for i in sorted(met) if prompts[i] == prompt]
            apart = [abs(x - y) for i, x in enumerate(own) for j, y in enumerate(own) if i != j]
            limits[prompt] = median(apart) if len(own) > 2 else 0.0
    for step in range(3):
        items, batch = method._drawn(step), method.batch(lm, step)
        s = values(batch)
        want, count = plain_loss(
            s.tolist(),
            [odds[i] for i in items],
            lambda i, j, apart, items=items: (
                prompts[items[i]] == prompts[items[j]] and apart > limits[prompts[items[i]]] + 1e-9
            ),
        )
        assert batch.counts["pairs_v2g"] == count > 3
        assert float(batch.loss(s)["v2g"]) == pytest.approx(want, rel=1e-4)


def test_a_batch_has_whole_prompts_as_far_as_they_fit(words_task: Task) -> None:
    together = [int(item.fields["one"] != words_task.items[0].fields["one"]) for item in words_task.items]
    size = sum(not number for number in together)
    first = [drawn(36, size, 0, seed, together=together) for seed in range(8)]
    assert any({together[i] for i in batch} == {0} for batch in first)
    for seed in range(8):  # whatever is drawn together, all are gone through once
        batches = [drawn(36, 6, step, seed, together=together) for step in range(6)]
        assert sorted(i for batch in batches for i in batch) == list(range(36))
    assert reached(36, 6, 2, 0, together=together) == sorted(
        drawn(36, 6, 0, 0, together=together) + drawn(36, 6, 1, 0, together=together)
    )


@pytest.mark.parametrize("typicality", ["frozen", "negated"])
@pytest.mark.parametrize("direction", ["g2v", "v2g"])
def test_a_typicality_of_the_base_model(lm: Backbone, words_task: Task, direction: str, typicality: str) -> None:
    method = built(lm, words_task, direction=direction, typicality=typicality, generated="answer", delta=0.0)
    ranking, own = method.rankings[direction], answers(method)  # type: ignore[index]
    null = null_context(lm, words_task)
    assert null == (lm.tokenizer.bos_token_id,)
    contexts = dict.fromkeys(own, null)
    if typicality == "negated":
        contexts = {i: method.forms.generator(item, negated=True).context for i, item in enumerate(words_task.items)}
        assert "not" in lm.tokenizer.decode(contexts[0])
    for i in list(ranking.pairs)[:6]:
        t = log_p(lm, contexts[i], own[i].answer)
        if direction == "g2v":
            assert ranking.teacher[i] == pytest.approx(log_p(lm, own[i].context, own[i].answer) - t, abs=1e-4)
        else:
            assert ranking.offset is not None and ranking.offset[i] == pytest.approx(t, abs=1e-4)
    assert ranking.typical is None


def test_with_a_reference_a_frozen_typicality_cancels(lm: Backbone, words_task: Task) -> None:
    keys: dict[str, Any] = {"direction": "v2g", "generated": "answer", "reference": True}
    plain, corrected, live = (built(lm, words_task, typicality=t, **keys) for t in ("none", "frozen", "live"))
    assert plain.rankings["v2g"].offset == corrected.rankings["v2g"].offset
    i = next(iter(live.rankings["v2g"].pairs))
    g, t = (pairs[i] for pairs in (live.rankings["v2g"].pairs, live.rankings["v2g"].typical or {}))
    assert isinstance(g, Pair) and isinstance(t, Pair) and live.rankings["v2g"].offset is not None
    want = log_p(lm, g.context, g.answer) - log_p(lm, t.context, t.answer)
    assert live.rankings["v2g"].offset[i] == pytest.approx(want, abs=1e-4)


def test_a_live_typicality_is_learnt_and_held(lm: Backbone, words_task: Task) -> None:
    method = built(lm, words_task, direction="v2g", typicality="live", generated="answer", null_anchor=2.0, delta=0.0)
    batch, items = method.batch(lm, 0), method._drawn(0)
    own = answers(method)
    s = scores(lm, batch.pairs).detach()
    terms = batch.loss(s)
    null = null_context(lm, words_task)
    corrected = [log_p(lm, own[i].context, own[i].answer) - log_p(lm, null, own[i].answer) for i in items]
    teacher = [method.rankings["v2g"].teacher[i] for i in items]
    want, _ = plain_loss(corrected, teacher, lambda i, j, apart: apart > 0)
    assert float(terms["v2g"]) == pytest.approx(want, rel=1e-4)
    assert float(terms["null"]) == pytest.approx(0.0, abs=1e-6)
    # After an update KL(base || now) is what a loop gives, and a gradient comes from it.
    other = Backbone(tiny_model(), tiny_tokenizer())
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
            parameter.requires_grad_(True)
    p, q = (side.model(torch.tensor([null])).logits[0, -1].detach().double().log_softmax(-1) for side in (lm, other))
    for parameter in other.model.parameters():
        parameter.requires_grad_(True)
    now = scores(other, batch.pairs)
    kl = batch.loss(now)["null"]
    assert (
        float(kl.detach()) == pytest.approx(2.0 * float((p.exp() * (p - q)).sum()), rel=1e-3)
        and float(kl.detach()) > 1e-3
    )
    kl.backward()  # type: ignore[no-untyped-call]
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in other.model.parameters())


def test_what_is_kept_is_scored_beside_anything(lm: Backbone) -> None:
    kept = Divergence.of(lm, (5, 6))
    pairs = [Pair((5, 6), (7, 8)), kept, Odds((9,), ((4,),), ((5,), (6,)))]
    whole = scores(lm, pairs)
    assert whole[0].item() == pytest.approx(log_p(lm, (5, 6), (7, 8)), abs=1e-4)
    assert whole[1].item() == pytest.approx(0.0, abs=1e-6)
    assert whole[2].item() == pytest.approx(scores(lm, pairs[2:]).item(), abs=1e-5)
    assert scores(lm, [kept]).item() == pytest.approx(0.0, abs=1e-6)
    shifted = Divergence((5, 6), torch.full((lm.vocab_size,), -math.log(lm.vocab_size)))
    with torch.no_grad():
        q = lm.model(torch.tensor([[5, 6]])).logits[0, -1].log_softmax(-1)
    assert scores(lm, [shifted]).item() == pytest.approx(float((shifted.logprobs - q).mean()), rel=1e-4)


@pytest.mark.parametrize("labelled", [1.0, 0.4])
def test_anchors_are_of_labelled_items(lm: Backbone, words_task: Task, labelled: float) -> None:
    method = built(lm, words_task, gold=0.5, likelihood=2.0, labelled=labelled, delta=0.0, batch=36, steps=1)
    prompts = list(dict.fromkeys(item.fields["one"] for item in words_task.items))
    known = {item.fields["one"] for item, yes in zip(words_task.items, method.anchors.labelled, strict=True) if yes}
    drawn_prompts = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(mix(0, 1)))
    assert known == {prompts[k] for k in drawn_prompts[: max(1, round(labelled * len(prompts)))]}
    batch = method.batch(lm, 0)
    s = scores(lm, batch.pairs).detach()
    terms = batch.loss(s)
    gap = accord.measure_gap(lm, words_task, resamples=0).scores
    own = answers(method)
    of = [i for i, item in enumerate(words_task.items) if item.fields["one"] in known]
    odds = gap["validator_logodds"].to_numpy()
    gold = [words_task.items[i].gold for i in of]
    cross = [math.log1p(math.exp(-odds[i] if yes else odds[i])) for i, yes in zip(of, gold, strict=True)]
    assert float(terms["gold"]) == pytest.approx(0.5 * sum(cross) / len(cross), rel=1e-4)
    right = [i for i in of if words_task.items[i].gold]
    nll = -sum(log_p(lm, own[i].context, own[i].answer) for i in right) / sum(len(own[i].answer) for i in right)
    assert float(terms["likelihood"]) == pytest.approx(2.0 * nll, rel=1e-4)


def test_without_labels_no_gold_is_read(lm: Backbone, words_task: Task) -> None:
    """However the labels of unlabelled items are turned, batches and losses stay."""
    from dataclasses import replace

    method = built(lm, words_task, direction="both", weight="gold", gold=1.0, labelled=0.3, delta=0.0)
    flipped = replace(method, gold=torch.where(method.anchors.labelled, method.gold, ~method.gold))
    for step in range(3):
        one, other = method.batch(lm, step), flipped.batch(lm, step)
        s = values(one)
        assert one.pairs == other.pairs and one.loss(s) == other.loss(s)


def test_a_teacher_that_is_measured_anew(lm: Backbone, words_task: Task) -> None:
    method = built(lm, words_task, direction="v2g", refresh=2, delta=0.0, steps=4)
    other = Backbone(tiny_model(seed=5), tiny_tokenizer())
    base = accord.measure_gap(lm, words_task, resamples=0).scores["validator_logodds"].to_numpy()
    new = accord.measure_gap(other, words_task, resamples=0).scores["validator_logodds"].to_numpy()
    for step, odds in ((0, base), (1, base), (2, new), (3, new)):
        items, batch = method._drawn(step), method.batch(other, step)
        s = values(batch)
        want, count = plain_loss(s.tolist(), [odds[i] for i in items], lambda i, j, apart: apart > 0)
        assert batch.counts["pairs_v2g"] == count and float(batch.loss(s)["v2g"]) == pytest.approx(want, rel=1e-4)
    measured = method.memory
    method.batch(lm, 3)
    assert method.memory is measured  # once in two steps, by the model of then
    late = built(lm, words_task, direction="v2g", refresh=2, delta=0.0, steps=4)
    late.batch(other, 3)
    assert (late.memory["since"], late.memory["items"]) == (measured["since"], measured["items"])
    # What a checkpoint keeps of it is enough to go on.
    resumed = built(lm, words_task, direction="v2g", refresh=2, delta=0.0, steps=4)
    resumed.memory = json.loads(json.dumps(method.memory))
    one, two = method.batch(lm, 3), resumed.batch(lm, 3)
    assert one.pairs == two.pairs and one.loss(values(one)) == two.loss(values(two))


def rows(lost: list[float], tokens: float = 40.0) -> list[dict[str, float]]:
    return [
        {"step": i + 1, "loss": 1 / (i + 1), NOW: -4.0 - x, BEFORE: -4.0, TOKENS: tokens} for i, x in enumerate(lost)
    ]


def test_the_alarm_tells_step_and_both_curves() -> None:
    check_likelihood(rows([0.0] * 9 + [4.9]), 300)  # one batch
    check_likelihood(rows([100.0] * (WINDOW - 1)), 300)  # too few to tell
    check_likelihood([{"step": 1, "loss": 1.0}] * 9, 300)  # nothing to watch
    with pytest.raises(AccordError) as caught:
        check_likelihood(rows([0.0] * 9 + [1.01] * WINDOW), 300)
    text = str(caught.value)
    assert "step 14" in text and "step 1: loss 1, 4 nats a token" in text and "likelihood = 1.0" in text
    check_likelihood(rows([0.0] * 9 + [0.99] * WINDOW), 300)  # long answers that drift
    limit = 2 * math.log(300)
    check_likelihood(rows([0.0] * 9 + [limit / 2 - 0.01] * WINDOW, tokens=2), 300)  # short ones in another order
    with pytest.raises(AccordError):
        check_likelihood(rows([0.0] * 9 + [limit / 2 + 0.01] * WINDOW, tokens=2), 300)


class Falling:
    """A loss that only makes an answer unlikely."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        def shown(s: torch.Tensor) -> Terms:
            return {NOW: s.mean() / 2, BEFORE: s.new_tensor(-5.0), TOKENS: s.new_tensor(2.0)}

        return PairBatch([Pair((5, 6), (8, 9))], lambda s: {"far": s.mean()}, {}, shown)


def test_a_training_whose_answers_get_lost_is_stopped_with_its_curve(tmp_path: Path) -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    config = RankAlign.model_validate({"full": True, "lr": 0.05, "steps": 60, "warmup": 0.0, "decay": 0.0})
    with trainable(lm, config, 0) as trainee, pytest.raises(AccordError, match="get lost") as caught:
        fit(trainee, Falling(), config, seed=0, folder=tmp_path, settings={})
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert f"step {curve[-1]['step']}" in str(caught.value) and WINDOW <= len(curve) < 60
    lost = [row[BEFORE] - row[NOW] for row in curve]
    limit = math.log(lm.vocab_size)
    assert sum(lost[-WINDOW:]) / WINDOW > limit
    assert all(sum(lost[i : i + WINDOW]) / WINDOW <= limit for i in range(len(lost) - WINDOW))


def test_the_curve_has_what_a_token_of_the_preferred_answers_costs(lm: Backbone, words_task: Task) -> None:
    method = built(lm, words_task, direction="v2g", generated="answer", delta=0.0)
    batch, items, own = method.batch(lm, 1), method._drawn(1), answers(method)
    shown = batch.shown(scores(lm, batch.pairs).detach())
    taught = method.rankings["v2g"].teacher
    best = [i for i in items if taught[i] >= median(taught.values())]
    want = sum(log_p(lm, own[i].context, own[i].answer) / len(own[i].answer) for i in best) / len(best)
    assert float(shown[NOW]) == pytest.approx(want, abs=1e-4) == float(shown[BEFORE])
    assert built(lm, words_task, direction="g2v", delta=0.0).batch(lm, 0).shown(torch.zeros(99)) == {}


def test_presets_are_the_same_terms() -> None:
    pmi, neg = read_repair({"kind": "flora-pmi"}), read_repair({"kind": "flora-neg", "labelled": 0.1})
    assert isinstance(pmi, FloraPMI) and isinstance(neg, FloraNeg) and isinstance(pmi, Ranked)
    assert (pmi.typicality, neg.typicality) == ("live", "negated") and neg.labelled == 0.1
    assert {*FloraPMI.model_fields} == {*RankAlign.model_fields} == {*FloraNeg.model_fields}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"typicality": "live"}, "of a generator that learns"),
        ({"labelled": 0.0}, "labelled"),
    ],
)
def test_terms_that_do_not_go_together(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(AccordError, match=words):
        read_repair({"kind": "rankalign", **keys})


def test_it_is_told_how_far_apart_what_is_ranked_lies_at_most(lm: Backbone, words_task: Task) -> None:
    for pairs in ("any", "prompt"):
        [ranking] = built(lm, words_task, pairs=pairs, delta=0.0).rankings.values()
        own: dict[str, list[float]] = {}
        for i, score in ranking.teacher.items():
            own.setdefault(words_task.items[i].fields["one"] if pairs == "prompt" else "", []).append(score)
        widest = max(max(scores) - min(scores) for scores in own.values())
        with pytest.raises(AccordError) as caught:
            built(lm, words_task, pairs=pairs, delta=100.0)
        assert f"less than {widest:.3g} nats" in str(caught.value) and "delta 100" in str(caught.value)
        assert ("pairs within a prompt" in str(caught.value)) == (pairs == "prompt")


def test_what_a_task_lacks_is_told(lm: Backbone, words_task: Task) -> None:
    from dataclasses import replace

    form = replace(words_task.generator, negated=None)
    with pytest.raises(AccordError, match="no negated wording"):
        check_task(replace(words_task, generator=form), RankAlign(typicality="negated"))
    single = replace(words_task, items=tuple({i.fields["one"]: i for i in words_task.items}.values()))
    with pytest.raises(AccordError, match='pairs = "any"'):
        built(lm, single, pairs="prompt", batch=4)
    wrong = replace(words_task, items=tuple(replace(i, gold=False) for i in words_task.items))
    with pytest.raises(AccordError, match="no right answer among the labelled items"):
        built(lm, wrong, likelihood=1.0)
