"""The readout repair: what the validator's own state knows of the generator's log-odds, written back. Closed form.

A readout adds v = w·h + b to the validator's log-odds exactly (`accord.lm.edited.Readout`), so v is fitted to what is
missing: the wanted log-odds less the model's own. It needs no labels: what is wanted is the model's own generator.
Positions of ordinary text are in the regression with 0 as their target, so that the readout stays silent there.

Fitted on one task alone, a readout moves the questions of others too, all one way. With `keep` theirs are in the
regression as well, each task's taught by its own generator and centred by itself: it then says yes to about half of
them and, where there are several, of tasks that it has never met (docs/log.md, 2026-11-27).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.metrics import Floats, pearson
from accord.gap.questions import LabelWords, contexts_of, generator_queries
from accord.gap.ridge import Ridge
from accord.lm.edited import Readout
from accord.lm.model import LanguageModel
from accord.lm.scoring import score
from accord.progress import Progress
from accord.repair.config import ReadoutConfig
from accord.repair.evidence import Evidence, gather, read_validator
from accord.repair.fitted import Fitted, best_within
from accord.repair.ordinary import Ordinary, YesNo, ordinary_texts, read_texts
from accord.tasks import Task

_KEPT_MEASURES = ("kept_yes", "kept_agreement")
# A share of yes this near to one half is as good as a half: of a few tasks held out, more is chance.
_EVEN = 0.1


def fit(
    lm: LanguageModel,
    task: Task,
    config: ReadoutConfig | None = None,
    *,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    kept: Sequence[Task] = (),
    progress: Progress | None = None,
) -> Fitted:
    """Fit a readout on the items of `task`: layers, penalty, weight of ordinary text and strength are chosen on
    items and texts held out from them, then all items are fitted.

    First every layer alone, then the band of neighbours that does best, read side by side: neighbours say the same with
    different noise, so together they read it better. With kept tasks the top layer, where the base's own yes or no is
    read most easily, is read beside the band: what l_V has of a task as a whole must be taken back.

    Args:
        task: its training side.
        seed: what is held out, and the order of the texts.
        texts: ordinary text; the training side of movie-reviews by default. One half is fitted on, the other judges.
        kept: other tasks, see `accord.repair.kept.kept_tasks`. All their questions together weigh as much as the items.
            A share of the tasks is held out as a whole; of the settings, the one is chosen whose agreement on held-out
            items is highest, less what the share of yes to held-out tasks is further than .1 from one half.

    Raises:
        AccordError: too few items or texts, no such layer, nothing stays within the budget, or a kept task has other
            words for yes and no.
    """
    config = config or ReadoutConfig()
    layers = config.layers or list(range(lm.n_layers + 1))
    evidence = gather(lm, task, layers=layers, held_out=config.held_out, seed=seed, progress=progress)
    ordinary = ordinary_texts(texts, seed)
    half = len(ordinary) // 2
    tokens = LabelWords.of(lm, task).tokens(task, "readout")
    quiet, check = (
        read_texts(lm, side, layers, tokens, positions=config.positions, progress=progress)
        for side in (ordinary[:half], ordinary[half:])
    )
    others = read_kept(lm, kept, layers, tokens, config, seed, progress) if kept else None
    search = _Search(config, evidence, quiet, check, others)
    tried = [row for layer in layers for row in search.rows([layer])]
    if min(config.window, len(layers)) > 1:
        band = _band(tried, config.window)
        tried += search.rows(band if others is None else sorted({*band, max(layers)}))
    best, table = best_within(tried, config.budget, by="agreement" if others is None else "balance")
    readout, moved, measured = _final(tokens, search, tried[best])
    settings = {key: tried[best][key] for key in ("layers", "penalty", "quiet_weight", "strength")}
    chosen = {
        **settings,
        "held_out": {key: value for key, value in tried[best].items() if key in (*measured, *_KEPT_MEASURES)},
        "training": measured,
        "silence": float(moved.abs().mean()),
        "limit": readout.limit,
    }
    return Fitted([readout], chosen, table)


def target_logodds(generator: Floats, spread: float) -> Floats:
    """The log-odds that the validator should have: (l_G − median) / deviation · spread.

    An affine map, so that its correlation with l_G is 1. Its threshold is at the generator's median: without labels,
    as many items are affirmed as denied (`calibrate` moves that). Not l_G itself, whose deviation of several nats
    would ask for larger values, which cost more on other text.

    >>> target_logodds(np.array([-4.0, -2.0, 0.0]), spread=1.0).round(2).tolist()
    [-1.22, 0.0, 1.22]
    """
    deviation = float(generator.std())
    return np.asarray((generator - np.median(generator)) / (deviation if deviation > 0 else 1.0) * spread)


def typical_removed(generator: Floats, answers: Sequence[str]) -> Floats:
    """l_G less what is typical of the answer: its mean over the questions of a task that have the same answer.

    An answer that is likely after any prompt is no more right for it. One that is asked about once has nothing to be
    compared with, and keeps what it has beyond the mean of all.

    >>> typical_removed(np.array([-1.0, -3.0, -8.0, -4.0]), ["bird", "bird", "fish", "stone"]).tolist()
    [1.0, -1.0, -4.0, 0.0]
    """
    which = np.unique(np.asarray(answers), return_inverse=True)[1]
    count = np.bincount(which)
    mean = np.bincount(which, weights=generator) / count
    return np.asarray(generator - np.where(count > 1, mean, generator.mean())[which])


def taught_logodds(
    lm: LanguageModel, tasks: Sequence[Task], spread: float, progress: Progress | None = None
) -> list[Floats]:
    """The log-odds that the validator should have of each task's items, taught by the model's own generator.

    They are `target_logodds` of l_G less what is typical of the answer: centred and scaled within each task.
    """
    scored = iter(score(lm, [q for task in tasks for q in generator_queries(lm, task, task.items)], progress=progress))
    taught = []
    for task in tasks:
        answer = AnswerScore.of(lm, task)
        generator = np.array([answer.logodds(next(scored)) for _ in task.items])
        taught.append(target_logodds(typical_removed(generator, [item.answer for item in task.items]), spread))
    return taught


@dataclass(frozen=True)
class KeptQuestions:
    """Questions of other tasks, an entry each.

    Attributes:
        states: layer -> the validator prompt's last state, float32 [question, d].
        wanted: the log-odds that the validator should have; validator: those that it has.
        task: the number of its task.
        held: whether settings are chosen on it; all wordings of a sentence are, or none.
    """

    states: Mapping[int, Tensor]
    wanted: Floats
    validator: Floats
    task: NDArray[np.int64]
    held: NDArray[np.bool_]

    def judge(self, value: Floats) -> dict[str, float]:
        """What a readout of `value` [held-out question] makes of the tasks held out.

        Returns:
            `kept_yes`, the share of their questions that it affirms, and `kept_agreement`, the mean over tasks of
            Pearson's r with the wanted log-odds.
        """
        wanted, task = self.wanted[self.held], self.task[self.held]
        moved = self.validator[self.held] + value
        each = [float(pearson(wanted[task == number], moved[task == number])) for number in np.unique(task)]
        return {"kept_yes": float((moved > 0).mean()), "kept_agreement": float(np.mean(each))}


def read_kept(
    lm: LanguageModel,
    tasks: Sequence[Task],
    layers: Sequence[int],
    tokens: YesNo,
    config: ReadoutConfig,
    seed: int,
    progress: Progress | None = None,
) -> KeptQuestions:
    """Ask both forms of every item of several tasks; what is wanted of each is its own generator's.

    Raises AccordError if a task has other words for yes and no than `tokens`, or there is only one.
    """
    for task in tasks:
        if LabelWords.of(lm, task).tokens(task, "keep") != tokens:
            raise AccordError("keep needs tasks with the same words for yes and no", got=task.name)
    sentences = list(dict.fromkeys(task.generator.template.text for task in tasks))
    if len(sentences) < 2:
        raise AccordError("keep needs two tasks: one is held out, to choose on", got=", ".join(t.name for t in tasks))
    share = round(config.held_out * len(sentences))
    out = Random(f"kept {seed}").sample(sentences, min(max(1, share), len(sentences) - 1))
    wanted = taught_logodds(lm, tasks, config.spread, progress)
    contexts = [context for task in tasks for context in contexts_of(lm, task, "validator")]
    states, validator = read_validator(lm, tokens, contexts, layers, progress)
    sizes = [len(task.items) for task in tasks]
    held = np.repeat([task.generator.template.text in out for task in tasks], sizes)
    return KeptQuestions(states, np.concatenate(wanted), validator, np.repeat(np.arange(len(tasks)), sizes), held)


@dataclass(frozen=True)
class _Search:
    """The items, texts and other tasks' questions that settings are tried on."""

    config: ReadoutConfig
    evidence: Evidence
    quiet: Ordinary
    check: Ordinary
    kept: KeptQuestions | None = None

    def ridge(self, layers: Sequence[int], *, all_items: bool) -> Ridge:
        """The regression on these layers side by side, of all items or those that are not held out."""
        used = self.evidence
        where = np.ones_like(used.gold) if all_items else used.held == 0
        target = target_logodds(used.generator[where], self.config.spread) - used.validator[where]
        states = beside(used.states, layers)[torch.from_numpy(where)]
        if self.kept is not None:
            also = np.ones_like(self.kept.held) if all_items else ~self.kept.held
            times = max(1, round(also.sum() / where.sum()))  # as often as gives them the same weight
            others = beside(self.kept.states, layers)[torch.from_numpy(also)]
            states = torch.cat([states.repeat(times, 1), others])
            target = np.concatenate([np.tile(target, times), (self.kept.wanted - self.kept.validator)[also]])
        return Ridge(states, torch.from_numpy(target), beside(self.quiet.states, layers))

    def rows(self, layers: Sequence[int]) -> list[dict[str, Any]]:
        """Every setting on these layers, judged on held-out items and texts."""
        where = self.evidence.held > 0
        held, check = beside(self.evidence.states, layers)[where], beside(self.check.states, layers)
        ridge, rows = self.ridge(layers, all_items=False), []
        for quiet_weight, penalty in product(self.config.quiet_weights, self.config.penalties):
            probe = ridge.fit(penalty, quiet_weight)
            limit = float(probe(ridge.states).abs().max())
            value, on_text = (probe(x).clamp(-limit, limit) for x in (held, check))
            for strength in self.config.strengths:
                moved = self.evidence.validator.copy()
                moved[where] += strength * value.numpy()
                settings = {"penalty": penalty, "quiet_weight": quiet_weight, "strength": strength}
                judged = self.evidence.judge(moved, where)
                if self.kept is not None:
                    others = beside(self.kept.states, layers)[torch.from_numpy(self.kept.held)]
                    judged |= self.kept.judge(strength * probe(others).clamp(-limit, limit).numpy())
                    judged["balance"] = judged["agreement"] - max(0.0, abs(judged["kept_yes"] - 0.5) - _EVEN)
                rows.append({"layers": list(layers), **settings, **judged, **self.check.cost(strength * on_text)})
        return rows


def beside(states: Mapping[int, Tensor], layers: Sequence[int]) -> Tensor:
    """States of several layers side by side, [n, layers · d].

    >>> beside({3: torch.zeros(5, 8), 4: torch.ones(5, 8)}, [3, 4]).shape
    torch.Size([5, 16])
    """
    return torch.cat([states[layer] for layer in layers], dim=1)


def _final(tokens: YesNo, search: _Search, row: Mapping[str, Any]) -> tuple[Readout, Tensor, dict[str, float]]:
    """The readout of a setting fitted on all items, its values on the texts held out, and what is measured.

    It moves nothing further than the item that it moves furthest: ordinary text has a few states so unlike all others
    that they alone would be most of the cost.
    """
    layers, strength = row["layers"], row["strength"]
    probe = search.ridge(layers, all_items=True).fit(row["penalty"], row["quiet_weight"])
    items, on_text = (strength * probe(beside(x.states, layers)) for x in (search.evidence, search.check))
    limit = float(items.abs().max())
    if search.kept is not None:
        limit = max(limit, float((strength * probe(beside(search.kept.states, layers))).abs().max()))
    value = on_text.clamp(-limit, limit)
    everything = np.ones_like(search.evidence.gold)
    judged = search.evidence.judge(search.evidence.validator + items.numpy(), everything)
    weight, bias = strength * probe.weight, strength * probe.bias
    readout = Readout(tuple(layers), weight.float(), bias, *tokens, limit)
    return readout, value, {**judged, **search.check.cost(value)}


def _band(tried: Sequence[Mapping[str, Any]], window: int) -> list[int]:
    """The neighbouring layers that agree best by themselves, on average, each at its best setting.

    An average, as one layer's lead over the next is mostly chance; and whatever it costs, as together they cost less.
    """
    best: dict[int, float] = {}
    for row in tried:
        layer = row["layers"][0]
        best[layer] = max(best.get(layer, -1.0), row["agreement"])
    ordered = sorted(best)
    bands = [ordered[begin : begin + window] for begin in range(max(1, len(ordered) - window + 1))]
    return max(bands, key=lambda band: sum(best[layer] for layer in band))
