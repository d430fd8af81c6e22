"""RankAlign and its successors: for every pair of items that one form tells apart, the other learns the same order.

Source: Rodriguez, Ding, Erk, Durrett, arXiv 2504.11381. There a step passes single pairs through the model; here all
ordered pairs of a batch are learnt from one pass over its items. The loss is a sum of terms: the ranking of each
direction, and, where they have a weight, anchors that keep it from running off (gold, likelihood, null).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.concepts.train import mix
from accord.errors import AccordError
from accord.gap.typicality import Kind, null_context
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.alarm import BEFORE, NOW, TOKENS
from accord.repair.config import Direction, Ranked
from accord.repair.method import PairBatch, TaskPairs, drawn, frozen, reached
from accord.repair.scores import Asked, Divergence, Odds, Pair, Scored, Terms
from accord.repair.sft import answer_loss
from accord.tasks import Item, Task

# Pairs of training items that the median difference is taken over: exact enough, and no quadratic table.
_DRAWN_PAIRS = 100_000


@dataclass
class Ranking:
    """One direction: the frozen scores that teach, and what is to learn them; an entry an item that is met.

    Attributes:
        offset: what is subtracted from each item's learning score.
        typical: where it is live, what is scored with it and subtracted, too.
        delta: nats that two items must differ by; by item where prompts have their own.
        prompts: each item's, of all items, where only items of one prompt are ranked.
    """

    pairs: dict[int, Scored]
    teacher: dict[int, float]
    offset: dict[int, float] | None
    delta: float | Mapping[int, float]
    typical: dict[int, Pair] | None = None
    prompts: Sequence[int] | None = None

    def above(self, items: Sequence[int]) -> Tensor:
        """[i, j]: whether the teacher puts item i above item j by more than delta."""
        teacher = torch.tensor([self.teacher[i] for i in items], dtype=torch.float64)
        apart = teacher[:, None] - teacher[None, :]
        if isinstance(self.delta, float | int):
            limits = torch.tensor(self.delta, dtype=torch.float64)
        else:
            limits = torch.tensor([self.delta[i] for i in items], dtype=torch.float64)[:, None]
        order = apart > limits
        if self.prompts is None:
            return order
        prompts = torch.tensor([self.prompts[i] for i in items])
        return order & (prompts[:, None] == prompts[None, :])

    def loss(self, items: Sequence[int], scores: Tensor, weights: Tensor, typical: Tensor | None = None) -> Tensor:
        """Weighted mean of −log σ(s_i − s_j) over pairs [i, j]; 0 where no pair counts."""
        if typical is not None:
            scores = scores - typical
        if self.offset is not None:
            scores = scores - torch.tensor([self.offset[i] for i in items], device=scores.device)
        each = torch.nn.functional.softplus(scores[None, :] - scores[:, None])  # [i, j]: −log σ(s_i − s_j)
        weights = weights.to(scores)
        return (weights * each).sum() / weights.sum().clamp_min(1e-12)


@dataclass
class Anchors:
    """What labelled items are asked beside the ranking, an entry an item that is met."""

    labelled: Tensor  # [item], of all items
    odds: dict[int, Odds]
    answers: dict[int, Pair]
    null: Divergence | None


@dataclass
class RankAligning:
    """See `accord.repair.method.Method`.

    `memory` holds, with `refresh`, the step of the newest measurement and the teacher's scores in it, by direction and
    item.
    """

    config: Ranked
    forms: TaskPairs
    gold: Tensor  # [item]
    seed: int
    rankings: dict[Direction, Ranking]
    anchors: Anchors
    together: list[int] | None  # of each item its prompt, where only items of one prompt are ranked
    preferred: dict[int, float] = field(default_factory=dict)  # item -> log p a token of its answer under the base
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls, config: Ranked, lm: LanguageModel, task: Task, seed: int, progress: Progress | None
    ) -> "RankAligning":
        """Score what the run will meet under the base model."""
        forms = TaskPairs.of(lm, task)
        prompts = _prompts(task)
        together = prompts if config.pairs == "prompt" else None
        met = reached(len(task.items), config.batch, config.steps, seed, together=together)
        items = [task.items[i] for i in met]
        rankings: dict[Direction, Ranking] = {}
        preferred: dict[int, float] = {}
        for direction in config.learners:
            pairs = _learnt(config, forms, direction, items)
            teacher = _teacher(config, forms, direction, lm, items, progress)
            typical = _typical(config, forms, items) if direction == "v2g" and config.typicality != "none" else None
            live = config.typicality == "live"
            before = frozen(lm, pairs, progress) if config.reference or direction == "v2g" else []
            offset = before if config.reference else None
            # A frozen typicality is in what the base says, too: with a reference it cancels.
            if typical is not None and live == config.reference:
                own = frozen(lm, typical, progress)
                offset = own if offset is None else [score - t for score, t in zip(offset, own, strict=True)]
            if direction == "v2g":
                middle = float(np.median(teacher))
                preferred = {
                    i: score / _tokens(pair)
                    for i, score, pair, taught in zip(met, before, pairs, teacher, strict=True)
                    if taught >= middle
                }
            rankings[direction] = Ranking(
                _by(met, pairs),
                _by(met, teacher),
                None if offset is None else _by(met, offset),
                _delta(config, _by(met, teacher), together, seed),
                _by(met, typical) if typical is not None and live else None,
                together,
            )
        gold = torch.tensor([item.gold for item in task.items])
        anchors = _anchors(config, forms, lm, met, _labelled(prompts, config.labelled, seed))
        method = cls(config, forms, gold, seed, rankings, anchors, together, preferred)
        method._check(task.name)
        return method

    def _check(self, task: str) -> None:
        """Raises AccordError if a direction has nothing to learn from in any batch, or an anchor no label."""
        idle: set[Direction] = set(self.rankings)
        for step in range(self.config.steps):
            idle -= {name for name, weights in self._weights(self._drawn(step), self.rankings).items() if weights.any()}
            if not idle:
                break
        if idle:
            name = sorted(idle)[0]
            ranking = self.rankings[name]
            raise AccordError(
                "no two items of a batch differ enough to be ranked",
                where=f"{task}, {name}",
                got=f"delta {_shown(ranking.delta)}" + ("" if self.together is None else ", pairs within a prompt"),
                wanted=f"less than {_widest(ranking):.3g} nats, the largest difference",
                fix='delta = "auto"' if self.together is None else 'pairs = "any", or several answers to each prompt',
            )
        if self.config.likelihood and not self.anchors.answers:
            problem = "no right answer among the labelled items, so none whose likelihood could be an anchor"
            raise AccordError(problem, where=task, got=f"labelled {self.config.labelled:g}", fix="label more of them")

    def _drawn(self, step: int) -> list[int]:
        return drawn(len(self.gold), self.config.batch, step, self.seed, together=self.together)

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """See `Method.batch`; with `refresh`, some batches measure first."""
        self._refresh(lm, step)
        items, places = self._drawn(step), _Places()
        weights = self._weights(items, self._taught())
        learnt = {name: places.of(ranking.pairs[i] for i in items) for name, ranking in self.rankings.items()}
        typical = {
            name: places.of(ranking.typical[i] for i in items)
            for name, ranking in self.rankings.items()
            if ranking.typical is not None
        }
        labelled = [i for i in items if self.anchors.labelled[i]]
        asked = [i for i in labelled if i in self.anchors.odds]
        odds = places.of(self.anchors.odds[i] for i in asked)
        right = [self.anchors.answers[i] for i in labelled if i in self.anchors.answers]
        answers = places.of(right)
        null = places.of([self.anchors.null] if self.anchors.null is not None else [])
        share = {"g2v": 1.0, "v2g": 1.0}
        if self.config.direction == "both" and self.config.weight != "gold":
            share = {"g2v": self.config.weight, "v2g": 1 - self.config.weight}

        def loss(scores: Tensor) -> Terms:
            terms: dict[str, Tensor] = {
                name: share[name]
                * ranking.loss(
                    items, scores[learnt[name]], weights[name], scores[typical[name]] if name in typical else None
                )
                for name, ranking in self.rankings.items()
            }
            if asked:
                gold = self.gold[asked].to(scores)
                each = torch.nn.functional.binary_cross_entropy_with_logits(scores[odds], gold)
                terms["gold"] = self.config.gold * each
            if right:
                terms["likelihood"] = self.config.likelihood * answer_loss(right, scores[answers])["answers"]
            if null:
                terms["null"] = self.config.null_anchor * scores[null[0]]
            return terms

        counts = {f"pairs_{name}": float((w > 0).sum()) for name, w in weights.items()}
        counts |= {
            f"delta_{name}": ranking.delta
            for name, ranking in self.rankings.items()
            if isinstance(ranking.delta, float | int)
        }
        return PairBatch(places.pairs, loss, counts, self._watched(items, learnt))

    def _watched(self, items: Sequence[int], learnt: Mapping[Direction, list[int]]) -> Callable[[Tensor], Terms]:
        """Log p a token of the answers that the validator prefers, now and under the base model."""
        some = [(k, i) for k, i in enumerate(items) if i in self.preferred]
        if not some:
            return lambda _: {}
        places = [learnt["v2g"][k] for k, _ in some]
        answers = [self.rankings["v2g"].pairs[i] for _, i in some]
        tokens = [_tokens(pair) for pair in answers]
        length = sum(len(pair.answer) for pair in answers if isinstance(pair, Pair)) / len(answers)
        before = sum(self.preferred[i] for _, i in some) / len(some)

        def shown(scores: Tensor) -> Terms:
            now = scores[places] / torch.tensor(tokens, device=scores.device)
            return {NOW: now.mean(), BEFORE: now.new_tensor(before), TOKENS: now.new_tensor(length)}

        return shown

    def _refresh(self, lm: LanguageModel, step: int) -> None:
        every = self.config.refresh
        if every is None or step < every or self.memory.get("since") == step - step % every:
            return
        since = step - step % every
        until = min(since + every, self.config.steps)
        met = sorted({i for later in range(since, until) for i in self._drawn(later)})
        items = [self.forms.task.items[i] for i in met]
        taught = {name: _teacher(self.config, self.forms, name, lm, items, None) for name in self.rankings}
        self.memory = {"since": since, "items": met, "teacher": taught}

    def _taught(self) -> dict[Direction, Ranking]:
        """The directions with the newest scores of their teachers."""
        if not self.memory:
            return self.rankings
        items, taught = self.memory["items"], self.memory["teacher"]
        return {name: replace(each, teacher=_by(items, taught[name])) for name, each in self.rankings.items()}

    def _weights(self, items: list[int], rankings: Mapping[Direction, Ranking]) -> dict[Direction, Tensor]:
        """Of each direction's pairs [i, j]: 1 where the teacher orders them; 0 too where gold says it errs."""
        gold, known = self.gold[items], self.anchors.labelled[items]
        wrong = (~gold[:, None] & gold[None, :]) & (known[:, None] & known[None, :])  # a wrong item above a right one
        above = {name: ranking.above(items) for name, ranking in rankings.items()}
        if self.config.direction == "both" and self.config.weight == "gold":
            return {name: (order & ~wrong).double() for name, order in above.items()}
        return {name: order.double() for name, order in above.items()}


class _Places:
    """The pairs that a batch scores, each once, and where each use of one finds it."""

    def __init__(self) -> None:
        self._numbers: dict[Asked, int] = {}

    def of(self, pairs: Iterable[Asked]) -> list[int]:
        return [self._numbers.setdefault(pair, len(self._numbers)) for pair in pairs]

    @property
    def pairs(self) -> list[Asked]:
        return list(self._numbers)


def _learnt(config: Ranked, forms: TaskPairs, direction: Direction, items: Sequence[Item]) -> list[Scored]:
    """What a direction teaches to rank."""
    if direction == "v2g":
        return [forms.generator(item, forms.counted(config.generated)) for item in items]
    return [forms.validator_logodds(item) if config.score == "logodds" else forms.validator(item) for item in items]


def _teacher(
    config: Ranked,
    forms: TaskPairs,
    direction: Direction,
    lm: LanguageModel,
    items: Sequence[Item],
    progress: Progress | None,
) -> list[float]:
    """A model's scores of items in the form that teaches."""
    if direction == "v2g":
        return forms.validator_scores(lm, items, progress)
    scores = forms.generator_scores(lm, items, progress)
    teacher = {"task": scores.logodds, "first": scores.first, "answer": scores.total}[config.generated]
    if config.typicality == "none":
        return teacher
    typical = frozen(lm, _typical(config, forms, items), progress)
    return [score - t for score, t in zip(teacher, typical, strict=True)]


def _typical(config: Ranked, forms: TaskPairs, items: Sequence[Item]) -> list[Pair]:
    """Of what log p is the answers' typicality."""
    kind: Kind = "negated" if config.typicality == "negated" else "own"
    return [forms.typical(item, kind, forms.counted(config.generated)) for item in items]


def _delta(
    config: Ranked, teacher: Mapping[int, float], prompts: Sequence[int] | None, seed: int
) -> float | dict[int, float]:
    """Nats that two items must differ by; by item where prompts have their own."""
    if config.delta != "auto":
        return config.delta
    if prompts is None:
        return median_difference([*teacher.values()], seed)
    own: dict[int, list[float]] = defaultdict(list)
    for item, score in teacher.items():
        own[prompts[item]].append(score)
    apart = {prompt: [abs(x - y) for x, y in combinations(scores, 2)] for prompt, scores in own.items()}
    # The only pair of two answers differs by just the median: it shall count.
    deltas = {prompt: float(np.median(each)) if len(each) > 1 else 0.0 for prompt, each in apart.items()}
    return {item: deltas[prompts[item]] for item in teacher}


def _anchors(config: Ranked, forms: TaskPairs, lm: LanguageModel, met: Sequence[int], labelled: Tensor) -> Anchors:
    known = [(i, forms.task.items[i]) for i in met if labelled[i]]
    odds = {i: forms.validator_logodds(item) for i, item in known} if config.gold else {}
    answers = {i: forms.generator(item) for i, item in known if item.gold} if config.likelihood else {}
    null = Divergence.of(lm, null_context(lm, forms.task)) if config.null_anchor else None
    return Anchors(labelled, odds, answers, null)


def _prompts(task: Task) -> list[int]:
    """Of each item the number of the prompt that it answers."""
    numbers: dict[str, int] = {}
    named = (item.prompt or task.generator.filled(item) for item in task.items)
    return [numbers.setdefault(name, len(numbers)) for name in named]


def _labelled(prompts: Sequence[int], share: float, seed: int) -> Tensor:
    """Of each item whether its prompt is among the share that has labels, at least one."""
    n = max(prompts) + 1
    some = torch.randperm(n, generator=torch.Generator().manual_seed(mix(seed, 1)))[: max(1, round(share * n))]
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[some] = True
    return chosen[torch.tensor(prompts)]


def _tokens(pair: Scored) -> int:
    """By how many tokens a pair's score is to be divided for the score of one."""
    return 1 if isinstance(pair, Odds) or pair.per_token else len(pair.answer)


def median_difference(scores: Sequence[float], seed: int) -> float:
    """The median of |x − y| over random pairs of scores: half of all pairs differ by more."""
    values = np.asarray(scores)
    draw = np.random.default_rng(seed).integers(0, len(values), (2, _DRAWN_PAIRS))
    return float(np.median(np.abs(values[draw[0]] - values[draw[1]])[draw[0] != draw[1]]))


def _widest(ranking: Ranking) -> float:
    """The largest difference of two scores that could be ranked."""
    own: dict[int, list[float]] = defaultdict(list)
    for item, score in ranking.teacher.items():
        own[0 if ranking.prompts is None else ranking.prompts[item]].append(score)
    return max(max(scores) - min(scores) for scores in own.values())


def _shown(delta: float | Mapping[int, float]) -> str:
    return f"{delta:g}" if isinstance(delta, float | int) else "auto, prompt by prompt"


def _by(items: Sequence[int], values: Sequence[Any]) -> dict[int, Any]:
    return dict(zip(items, values, strict=True))
