"""What repairs without training are fitted to and judged by: what the model says of items in both forms."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.metrics import PAIRED, Floats, ScoreColumns, pearson
from accord.gap.questions import LabelWords
from accord.lm.marked import States, backbone_states
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import score
from accord.lm.states import end_states
from accord.progress import Progress
from accord.repair.config import FEWEST_ITEMS
from accord.repair.ordinary import YesNo, log_yes_no
from accord.tasks import Item, Task
from accord.tasks.splits import prompts_apart

# Enough groups that whole ones can be held out and still speak for the others.
_FEWEST_GROUPS = 8
_FEWEST_PROMPTS = 4  # likewise of whole prompts
_MEASURES = ("pearson_all", "pearson_yes", "pearson_no", "validator_auc", "validator_accuracy")


@dataclass(frozen=True)
class Evidence:
    """Items with what the model says of them in both forms; an entry an item.

    Attributes:
        generator: l_G, log-odds of the answer, see `accord.gap.AnswerScore`.
        validator: l_V, log-odds of yes against no.
        gold: labels, for judging alone, unless the settings of a repair say that it uses them.
        states: layer -> the validator prompt's last state, float32 [item, d]; empty unless `gather` got layers.
        held: which items settings are chosen on, see `hold_out`.
    """

    generator: Floats
    validator: Floats
    gold: NDArray[np.bool_]
    states: Mapping[int, Tensor]
    held: NDArray[np.int64]

    def judge(self, validator: Floats, where: NDArray[np.bool_]) -> dict[str, float]:
        """Measures of other validator log-odds [item], of the items `where`.

        Returns:
            Pearson's r of the two log-odds, `pearson_all`, `pearson_yes`, `pearson_no`; `validator_auc` and
            `validator_accuracy`; and `agreement`, what settings are chosen by: the mean of r within the items held
            out by themselves and within those held out as groups, where there are such.
        """
        kinds = [where & (self.held == kind) for kind in (1, 2)]
        correlations = [float(pearson(self.generator[kind], validator[kind])) for kind in kinds if kind.sum() >= 3]
        gold = self.gold[where]
        order = np.flatnonzero(where)[np.argsort(~gold, kind="stable")]  # gold-yes items first
        nothing = np.zeros(len(order))
        table = ScoreColumns(self.generator[order], validator[order], nothing, nothing, int(gold.sum()))
        judged = {name: float(PAIRED[name](table)) for name in _MEASURES}
        return {"agreement": float(np.mean(correlations)) if correlations else float("nan"), **judged}


@torch.no_grad()
def gather(
    lm: LanguageModel,
    task: Task,
    *,
    layers: Sequence[int] = (),
    held_out: float = 0.25,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evidence:
    """Ask both forms of every item of `task`, and read the validator's states on the way.

    Raises:
        AccordError: too few items to choose on, no such layer, or label words of several tokens.
    """
    if len(task.items) < FEWEST_ITEMS:
        wanted = f"at least {FEWEST_ITEMS}"
        raise AccordError("too few training items to repair with", where=task.name, got=len(task.items), wanted=wanted)
    if wrong := [layer for layer in layers if not 0 <= layer <= lm.n_layers]:
        raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {lm.n_layers} in {lm.name}")
    words, answer = LabelWords.of(lm, task), AnswerScore.of(lm, task)
    tokens = words.tokens(task, "a repair without training")
    queries = words.queries(lm, task, task.items)
    scored = score(lm, [query for query, _ in queries], progress=progress)
    generator = np.array([answer.logodds(scores) for scores in scored])
    states, validator = read_validator(lm, tokens, [query.context for _, query in queries], layers, progress)
    gold = np.array([item.gold for item in task.items])
    return Evidence(generator, validator, gold, states, hold_out(task.items, _prompts(task), held_out, seed))


@torch.no_grad()
def read_validator(
    lm: LanguageModel, tokens: YesNo, contexts: Sequence[Ids], layers: Sequence[int], progress: Progress | None
) -> tuple[dict[int, Tensor], Floats]:
    """States of `layers` at the end of every context, layer -> float32 [context, d], and l_V [context], from one pass.

    Args:
        tokens: those of yes and of no.
    """
    distinct = list(dict.fromkeys(contexts))
    states = {layer: torch.empty(len(distinct), lm.d_model) for layer in layers}
    logodds = torch.empty(len(distinct), dtype=torch.float64)

    def read(layer: int, state: States, which: list[int]) -> None:
        if layer in states:
            states[layer][which] = backbone_states(state).float().cpu()
        if layer == lm.n_layers:
            yes, no = log_yes_no(lm, tokens, state)
            logodds[which] = yes - no

    end_states(lm, distinct, read, layers=sorted({*layers, lm.n_layers}), progress=progress)
    place = {context: i for i, context in enumerate(distinct)}
    index = torch.tensor([place[context] for context in contexts])
    return {layer: state[index] for layer, state in states.items()}, logodds[index].numpy()


def hold_out(items: Sequence[Item], prompts: Sequence[Hashable], share: float, seed: int) -> NDArray[np.int64]:
    """Which items settings are chosen on: 0 none of these, 1 by themselves, 2 as whole groups.

    Half of the share are items whose groups (hypernyms, say) may also be fitted, half are groups of which nothing is:
    a repair should serve both. Where items have few groups or none, all are held out by themselves. All items of a
    prompt are held out or none is, and groups that cut across prompts count as none.

    Args:
        prompts: of each item, see `accord.tasks.splits.prompts_apart`.
    """
    rng = Random(f"hold out {seed}")
    sides = np.zeros(len(items), dtype=np.int64)
    groups = sorted({item.group for item in items if item.group is not None})
    apart = len({(prompt, item.group) for prompt, item in zip(prompts, items, strict=True)}) == len(set(prompts))
    grouped = apart and len(groups) >= _FEWEST_GROUPS and all(item.group is not None for item in items)
    whole = share / 2 if grouped else 0.0
    for group in rng.sample(groups, len(groups)):
        block = [i for i, item in enumerate(items) if item.group == group]
        if (sides == 2).sum() + len(block) / 2 <= whole * len(items):
            sides[block] = 2
    units: dict[Hashable, list[int]] = {}
    for i in np.flatnonzero(sides == 0).tolist():
        units.setdefault(prompts[i], []).append(i)
    wanted = round((share - whole) * len(items))
    for block in rng.sample([*units.values()], min(wanted, len(units) - 1)):
        if (sides == 1).sum() + len(block) / 2 <= wanted:
            sides[block] = 1
    return sides


def _prompts(task: Task) -> Sequence[Hashable]:
    prompts = prompts_apart(task)
    return prompts if len(set(prompts)) >= _FEWEST_PROMPTS else range(len(prompts))


def validator_logodds(lm: LanguageModel, task: Task, items: Sequence[Item]) -> Floats:
    """l_V of items under a model, float64 [item]."""
    words = LabelWords.of(lm, task)
    scored = score(lm, [validator for _, validator in words.queries(lm, task, items)])
    targets = (task.labels.target(item) for item in items)
    return np.array([float(words.logodds(s.total, label)) for s, label in zip(scored, targets, strict=True)])
